//! Version 2: a binary header with extensions.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_HEADER, ProxiedAddresses, ProxyHeader, ProxyHeaderError, addresses, crc32c::crc32c};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const TLV_CRC32C: u8 = 0x03;
const TLV_UNIQUE_ID: u8 = 0x05;
const MAX_UNIQUE_ID: usize = 128;

pub(super) fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    // As soon as it is there: the connection may be of another kind.
    if bytes.get(SIGNATURE.len()).is_some_and(|command| !matches!(*command, LOCAL | PROXY)) {
        return Err(ProxyHeaderError::Version);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(block) = rest.get(..length - FIXED) else { return Ok(None) };
    if command == LOCAL {
        // Whatever the family and the block.
        return Ok(Some(ProxyHeader { length, addresses: None }));
    }
    let (found, extensions) = match family {
        0x11 => split(block).map(|(block, rest)| (Some(tcp4(block)), rest)),
        0x21 => split(block).map(|(block, rest)| (Some(tcp6(block)), rest)),
        // Unspecified.
        0x00 => return Ok(Some(ProxyHeader { length, addresses: None })),
        // UDP and unix sockets: no client of this connection.
        0x12 => split::<12>(block).map(|(_, rest)| (None, rest)),
        0x22 => split::<36>(block).map(|(_, rest)| (None, rest)),
        0x31 | 0x32 => split::<216>(block).map(|(_, rest)| (None, rest)),
        _ => return Err(ProxyHeaderError::Family),
    }
    .ok_or(ProxyHeaderError::Addresses)?;
    check_extensions(&bytes[..length], extensions)?;
    Ok(Some(ProxyHeader { length, addresses: found }))
}

fn split<const N: usize>(block: &[u8]) -> Option<(&[u8; N], &[u8])> {
    block.split_first_chunk()
}

fn tcp4(block: &[u8; 12]) -> ProxiedAddresses {
    let [a, b, c, d, e, f, g, h, p1, p2, q1, q2] = *block;
    let source = SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p1, p2])));
    addresses(source, SocketAddr::from((Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([q1, q2]))))
}

fn tcp6(block: &[u8; 36]) -> ProxiedAddresses {
    let number = |from: usize, bytes: usize| {
        block[from..from + bytes].iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte))
    };
    let end = |address: usize, port: usize| {
        SocketAddr::from((
            Ipv6Addr::from(number(address, 16)),
            u16::from_be_bytes([block[port], block[port + 1]]),
        ))
    };
    addresses(end(0, 32), end(16, 34))
}

/// Skips the extensions (TLVs), and verifies the checksum if there is one.
fn check_extensions(header: &[u8], mut extensions: &[u8]) -> Result<(), ProxyHeaderError> {
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = rest.split_at_checked(length).ok_or(ProxyHeaderError::Extensions)?;
        match kind {
            TLV_CRC32C => {
                let sum = <[u8; 4]>::try_from(value).map_err(|_| ProxyHeaderError::Extensions)?;
                // Computed with its own bytes as zeros.
                let (before, behind) =
                    (&header[..header.len() - after.len() - 4], &header[header.len() - after.len()..]);
                if crc32c(&[before, &[0; 4], behind]) != u32::from_be_bytes(sum) {
                    return Err(ProxyHeaderError::Checksum);
                }
            }
            TLV_UNIQUE_ID if length > MAX_UNIQUE_ID => return Err(ProxyHeaderError::Extensions),
            _ => {}
        }
        extensions = after;
    }
    if extensions.is_empty() { Ok(()) } else { Err(ProxyHeaderError::Extensions) }
}
