//! Lists of addresses and ranges.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_daemon::Problems;

/// Ranges to which an address may belong; single addresses are ranges of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nets(Vec<IpNet>);

impl Nets {
    /// Whether `address` is in one of the ranges. IPv4 written as IPv6 (`::ffff:a.b.c.d`) is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// Reads the entries of the list `key`: ranges, and single addresses too where `addresses` says so.
    pub(crate) fn check(key: &str, entries: &[String], addresses: bool, wrong: &mut Problems) -> Self {
        let mut nets = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            match read(entry, addresses) {
                Some(net) => nets.push(net),
                None => {
                    let what = if addresses { "an address or a range" } else { "a range" };
                    wrong.add(format!("{key}[{index}]"), format!("expected {what} such as 10.0.0.0/8"));
                }
            }
        }
        Self(nets)
    }
}

impl FromIterator<IpNet> for Nets {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        Self(nets.into_iter().map(|net| net.trunc()).collect())
    }
}

fn read(entry: &str, addresses: bool) -> Option<IpNet> {
    if let Ok(net) = entry.parse::<IpNet>() {
        return Some(net.trunc());
    }
    entry.parse::<IpAddr>().ok().filter(|_| addresses).map(|address| IpNet::from(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_addresses() {
        let mut wrong = Problems::new();
        let list: Vec<String> = ["10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "::1"].map(str::to_owned).into();
        let nets = Nets::check("k", &list, true, &mut wrong);
        assert!(wrong.is_empty());
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::9", true),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(nets.contains(address.parse().unwrap()), inside, "{address}");
        }
        Nets::check("k", &list, false, &mut wrong);
        let keys: Vec<&str> = wrong.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["k[1]", "k[3]"]);
    }
}
