//! Represents a packet of which only a part is known, and the registers that rules load it into.
//!
//! Pure.

use std::net::IpAddr;

use super::ruleset::Content;
use crate::clause::Side;
use crate::netlink::nfproto;

/// Bytes of the registers: the verdict's, and sixteen of four bytes.
const REGISTER_BYTES: usize = 80;

/// A state of `ct state`: the first packet of a connection.
const STATE_NEW: u32 = 8;

/// What is known of a packet.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    family: u8,
    network: [Option<u8>; 40],
    transport: [Option<u8>; 8],
    protocol: Option<u8>,
}

impl Packet {
    /// The first packet of a connection, with this address on one side; the other is unknown. `port` is the protocol's
    /// number and the destination port.
    pub(crate) fn new(address: IpAddr, side: Side, port: Option<(u8, u16)>) -> Self {
        let (family, source, destination, protocol) = match address {
            // Offsets of source, destination and protocol in the network header.
            IpAddr::V4(_) => (nfproto::IPV4, 12, 16, 9),
            IpAddr::V6(_) => (nfproto::IPV6, 8, 24, 6),
        };
        let mut packet = Self { family, network: [None; 40], transport: [None; 8], protocol: None };
        let at = if side == Side::Source { source } else { destination };
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        for (known, octet) in packet.network[at..].iter_mut().zip(octets) {
            *known = Some(octet);
        }
        if let Some((number, port)) = port {
            packet.protocol = Some(number);
            packet.network[protocol] = Some(number);
            // Packets to the address are responses, so the port is their source port.
            let at = if side == Side::Source { 2 } else { 0 };
            for (known, octet) in packet.transport[at..].iter_mut().zip(port.to_be_bytes()) {
                *known = Some(octet);
            }
        }
        packet
    }

    /// What a rule would load, byte by byte; `None` where it is unknown.
    pub(crate) fn load(&self, content: &Content) -> Vec<Option<u8>> {
        let known = |bytes: &[u8]| bytes.iter().copied().map(Some).collect();
        let part = |header: &[Option<u8>], offset: usize, length: usize| {
            (offset..offset + length).map(|at| header.get(at).copied().flatten()).collect()
        };
        match content {
            Content::Network(offset, length) => part(&self.network, *offset, *length),
            Content::Transport(offset, length) => part(&self.transport, *offset, *length),
            Content::EtherType if self.family == nfproto::IPV4 => known(&[0x08, 0x00]),
            Content::EtherType => known(&[0x86, 0xdd]),
            Content::Family => known(&[self.family]),
            Content::TransportProtocol => vec![self.protocol],
            Content::ConnectionState => known(&STATE_NEW.to_ne_bytes()),
            Content::Constant(bytes) => known(bytes),
            Content::Interface => vec![None; 16],
            Content::Unknown(length) => vec![None; (*length).min(REGISTER_BYTES)],
        }
    }
}

/// Registers of which some bytes are unknown.
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    bytes: [Option<u8>; REGISTER_BYTES],
    /// Where an interface was loaded.
    interface: Option<usize>,
}

impl Default for Registers {
    fn default() -> Self {
        Self { bytes: [None; REGISTER_BYTES], interface: None }
    }
}

impl Registers {
    /// Makes all of them unknown.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Notes that a register has the name or number of an interface.
    pub(crate) fn holds_interface(&mut self, register: u32) {
        self.interface = Some(Self::start(register));
    }

    /// Whether a register has the name or number of an interface.
    pub(crate) fn is_interface(&self, register: u32) -> bool {
        self.interface == Some(Self::start(register))
    }

    fn start(register: u32) -> usize {
        let register = register as usize;
        // Registers 1 to 4 have 16 bytes; from 8 on they name the same bytes in words of four.
        if register < 8 { register * 16 } else { 16 + (register - 8) * 4 }
    }

    pub(crate) fn store(&mut self, register: u32, mut value: Vec<Option<u8>>) {
        // The kernel clears the rest of the last word, and rules compare with it.
        value.resize(value.len().next_multiple_of(4), Some(0));
        let start = Self::start(register);
        for (at, byte) in value.into_iter().enumerate() {
            if let Some(place) = self.bytes.get_mut(start + at) {
                *place = byte;
            }
        }
        // Overwritten.
        if self.interface == Some(start) {
            self.interface = None;
        }
    }

    /// The first `length` bytes of a register.
    pub(crate) fn get(&self, register: u32, length: usize) -> Vec<Option<u8>> {
        let start = Self::start(register);
        (start..start + length).map(|at| self.bytes.get(at).copied().flatten()).collect()
    }

    /// The value, if all of it is known.
    pub(crate) fn known(&self, register: u32, length: usize) -> Option<Vec<u8>> {
        self.get(register, length).into_iter().collect()
    }
}
