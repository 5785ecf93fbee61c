//! The machines that share a bouncer's key and name themselves, as far as the store does not know it yet. Pure.

use std::collections::HashMap;

use palisade_active::Commit;
use palisade_store::InstanceSeen;
use palisade_wire::UnixMillis;

/// How many of one bouncer are kept; the store keeps no more either.
const OF_ONE: usize = 1000;
/// How many of all: bounds the memory while the database is away.
const OF_ALL: usize = 50_000;

/// A machine that shares a bouncer's key, when it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How it names itself.
    pub instance: String,
    /// The address it came from.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// When it asked.
    pub at: UnixMillis,
    /// Up to which commit it has been told everything.
    pub commit: Commit,
}

/// The latest word about each, by the number of the bouncer's row and by name.
#[derive(Debug, Default)]
pub(super) struct Instances {
    by_bouncer: HashMap<i64, HashMap<String, Seen>>,
    count: usize,
}

impl Instances {
    /// Adds one, or what is newer about it. When there are too many of the bouncer, the one that was silent longest
    /// makes way; when there are too many of all, so does one of the same bouncer, and a bouncer without any waits for
    /// the next writing.
    pub(super) fn add(&mut self, bouncer: i64, seen: Seen) {
        let full = self.count >= OF_ALL;
        let of_one = self.by_bouncer.entry(bouncer).or_default();
        if let Some(there) = of_one.get_mut(&seen.instance) {
            if there.at <= seen.at {
                *there = seen;
            }
            return;
        }
        if full || of_one.len() >= OF_ONE {
            let oldest = of_one.iter().min_by_key(|(_, seen)| seen.at).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else {
                self.by_bouncer.remove(&bouncer);
                return;
            };
            of_one.remove(&oldest);
            self.count -= 1;
        }
        of_one.insert(seen.instance.clone(), seen);
        self.count += 1;
    }

    /// Takes over what others have noted meanwhile.
    pub(super) fn take_in(&mut self, others: Self) {
        for (bouncer, of_one) in others.by_bouncer {
            for seen in of_one.into_values() {
                self.add(bouncer, seen);
            }
        }
    }

    /// As the store takes them.
    pub(super) fn rows(&self) -> Vec<InstanceSeen> {
        let all = self.by_bouncer.iter();
        all.flat_map(|(bouncer, of_one)| of_one.values().map(|seen| row(*bouncer, seen))).collect()
    }
}

fn row(bouncer: i64, seen: &Seen) -> InstanceSeen {
    let Seen { instance, ip, kind, version, at, commit } = seen.clone();
    InstanceSeen { bouncer, instance, ip, kind, version, at, commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(instance: &str, at: i64) -> Seen {
        Seen {
            instance: instance.into(),
            ip: "192.0.2.1".into(),
            kind: "palisade-firewall".into(),
            version: "v1".into(),
            at: UnixMillis(at),
            commit: Commit(at.unsigned_abs()),
        }
    }

    fn names(all: &Instances) -> Vec<(i64, String, i64)> {
        let mut rows: Vec<_> =
            all.rows().into_iter().map(|row| (row.bouncer, row.instance, row.at.0)).collect();
        rows.sort();
        rows
    }

    #[test]
    fn the_latest_word_about_each_is_kept() {
        let mut all = Instances::default();
        for (bouncer, name, at) in [(1, "a", 5), (1, "b", 1), (2, "a", 2), (1, "a", 3), (1, "b", 7)] {
            all.add(bouncer, seen(name, at));
        }
        let mut later = Instances::default();
        later.add(1, seen("a", 6));
        later.add(1, seen("b", 6));
        all.take_in(later);
        assert_eq!(names(&all), [(1, "a".into(), 6), (1, "b".into(), 7), (2, "a".into(), 2)]);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut all = Instances::default();
        let mut time = 0;
        for bouncer in 0..60 {
            for n in 0..1100 {
                time += 1;
                all.add(bouncer, seen(&format!("{n:04}"), time));
            }
        }
        let rows = names(&all);
        assert_eq!((rows.len(), all.count), (OF_ALL, OF_ALL));
        assert_eq!((rows[0].1.as_str(), rows[999].1.as_str()), ("0100", "1099"), "the oldest made way");
        // Who is known is noted even then; who is not makes a place among its own.
        all.add(0, seen("1099", time + 1));
        all.add(0, seen("new", time + 2));
        all.add(99, seen("stranger", time + 3));
        assert_eq!(all.rows().len(), OF_ALL);
        let first: Vec<_> = names(&all).into_iter().filter(|row| row.0 == 0).collect();
        assert!(
            first.contains(&(0, "1099".into(), time + 1)) && first.contains(&(0, "new".into(), time + 2))
        );
    }
}
