//! One answer of a LAPI, admitted and waiting to be applied: compact, so that a million decisions can wait.

use hashbrown::HashTable;
use ipnet::IpNet;

use crate::prefix::Prefix;
use crate::{Decision, Target, Timestamp};

/// The decisions of one answer in canonical form.
///
/// Remediations are lower-cased, host bits masked and IPv4-mapped addresses unmapped on the way in.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) nets: Vec<NewNet>,
    pub(crate) names: Vec<NewName>,
    /// Each with the highest id of a decision it lifts.
    pub(crate) lifted_nets: Vec<(Prefix, u32, i64)>,
    pub(crate) lifted_names: Vec<(Box<str>, Box<str>, u32, i64)>,
    pub(crate) words: Words,
}

#[derive(Debug)]
pub(crate) struct NewNet {
    pub(crate) prefix: Prefix,
    pub(crate) until: Timestamp,
    pub(crate) id: i64,
    pub(crate) words: u32,
}

#[derive(Debug)]
pub(crate) struct NewName {
    pub(crate) scope: Box<str>,
    pub(crate) value: Box<str>,
    pub(crate) until: Timestamp,
    pub(crate) id: i64,
    pub(crate) words: u32,
}

/// What a decision says besides its target and its end.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// The remediation; letter case does not matter.
    pub remediation: &'a str,
    /// Who decided.
    pub origin: &'a str,
    /// Why, or the name of the list.
    pub scenario: &'a str,
}

/// The end of every decision with one target and remediation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lift<'a> {
    /// The scope of a name; empty for an address or range.
    pub scope: &'a str,
    /// What is lifted.
    pub target: Target<'a>,
    /// The remediation that ends.
    pub remediation: &'a str,
    /// Decisions with a higher id stay.
    pub newest: i64,
}

impl Batch {
    /// An empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decision on an address or range, in force until `until`.
    pub fn announce_net(&mut self, net: IpNet, reason: Reason<'_>, until: Timestamp, id: i64) {
        let words = self.words.intern(reason);
        self.nets.push(NewNet { prefix: Prefix::new(net), until, id, words });
    }

    /// A decision on a value of any other scope, in force until `until`.
    pub fn announce_name(&mut self, scope: &str, value: &str, reason: Reason<'_>, until: Timestamp, id: i64) {
        let words = self.words.intern(reason);
        self.names.push(NewName { scope: scope.into(), value: value.into(), until, id, words });
    }

    /// No decision with this remediation holds for this address or range any more.
    pub fn lift_net(&mut self, net: IpNet, remediation: &str) {
        self.lift_net_up_to(net, remediation, i64::MAX);
    }

    /// The same, but decisions with a higher id than `newest` stay.
    pub fn lift_net_up_to(&mut self, net: IpNet, remediation: &str, newest: i64) {
        let words = self.words.intern(Reason { remediation, origin: "", scenario: "" });
        self.lifted_nets.push((Prefix::new(net), words, newest));
    }

    /// No decision with this remediation holds for this value any more.
    pub fn lift_name(&mut self, scope: &str, value: &str, remediation: &str) {
        self.lift_name_up_to(scope, value, remediation, i64::MAX);
    }

    /// The same, but decisions with a higher id than `newest` stay.
    pub fn lift_name_up_to(&mut self, scope: &str, value: &str, remediation: &str, newest: i64) {
        let words = self.words.intern(Reason { remediation, origin: "", scenario: "" });
        self.lifted_names.push((scope.into(), value.into(), words, newest));
    }

    /// What the answer announces.
    pub fn announcements(&self) -> impl Iterator<Item = Decision<'_>> {
        let nets = self.nets.iter().map(|new| {
            let Reason { remediation, origin, scenario } = self.words.get(new.words);
            let scope = if new.prefix.is_host() { "Ip" } else { "Range" };
            let target = Target::Net(new.prefix.net());
            Decision { scope, target, remediation, origin, scenario, until: new.until, id: new.id }
        });
        let names = self.names.iter().map(|new| {
            let Reason { remediation, origin, scenario } = self.words.get(new.words);
            let (scope, target) = (&*new.scope, Target::Name(&new.value));
            Decision { scope, target, remediation, origin, scenario, until: new.until, id: new.id }
        });
        nets.chain(names)
    }

    /// What the answer lifts.
    pub fn lifts(&self) -> impl Iterator<Item = Lift<'_>> {
        let nets = self.lifted_nets.iter().map(|(prefix, words, newest)| {
            let remediation = self.words.get(*words).remediation;
            Lift { scope: "", target: Target::Net(prefix.net()), remediation, newest: *newest }
        });
        let names = self.lifted_names.iter().map(|(scope, value, words, newest)| {
            let remediation = self.words.get(*words).remediation;
            Lift { scope, target: Target::Name(value), remediation, newest: *newest }
        });
        nets.chain(names)
    }

    /// How many decisions the answer announces.
    pub fn announced(&self) -> usize {
        self.nets.len() + self.names.len()
    }

    /// How many ends the answer reports.
    pub fn lifted(&self) -> usize {
        self.lifted_nets.len() + self.lifted_names.len()
    }

    /// The highest decision id announced, which tells whether the LAPI's numbering went backwards.
    pub fn highest_id(&self) -> Option<i64> {
        self.nets.iter().map(|new| new.id).chain(self.names.iter().map(|new| new.id)).max()
    }
}

/// Distinct (remediation, origin, scenario) triples: few, repeated by many decisions.
#[derive(Debug, Default)]
pub(crate) struct Words {
    seen: Vec<[Box<str>; 3]>,
    index: HashTable<u32>,
    last: u32,
}

impl Words {
    pub(crate) fn get(&self, index: u32) -> Reason<'_> {
        let [remediation, origin, scenario] = &self.seen[index as usize];
        Reason { remediation, origin, scenario }
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    fn intern(&mut self, reason: Reason<'_>) -> u32 {
        let same = |words: &[Box<str>; 3]| {
            words[0].eq_ignore_ascii_case(reason.remediation)
                && *words[1] == *reason.origin
                && *words[2] == *reason.scenario
        };
        // Lists come in long runs of one label.
        if self.seen.get(self.last as usize).is_some_and(same) {
            return self.last;
        }
        let lower;
        let remediation = if reason.remediation.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = reason.remediation.to_ascii_lowercase();
            lower.as_str()
        } else {
            reason.remediation
        };
        let hash = hash_words(remediation, reason.origin, reason.scenario);
        self.last = match self.index.find(hash, |&at| same(&self.seen[at as usize])) {
            Some(&at) => at,
            None => {
                let at = u32::try_from(self.seen.len()).expect("an answer holds fewer than 2^32 labels");
                self.seen.push([remediation.into(), reason.origin.into(), reason.scenario.into()]);
                let seen = &self.seen;
                self.index.insert_unique(hash, at, |&at| {
                    let [remediation, origin, scenario] = &seen[at as usize];
                    hash_words(remediation, origin, scenario)
                });
                at
            }
        };
        self.last
    }
}

pub(crate) fn hash_words(remediation: &str, origin: &str, scenario: &str) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    (remediation, origin, scenario).hash(&mut hasher);
    hasher.finish()
}
