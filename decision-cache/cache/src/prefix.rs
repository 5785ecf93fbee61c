//! Addresses as sortable keys and prefixes as compact values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address of one family as a sortable number.
pub(crate) trait Key: Copy + Ord + std::fmt::Debug {
    const BITS: u8;
    const FIRST: Self;
    const LAST: Self;
    /// The last address of the prefix of `length` bits that starts here.
    fn end_of(self, length: u8) -> Self;
    /// The next address; `None` after the last.
    fn next(self) -> Option<Self>;
    /// The address before; `None` before the first.
    fn previous(self) -> Option<Self>;
    fn address(self) -> IpAddr;
    fn of(prefix: &Prefix) -> Self;
}

/// Both halves of a product: every bit of either factor reaches many bits of it.
#[inline]
fn folded_product(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

pub(crate) type V4 = u32;

/// An IPv6 address in two halves, which aligns better than one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct V6 {
    hi: u64,
    lo: u64,
}

impl V6 {
    fn bits(self) -> u128 {
        u128::from(self.hi) << 64 | u128::from(self.lo)
    }

    #[inline]
    pub(crate) fn from_bits(bits: u128) -> Self {
        Self { hi: (bits >> 64) as u64, lo: bits as u64 }
    }

    /// The IPv4 address that is mapped to this one.
    #[inline]
    pub(crate) fn as_mapped(self) -> Option<V4> {
        (self.hi == 0 && self.lo >> 32 == 0xffff).then_some(self.lo as V4)
    }

    /// The upper 64 bits, which the index files intervals under.
    #[inline]
    pub(crate) fn top(self) -> u64 {
        self.hi
    }

    /// The first address with these upper bits.
    pub(crate) fn from_top(top: u64) -> Self {
        Self { hi: top, lo: 0 }
    }

    #[inline]
    pub(crate) fn hash(self, [a, b]: [u64; 2]) -> u64 {
        folded_product(self.hi ^ a, self.lo ^ b)
    }

    /// Inequality without a branch.
    #[inline]
    pub(crate) fn differs(self, other: Self) -> bool {
        (self.hi ^ other.hi) | (self.lo ^ other.lo) != 0
    }
}

impl Key for V4 {
    const BITS: u8 = 32;
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;
    fn end_of(self, length: u8) -> Self {
        // A prefix of full length would shift by all bits, which overflows: it has no host bits.
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
    fn address(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self))
    }
    fn of(prefix: &Prefix) -> Self {
        prefix.lo as Self
    }
}

impl Key for V6 {
    const BITS: u8 = 128;
    const FIRST: Self = Self { hi: 0, lo: 0 };
    const LAST: Self = Self { hi: u64::MAX, lo: u64::MAX };
    fn end_of(self, length: u8) -> Self {
        Self::from_bits(self.bits() | u128::MAX.checked_shr(u32::from(length)).unwrap_or(0))
    }
    fn next(self) -> Option<Self> {
        self.bits().checked_add(1).map(Self::from_bits)
    }
    fn previous(self) -> Option<Self> {
        self.bits().checked_sub(1).map(Self::from_bits)
    }
    fn address(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(self.bits()))
    }
    fn of(prefix: &Prefix) -> Self {
        Self { hi: prefix.hi, lo: prefix.lo }
    }
}

/// A prefix of either family without host bits; an IPv4 address sits in the low 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Prefix {
    pub(crate) hi: u64,
    pub(crate) lo: u64,
    pub(crate) len: u8,
    pub(crate) v6: bool,
}

impl Prefix {
    /// Masks host bits and unmaps IPv4-mapped IPv6 prefixes of at least 96 bits.
    pub(crate) fn new(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => {
                Self { hi: 0, lo: u64::from(net.network().to_bits()), len: net.prefix_len(), v6: false }
            }
            IpNet::V6(net) => {
                let bits = net.network().to_bits();
                // A shorter prefix around the mapped block covers other IPv6 addresses too, so it stays one of IPv6.
                if net.prefix_len() >= 96 && bits >> 32 == 0xffff {
                    return Self { hi: 0, lo: u64::from(bits as u32), len: net.prefix_len() - 96, v6: false };
                }
                let key = V6::from_bits(bits);
                Self { hi: key.hi, lo: key.lo, len: net.prefix_len(), v6: true }
            }
        }
    }

    pub(crate) fn from_key<K: Key>(key: K, len: u8) -> Self {
        match key.address() {
            IpAddr::V4(address) => Self { hi: 0, lo: u64::from(address.to_bits()), len, v6: false },
            IpAddr::V6(address) => {
                let key = V6::from_bits(address.to_bits());
                Self { hi: key.hi, lo: key.lo, len, v6: true }
            }
        }
    }

    pub(crate) fn is_host(&self) -> bool {
        self.len == if self.v6 { 128 } else { 32 }
    }

    pub(crate) fn net(&self) -> IpNet {
        if self.v6 {
            let address = Ipv6Addr::from_bits(V6 { hi: self.hi, lo: self.lo }.bits());
            IpNet::V6(Ipv6Net::new_assert(address, self.len))
        } else {
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(self.lo as u32), self.len))
        }
    }

    pub(crate) fn last<K: Key>(&self) -> K {
        K::of(self).end_of(self.len)
    }

    /// The prefix of `len` bits that covers this one; `len` is not longer than this one's.
    pub(crate) fn shortened(&self, len: u8) -> Self {
        if self.v6 {
            let bits = V6 { hi: self.hi, lo: self.lo }.bits();
            let key = V6::from_bits(bits & !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0));
            Self { hi: key.hi, lo: key.lo, len, v6: true }
        } else {
            let bits = self.lo as u32 & !u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            Self { hi: 0, lo: u64::from(bits), len, v6: false }
        }
    }

    #[cfg(test)]
    fn contains(&self, other: &Self) -> bool {
        self.v6 == other.v6 && self.len <= other.len && other.shortened(self.len) == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text.parse().unwrap())
    }

    #[test]
    fn mapped_prefixes_become_ipv4() {
        assert_eq!(prefix("::ffff:192.0.2.1/128"), prefix("192.0.2.1/32"));
        assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
        assert!(prefix("::/0").v6);
        assert!(prefix("::ffff:0:0/95").v6, "a prefix wider than the mapped block stays IPv6");
    }

    #[test]
    fn shortening_and_containing_agree() {
        let host = prefix("2001:db8::1/128");
        assert_eq!(host.shortened(32), prefix("2001:db8::/32"));
        assert_eq!(host.shortened(0), prefix("::/0"));
        assert!(prefix("::/0").contains(&host));
        assert!(prefix("0.0.0.0/0").contains(&prefix("255.255.255.255/32")));
        assert!(!prefix("0.0.0.0/0").contains(&host));
        assert_eq!(prefix("0.0.0.0/0").last::<V4>(), V4::LAST);
        assert_eq!(prefix("::/0").last::<V6>(), V6::LAST);
    }

    #[test]
    fn a_network_at_the_very_edge_keeps_its_ends() {
        assert_eq!(prefix("255.255.255.0/24").last::<V4>(), u32::MAX);
        assert_eq!(0u32.end_of(0), u32::MAX);
        assert_eq!(0u32.end_of(32), 0);
        assert_eq!(V6::FIRST.end_of(0), V6::LAST);
        assert_eq!(V6::LAST.next(), None);
        let mapped_end = prefix("::/80").last::<V6>();
        assert_eq!(mapped_end.address(), "::ffff:ffff:ffff".parse::<IpAddr>().unwrap());
    }
}
