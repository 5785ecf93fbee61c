//! An in-memory index of allowlists, which finds the items that apply to an address or range.

use ipnet::IpNet;
use palisade_net::PrefixTable;
use palisade_wire::UnixMillis;

use super::{Allowlist, AllowlistItem};

/// Finds the items that apply to an address or a range. Immutable; rebuilt when the registry version changes.
#[derive(Debug, Clone, Default)]
pub struct AllowlistIndex {
    items: Vec<(String, AllowlistItem)>,
    /// Positions of items.
    by_prefix: PrefixTable<usize>,
}

impl AllowlistIndex {
    /// Indexes lists that were read with their items.
    pub fn new(lists: &[Allowlist]) -> Self {
        let items: Vec<_> = lists
            .iter()
            .flat_map(|list| list.items.iter().map(|item| (list.name.clone(), item.clone())))
            .collect();
        let by_prefix = items.iter().zip(0..).map(|((_, item), position)| (item.net, position)).collect();
        Self { items, by_prefix }
    }

    /// Whether no list has an item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The stock server's reasons, `ITEM from LIST (COMMENT)`, ordered by list, of every unexpired item that covers the
    /// target or lies within it.
    pub fn reasons(&self, target: &IpNet, now: UnixMillis) -> Vec<String> {
        let mut candidates: Vec<usize> =
            self.candidates(target).filter(|&index| self.is_active(index, now)).collect();
        // As the stock server lists them: by list, and within a list those that end before the others.
        candidates.sort_by_key(|&index| {
            let (list, item) = &self.items[index];
            (list, item.expires_at.is_none(), item.expires_at, index)
        });
        candidates
            .into_iter()
            .map(|index| {
                let (list, item) = &self.items[index];
                match item.comment.as_str() {
                    "" => format!("{} from {list}", item.value),
                    comment => format!("{} from {list} ({comment})", item.value),
                }
            })
            .collect()
    }

    /// Whether any item applies to the target.
    pub fn holds(&self, target: &IpNet, now: UnixMillis) -> bool {
        self.candidates(target).any(|index| self.is_active(index, now))
    }

    fn is_active(&self, index: usize, now: UnixMillis) -> bool {
        // Checked at each look-up, because the index is not rebuilt when an item expires.
        self.items[index].1.expires_at.is_none_or(|end| end > now)
    }

    /// Items that cover the target, then items within it.
    fn candidates(&self, target: &IpNet) -> impl Iterator<Item = usize> {
        // Also items within the target, as in the stock server: a range with one allowlisted address in it is not
        // banned.
        self.by_prefix.covering(*target).chain(self.by_prefix.inside(*target)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, items: &[(&str, &str, Option<i64>)]) -> Allowlist {
        let items = items
            .iter()
            .map(|(value, comment, end)| AllowlistItem {
                value: (*value).to_owned(),
                net: palisade_net::parse_prefix(value).unwrap(),
                comment: (*comment).to_owned(),
                created_at: UnixMillis(0),
                expires_at: end.map(UnixMillis),
            })
            .collect();
        Allowlist { name: name.to_owned(), items, ..Allowlist::default() }
    }

    #[test]
    fn items_hold_for_what_they_cover_and_for_ranges_around_them() {
        let index = AllowlistIndex::new(&[
            list("zoo", &[("10.0.0.0/8", "lan", None), ("2001:db8::1", "", None)]),
            list("bar", &[("10.1.2.3", "", None), ("192.0.2.0/24", "gone", Some(50))]),
        ]);
        let reasons =
            |target: &str| index.reasons(&palisade_net::parse_prefix(target).unwrap(), UnixMillis(100));
        assert_eq!(reasons("10.1.2.3"), ["10.1.2.3 from bar", "10.0.0.0/8 from zoo (lan)"]);
        assert_eq!(reasons("10.1.2.0/24"), ["10.1.2.3 from bar", "10.0.0.0/8 from zoo (lan)"]);
        assert_eq!(reasons("0.0.0.0/0"), ["10.1.2.3 from bar", "10.0.0.0/8 from zoo (lan)"]);
        assert_eq!(reasons("10.9.9.9"), ["10.0.0.0/8 from zoo (lan)"]);
        assert_eq!(reasons("2001:db8::/32"), ["2001:db8::1 from zoo"]);
        for nothing in ["192.0.2.7", "11.0.0.0/8", "::/128", "::ffff:11.0.0.1"] {
            assert_eq!(reasons(nothing), Vec::<String>::new(), "{nothing}");
        }
        assert!(index.holds(&palisade_net::parse_prefix("192.0.2.7").unwrap(), UnixMillis(49)));
    }

    proptest::proptest! {
        #[test]
        fn the_index_agrees_with_a_look_at_every_item(
            items in proptest::collection::vec((0u8..4, 0u8..8, 8u8..=32), 0..20),
            target in (0u8..4, 0u8..8, 8u8..=32),
        ) {
            let text = |(a, b, length): (u8, u8, u8)| format!("10.{a}.0.{b}/{length}");
            let texts: Vec<String> = items.into_iter().map(text).collect();
            let entries: Vec<_> = texts.iter().map(|text| (text.as_str(), "", None)).collect();
            let index = AllowlistIndex::new(&[list("l", &entries)]);
            let target = palisade_net::parse_prefix(&text(target)).unwrap();
            let mut slow: Vec<String> = texts
                .iter()
                .filter(|text| {
                    let net = palisade_net::parse_prefix(text).unwrap();
                    net.contains(&target) || target.contains(&net)
                })
                .map(|text| format!("{text} from l"))
                .collect();
            let mut fast = index.reasons(&target, UnixMillis(0));
            slow.sort();
            fast.sort();
            proptest::prop_assert_eq!(fast, slow);
        }
    }
}
