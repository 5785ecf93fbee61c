//! Parses the command line of `explain`. Pure.

use std::net::IpAddr;

use palisade_daemon::flags::{Command, Flag, Typed};

pub(crate) const EXPLAIN: Command = Command {
    name: "explain",
    words: &["address"],
    flags: &[
        Flag::valued("port", "number", "destination port: 443 or 443/tcp, 53/udp"),
        Flag::switch("json", "print JSON instead of text"),
    ],
    help: "what a packet from an address meets in the kernel, why, and where decisions differ",
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExplainedPacket {
    pub(crate) source: IpAddr,
    /// Its protocol and destination port.
    pub(crate) port: Option<(Protocol, u16)>,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("explain: {0:?} is not an address")]
    NotAnAddress(String),
    #[error("explain: {0:?} is not a port; write for example 443 or 53/udp")]
    NotAPort(String),
}

/// Parses the arguments.
///
/// # Errors
/// They are no packet.
pub(crate) fn parse(typed: &Typed) -> Result<ExplainedPacket, PacketError> {
    packet(typed.words().first().map(String::as_str).unwrap_or_default(), typed.value("port"))
}

fn packet(address: &str, port: Option<&str>) -> Result<ExplainedPacket, PacketError> {
    let source: IpAddr =
        // Only a part of the argument is printed: it may be anything, of any length.
        address.trim().parse().map_err(|_| PacketError::NotAnAddress(address.chars().take(80).collect()))?;
    let read = |text: &str| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        number.parse().ok().filter(|number| *number > 0).map(|number| (protocol, number))
    };
    let port = match port {
        None => None,
        Some(text) => Some(read(text).ok_or_else(|| PacketError::NotAPort(text.chars().take(80).collect()))?),
    };
    // An IPv4-mapped address is an IPv4 packet on the wire.
    Ok(ExplainedPacket { source: source.to_canonical(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_from_address_and_port() {
        for (address, port, source, expected) in [
            ("192.0.2.1", None, "192.0.2.1", None),
            ("::ffff:192.0.2.1", Some("443"), "192.0.2.1", Some((Protocol::Tcp, 443))),
            ("2001:db8::1", Some("53/udp"), "2001:db8::1", Some((Protocol::Udp, 53))),
            ("192.0.2.1", Some("22/tcp"), "192.0.2.1", Some((Protocol::Tcp, 22))),
        ] {
            let expected = ExplainedPacket { source: source.parse().unwrap(), port: expected };
            assert_eq!(packet(address, port), Ok(expected), "{address} {port:?}");
        }
        for (address, port, error) in [
            ("192.0.2.0/24", None, "explain: \"192.0.2.0/24\" is not an address"),
            ("192.0.2.1", Some("0"), "explain: \"0\" is not a port; write for example 443 or 53/udp"),
            ("192.0.2.1", Some("1/x"), "explain: \"1/x\" is not a port; write for example 443 or 53/udp"),
        ] {
            assert_eq!(packet(address, port).unwrap_err().to_string(), error);
        }
    }
}
