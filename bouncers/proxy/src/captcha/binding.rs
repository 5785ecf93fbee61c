//! Defines what proofs and challenge tokens are bound to.

use std::net::IpAddr;

/// What a proof is bound to: it is valid for these alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding<'a> {
    /// The client's prefix: address bytes with the host bits cleared, and the length.
    pub(super) prefix: ClientPrefix,
    /// The `User-Agent`; empty for none.
    pub(super) user_agent: &'a [u8],
    /// The requested host, without port, as sent; compared without case.
    pub(super) host: &'a str,
    /// The decision.
    pub(super) decision: u64,
}

/// The prefix of a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientPrefix([u8; 17]);

impl ClientPrefix {
    /// Of an address, with the lengths for IPv4 and IPv6.
    pub(super) fn new(client: IpAddr, lengths: (u8, u8)) -> Self {
        let mut bytes = [0; 17];
        match client.to_canonical() {
            IpAddr::V4(v4) => {
                let length = lengths.0.min(32);
                let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                bytes[..4].copy_from_slice(&bits.to_be_bytes());
                // Lengths above 128 keep the two families apart.
                bytes[16] = 200 + length;
            }
            IpAddr::V6(v6) => {
                let length = lengths.1.min(128);
                let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                bytes[..16].copy_from_slice(&bits.to_be_bytes());
                bytes[16] = length;
            }
        }
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The host of an authority, without port. Cookies are shared by the ports of a host, so proofs are as well.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // An IPv6 address in brackets has colons of its own.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => authority,
    }
}

/// Longer hosts are none (RFC 1035); hosts that differ only beyond that are one.
const MAX_HOST: usize = 255;

/// A host in lower case, on the stack.
pub(super) struct LowerHost([u8; MAX_HOST], usize);

impl LowerHost {
    pub(super) fn new(host: &str) -> Self {
        let mut bytes = [0; MAX_HOST];
        let length = host.len().min(MAX_HOST);
        bytes[..length].copy_from_slice(&host.as_bytes()[..length]);
        bytes.make_ascii_lowercase();
        Self(bytes, length)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_prefix_are_the_same_and_others_are_not() {
        let prefix = |address: &str, lengths| ClientPrefix::new(address.parse().unwrap(), lengths);
        assert_eq!(prefix("192.0.2.1", (24, 64)), prefix("192.0.2.9", (24, 64)));
        assert_ne!(prefix("192.0.2.1", (32, 64)), prefix("192.0.2.9", (32, 64)));
        assert_eq!(prefix("2001:db8::1", (32, 64)), prefix("2001:db8::ffff:9", (32, 64)));
        assert_ne!(prefix("2001:db8::1", (32, 64)), prefix("2001:db8:0:1::1", (32, 64)));
        assert_eq!(prefix("::ffff:192.0.2.1", (32, 64)), prefix("192.0.2.1", (32, 64)));
        assert_ne!(prefix("192.0.2.1", (0, 0)), prefix("2001:db8::1", (0, 0)));
    }

    #[test]
    fn the_port_is_no_part_of_the_host() {
        for (authority, host) in [
            ("example.org", "example.org"),
            ("example.org:8443", "example.org"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
