//! The binary format of persisted decisions. Pure.
//!
//! All numbers are little-endian. A file consists of `PLSDMEM2`, the identity of the LAPI, the cursor that belongs
//! to exactly these decisions (empty without one), the time of writing, the labels, the decisions, and a CRC-32 of
//! everything before it. Ends are absolute wall-clock times. `PLSDMEM1`, without a cursor, is read too.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_cache::{Batch, Decision, Lift, Reason, Snapshot, Target, Timestamp};

use super::state::{Identity, PersistedState, Written};

const MAGIC: &[u8; 8] = b"PLSDMEM2";
pub(super) const WITHOUT_CURSOR: &[u8; 8] = b"PLSDMEM1";

pub(super) enum Unusable {
    Foreign,
    Damaged,
    OtherLapi(String),
}

/// The file's bytes and checksum.
pub(super) fn encode(snapshot: &Snapshot, identity: &str, cursor: &str, now: Timestamp) -> (Vec<u8>, u32) {
    // A row on an IPv4 address takes 26 bytes and one on an IPv6 address 38: label, end and id, then kind, length and
    // address.
    let mut out = Vec::with_capacity(snapshot.len() * 40 + 1024);
    out.extend_from_slice(MAGIC);
    put_text(&mut out, identity);
    put_text(&mut out, cursor);
    out.extend_from_slice(&now.as_millis().to_le_bytes());
    put_decisions(&mut out, snapshot.decisions());
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    (out, checksum)
}

/// Appends labels, each once, and decisions.
pub(super) fn put_decisions<'a>(out: &mut Vec<u8>, decisions: impl Iterator<Item = Decision<'a>>) {
    // Two buffers, because labels precede the rows in the file and are found while these are written.
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    let mut label_of: HashMap<[&str; 3], u32> = HashMap::new();
    let mut count = 0u32;
    for decision in decisions {
        let next = label_of.len() as u32;
        let words = [decision.remediation, decision.origin, decision.scenario];
        let label = *label_of.entry(words).or_insert_with(|| {
            words.iter().for_each(|word| put_text(&mut labels, word));
            next
        });
        rows.extend_from_slice(&label.to_le_bytes());
        rows.extend_from_slice(&decision.until.as_millis().to_le_bytes());
        rows.extend_from_slice(&decision.id.to_le_bytes());
        put_target(&mut rows, decision.scope, &decision.target);
        count += 1;
    }
    out.extend_from_slice(&(label_of.len() as u32).to_le_bytes());
    out.append(&mut labels);
    out.extend_from_slice(&count.to_le_bytes());
    out.append(&mut rows);
}

pub(super) fn put_lifts<'a>(out: &mut Vec<u8>, lifts: impl Iterator<Item = Lift<'a>>) {
    let at = out.len();
    // The number is known only after the iteration; its place is filled below.
    out.extend_from_slice(&[0; 4]);
    let mut count = 0u32;
    for lift in lifts {
        put_text(out, lift.remediation);
        out.extend_from_slice(&lift.newest.to_le_bytes());
        put_target(out, lift.scope, &lift.target);
        count += 1;
    }
    out[at..at + 4].copy_from_slice(&count.to_le_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_target(out: &mut Vec<u8>, scope: &str, target: &Target<'_>) {
    match target {
        Target::Net(net) => {
            out.push(if net.addr().is_ipv4() { 4 } else { 6 });
            out.push(net.prefix_len());
            match net.addr() {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
            }
        }
        Target::Name(name) => {
            out.push(0);
            put_text(out, scope);
            put_text(out, name);
        }
    }
}

/// Decodes a file, skipping decisions that have ended by `now`.
pub(super) fn decode(
    bytes: &[u8],
    identity: &Identity,
    now: Timestamp,
) -> Result<(PersistedState, Written), Unusable> {
    let (rest, has_cursor) = match (bytes.strip_prefix(MAGIC), bytes.strip_prefix(WITHOUT_CURSOR)) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return Err(Unusable::Foreign),
    };
    // Before anything is parsed, so that no length of a damaged file is used.
    let (body, checksum) = rest.split_last_chunk::<4>().ok_or(Unusable::Damaged)?;
    let checksum = u32::from_le_bytes(*checksum);
    if crc32fast::hash(&bytes[..bytes.len() - 4]) != checksum {
        return Err(Unusable::Damaged);
    }
    let mut input = Input(body);
    let theirs = input.text().ok_or(Unusable::Damaged)?;
    if !identity.is_ours(theirs) {
        return Err(Unusable::OtherLapi(theirs.to_owned()));
    }
    let mut read = || {
        let cursor = if has_cursor { input.text()?.to_owned() } else { String::new() };
        let written = Timestamp::from_millis(i64::from_le_bytes(input.take()?));
        let mut base = Batch::new();
        input.decisions(now, &mut base)?;
        input.0.is_empty().then_some(PersistedState { base, changes: Vec::new(), written, cursor })
    };
    let written = Written { checksum, bytes: bytes.len() as u64 };
    Ok((read().ok_or(Unusable::Damaged)?, written))
}

/// Untrusted input.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

enum AnyTarget<'a> {
    Net(IpNet),
    Name(&'a str, &'a str),
}

impl<'a> Input<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    /// Decodes decisions that end after `now`.
    pub(super) fn decisions(&mut self, now: Timestamp, batch: &mut Batch) -> Option<()> {
        let mut labels = Vec::new();
        // Nothing is reserved for the number read, which may be wrong: a short input ends the loop first.
        for _ in 0..u32::from_le_bytes(self.take()?) {
            labels.push(Reason { remediation: self.text()?, origin: self.text()?, scenario: self.text()? });
        }
        for _ in 0..u32::from_le_bytes(self.take()?) {
            let label = u32::from_le_bytes(self.take()?) as usize;
            let until = Timestamp::from_millis(i64::from_le_bytes(self.take()?));
            let id = i64::from_le_bytes(self.take()?);
            let reason = *labels.get(label)?;
            match self.target()? {
                // After `target()`, which has to consume the bytes either way.
                _ if until <= now => {}
                AnyTarget::Net(net) => batch.announce_net(net, reason, until, id),
                AnyTarget::Name(scope, value) => batch.announce_name(scope, value, reason, until, id),
            }
        }
        Some(())
    }

    pub(super) fn lifts(&mut self, batch: &mut Batch) -> Option<()> {
        for _ in 0..u32::from_le_bytes(self.take()?) {
            let remediation = self.text()?;
            let newest = i64::from_le_bytes(self.take()?);
            match self.target()? {
                AnyTarget::Net(net) => batch.lift_net_up_to(net, remediation, newest),
                AnyTarget::Name(scope, value) => batch.lift_name_up_to(scope, value, remediation, newest),
            }
        }
        Some(())
    }

    fn target(&mut self) -> Option<AnyTarget<'a>> {
        let [kind] = self.take()?;
        if kind == 0 {
            return Some(AnyTarget::Name(self.text()?, self.text()?));
        }
        let [length] = self.take()?;
        let address = match kind {
            4 => IpAddr::from(self.take::<4>()?),
            6 => IpAddr::from(self.take::<16>()?),
            _ => return None,
        };
        // A length that does not fit the family makes the input damaged.
        IpNet::new(address, length).ok().map(AnyTarget::Net)
    }
}
