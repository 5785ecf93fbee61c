//! Selects what is on a list, in order. Pure.

use std::borrow::Cow;
use std::cmp::Reverse;

use ipnet::IpNet;
use palisade_cache::{Decision, Target, Timestamp};

/// One value of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// The value.
    pub target: Target<'a>,
    /// The scenario of the decision on it that ends last.
    pub scenario: Cow<'a, str>,
    /// When the last decision on it ends.
    pub until: Timestamp,
    /// Whether an address is written with the length of its prefix.
    pub as_prefix: bool,
}

/// The order of a list: IPv4 by address, IPv6 by address, other values by text. Shorter prefixes come first.
// Not by text, as in the stock program: a reader of a sorted list expects 9.0.0.1 before 10.0.0.1, and aggregation needs
// this order.
fn position<'a>(entry: &ListEntry<'a>) -> (u8, u128, u8, &'a str) {
    match entry.target {
        Target::Net(IpNet::V4(net)) => (0, u128::from(net.network().to_bits()), net.prefix_len(), ""),
        Target::Net(IpNet::V6(net)) => (1, net.network().to_bits(), net.prefix_len(), ""),
        Target::Name(name) => (2, 0, 0, name),
    }
}

/// The values of these decisions, each once, in order. Of several decisions on a value the one that ends last counts: the
/// value is on the list until then.
pub fn listed<'a>(decisions: impl Iterator<Item = Decision<'a>>) -> Vec<ListEntry<'a>> {
    let mut entries: Vec<ListEntry<'a>> = decisions
        .map(|decision| ListEntry {
            target: decision.target,
            scenario: Cow::Borrowed(decision.scenario),
            until: decision.until,
            as_prefix: false,
        })
        .collect();
    // The scenario too, so that the same decisions always make the same list.
    entries.sort_unstable_by(|a, b| {
        position(a)
            .cmp(&position(b))
            .then_with(|| (Reverse(a.until), &a.scenario).cmp(&(Reverse(b.until), &b.scenario)))
    });
    entries.dedup_by(|later, first| later.target == first.target);
    entries
}

/// Merges addresses and ranges into as few prefixes as possible; other values are left out. A merged prefix ends with the
/// last decision in it. Takes entries in the order of [`listed`].
pub fn aggregated(entries: Vec<ListEntry<'_>>) -> Vec<ListEntry<'static>> {
    let mut merged: Vec<(IpNet, Timestamp)> = Vec::new();
    for entry in entries {
        let Target::Net(net) = entry.target else { continue };
        match merged.last_mut() {
            // In this order a range precedes what lies in it.
            Some((around, until)) if around.contains(&net) => *until = entry.until.max(*until),
            _ => merged.push((net, entry.until)),
        }
        merge_halves(&mut merged);
    }
    let entry = |(net, until)| ListEntry {
        target: Target::Net(net),
        // The stock program's word.
        scenario: Cow::Borrowed("aggregated"),
        until,
        as_prefix: true,
    };
    merged.into_iter().map(entry).collect()
}

/// Merges the last two prefixes as long as they are the halves of another one.
fn merge_halves(merged: &mut Vec<(IpNet, Timestamp)>) {
    while let [.., (lower, first), (upper, second)] = merged[..] {
        let Some(around) = lower.supernet().filter(|around| {
            lower.prefix_len() == upper.prefix_len() && upper.supernet() == Some(*around) && lower != upper
        }) else {
            return;
        };
        merged.truncate(merged.len() - 2);
        merged.push((around, first.max(second)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decision<'a>(target: Target<'a>, scenario: &'a str, seconds: i64) -> Decision<'a> {
        let until = Timestamp::from_millis(seconds * 1000);
        Decision { scope: "Ip", target, remediation: "ban", origin: "cscli", scenario, until, id: 1 }
    }

    fn net(text: &str) -> Target<'_> {
        palisade_net::parse_prefix(text).map_or(Target::Name(text), Target::Net)
    }

    fn texts(entries: &[ListEntry<'_>]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| format!("{} {} {}", entry.target, entry.scenario, entry.until.as_millis()))
            .collect()
    }

    #[test]
    fn values_are_sorted_by_address_and_listed_once() {
        let decisions = [
            decision(net("10.0.0.1"), "a", 5),
            decision(net("FR"), "c", 1),
            decision(net("2001:db8::1"), "v6", 1),
            decision(net("9.0.0.1"), "short", 3),
            decision(net("9.0.0.1"), "long", 9),
            decision(net("9.0.0.0/24"), "range", 1),
            decision(net("AR"), "c", 1),
        ];
        let sorted = [
            "9.0.0.0/24 range 1000",
            "9.0.0.1 long 9000",
            "10.0.0.1 a 5000",
            "2001:db8::1 v6 1000",
            "AR c 1000",
            "FR c 1000",
        ];
        assert_eq!(texts(&listed(decisions.into_iter())), sorted);
        assert_eq!(texts(&listed(decisions.into_iter().rev())), sorted);
    }

    #[test]
    fn halves_are_merged_and_what_lies_in_a_range_is_left_out() {
        let decisions =
            ["192.0.2.0", "192.0.2.1", "192.0.2.2/31", "192.0.2.1/30", "192.0.2.5", "::1", "::", "FR"];
        let decisions = decisions.iter().zip(1..).map(|(text, until)| decision(net(text), "s", until));
        assert_eq!(
            texts(&aggregated(listed(decisions))),
            ["192.0.2.0/30 aggregated 4000", "192.0.2.5 aggregated 5000", "::/127 aggregated 7000"]
        );
    }

    proptest! {
        #[test]
        fn aggregation_covers_the_same_addresses_with_as_few_prefixes_as_ipnet(
            nets in prop::collection::vec((0_u32..64, 26_u8..=32), 0..60)
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(bits, length)| ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc().into())
                .collect();
            let decisions = nets.iter().map(|net| decision(Target::Net(*net), "s", 1));
            let ours: Vec<IpNet> = aggregated(listed(decisions))
                .iter()
                .filter_map(|entry| match entry.target {
                    Target::Net(net) => Some(net),
                    Target::Name(_) => None,
                })
                .collect();
            prop_assert_eq!(ours, IpNet::aggregate(&nets));
        }
    }
}
