//! Reports of clients that share a bouncer's key and send an instance name, until they are written to the store. Pure.

use std::collections::HashMap;

use palisade_model::Commit;
use palisade_store::InstanceReport;
use palisade_wire::UnixMillis;

/// Reports kept per bouncer; the store keeps no more either.
const MAX_PER_BOUNCER: usize = 10_000;
/// Reports kept in total: bounds memory while the database is unavailable.
const MAX_TOTAL: usize = 50_000;

/// A request of a client that shares a bouncer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReport {
    /// The instance name it sends.
    pub instance: String,
    /// The address of its request.
    pub ip: String,
    /// The User-Agent before the slash.
    pub kind: String,
    /// The User-Agent after the slash.
    pub version: String,
    /// When.
    pub at: UnixMillis,
    /// The commit up to which it has received all changes.
    pub commit: Commit,
}

/// The latest report of each client, by bouncer id and instance name.
#[derive(Debug, Default)]
pub(super) struct ClientReports {
    by_bouncer: HashMap<i64, HashMap<String, ClientReport>>,
    count: usize,
}

impl ClientReports {
    /// Adds a report, or replaces an older one. At a limit, the tenth of the bouncer's reports that is oldest is
    /// dropped; a bouncer without reports is skipped until the next write.
    pub(super) fn add(&mut self, bouncer: i64, seen: ClientReport) {
        // Read first, as `of_one` borrows `self` below.
        let full = self.count >= MAX_TOTAL;
        let of_one = self.by_bouncer.entry(bouncer).or_default();
        if let Some(there) = of_one.get_mut(&seen.instance) {
            if there.at <= seen.at {
                *there = seen;
            }
            return;
        }
        // A tenth at once: finding the oldest looks at all reports of the bouncer, which must not happen for each new
        // one.
        if full || of_one.len() >= MAX_PER_BOUNCER {
            let Some(silent) = oldest(of_one.values(), of_one.len().div_ceil(10)) else {
                // `entry` has just created it.
                self.by_bouncer.remove(&bouncer);
                return;
            };
            let before = of_one.len();
            of_one.retain(|_, seen| seen.at > silent);
            self.count -= before - of_one.len();
        }
        of_one.insert(seen.instance.clone(), seen);
        self.count += 1;
    }

    /// Removes the oldest reports, at most `at_most`.
    pub(super) fn take(&mut self, at_most: usize) -> Self {
        let all = self.by_bouncer.values().flat_map(HashMap::values);
        if self.count <= at_most {
            return std::mem::take(self);
        }
        let Some(until) = oldest(all, at_most) else { return Self::default() };
        let mut taken = Self::default();
        for (bouncer, of_one) in &mut self.by_bouncer {
            let out: HashMap<String, ClientReport> = of_one.extract_if(|_, seen| seen.at <= until).collect();
            taken.count += out.len();
            taken.by_bouncer.insert(*bouncer, out);
        }
        self.by_bouncer.retain(|_, of_one| !of_one.is_empty());
        self.count -= taken.count;
        taken
    }

    /// Adds reports that may be older than those present.
    pub(super) fn merge(&mut self, others: Self) {
        for (bouncer, of_one) in others.by_bouncer {
            for seen in of_one.into_values() {
                self.add(bouncer, seen);
            }
        }
    }

    /// The reports as rows for the store.
    pub(super) fn rows(&self) -> Vec<InstanceReport> {
        let all = self.by_bouncer.iter();
        all.flat_map(|(bouncer, of_one)| of_one.values().map(|seen| row(*bouncer, seen))).collect()
    }
}

/// The time of the newest among the `count` oldest reports; `None` when there are none.
fn oldest<'a>(all: impl Iterator<Item = &'a ClientReport>, count: usize) -> Option<UnixMillis> {
    let mut times: Vec<UnixMillis> = all.map(|seen| seen.at).collect();
    let last = count.min(times.len()).checked_sub(1)?;
    // Selection and no sort: linear in the number of reports.
    Some(*times.select_nth_unstable(last).1)
}

fn row(bouncer: i64, seen: &ClientReport) -> InstanceReport {
    let ClientReport { instance, ip, kind, version, at, commit } = seen.clone();
    InstanceReport { bouncer, instance, ip, kind, version, at, commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(instance: &str, at: i64) -> ClientReport {
        ClientReport {
            instance: instance.into(),
            ip: "192.0.2.1".into(),
            kind: "palisade-firewall".into(),
            version: "v1".into(),
            at: UnixMillis(at),
            commit: Commit(at.unsigned_abs()),
        }
    }

    fn names(all: &ClientReports) -> Vec<(i64, String, i64)> {
        let mut rows: Vec<_> =
            all.rows().into_iter().map(|row| (row.bouncer, row.instance, row.at.0)).collect();
        rows.sort();
        rows
    }

    #[test]
    fn the_latest_word_about_each_is_kept() {
        let mut all = ClientReports::default();
        for (bouncer, name, at) in [(1, "a", 5), (1, "b", 1), (2, "a", 2), (1, "a", 3), (1, "b", 7)] {
            all.add(bouncer, seen(name, at));
        }
        let mut later = ClientReports::default();
        later.add(1, seen("a", 6));
        later.add(1, seen("b", 6));
        all.merge(later);
        assert_eq!(names(&all), [(1, "a".into(), 6), (1, "b".into(), 7), (2, "a".into(), 2)]);
    }

    #[test]
    fn there_are_never_too_many() {
        let mut all = ClientReports::default();
        let mut time = 0;
        for bouncer in 0..6 {
            for n in 0..11_000 {
                time += 1;
                all.add(bouncer, seen(&format!("{n:05}"), time));
            }
        }
        let of = |all: &ClientReports, bouncer| {
            let rows = names(all).into_iter().filter(|row| row.0 == bouncer);
            rows.map(|row| row.1).collect::<Vec<_>>()
        };
        assert!(all.count <= MAX_TOTAL && all.count == all.rows().len(), "{}", all.count);
        let first = of(&all, 0);
        assert!(first.len() <= MAX_PER_BOUNCER && first.len() > MAX_PER_BOUNCER * 8 / 10, "{}", first.len());
        assert_eq!(first.last().unwrap(), "10999", "the oldest made way");
        // At the limit a known client is updated; a new one replaces a client of the same bouncer.
        while all.count < MAX_TOTAL {
            time += 1;
            all.add(5, seen(&format!("more{time}"), time));
        }
        all.add(0, seen("10999", time + 1));
        all.add(99, seen("stranger", time + 2));
        assert!(all.count == MAX_TOTAL && of(&all, 99).is_empty());
        all.add(0, seen("new", time + 3));
        assert!(of(&all, 0).contains(&"new".to_owned()) && of(&all, 0).contains(&"10999".to_owned()));
    }

    #[test]
    fn those_noted_first_are_taken_first() {
        let mut all = ClientReports::default();
        for (bouncer, name, at) in [(1, "a", 5), (1, "b", 1), (2, "a", 2), (2, "c", 9)] {
            all.add(bouncer, seen(name, at));
        }
        assert_eq!(names(&all.take(2)), [(1, "b".into(), 1), (2, "a".into(), 2)]);
        assert_eq!(names(&all), [(1, "a".into(), 5), (2, "c".into(), 9)]);
        assert_eq!((all.take(9).count, all.count, all.take(9).count), (2, 0, 0));
    }
}
