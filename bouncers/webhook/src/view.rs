//! Finds what an endpoint is to hold of a value: its decisions in a snapshot, filtered and grouped. Pure.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use palisade_cache::{Decision, Snapshot};

use crate::event::{Entry, Grouping, Value};

/// Texts kept for sharing. When there are more, sharing begins anew.
const MAX_SHARED_TEXTS: usize = 4096;

/// Remediations, strongest first, for [`Grouping::Value`]. The ledger's own order is of no use here: a bouncer that
/// delivers all remediations follows with [`Policy::longest_wins`](palisade_cache::Policy::longest_wins).
const STRONGEST_FIRST: [&str; 3] = ["ban", "captcha", "throttle"];

/// Shares equal texts between entries: of many decisions most have one of few scenarios.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// The shared copy of a text.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return Arc::clone(shared);
        }
        if self.0.len() >= MAX_SHARED_TEXTS {
            self.0.clear();
        }
        let shared: Arc<str> = text.into();
        self.0.insert(Arc::clone(&shared));
        shared
    }

    /// The entry of a decision.
    pub fn entry(&mut self, decision: &Decision<'_>) -> Entry {
        Entry {
            remediation: self.share(decision.remediation),
            origin: self.share(decision.origin),
            scenario: self.share(decision.scenario),
            until: decision.until,
            id: decision.id,
        }
    }
}

/// The entries of a value: the decisions on exactly it that `takes` accepts, grouped, in an order that depends on nothing
/// but themselves.
///
/// - [`Grouping::Value`] has the strongest: a ban over a captcha over a throttle over all others; of equal ones the one
///   that ends last.
/// - [`Grouping::Remediation`] has of each remediation the one that ends last.
/// - [`Grouping::Decision`] has each.
pub fn entries(
    snapshot: &Snapshot,
    value: &Value,
    takes: impl Fn(&Decision<'_>) -> bool,
    grouping: Grouping,
    texts: &mut Texts,
) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    each_decision(snapshot, value, |decision| {
        if !takes(decision) {
            return;
        }
        let entry = texts.entry(decision);
        match found.iter_mut().find(|held| grouping.is_same_entry(held, &entry)) {
            Some(held) if order(&entry) < order(held) => *held = entry,
            Some(_) => {}
            None => found.push(entry),
        }
    });
    found.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
    found
}

/// Whether there is any decision on exactly this value, also one that the endpoint does not take.
pub fn has_decisions(snapshot: &Snapshot, value: &Value) -> bool {
    match value {
        Value::Net(net) => snapshot.decisions_on(*net).next().is_some(),
        Value::Name { scope, value } => snapshot.decisions_of(scope, value).next().is_some(),
    }
}

fn each_decision(snapshot: &Snapshot, value: &Value, mut each: impl FnMut(&Decision<'_>)) {
    match value {
        Value::Net(net) => snapshot.decisions_on(*net).for_each(|decision| each(&decision)),
        Value::Name { scope, value } => {
            snapshot.decisions_of(scope, value).for_each(|decision| each(&decision));
        }
    }
}

/// Smaller is stronger. Total, as a snapshot has the decisions of a value in no useful order.
fn order(entry: &Entry) -> impl Ord + '_ {
    let strength = STRONGEST_FIRST.iter().position(|name| **name == *entry.remediation);
    (
        strength.unwrap_or(STRONGEST_FIRST.len()),
        Reverse(entry.until),
        &entry.remediation,
        &entry.origin,
        &entry.scenario,
    )
}

#[cfg(test)]
mod tests {
    use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};

    use super::*;

    /// Remediation, origin, scenario, end in seconds.
    type Given = (&'static str, &'static str, &'static str, i64);

    fn view(given: &[Given], grouping: Grouping, takes: impl Fn(&Decision<'_>) -> bool) -> Vec<String> {
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let mut batch = Batch::new();
        for (id, &(remediation, origin, scenario, end)) in given.iter().enumerate() {
            let (reason, until) =
                (Reason { remediation, origin, scenario }, Timestamp::from_millis(end * 1000));
            batch.announce_net("192.0.2.1/32".parse().unwrap(), reason, until, id as i64);
            batch.announce_name("Country", "FR", reason, until, id as i64);
        }
        batch.announce_net(
            "192.0.2.0/24".parse().unwrap(),
            Reason { remediation: "ban", origin: "range", scenario: "around" },
            Timestamp::from_millis(1_000_000),
            99,
        );
        ledger.apply(Mode::Everything, batch);
        let snapshot = ledger.snapshot();
        let of = |value: &Value| {
            let entries = entries(&snapshot, value, &takes, grouping, &mut Texts::default());
            let text = |entry: &Entry| {
                format!("{} {} {}", entry.remediation, entry.origin, entry.until.as_millis() / 1000)
            };
            entries.iter().map(text).collect::<Vec<_>>()
        };
        let found = of(&Value::Net("192.0.2.1/32".parse().unwrap()));
        assert_eq!(found, of(&Value::Name { scope: "Country".into(), value: "FR".into() }));
        found
    }

    const GIVEN: [Given; 5] = [
        ("captcha", "cscli", "a", 90),
        ("ban", "cscli", "a", 50),
        ("ban", "CAPI", "b", 60),
        ("mfa", "cscli", "a", 99),
        ("ban", "lists", "c", 10),
    ];

    #[test]
    fn grouping_says_which_decisions_on_a_value_are_entries() {
        for (grouping, expected) in [
            (Grouping::Value, &["ban CAPI 60"][..]),
            (Grouping::Remediation, &["ban CAPI 60", "captcha cscli 90", "mfa cscli 99"]),
            (
                Grouping::Decision,
                &["ban CAPI 60", "ban cscli 50", "ban lists 10", "captcha cscli 90", "mfa cscli 99"],
            ),
        ] {
            assert_eq!(view(&GIVEN, grouping, |_| true), expected, "{grouping:?}");
            let mut reversed = GIVEN;
            reversed.reverse();
            assert_eq!(view(&reversed, grouping, |_| true), expected, "{grouping:?}");
        }
    }

    #[test]
    fn what_the_filter_refuses_hides_nothing() {
        let from_cscli = |decision: &Decision<'_>| decision.origin == "cscli";
        assert_eq!(view(&GIVEN, Grouping::Value, from_cscli), ["ban cscli 50"]);
        assert!(view(&GIVEN, Grouping::Value, |_| false).is_empty());
    }

    #[test]
    fn decisions_that_are_not_taken_are_found_too() {
        let mut ledger = Ledger::new(Policy::longest_wins(), 0);
        let mut batch = Batch::new();
        let reason = Reason { remediation: "ban", origin: "cscli", scenario: "s" };
        batch.announce_net("192.0.2.0/24".parse().unwrap(), reason, Timestamp::from_millis(1), 1);
        ledger.apply(Mode::Everything, batch);
        let snapshot = ledger.snapshot();
        assert!(has_decisions(&snapshot, &Value::Net("192.0.2.0/24".parse().unwrap())));
        assert!(!has_decisions(&snapshot, &Value::Net("192.0.2.0/32".parse().unwrap())));
        assert!(!has_decisions(&snapshot, &Value::Name { scope: "AS".into(), value: "1".into() }));
    }

    #[test]
    fn texts_are_shared_and_bounded() {
        let mut texts = Texts::default();
        assert!(Arc::ptr_eq(&texts.share("a"), &texts.share("a")));
        (0..=MAX_SHARED_TEXTS).for_each(|n| _ = texts.share(&n.to_string()));
        assert!(texts.0.len() <= MAX_SHARED_TEXTS);
    }
}
