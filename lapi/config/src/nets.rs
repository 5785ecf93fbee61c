//! Reads lists of addresses and ranges.

use palisade_daemon::Problems;
use palisade_net::{PrefixSet, parse_prefix};

/// Reads the entries of the list `key`: ranges, and single addresses too where `addresses` says so.
pub(crate) fn check(key: &str, entries: &[String], addresses: bool, wrong: &mut Problems) -> PrefixSet {
    let mut nets = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        match parse_prefix(entry) {
            Ok(net) if addresses || entry.contains('/') => nets.push(net),
            _ => {
                let what = if addresses { "an address or a range" } else { "a range" };
                wrong.add(format!("{key}[{index}]"), format!("expected {what} such as 10.0.0.0/8"));
            }
        }
    }
    nets.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_only_where_they_are_allowed() {
        let mut wrong = Problems::new();
        let list: Vec<String> = ["10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "::1"].map(str::to_owned).into();
        assert_eq!(check("k", &list, true, &mut wrong).len(), 4);
        assert!(wrong.is_empty());
        check("k", &list, false, &mut wrong);
        let keys: Vec<&str> = wrong.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["k[1]", "k[3]"]);
    }
}
