//! Set elements on the wire: hosts in hash sets, intervals in interval sets.
//!
//! An interval is two elements: its first address, and a closing element (flag `NFT_SET_ELEM_INTERVAL_END`) that
//! holds the address after the last. An interval that reaches the end of the address space has no closing
//! element. Only the first of the two may carry a timeout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_bindings::nftables::{
    IterableSetelemAttrs, OpDelsetelemDo, PushSetelemListAttrs, PushSetelemListElemAttrs, SetElemFlags,
};

/// Bytes of elements in one message. An attribute holds at most 64 KiB; a quarter of that keeps the refusals of
/// the kernel, which carry the refused message back, small enough for the receive buffer.
const MAX_LIST_BYTES: usize = 16 << 10;

const INTERVAL_END: u32 = SetElemFlags::IntervalEnd as u32;

/// What happens to elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Put in, or leave as it is.
    Add,
    /// Take out; the transaction fails when it is not there.
    Delete,
    /// Take out if it is there (kernel 6.3 and later).
    Destroy,
}

/// An element to be written: an address, or an interval in an interval set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// First address, or the only one.
    pub(crate) first: IpAddr,
    /// Last address; equal to `first` for a single one.
    pub(crate) last: IpAddr,
    /// Time to live. `None`: until deleted.
    pub(crate) timeout: Option<Duration>,
}

/// Writes elements into `buf`, behind the message's nfgenmsg header, until the list is full. Returns how many of
/// `slots` went in: at least one, unless there are none.
pub(crate) fn encode_elements(
    buf: &mut Vec<u8>,
    table: &str,
    set: &str,
    interval: bool,
    verb: Verb,
    slots: impl IntoIterator<Item = Slot>,
) -> usize {
    let limit = buf.len() + MAX_LIST_BYTES;
    let list =
        PushSetelemListAttrs::new(buf).push_table_bytes(table.as_bytes()).push_set_bytes(set.as_bytes());
    let mut elements = list.nested_elements();
    let mut written = 0;
    for slot in slots {
        elements = push_element(elements, slot.first, 0, slot.timeout.filter(|_| verb == Verb::Add));
        if interval && let Some(end) = following(slot.last) {
            elements = push_element(elements, end, INTERVAL_END, None);
        }
        written += 1;
        if netlink_bindings::traits::Pusher::as_vec(&elements).len() >= limit {
            break;
        }
    }
    elements.end_nested().end_nested();
    written
}

type List<'a> = PushSetelemListElemAttrs<PushSetelemListAttrs<&'a mut Vec<u8>>>;

fn push_element(list: List<'_>, key: IpAddr, flags: u32, timeout: Option<Duration>) -> List<'_> {
    let mut element = list.nested_elem();
    if flags != 0 {
        element = element.push_flags(&flags.to_be_bytes());
    }
    element = match key {
        IpAddr::V4(key) => element.nested_key().push_value(&key.octets()).end_nested(),
        IpAddr::V6(key) => element.nested_key().push_value(&key.octets()).end_nested(),
    };
    if let Some(timeout) = timeout {
        // Zero would mean "for ever"; the bindings write host order, the kernel reads big endian.
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        element = element.push_timeout(millis.to_be());
    }
    element.end_nested()
}

/// The address after this one; `None` after the last.
pub(crate) fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().checked_add(1)?))),
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().checked_add(1)?))),
    }
}

/// The address before this one; `None` before the first.
pub(crate) fn preceding(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().checked_sub(1)?))),
        IpAddr::V6(address) => Some(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().checked_sub(1)?))),
    }
}

fn last_of_family(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
    }
}

/// An element as the kernel holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// First address, or the only one.
    pub(crate) first: IpAddr,
    /// Last address.
    pub(crate) last: IpAddr,
    /// Time left. `None`: stays until deleted.
    pub(crate) left: Option<Duration>,
}

/// One element message part out of a dump, before intervals are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw {
    key: IpAddr,
    end: bool,
    left: Option<Duration>,
}

/// Reads the elements of one dump message (the payload behind the netlink header). Elements of other shapes,
/// such as concatenations, are skipped.
pub(crate) fn decode_elements(payload: &[u8]) -> impl Iterator<Item = Raw> {
    let (_, list) = OpDelsetelemDo::decode_request(payload);
    let elements = list.get_elements().ok().into_iter().flat_map(|elements| elements.get_elem());
    elements.filter_map(|element| decode_element(&element))
}

fn decode_element(element: &IterableSetelemAttrs<'_>) -> Option<Raw> {
    let key = element.get_key().ok()?.get_value().ok()?;
    let key = match key.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(key).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(key).ok()?),
        _ => return None,
    };
    let flags =
        element.get_flags().ok().and_then(|flags| flags.first_chunk()).map_or(0, |f| u32::from_be_bytes(*f));
    // The time left is sent for every element that ends, also when its timeout is the set's default.
    let left = element.get_expiration().ok().map(|millis| Duration::from_millis(u64::from_be(millis)));
    Some(Raw { key, end: flags & INTERVAL_END != 0, left })
}

/// The element of a hash set.
pub(crate) fn host(raw: Raw) -> Held {
    Held { first: raw.key, last: raw.key, left: raw.left }
}

