//! What a snapshot holds target by target: every decision on one target, the targets in a resumable order, and those
//! whose decisions changed between two snapshots.

use std::sync::Arc;

use ipnet::IpNet;

use crate::decision::{Decision, Target};
use crate::named::NamedEntry;
use crate::prefix::Prefix;
use crate::snapshot::{Inner, Snapshot};

impl Snapshot {
    /// Every decision on exactly this address (a prefix of full length) or range, in no useful order. Costs with the
    /// number of prefixes around it.
    pub fn decisions_on(&self, net: IpNet) -> impl Iterator<Item = Decision<'_>> {
        let decisions = self.decisions_over(net.addr());
        decisions.filter(move |decision| decision.target == Target::Net(net))
    }

    /// Each target that has decisions, once, as its scope and value, with a position: the number to give to continue
    /// after it. Positions are those of one snapshot only.
    pub fn targets_from(&self, position: usize) -> impl Iterator<Item = (usize, &str, Target<'_>)> {
        let table = &self.inner().table;
        let rows = table.rows.len();
        let nets = (position..rows).filter_map(move |at| {
            let row = table.row(u32::try_from(at).ok()?);
            let decision = row.leads().then(|| table.decision(row))?;
            Some((at + 1, decision.scope, decision.target))
        });
        let named = self.inner().named().iter().enumerate().skip(position.saturating_sub(rows));
        let named = named.map(move |(at, entry)| (rows + at + 1, &*entry.scope, Target::Name(&entry.value)));
        nets.chain(named)
    }

    /// Calls `each` with the scope and value of every target whose decisions changed since `older`, hidden ones included.
    /// A target may come more than once, and one whose decisions only moved in memory may come too. Costs with the
    /// change: storage that both share is not looked at.
    pub fn changed_targets<'a>(&'a self, older: &'a Self, mut each: impl FnMut(&'a str, Target<'a>)) {
        let (old, new) = (&older.inner().table, &self.inner().table);
        let mut report = |prefix: Prefix| {
            each(if prefix.is_host() { "Ip" } else { "Range" }, Target::Net(prefix.net()));
        };
        new.rows.differences(&old.rows, |at, before, after| {
            let (before, after) = (before.filter(|row| row.is_live()), after.filter(|row| row.is_live()));
            if before.is_some() && after.is_some() && new.same(at, old, at) {
                return;
            }
            let (before, after) = (before.map(|row| row.prefix()), after.map(|row| row.prefix()));
            if let Some(prefix) = before {
                report(prefix);
            }
            if let Some(prefix) = after
                && after != before
            {
                report(prefix);
            }
        });
        let (before, after) = (older.inner(), self.inner());
        for (old, new) in before.named().shards().zip(after.named().shards()) {
            if !Arc::ptr_eq(old, new) {
                changed_names(before, old, after, new, &mut each);
            }
        }
    }
}

/// Two sorted shards, merged by name.
fn changed_names<'a>(
    before: &'a Inner,
    old: &'a [NamedEntry],
    after: &'a Inner,
    new: &'a [NamedEntry],
    each: &mut impl FnMut(&'a str, Target<'a>),
) {
    let name = |entry: &&'a NamedEntry| (&*entry.scope, &*entry.value);
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let first = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => name(a).min(name(b)),
            (Some(one), None) | (None, Some(one)) => name(one),
            (None, None) => return,
        };
        let was = old.next_if(|entry| name(entry) == first);
        let is = new.next_if(|entry| name(entry) == first);
        let is_same = matches!((was, is), (Some(was), Some(is)) if same_rows(before, was, after, is));
        if !is_same {
            each(first.0, Target::Name(first.1));
        }
    }
}

