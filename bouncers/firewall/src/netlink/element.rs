//! Encodes and decodes set elements: hosts in hash sets, intervals in interval sets. Pure.
//!
//! An interval is two elements: its first address, and a closing element (flag `NFT_SET_ELEM_INTERVAL_END`) that
//! holds the address after the last. An interval that reaches the end of the address space has no closing
//! element. Only the first of the two may carry a timeout.
//!
//! An element of a map of counters also names its counter. An element in an operator's set carries [`MARK`], so that it
//! can be distinguished from the operator's own after a restart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_bindings::nftables::{
    IterableSetelemAttrs, OpDelsetelemDo, PushSetelemListAttrs, PushSetelemListElemAttrs, SetElemFlags,
};

use netlink_bindings::traits::Pusher as _;
use netlink_bindings::utils::find_attr;

use crate::names::fnv1a;

/// Bytes of elements in one message.
// An attribute holds at most 64 KiB. The kernel sends a refused message back with the refusal; a quarter of the limit
// keeps several of these within the receive buffer.
const MAX_LIST_BYTES: usize = 16 << 10;

const INTERVAL_END: u32 = SetElemFlags::IntervalEnd as u32;

/// The attribute with the name of an element's object, in a map of objects.
// The bindings count it one too low: their source lacks the kernel's padding attribute before it.
pub(crate) const NFTA_SET_ELEM_OBJREF: u16 = 9;

/// The user data that `nft` shows as `comment "palisade"`: type 0 (comment), length, text with its zero.
pub(crate) const MARK: &[u8] = b"\x00\x09palisade\0";

/// What a transaction does with elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Add, or leave as it is (from kernel 6.12 on with the new timeout).
    Add,
    /// Add; the transaction fails when it exists.
    AddNew,
    /// Delete; the transaction fails when it does not exist.
    Delete,
    /// Delete if it exists (kernel 6.3 and later).
    Destroy,
}

/// An element to be written: an address, or an interval in an interval set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<'a> {
    /// First address, or the only one.
    pub(crate) first: IpAddr,
    /// Last address; equal to `first` for a single one.
    pub(crate) last: IpAddr,
    /// Time to live. `None`: until deleted.
    pub(crate) timeout: Option<Duration>,
    /// The counter that an element of a map of counters names.
    pub(crate) counter: Option<&'a str>,
    /// Whether it carries [`MARK`].
    pub(crate) marked: bool,
}

impl Slot<'_> {
    /// An element that lives until it is deleted.
    pub(crate) fn plain(first: IpAddr, last: IpAddr) -> Self {
        Self { first, last, timeout: None, counter: None, marked: false }
    }
}

/// Writes elements into `buf`, behind the message's nfgenmsg header, until the list is full. Returns how many of
/// `slots` went in: at least one, unless there are none.
pub(crate) fn encode_elements<'a>(
    buf: &mut Vec<u8>,
    table: &str,
    set: &str,
    interval: bool,
    verb: Verb,
    slots: impl IntoIterator<Item = Slot<'a>>,
) -> usize {
    let limit = buf.len() + MAX_LIST_BYTES;
    let list =
        PushSetelemListAttrs::new(buf).push_table_bytes(table.as_bytes()).push_set_bytes(set.as_bytes());
    let mut elements = list.nested_elements();
    let mut written = 0;
    for slot in slots {
        // A deletion is by key alone: counter and end of what is in the kernel need not be known.
        let slot =
            if matches!(verb, Verb::Add | Verb::AddNew) { slot } else { Slot::plain(slot.first, slot.last) };
        // The start only: the kernel refuses a timeout on a closing element, and removes both when the start expires.
        elements = push_element(elements, slot, 0);
        if interval && let Some(end) = following(slot.last) {
            elements = push_element(elements, Slot::plain(end, end), INTERVAL_END);
        }
        written += 1;
        if elements.as_vec().len() >= limit {
            break;
        }
    }
    elements.end_nested().end_nested();
    written
}

/// Writes a text attribute with its closing zero.
fn push_attribute(buf: &mut Vec<u8>, kind: u16, text: &[u8]) {
    // Attributes start at multiples of four bytes, and the one before may not be padded yet.
    buf.resize(buf.len().next_multiple_of(4), 0);
    let length = u16::try_from(text.len() + 5).expect("names are bound to 255 bytes");
    buf.extend_from_slice(&length.to_ne_bytes());
    buf.extend_from_slice(&kind.to_ne_bytes());
    buf.extend_from_slice(text);
    buf.push(0);
}

type List<'a> = PushSetelemListElemAttrs<PushSetelemListAttrs<&'a mut Vec<u8>>>;

