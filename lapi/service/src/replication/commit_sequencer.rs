//! Puts commits into order. Pure: no lock, no clock, no database.
//!
//! Local writes report their commits in no particular order; commits of other processes are read from the database. The
//! output is every commit once, in commit order.

use std::collections::BTreeMap;

use palisade_model::{Change, Commit};

pub(super) type Changes = Vec<Change>;

/// Commits that wait for earlier ones, and the last commit that was output.
#[derive(Debug)]
pub(super) struct CommitSequencer {
    head: Commit,
    parked: BTreeMap<Commit, Changes>,
}

impl CommitSequencer {
    pub(super) fn new(head: Commit) -> Self {
        Self { head, parked: BTreeMap::new() }
    }

    /// Adds a commit of this process. Ignored when it was already fetched from the database and output.
    pub(super) fn push_local(&mut self, commit: Commit, changes: Changes) {
        // A commit may come twice, from the write and from a poll that was faster.
        if commit > self.head {
            self.parked.insert(commit, changes);
        }
    }

    /// Adds what was read from the database: all that is left of the commits after `after` up to `through`. A commit in
    /// between that is missing left nothing behind: later commits have overwritten everything it wrote.
    ///
    /// A commit reported locally takes precedence: it has the same changes or more.
    pub(super) fn push_fetched(&mut self, after: Commit, through: Commit, commits: Vec<(Commit, Changes)>) {
        let mut commits = commits.into_iter().peekable();
        // Commits up to `head` are common here: a local write was reported first.
        for number in after.0.saturating_add(1)..=through.0 {
            let number = Commit(number);
            while commits.next_if(|(commit, _)| *commit < number).is_some() {}
            let changes = commits.next_if(|(commit, _)| *commit == number).map(|(_, changes)| changes);
            if number > self.head {
                // A missing commit gets an entry too, as an empty one: it must not look like a gap.
                self.parked.entry(number).or_insert_with(|| changes.unwrap_or_default());
            }
        }
    }

    /// The next commit in order, if present.
    pub(super) fn next(&mut self) -> Option<(Commit, Changes)> {
        let entry = self.parked.first_entry()?;
        // Never skipped: clients would get a cursor beyond changes that they have not received.
        if entry.key().0 != self.head.0 + 1 {
            return None;
        }
        let (commit, changes) = entry.remove_entry();
        self.head = commit;
        Some((commit, changes))
    }

    /// Whether later commits wait for a missing one.
    pub(super) fn has_gap(&self) -> bool {
        self.parked.first_key_value().is_some_and(|(first, _)| first.0 != self.head.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use palisade_model::{StoredDecision, Target};
    use palisade_wire::UnixMillis;
    use proptest::prelude::*;

    use super::*;

    fn put(id: i64, commit: u64) -> Change {
        Change::Put(StoredDecision {
            id,
            commit: Commit(commit),
            until: UnixMillis(0),
            alert: 1,
            simulated: false,
            uuid: None,
            origin: "cscli".into(),
            scenario: "manual".into(),
            target: Target::stored("Ip", &format!("192.0.2.{id}")),
            remediation: "ban".into(),
        })
    }

    fn drain(sequencer: &mut CommitSequencer) -> Vec<Commit> {
        std::iter::from_fn(|| sequencer.next()).map(|(commit, _)| commit).collect()
    }

    #[test]
    fn a_commit_that_came_too_early_waits_for_the_one_before() {
        let mut sequencer = CommitSequencer::new(Commit(4));
        sequencer.push_local(Commit(6), vec![put(2, 6)]);
        assert_eq!((drain(&mut sequencer), sequencer.has_gap()), (vec![], true));
        sequencer.push_local(Commit(5), vec![put(1, 5)]);
        assert_eq!((drain(&mut sequencer), sequencer.has_gap()), (vec![Commit(5), Commit(6)], false));
    }

    #[test]
    fn commits_that_left_nothing_behind_count_as_empty() {
        let mut sequencer = CommitSequencer::new(Commit(4));
        sequencer.push_fetched(Commit(4), Commit(8), vec![(Commit(6), vec![put(1, 6)])]);
        let out: Vec<_> = std::iter::from_fn(|| sequencer.next()).collect();
        assert_eq!(
            out,
            [(Commit(5), vec![]), (Commit(6), vec![put(1, 6)]), (Commit(7), vec![]), (Commit(8), vec![]),]
        );
    }

    #[test]
    fn what_was_handed_on_does_not_come_again() {
        let mut sequencer = CommitSequencer::new(Commit(0));
        sequencer.push_local(Commit(1), vec![put(1, 1)]);
        assert_eq!(drain(&mut sequencer), [Commit(1)]);
        sequencer.push_local(Commit(1), vec![put(1, 1)]);
        sequencer.push_fetched(
            Commit(0),
            Commit(2),
            vec![(Commit(1), vec![put(1, 1)]), (Commit(2), vec![put(2, 2)])],
        );
        assert_eq!(drain(&mut sequencer), [Commit(2)]);
    }

    /// One input: a local commit, or a range of commits read from the database.
    #[derive(Debug, Clone)]
    enum Arrival {
        Local(u64),
        Fetched { after: u64, through: u64 },
    }

    fn arrivals(total: u64) -> impl Strategy<Value = Vec<Arrival>> {
        let told: Vec<u64> = (1..=total).collect();
        (
            Just(told).prop_shuffle(),
            // Some are not reported locally: other processes wrote them.
            prop::collection::vec(any::<bool>(), total as usize),
            prop::collection::vec((0..=total, 0..=total, any::<prop::sample::Index>()), 0..6),
        )
            .prop_map(move |(told, kept, reads)| {
                let mut all: Vec<Arrival> =
                    told.into_iter().filter(|n| kept[(*n - 1) as usize]).map(Arrival::Local).collect();
                for (a, b, place) in reads {
                    let read = Arrival::Fetched { after: a.min(b), through: a.max(b) };
                    all.insert(place.index(all.len() + 1), read);
                }
                // Finally everything is fetched.
                all.push(Arrival::Fetched { after: 0, through: total });
                all
            })
    }

    proptest! {
        #[test]
        fn every_commit_comes_out_once_and_in_order(arrivals in (1u64..40).prop_flat_map(|n| {
            arrivals(n).prop_map(move |list| (n, list))
        })) {
            let (total, arrivals) = arrivals;
            let mut sequencer = CommitSequencer::new(Commit(0));
            let mut out = Vec::new();
            for arrival in arrivals {
                match arrival {
                    Arrival::Local(n) => sequencer.push_local(Commit(n), vec![put(n as i64, n)]),
                    Arrival::Fetched { after, through } => sequencer.push_fetched(
                        Commit(after),
                        Commit(through),
                        (after + 1..=through).map(|n| (Commit(n), vec![put(n as i64, n)])).collect(),
                    ),
                }
                while let Some((commit, changes)) = sequencer.next() {
                    prop_assert_eq!(changes, vec![put(commit.0 as i64, commit.0)]);
                    out.push(commit.0);
                }
            }
            prop_assert_eq!(out, (1..=total).collect::<Vec<_>>());
            prop_assert!(!sequencer.has_gap());
        }
    }
}
