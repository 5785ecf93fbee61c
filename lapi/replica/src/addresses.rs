//! An index of rows by address: rows that cover a prefix, rows within a prefix.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::paged::{Keyed, Paged};

/// An IPv4 row's prefix: first address, length, id.
#[derive(Debug, Clone, Copy)]
struct Four(u32, u8, i64);

impl Keyed for Four {
    type Key = (u32, u8, i64);
    fn key(&self) -> Self::Key {
        (self.0, self.1, self.2)
    }
}

/// An IPv6 row's prefix. The address is stored in two halves, since a `u128` would be aligned to 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Six([u64; 2], u8, i64);

impl Keyed for Six {
    type Key = ([u64; 2], u8, i64);
    fn key(&self) -> Self::Key {
        (self.0, self.1, self.2)
    }
}

/// With the number of rows per prefix length, so that a lookup tries only lengths that occur.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    four: Paged<Four>,
    six: Paged<Six>,
    four_lens: [u32; 33],
    six_lens: [u32; 129],
}

impl Default for Addresses {
    fn default() -> Self {
        Self { four: Paged::default(), six: Paged::default(), four_lens: [0; 33], six_lens: [0; 129] }
    }
}

fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

impl Addresses {
    /// Adds rows that are not in the index yet.
    pub(crate) fn insert(&mut self, rows: impl Iterator<Item = (IpNet, i64)>) {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (net, id) in rows {
            *self.lens(net) += 1;
            match net.network() {
                IpAddr::V4(address) => four.push(Four(address.to_bits(), net.prefix_len(), id)),
                IpAddr::V6(address) => six.push(Six(halves(address.to_bits()), net.prefix_len(), id)),
            }
        }
        // Sorted once, so that each page of the index is copied once for all rows of a commit.
        four.sort_unstable_by_key(Keyed::key);
        six.sort_unstable_by_key(Keyed::key);
        self.four.insert_sorted(four);
        self.six.insert_sorted(six);
    }

    pub(crate) fn remove(&mut self, net: IpNet, id: i64) {
        let removed = match net.network() {
            IpAddr::V4(address) => self.four.remove(&(address.to_bits(), net.prefix_len(), id)).is_some(),
            IpAddr::V6(address) => {
                self.six.remove(&(halves(address.to_bits()), net.prefix_len(), id)).is_some()
            }
        };
        // Only what was in the index: a count that falls short would hide rows of that length.
        *self.lens(net) -= u32::from(removed);
    }

    pub(crate) fn covering(&self, net: IpNet) -> Vec<i64> {
        let mut found = Vec::new();
        let longest = usize::from(net.prefix_len());
        match net.network() {
            IpAddr::V4(address) => {
                for (len, _) in (0..=32_u8).zip(self.four_lens).take(longest + 1).filter(|(_, n)| *n > 0) {
                    // For length 0 the shift is by all 32 bits, which overflows; the mask is 0 then.
                    let masked = address.to_bits() & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                    let rows = self.four.from((masked, len, i64::MIN));
                    found.extend(rows.take_while(|row| (row.0, row.1) == (masked, len)).map(|row| row.2));
                }
            }
            IpAddr::V6(address) => {
                for (len, _) in (0..=128_u8).zip(self.six_lens).take(longest + 1).filter(|(_, n)| *n > 0) {
                    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                    let masked = halves(address.to_bits() & mask);
                    let rows = self.six.from((masked, len, i64::MIN));
                    found.extend(rows.take_while(|row| (row.0, row.1) == (masked, len)).map(|row| row.2));
                }
            }
        }
        found
    }

    pub(crate) fn within(&self, net: IpNet) -> Vec<i64> {
        let len = net.prefix_len();
        match (net.network(), net.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let rows = self.four.from((first.to_bits(), 0, i64::MIN));
                // A shorter prefix may begin at the same address; it covers `net` and does not lie in it.
                let inside = rows.take_while(|row| row.0 <= last.to_bits()).filter(|row| row.1 >= len);
                inside.map(|row| row.2).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (halves(first.to_bits()), halves(last.to_bits()));
                let rows = self.six.from((first, 0, i64::MIN));
                let inside = rows.take_while(|row| row.0 <= last).filter(|row| row.1 >= len);
                inside.map(|row| row.2).collect()
            }
            _ => Vec::new(),
        }
    }

    fn lens(&mut self, net: IpNet) -> &mut u32 {
        let len = usize::from(net.prefix_len());
        match net {
            IpNet::V4(_) => &mut self.four_lens[len],
            IpNet::V6(_) => &mut self.six_lens[len],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets() -> impl Strategy<Value = IpNet> {
        let four = (0..4_u8, 0..4_u8, 0..=32_u8)
            .prop_map(|(a, b, len)| IpNet::new(IpAddr::from([192, a, 0, b]), len).unwrap().trunc());
        let six = (0..4_u16, 0..4_u16, 0..=128_u8).prop_map(|(a, b, len)| {
            IpNet::new(IpAddr::from([0x2001, a, 0, 0, 0, 0, 0, b]), len).unwrap().trunc()
        });
        prop_oneof![four, six]
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_scan_finds(
            all in proptest::collection::vec(nets(), 0..60),
            removed in proptest::collection::vec(0..60_usize, 0..30),
            asked in proptest::collection::vec(nets(), 1..20),
        ) {
            let mut rows: Vec<(IpNet, i64)> = all.into_iter().zip(0..).collect();
            let mut index = Addresses::default();
            for (net, id) in &rows {
                index.insert(std::iter::once((*net, *id)));
            }
            for at in removed {
                if at < rows.len() {
                    let (net, id) = rows.swap_remove(at);
                    index.remove(net, id);
                }
            }
            let mut rebuilt = Addresses::default();
            rebuilt.insert(rows.iter().copied());
            prop_assert_eq!((rebuilt.four_lens, rebuilt.six_lens), (index.four_lens, index.six_lens));
            for net in asked {
                for index in [&index, &rebuilt] {
                    for (mut found, wanted) in [
                        (index.covering(net), rows.iter().filter(|(row, _)| row.contains(&net)).collect::<Vec<_>>()),
                        (index.within(net), rows.iter().filter(|(row, _)| net.contains(row)).collect()),
                    ] {
                        let mut wanted: Vec<_> = wanted.into_iter().map(|(_, id)| *id).collect();
                        found.sort_unstable();
                        wanted.sort_unstable();
                        prop_assert_eq!(found, wanted);
                    }
                }
            }
        }
    }
}