/// Whether both entries have the same decisions, apart from ids.
fn same_rows(before: &Inner, was: &NamedEntry, after: &Inner, is: &NamedEntry) -> bool {
    let rows = was.rows.iter().zip(&is.rows);
    was.rows.len() == is.rows.len()
        && rows.into_iter().all(|(was, is)| {
            let (old, new) = (before.table.labels.get(was.label), after.table.labels.get(is.label));
            was.until == is.until && old.same_label(new)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{Batch, Ledger, Mode, Policy, Reason, Snapshot, Target, Timestamp};

    const BAN: Reason<'_> = Reason { remediation: "ban", origin: "cscli", scenario: "s" };
    const CAPTCHA: Reason<'_> = Reason { remediation: "captcha", ..BAN };

    fn end(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn changed(new: &Snapshot, old: &Snapshot) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        new.changed_targets(old, |scope, target| {
            found.insert(format!("{scope} {target}"));
        });
        found
    }

    fn apply(ledger: &mut Ledger, fill: impl FnOnce(&mut Batch)) -> Snapshot {
        let mut batch = Batch::new();
        fill(&mut batch);
        ledger.apply(Mode::Changes, batch);
        ledger.snapshot()
    }

    fn texts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_decision_that_a_stronger_one_hides_is_a_change_of_its_target() {
        let mut ledger = Ledger::new(Policy::default(), 0);
        let first = apply(&mut ledger, |batch| {
            batch.announce_net("192.0.2.1/32".parse().unwrap(), BAN, end(60), 1);
            batch.announce_net("192.0.2.0/24".parse().unwrap(), BAN, end(60), 2);
            batch.announce_name("Country", "FR", BAN, end(60), 3);
            batch.announce_name("Country", "DE", BAN, end(60), 4);
        });
        let second = apply(&mut ledger, |batch| {
            batch.announce_net("192.0.2.1/32".parse().unwrap(), CAPTCHA, end(50), 5);
            batch.announce_name("Country", "FR", CAPTCHA, end(50), 6);
        });
        assert!(second.diff(&first).is_empty(), "what is strongest did not change");
        assert_eq!(changed(&second, &first), texts(&["Country FR", "Ip 192.0.2.1"]));
        assert_eq!(second.decisions_on("192.0.2.1/32".parse().unwrap()).count(), 2);
        assert_eq!(second.decisions_on("192.0.2.0/24".parse().unwrap()).count(), 1);
        assert_eq!(second.decisions_on("192.0.2.0/25".parse().unwrap()).count(), 0);
        ledger.expire(end(55));
        assert_eq!(changed(&ledger.snapshot(), &second), texts(&["Country FR", "Ip 192.0.2.1"]));
        ledger.expire(end(61));
        assert_eq!(
            changed(&ledger.snapshot(), &second),
            texts(&["Country DE", "Country FR", "Ip 192.0.2.1", "Range 192.0.2.0/24"])
        );
    }

    #[test]
    fn targets_continue_after_any_of_them_and_come_once() {
        let mut ledger = Ledger::new(Policy::default(), 0);
        let snapshot = apply(&mut ledger, |batch| {
            for n in 0..2000u32 {
                let net = format!("10.0.{}.{}/32", n / 256, n % 256).parse().unwrap();
                batch.announce_net(net, BAN, end(60), 1);
                batch.announce_net(net, CAPTCHA, end(60), 1);
            }
            batch.announce_name("Country", "FR", BAN, end(60), 3);
            batch.announce_name("AS", "64500", BAN, end(60), 4);
        });
        let whole: Vec<_> = snapshot.targets_from(0).map(|(_, scope, target)| (scope, target)).collect();
        assert_eq!(whole.len(), 2002);
        let mut pieces = Vec::new();
        let mut position = 0;
        loop {
            let piece: Vec<_> = snapshot.targets_from(position).take(300).collect();
            let Some((next, ..)) = piece.last() else { break };
            position = *next;
            pieces.extend(piece.into_iter().map(|(_, scope, target)| (scope, target)));
        }
        assert_eq!(pieces, whole);
        assert!(whole.contains(&("Country", Target::Name("FR"))));
    }
}
