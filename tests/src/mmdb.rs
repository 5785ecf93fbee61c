//! Writes small databases of addresses in MaxMind's format, for countries and autonomous systems.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::outcome::{Doing, Outcome};

/// The place of a network.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// An ISO code, as `country.iso_code`.
    Country(&'a str),
    /// An ISO code, only as `registered_country.iso_code`.
    RegisteredCountry(&'a str),
    /// A number, as `autonomous_system_number`.
    System(u32),
}

/// Bytes between the tree and the data.
const SEPARATOR: usize = 16;

/// Writes a database of these networks to `path`.
///
/// # Errors
/// When a network is none, or the file cannot be written.
pub fn write_mmdb(path: &Path, places: &[(&str, Place<'_>)]) -> Outcome {
    let (mut tree, mut data) = (Tree::default(), Vec::new());
    for (network, place) in places {
        let offset = data.len();
        encode_place(&mut data, *place);
        tree.insert(network.parse()?, offset);
    }
    let mut file = tree.bytes();
    file.extend([0; SEPARATOR]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    encode_metadata(&mut file, tree.nodes.len());
    std::fs::write(path, file).doing(format_args!("writing {}", path.display()))
}

#[derive(Debug, Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A binary tree over the bits of IPv6 addresses; IPv4 is below `::/96`.
struct Tree {
    nodes: Vec<[Record; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![[Record::Nothing; 2]] }
    }
}

impl Tree {
    fn insert(&mut self, network: IpNet, offset: usize) {
        let (bits, length) = match network.network() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + network.prefix_len()),
            IpAddr::V6(address) => (address.to_bits(), network.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][side] = Record::Data(offset);
            } else if let Record::Node(next) = self.nodes[node][side] {
                node = next;
            } else {
                self.nodes.push([Record::Nothing; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Record::Node(next);
                node = next;
            }
        }
    }

    /// Records of 24 bits.
    fn bytes(&self) -> Vec<u8> {
        let number = |record: &Record| match record {
            Record::Nothing => self.nodes.len(),
            Record::Node(node) => *node,
            Record::Data(offset) => self.nodes.len() + SEPARATOR + offset,
        };
        let records = self.nodes.iter().flatten();
        records.flat_map(|record| (number(record) as u32).to_be_bytes()[1..].to_vec()).collect()
    }
}

fn encode_place(out: &mut Vec<u8>, place: Place<'_>) {
    map(out, 1);
    match place {
        Place::Country(code) => {
            text(out, "country");
            map(out, 1);
            text(out, "iso_code");
            text(out, code);
        }
        Place::RegisteredCountry(code) => {
            text(out, "registered_country");
            map(out, 1);
            text(out, "iso_code");
            text(out, code);
        }
        Place::System(system) => {
            text(out, "autonomous_system_number");
            number(out, 6, system);
        }
    }
}

fn encode_metadata(out: &mut Vec<u8>, nodes: usize) {
    map(out, 9);
    for (name, kind, value) in [
        ("node_count", 6, nodes as u32),
        ("record_size", 5, 24),
        ("ip_version", 5, 6),
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
    ] {
        text(out, name);
        number(out, kind, value);
    }
    text(out, "build_epoch");
    // An extended type (uint64) of four bytes.
    out.extend([4, 9 - 7]);
    out.extend(1_700_000_000_u32.to_be_bytes());
    text(out, "database_type");
    text(out, "Palisade-Test");
    text(out, "languages");
    // An extended type (array) without elements.
    out.extend([0, 11 - 7]);
    text(out, "description");
    map(out, 0);
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(7 << 5 | entries);
}

/// A text of at most 28 bytes.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(2 << 5 | text.len() as u8);
    out.extend(text.as_bytes());
}

/// A number of type 5 (16 bits) or 6 (32 bits), without leading zeros.
fn number(out: &mut Vec<u8>, kind: u8, value: u32) {
    let bytes = value.to_be_bytes();
    let significant = &bytes[(value.leading_zeros() / 8) as usize..];
    out.push(kind << 5 | significant.len() as u8);
    out.extend(significant);
}
