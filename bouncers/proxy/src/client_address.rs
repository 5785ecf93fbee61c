//! Determines the client's address from the peer and one forwarded header. Pure.
//!
//! The header is believed only from trusted peers, and read from the right: each entry was written by the proxy whose
//! address is to its right, so the first one that is no trusted proxy is the client, and all to its left is the client's
//! claim. One kind of header is read and no other is ever tried: a second one would be what the client sent.

mod forwarded;
mod node;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use self::node::parse_node;
use crate::config::{AddressSource, ClientAddressConfig};

/// Entries that are read of a forwarded header. Longer chains of proxies do not occur.
pub const MAX_HOPS: usize = 32;

/// Bytes that are read of a forwarded header, from the right.
pub const MAX_BYTES: usize = 4096;

/// The hops between the client and the peer, from left to right: the client, then proxies. Empty when the peer is the
/// client.
pub type Chain = SmallVec<[IpAddr; 3]>;

/// The origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress {
    /// The address decisions apply to. `None` only for the peer of a unix socket without a usable header.
    pub client: Option<IpAddr>,
    /// Whether the peer's forwarded header is believed.
    pub peer_is_trusted: bool,
    /// The accepted entries of the header, without the peer.
    pub chain: Chain,
    /// Why the header was read only in part.
    pub cut: Option<Cut>,
}

/// Why a forwarded header was read only in part. The client is then the last good hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// An entry is no address.
    Unparsable,
    /// There are more than [`MAX_HOPS`] entries.
    TooManyHops,
    /// It is longer than [`MAX_BYTES`].
    TooLong,
    /// A header that has one value is there more than once.
    Repeated,
    /// There are fewer entries than `trusted_hops`.
    TooFewHops,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unparsable, Self::TooManyHops, Self::TooLong, Self::Repeated, Self::TooFewHops];

    /// Label in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::TooManyHops => "too_many_hops",
            Self::TooLong => "too_long",
            Self::Repeated => "repeated",
            Self::TooFewHops => "too_few_hops",
        }
    }
}

/// The client's address. `peer` is `None` for a unix socket: access is limited by its file's permissions, so its peers
/// are trusted.
///
/// To be called for each request: a connection from a proxy carries requests of many clients.
pub fn client_address(
    config: &ClientAddressConfig,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> ClientAddress {
    let peer = peer.map(|peer| peer.to_canonical());
    if !is_trusted(config, peer) {
        return direct(peer, false, None);
    }
    let mut walk = Walk::new(config, peer);
    match &config.source {
        AddressSource::List(name) => {
            walk.lines(headers, name, |line| line.rsplit(|byte| *byte == b','), parse_node)
        }
        AddressSource::Forwarded => {
            walk.lines(headers, &http::header::FORWARDED, forwarded::elements, forwarded::node);
        }
        AddressSource::Single(name) => return single(headers, name, peer),
    }
    walk.finish()
}

fn is_trusted(config: &ClientAddressConfig, peer: Option<IpAddr>) -> bool {
    match peer {
        None => true,
        // `trusted_hops` stands in for a list: without one, each peer is a proxy.
        Some(_) if config.trusted_proxies.is_empty() => config.trusted_hops.is_some(),
        Some(peer) => config.trusted_proxies.contains(peer),
    }
}

fn direct(peer: Option<IpAddr>, peer_is_trusted: bool, cut: Option<Cut>) -> ClientAddress {
    ClientAddress { client: peer, peer_is_trusted, chain: Chain::new(), cut }
}

/// A header with one address: it counts only if it is there once.
fn single(headers: &HeaderMap, name: &HeaderName, peer: Option<IpAddr>) -> ClientAddress {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else {
        return direct(peer, true, None);
    };
    if lines.next().is_some() {
        return direct(peer, true, Some(Cut::Repeated));
    }
    if line.len() > MAX_BYTES {
        return direct(peer, true, Some(Cut::TooLong));
    }
    match parse_node(line.as_bytes()) {
        Some(client) => ClientAddress {
            client: Some(client),
            peer_is_trusted: true,
            chain: Chain::from_slice(&[client]),
            cut: None,
        },
        None => direct(peer, true, Some(Cut::Unparsable)),
    }
}

/// The way through a list, from the right.
struct Walk<'c> {
    config: &'c ClientAddressConfig,
    peer: Option<IpAddr>,
    /// From right to left.
    chain: Chain,
    bytes: usize,
    cut: Option<Cut>,
}

impl<'c> Walk<'c> {
    fn new(config: &'c ClientAddressConfig, peer: Option<IpAddr>) -> Self {
        Self { config, peer, chain: Chain::new(), bytes: 0, cut: None }
    }

    /// All lines are one list, since a proxy may append a line instead of an entry.
    fn lines<'h, E: Iterator<Item = &'h [u8]>>(
        &mut self,
        headers: &'h HeaderMap,
        name: &HeaderName,
        entries: impl Fn(&'h [u8]) -> E,
        parse: impl Fn(&[u8]) -> Option<IpAddr>,
    ) {
        for line in headers.get_all(name).iter().rev().map(HeaderValue::as_bytes) {
            // What is left of the limit is never split, so a huge line costs no more than a long one.
            let left = MAX_BYTES.saturating_sub(self.bytes);
            let shown = &line[line.len().saturating_sub(left)..];
            let mut used = 0;
            for entry in entries(shown) {
                used += entry.len() + 1;
                // The leftmost entry of a cut line may have lost its beginning.
                if used > shown.len() && shown.len() < line.len() {
                    self.cut = Some(Cut::TooLong);
                    return;
                }
                if !self.entry(parse(entry)) {
                    return;
                }
            }
            self.bytes += line.len() + 1;
        }
    }

    /// Whether to go on to the left.
    fn entry(&mut self, entry: Option<IpAddr>) -> bool {
        let Some(address) = entry else {
            self.cut = Some(Cut::Unparsable);
            return false;
        };
        if self.chain.len() == MAX_HOPS {
            self.cut = Some(Cut::TooManyHops);
            return false;
        }
        self.chain.push(address);
        match self.config.trusted_hops {
            Some(hops) => self.chain.len() < usize::from(hops),
            None => self.config.trusted_proxies.contains(address),
        }
    }

    fn finish(mut self) -> ClientAddress {
        if let Some(hops) = self.config.trusted_hops
            && self.chain.len() < usize::from(hops)
        {
            // The request came around the proxies, or one of them wrote no address: nothing in it can be believed.
            return direct(self.peer, false, self.cut.or(Some(Cut::TooFewHops)));
        }
        self.chain.reverse();
        ClientAddress {
            client: self.chain.first().copied().or(self.peer),
            peer_is_trusted: true,
            chain: self.chain,
            cut: self.cut,
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
