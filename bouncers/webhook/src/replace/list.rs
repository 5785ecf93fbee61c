//! Makes the list that a receiver of whole lists is sent from a snapshot: filtered, fitted to what the receiver can
//! represent, bounded and sorted. Pure.
//!
//! Nothing is ever widened unless the operator has asked for it: a list never covers an address that no decision
//! covers. What a receiver cannot represent is left out and counted.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use palisade_cache::{Decision, Snapshot, Target, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::event::{Entry, Value};
use crate::filter::Takes;

/// A range shorter than a receiver takes is sent as its parts if there are at most this many.
const MAX_PARTS: u32 = 256;

/// What a receiver can represent, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Whether it takes values of other scopes, such as countries.
    pub names: bool,
    /// The prefix lengths of IPv4 that it takes; `None` for no IPv4.
    pub v4: Option<RangeInclusive<u8>>,
    /// The prefix lengths of IPv6 that it takes; `None` for no IPv6.
    pub v6: Option<RangeInclusive<u8>>,
    /// Send the shortest enclosing prefix that the receiver takes for a longer one. Covers more than was decided.
    pub widen: bool,
    /// Merge addresses and ranges into as few ranges as possible, without covering more.
    pub aggregate: bool,
    /// Most entries in all.
    pub max_entries: usize,
    /// Most entries of each family.
    pub max_of_family: usize,
}

impl Shape {
    /// Everything, up to a number of entries.
    pub fn any(max_entries: usize, aggregate: bool) -> Self {
        Self {
            names: true,
            v4: Some(0..=32),
            v6: Some(0..=128),
            widen: false,
            aggregate,
            max_entries,
            max_of_family: max_entries,
        }
    }

    /// The ranges that together are this one, as the receiver takes them; empty when it takes none.
    fn fit(&self, net: IpNet) -> Vec<IpNet> {
        let lengths = if net.addr().is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(lengths) = lengths else { return Vec::new() };
        let length = net.prefix_len();
        if length < *lengths.start() {
            let parts = 1u32.checked_shl(u32::from(lengths.start() - length)).unwrap_or(u32::MAX);
            if parts > MAX_PARTS {
                return Vec::new();
            }
            return net.subnets(*lengths.start()).map(Iterator::collect).unwrap_or_default();
        }
        if length > *lengths.end() {
            let wide = self.widen.then(|| IpNet::new(net.addr(), *lengths.end()).ok()).flatten();
            return wide.map(|wide| wide.trunc()).into_iter().collect();
        }
        vec![net]
    }
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// An address, range or name.
    pub value: Value,
    /// The decision that it is there for; of several that were merged, the one that ends last.
    pub entry: Entry,
}

/// A whole list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Sorted by value; values are distinct.
    pub items: Vec<Item>,
    /// Values left out because of a bound.
    pub omitted: usize,
    /// Values that the receiver cannot represent.
    pub unusable: usize,
}

/// A value that may be on the list.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// `None` for a name.
    net: Option<IpNet>,
    until: Timestamp,
    /// The position in the snapshot of the target that it comes from.
    at: usize,
}

impl List {
    /// The list of what is in force.
    pub fn build(snapshot: &Snapshot, takes: &Takes, shape: &Shape) -> Self {
        let mut collected = Collected::default();
        for (next, scope, target) in snapshot.targets_from(0) {
            let Some(decision) = strongest(snapshot, scope, target, takes) else { continue };
            let candidate = Candidate { net: None, until: decision.until, at: next - 1 };
            match target {
                Target::Name(_) if shape.names => collected.candidates.push(candidate),
                Target::Name(_) => collected.unusable += 1,
                Target::Net(net) => collected.add_net(candidate, net, shape),
            }
            // Merging needs all of them; otherwise memory is bounded by what is kept.
            if !shape.aggregate && collected.candidates.len() >= shape.max_entries.saturating_mul(2).max(1024)
            {
                collected.prune(shape);
            }
        }
        if shape.aggregate {
            collected.aggregate();
        }
        collected.prune(shape);
        collected.into_list(snapshot, takes)
    }

    /// A digest of what `each` feeds for every entry.
    pub fn digest(&self, identity: &str, mut each: impl FnMut(&Item, &mut dyn FnMut(&[u8]))) -> [u8; 32] {
        let mut digest = Sha256::new();
        // Lengths first, so that two lists of texts never have the same bytes.
        let mut feed = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        feed(identity.as_bytes());
        for item in &self.items {
            feed(&item.value.to_key());
            each(item, &mut feed);
        }
        digest.finalize().into()
    }
}

#[derive(Default)]
struct Collected {
    candidates: Vec<Candidate>,
    omitted: usize,
    unusable: usize,
}