/// Puts the halves of an interval set's elements together. Closing elements without an interval are ignored
/// (`nft` writes one at zero, and one may outlive its expired interval); an interval that is still open when the
/// next begins ends before it.
pub(crate) fn pair_intervals(mut raw: Vec<Raw>) -> Vec<Held> {
    // At one key the closing element comes first: it belongs to the interval before.
    raw.sort_unstable_by_key(|one| (one.key, !one.end));
    let mut held = Vec::with_capacity(raw.len() / 2);
    let mut open: Option<Raw> = None;
    for one in raw {
        if let Some(start) = open.take()
            && let Some(last) = preceding(one.key)
            && start.key <= last
        {
            held.push(Held { first: start.key, last, left: start.left });
        }
        if !one.end {
            open = Some(one);
        }
    }
    held.extend(open.map(|start| Held {
        first: start.key,
        last: last_of_family(start.key),
        left: start.left,
    }));
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Decodes what was encoded; the kernel would send back a timeout as time left.
    fn raw_of(buf: &[u8]) -> Vec<Raw> {
        let payload = [&[0; 4], buf].concat();
        let elements = OpDelsetelemDo::decode_request(&payload).1.get_elements().unwrap();
        let timeout = |element: &IterableSetelemAttrs<'_>| {
            element.get_timeout().ok().map(|millis| Duration::from_millis(u64::from_be(millis)))
        };
        elements
            .get_elem()
            .map(|element| Raw { left: timeout(&element), ..decode_element(&element).unwrap() })
            .collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut buf = Vec::new();
        let hour = Some(Duration::from_secs(3600));
        let slots = [
            Slot { first: ip("10.0.0.0"), last: ip("10.0.0.255"), timeout: hour },
            Slot { first: ip("10.0.1.0"), last: ip("10.0.1.0"), timeout: None },
            Slot { first: ip("255.0.0.0"), last: ip("255.255.255.255"), timeout: hour },
        ];
        assert_eq!(encode_elements(&mut buf, "t", "s", true, Verb::Add, slots), 3);
        let expected = slots.map(|slot| Held { first: slot.first, last: slot.last, left: slot.timeout });
        assert_eq!(pair_intervals(raw_of(&buf)), expected);
    }

    #[test]
    fn timeouts_never_travel_with_a_deletion() {
        let mut buf = Vec::new();
        let slot =
            Slot { first: ip("2001:db8::1"), last: ip("2001:db8::1"), timeout: Some(Duration::from_secs(1)) };
        encode_elements(&mut buf, "t", "s", false, Verb::Destroy, [slot]);
        assert_eq!(
            raw_of(&buf).into_iter().map(host).collect::<Vec<_>>(),
            [Held { first: slot.first, last: slot.last, left: None }]
        );
    }

    #[test]
    fn a_list_stops_when_it_is_full_and_its_lengths_hold() {
        let slots: Vec<_> = (0..5000_u32)
            .map(|n| IpAddr::from(Ipv6Addr::from_bits(u128::from(n) * 16)))
            .map(|first| Slot { first, last: first, timeout: Some(Duration::from_millis(1)) })
            .collect();
        let (mut done, mut back) = (0, Vec::new());
        while done < slots.len() {
            let mut buf = Vec::new();
            let written = encode_elements(&mut buf, "t", "s", true, Verb::Add, slots[done..].iter().copied());
            done += written;
            assert!(buf.len() < MAX_LIST_BYTES + 1024, "{written} in {}", buf.len());
            assert!(done == slots.len() || buf.len() >= MAX_LIST_BYTES, "{written} in {}", buf.len());
            back.extend(raw_of(&buf));
        }
        assert_eq!(pair_intervals(back).len(), slots.len());
    }

    #[test]
    fn halves_are_paired_as_the_kernel_means_them() {
        let start = |key: &str| Raw { key: ip(key), end: false, left: None };
        let end = |key: &str| Raw { key: ip(key), end: true, left: None };
        let held = |first: &str, last: &str| Held { first: ip(first), last: ip(last), left: None };
        let cases = [
            (vec![end("0.0.0.0")], vec![]),
            (vec![start("10.0.0.1"), end("10.0.0.2")], vec![held("10.0.0.1", "10.0.0.1")]),
            (
                vec![end("10.0.0.9"), start("10.0.0.5"), end("10.0.0.5"), start("10.0.0.1")],
                vec![held("10.0.0.1", "10.0.0.4"), held("10.0.0.5", "10.0.0.8")],
            ),
            (
                vec![start("10.0.0.1"), start("10.0.0.5"), end("10.0.0.9")],
                vec![held("10.0.0.1", "10.0.0.4"), held("10.0.0.5", "10.0.0.8")],
            ),
            (vec![start("255.255.255.254")], vec![held("255.255.255.254", "255.255.255.255")]),
            (vec![end("10.0.0.3"), start("10.0.0.7"), end("10.0.0.9")], vec![held("10.0.0.7", "10.0.0.8")]),
            (vec![start("ffff::")], vec![held("ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]),
        ];
        for (raw, expected) in cases {
            assert_eq!(pair_intervals(raw.clone()), expected, "{raw:?}");
        }
    }
}
