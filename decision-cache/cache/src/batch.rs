//! One admitted response of a LAPI, compact, so that a million decisions can be buffered before they are applied.

use hashbrown::HashTable;
use ipnet::IpNet;

use crate::prefix::Prefix;
use crate::{Decision, Target, Timestamp};

/// The decisions and ends of one response in canonical form.
///
/// Remediations are lower-cased, host bits masked and IPv4-mapped addresses unmapped.
///
/// ```
/// use palisade_cache::{Batch, Reason, Timestamp};
///
/// let mut response = Batch::new();
/// let reason = Reason { remediation: "Ban", origin: "cscli", scenario: "manual" };
/// response.announce_net("::ffff:192.0.2.7/128".parse()?, reason, Timestamp::from_millis(60_000), 1);
/// response.announce_name("Country", "FR", reason, Timestamp::from_millis(60_000), 2);
/// response.lift_net("198.51.100.0/24".parse()?, "ban");
///
/// let targets: Vec<_> = response.announcements().map(|decision| decision.target.to_string()).collect();
/// assert_eq!(targets, ["192.0.2.7", "FR"]);
/// assert_eq!((response.announced(), response.lifted()), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) nets: Vec<NewNet>,
    pub(crate) names: Vec<NewName>,
    /// Each with the highest id of a decision that it ends.
    pub(crate) lifted_nets: Vec<(Prefix, u32, i64)>,
    pub(crate) lifted_names: Vec<(Box<str>, Box<str>, u32, i64)>,
    pub(crate) words: Reasons,
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

/// The parts of a decision besides its target and its end.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// The remediation; letter case does not matter.
    pub remediation: &'a str,
    /// The origin, such as `crowdsec` or `lists`.
    pub origin: &'a str,
    /// The scenario, or the name of the list.
    pub scenario: &'a str,
}

/// The end of every decision with one target and remediation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lift<'a> {
    /// The scope of a name; empty for an address or range.
    pub scope: &'a str,
    /// The target whose decisions end.
    pub target: Target<'a>,
    /// The remediation that ends.
    pub remediation: &'a str,
    /// Decisions with a higher id stay.
    pub newest: i64,
}

impl<'a> From<Decision<'a>> for Reason<'a> {
    fn from(decision: Decision<'a>) -> Self {
        Self { remediation: decision.remediation, origin: decision.origin, scenario: decision.scenario }
    }
}

impl Batch {
    /// An empty response.
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

    /// Ends all decisions with this remediation on this address or range.
    pub fn lift_net(&mut self, net: IpNet, remediation: &str) {
        self.lift_net_up_to(net, remediation, i64::MAX);
    }

    /// The same, but decisions with a higher id than `newest` stay.
    pub fn lift_net_up_to(&mut self, net: IpNet, remediation: &str, newest: i64) {
        // An end carries no origin or scenario: it is about every decision with this target and remediation.
        let words = self.words.intern(Reason { remediation, origin: "", scenario: "" });
        self.lifted_nets.push((Prefix::new(net), words, newest));
    }

    /// Ends all decisions with this remediation on this value.
    pub fn lift_name(&mut self, scope: &str, value: &str, remediation: &str) {
        self.lift_name_up_to(scope, value, remediation, i64::MAX);
    }

    /// The same, but decisions with a higher id than `newest` stay.
    pub fn lift_name_up_to(&mut self, scope: &str, value: &str, remediation: &str, newest: i64) {
        let words = self.words.intern(Reason { remediation, origin: "", scenario: "" });
        self.lifted_names.push((scope.into(), value.into(), words, newest));
    }

    /// The decisions that the response announces.
    pub fn announcements(&self) -> impl Iterator<Item = Decision<'_>> {
        let nets = self.nets.iter().map(|new| {
            let Reason { remediation, origin, scenario } = self.words.get(new.words);
            // By length, whatever scope was received: a range of one address and that address are one target.
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

    /// The ends that the response reports.
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

    /// How many decisions the response announces.
    pub fn announced(&self) -> usize {
        self.nets.len() + self.names.len()
    }

    /// How many ends the response reports.
    pub fn lifted(&self) -> usize {
        self.lifted_nets.len() + self.lifted_names.len()
    }

    /// The highest id announced; lower than before if the LAPI has another database.
    pub fn highest_id(&self) -> Option<i64> {
        self.nets.iter().map(|new| new.id).chain(self.names.iter().map(|new| new.id)).max()
    }
}

/// Distinct (remediation, origin, scenario) triples: few, repeated by many decisions.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    seen: Vec<[Box<str>; 3]>,
    index: HashTable<u32>,
    last: u32,
}

impl Reasons {
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
        // Lists come in long runs of one label, so most look-ups need no hash.
        if self.seen.get(self.last as usize).is_some_and(same) {
            return self.last;
        }
        // Only a new spelling gets here, so an allocation for each known label is avoided.
        let lower;
        let remediation = if reason.remediation.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = reason.remediation.to_ascii_lowercase();
            lower.as_str()
        } else {
            reason.remediation
        };
        let hash = hash_texts(remediation, reason.origin, reason.scenario);
        self.last = match self.index.find(hash, |&at| same(&self.seen[at as usize])) {
            Some(&at) => at,
            None => {
                let at = u32::try_from(self.seen.len()).expect("a response holds fewer than 2^32 labels");
                self.seen.push([remediation.into(), reason.origin.into(), reason.scenario.into()]);
                let seen = &self.seen;
                self.index.insert_unique(hash, at, |&at| {
                    let [remediation, origin, scenario] = &seen[at as usize];
                    hash_texts(remediation, origin, scenario)
                });
                at
            }
        };
        self.last
    }
}

pub(crate) fn hash_texts(remediation: &str, origin: &str, scenario: &str) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    (remediation, origin, scenario).hash(&mut hasher);
    hasher.finish()
}