fn push_element<'a>(list: List<'a>, slot: Slot<'_>, flags: u32) -> List<'a> {
    let mut element = list.nested_elem();
    if flags != 0 {
        element = element.push_flags(&flags.to_be_bytes());
    }
    element = match slot.first {
        IpAddr::V4(key) => element.nested_key().push_value(&key.octets()).end_nested(),
        IpAddr::V6(key) => element.nested_key().push_value(&key.octets()).end_nested(),
    };
    if let Some(timeout) = slot.timeout {
        // Zero would mean for ever. The bindings write host order, the kernel reads big endian.
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        element = element.push_timeout(millis.to_be());
    }
    if slot.marked {
        element = element.push_userdata(MARK);
    }
    if let Some(counter) = slot.counter {
        push_attribute(element.as_vec_mut(), NFTA_SET_ELEM_OBJREF, counter.as_bytes());
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
    pub(crate) last: IpAddr,
    /// Time left. `None`: stays until deleted.
    pub(crate) left: Option<Duration>,
    /// The counter it names, as [`counter_print`] has it; 0 for none.
    pub(crate) counter: u64,
    /// Whether it carries [`MARK`].
    pub(crate) marked: bool,
}

impl Held {
    /// An element that stays until deleted.
    #[cfg(test)]
    pub(crate) fn plain(first: IpAddr, last: IpAddr) -> Self {
        Self { first, last, left: None, counter: 0, marked: false }
    }
}

/// A counter's name as a number.
pub(crate) fn counter_print(name: &[u8]) -> u64 {
    // A dump of a million elements would otherwise hold a million copies of a few names.
    fnv1a(name)
}

/// One element message part out of a dump, before intervals are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw {
    key: IpAddr,
    end: bool,
    left: Option<Duration>,
    counter: u64,
    marked: bool,
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
        // A concatenation, for example: not an element of a set of ours.
        _ => return None,
    };
    let flags =
        element.get_flags().ok().and_then(|flags| flags.first_chunk()).map_or(0, |f| u32::from_be_bytes(*f));
    // `expiration`, not `timeout`: it is the time left, and is sent for every element that ends, also when its timeout
    // is the set's default.
    let left = element.get_expiration().ok().map(|millis| Duration::from_millis(u64::from_be(millis)));
    let counter = find_attr(element.get_buf(), NFTA_SET_ELEM_OBJREF);
    let counter = counter.map_or(0, |name| counter_print(name.strip_suffix(&[0]).unwrap_or(name)));
    let marked = element.get_userdata().is_ok_and(|data| data == MARK);
    Some(Raw { key, end: flags & INTERVAL_END != 0, left, counter, marked })
}

/// The element of a hash set.
pub(crate) fn host(raw: Raw) -> Held {
    let Raw { key, left, counter, marked, .. } = raw;
    Held { first: key, last: key, left, counter, marked }
}

/// Joins the halves of an interval set's elements.
pub(crate) fn pair_intervals(mut raw: Vec<Raw>) -> Vec<Held> {
    // At one key the closing element comes first: it belongs to the interval before it.
    raw.sort_unstable_by_key(|one| (one.key, !one.end));
    let mut held = Vec::with_capacity(raw.len() / 2);
    let mut open: Option<Raw> = None;
    for one in raw {
        // Closing elements without an interval are ignored: `nft` writes one at zero, and one may outlive its expired
        // interval. An interval still open when the next begins ends before it, as the kernel evaluates it.
        if let Some(start) = open.take()
            && let Some(last) = preceding(one.key)
            && start.key <= last
        {
            held.push(Held { last, ..host(start) });
        }
        if !one.end {
            open = Some(one);
        }
    }
    // No closing element means that it reaches the end of the address space.
    held.extend(open.map(|start| Held { last: last_of_family(start.key), ..host(start) }));
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
            Slot { timeout: hour, marked: true, ..Slot::plain(ip("10.0.0.0"), ip("10.0.0.255")) },
            Slot { counter: Some("c"), ..Slot::plain(ip("10.0.1.0"), ip("10.0.1.0")) },
            Slot { timeout: hour, ..Slot::plain(ip("255.0.0.0"), ip("255.255.255.255")) },
        ];
        assert_eq!(encode_elements(&mut buf, "t", "s", true, Verb::Add, slots), 3);
        let expected = slots.map(|slot| Held {
            left: slot.timeout,
            counter: slot.counter.map_or(0, |name| counter_print(name.as_bytes())),
            marked: slot.marked,
            ..Held::plain(slot.first, slot.last)
        });
        assert_eq!(pair_intervals(raw_of(&buf)), expected);
    }

    #[test]
    fn a_deletion_names_nothing_but_the_key() {
        let mut buf = Vec::new();
        let plain = Slot::plain(ip("2001:db8::1"), ip("2001:db8::1"));
        let slot = Slot { timeout: Some(Duration::from_secs(1)), counter: Some("c"), marked: true, ..plain };
        encode_elements(&mut buf, "t", "s", false, Verb::Destroy, [slot]);
        assert_eq!(
            raw_of(&buf).into_iter().map(host).collect::<Vec<_>>(),
            [Held::plain(slot.first, slot.last)]
        );
    }

    #[test]
    fn a_list_stops_when_it_is_full_and_its_lengths_hold() {
        let slots: Vec<_> = (0..5000_u32)
            .map(|n| IpAddr::from(Ipv6Addr::from_bits(u128::from(n) * 16)))
            .map(|first| Slot { timeout: Some(Duration::from_millis(1)), ..Slot::plain(first, first) })
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
        let raw = |key: &str, end| Raw { key: ip(key), end, left: None, counter: 0, marked: false };
        let (start, end) = (|key: &str| raw(key, false), |key: &str| raw(key, true));
        let held = |first: &str, last: &str| Held::plain(ip(first), ip(last));
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