impl Collected {
    fn add_net(&mut self, candidate: Candidate, net: IpNet, shape: &Shape) {
        let parts = shape.fit(net);
        self.unusable += usize::from(parts.is_empty());
        self.candidates.extend(parts.into_iter().map(|part| Candidate { net: Some(part), ..candidate }));
    }

    /// Makes values distinct and drops what exceeds the bounds: those that end first.
    fn prune(&mut self, shape: &Shape) {
        let key =
            |candidate: &Candidate| (candidate.net, if candidate.net.is_none() { candidate.at } else { 0 });
        self.candidates.sort_unstable_by_key(|candidate| (key(candidate), Reverse(candidate.until)));
        self.candidates.dedup_by_key(|candidate| key(candidate));
        let before = self.candidates.len();
        if shape.max_of_family < shape.max_entries {
            let is_v4 = |candidate: &Candidate| candidate.net.is_some_and(|net| net.addr().is_ipv4());
            let (mut four, mut six): (Vec<_>, Vec<_>) = self.candidates.drain(..).partition(is_v4);
            keep_last(&mut four, shape.max_of_family);
            keep_last(&mut six, shape.max_of_family);
            self.candidates = four;
            self.candidates.append(&mut six);
        }
        keep_last(&mut self.candidates, shape.max_entries);
        self.omitted += before - self.candidates.len();
    }

    /// Merges ranges where their union is a range. The decision that ends last stands for all that were merged.
    fn aggregate(&mut self) {
        let (mut nets, names): (Vec<_>, Vec<_>) = self.candidates.drain(..).partition(|it| it.net.is_some());
        nets.sort_unstable_by_key(|candidate| candidate.net);
        let plain: Vec<IpNet> = nets.iter().filter_map(|candidate| candidate.net).collect();
        let mut merged = IpNet::aggregate(&plain);
        merged.sort_unstable();
        let mut rest = nets.into_iter().peekable();
        for net in merged {
            let mut last: Option<Candidate> = None;
            while let Some(one) = rest.next_if(|one| one.net.is_some_and(|inner| net.contains(&inner))) {
                last = last.filter(|last| last.until >= one.until).or(Some(one));
            }
            self.candidates.extend(last.map(|last| Candidate { net: Some(net), ..last }));
        }
        self.candidates.extend(names);
    }

    fn into_list(self, snapshot: &Snapshot, takes: &Takes) -> List {
        let mut texts = Texts::default();
        let mut items: Vec<Item> = Vec::with_capacity(self.candidates.len());
        for candidate in self.candidates {
            let found = snapshot.targets_from(candidate.at).next().and_then(|(_, scope, target)| {
                let decision = strongest(snapshot, scope, target, takes)?;
                let value = candidate.net.map_or_else(|| Value::of(scope, target), Value::Net);
                Some(Item { value, entry: texts.entry(&decision) })
            });
            items.extend(found);
        }
        items.sort_unstable_by(|a, b| a.value.cmp(&b.value));
        List { items, omitted: self.omitted, unusable: self.unusable }
    }
}

/// Keeps the candidates that end last.
fn keep_last(candidates: &mut Vec<Candidate>, most: usize) {
    if candidates.len() > most {
        // Of those that end together the first ones, so that the choice is the same each time.
        candidates.select_nth_unstable_by_key(most, |it| (Reverse(it.until), it.net, it.at));
        candidates.truncate(most);
    }
}

/// The strongest decision on a target among those that are taken.
fn strongest<'a>(
    snapshot: &'a Snapshot,
    scope: &str,
    target: Target<'_>,
    takes: &Takes,
) -> Option<Decision<'a>> {
    let (nets, named) = match target {
        Target::Net(net) => (Some(snapshot.decisions_on(net)), None),
        Target::Name(name) => (None, Some(snapshot.decisions_of(scope, name))),
    };
    let all = nets.into_iter().flatten().chain(named.into_iter().flatten());
    all.filter(|decision| takes(decision)).min_by_key(|it| (strength(it.remediation), Reverse(it.until)))
}

fn strength(remediation: &str) -> u8 {
    match remediation {
        "ban" => 0,
        "captcha" => 1,
        _ => 2,
    }
}

/// Shares equal texts: of many decisions most have one of few scenarios.
#[derive(Default)]
struct Texts(HashMap<Box<str>, Arc<str>>);

impl Texts {
    fn entry(&mut self, decision: &Decision<'_>) -> Entry {
        Entry {
            remediation: self.shared(decision.remediation),
            origin: self.shared(decision.origin),
            scenario: self.shared(decision.scenario),
            until: decision.until,
            id: decision.id,
        }
    }

    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(text.into(), Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests;
