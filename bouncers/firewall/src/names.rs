//! Names the objects in the kernel, and derives from a set's name what it holds. Pure.
//!
//! Names are the stock bouncer's (`<set>-<origin>`, `<chain>-<hook>`), so that dashboards and habits keep working. What
//! it does not have is named with a dot where it has a dash, which no origin can imitate: `<set>.ranges-<prefix
//! length>`, `<set>.gate-<width>`, `<set>.inner-<width>`, `<set>.front-<width>`, `<set>.allow`, `<chain>.source`,
//! `<chain>.source.front`, `<chain>.source.gate-<width>`, `<chain>.source.inner-<width>`, `<chain>.deny`.

use crate::config::{Family, Hook};

/// Counter of every packet that enters one of our chains.
pub(crate) const PROCESSED: &str = "processed";

/// Longest name, in bytes.
// The kernel's limit is 256 with the final zero.
const NAME_BYTES: usize = 255;

/// The content of a set of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Single addresses of one source.
    Hosts(String),
    /// Ranges of one prefix length.
    Ranges(u8),
    /// Cells of one width that any decision touches.
    Gate(u8),
    /// Cells of one width that decisions of one group touch.
    InnerGate(u8),
    /// Cells of one width that hold any cell of other gates.
    FrontGate(u8),
    /// Exempt addresses.
    Allow,
    /// The ranges of one source as intervals: what releases before 0.2 had.
    FormerRanges(String),
}

/// Name of the host set of a source; also the name of its counter. A source is an origin, or `lists:<name>`.
pub(crate) fn host_set(family: &Family, source: &str) -> String {
    fit(format!("{}-{}", family.set, suffix(source)))
}

/// Name of the map of ranges of one prefix length.
pub(crate) fn range_map(family: &Family, length: u8) -> String {
    format!("{}.ranges-{length}", family.set)
}

pub(crate) fn gate(family: &Family, width: u8) -> String {
    format!("{}.gate-{width}", family.set)
}

pub(crate) fn inner_gate(family: &Family, width: u8) -> String {
    format!("{}.inner-{width}", family.set)
}

pub(crate) fn front_gate(family: &Family, width: u8) -> String {
    format!("{}.front-{width}", family.set)
}

pub(crate) fn allow_set(family: &Family) -> String {
    format!("{}.allow", family.set)
}

/// Name of the base chain of a hook.
pub(crate) fn chain(family: &Family, hook: Hook) -> String {
    format!("{}-{hook}", family.chain)
}

/// Name of the chain that looks for decisions on one side of a packet: `source` or `destination`.
pub(crate) fn side_chain(family: &Family, side: &str) -> String {
    format!("{}.{side}", family.chain)
}

/// Name of the chain that looks into the gates behind the front gate.
pub(crate) fn front_chain(family: &Family, side: &str) -> String {
    format!("{}.{side}.front", family.chain)
}

/// Name of the chain that looks for decisions behind one of the gates that are wider than the main one.
pub(crate) fn gate_chain(family: &Family, side: &str, width: u8) -> String {
    format!("{}.{side}.gate-{width}", family.chain)
}

/// Name of the chain that looks for decisions behind the inner gate of one width.
pub(crate) fn inner_chain(family: &Family, side: &str, width: u8) -> String {
    format!("{}.{side}.inner-{width}", family.chain)
}

/// Name of the chain that logs and denies.
pub(crate) fn deny_chain(family: &Family) -> String {
    format!("{}.deny", family.chain)
}

/// What a set of a managed table holds, by its name; `None` when the name is not one of ours.
pub(crate) fn holds(family: &Family, set: &str) -> Option<Holds> {
    let rest = set.strip_prefix(family.set.as_str())?;
    // Only as we write it: `.gate-07` would come back as another name.
    let number = |text: &str| text.parse::<u8>().ok().filter(|n| n.to_string() == text && *n <= 128);
    if rest == ".allow" {
        Some(Holds::Allow)
    } else if let Some(width) = rest.strip_prefix(".gate-") {
        number(width).map(Holds::Gate)
    } else if let Some(width) = rest.strip_prefix(".inner-") {
        number(width).map(Holds::InnerGate)
    } else if let Some(width) = rest.strip_prefix(".front-") {
        number(width).map(Holds::FrontGate)
    } else if let Some(suffix) = rest.strip_prefix(".ranges-") {
        // Both have this form: maps of ranges by length, and sets of ranges by source of releases before 0.2.
        Some(number(suffix).map_or_else(|| Holds::FormerRanges(source(suffix)), Holds::Ranges))
    } else {
        Some(Holds::Hosts(source(rest.strip_prefix('-')?)))
    }
}

fn suffix(source: &str) -> String {
    match source.strip_prefix("lists:") {
        Some(list) => escape(&format!("lists-{list}")),
        None => escape(source),
    }
}

fn source(suffix: &str) -> String {
    let plain = unescape(suffix);
    match plain.strip_prefix("lists-") {
        Some(list) => format!("lists:{list}"),
        None => plain,
    }
}

/// Whether `nft` reads a name with this byte back from a saved ruleset.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/')
}

/// Writes every byte that `nft` cannot read back as `_xHH_`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        // An underscore that begins such a sequence is escaped as well, so that each name comes back as the source it
        // was made from.
        let imitates = byte == b'_' && escaped_byte(&text.as_bytes()[at..]).is_some();
        // The kernel takes any byte, but `nft -f` cannot load a saved ruleset with a blank or a colon in a name.
        if is_plain(byte) && !imitates {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_x{byte:02X}_"));
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some(&byte) = rest.first() {
        let (value, width) = escaped_byte(rest).map_or((byte, 1), |value| (value, 5));
        out.push(value);
        rest = &rest[width..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The byte that `_xHH_` at the start of `text` stands for.
fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'_', b'x', high, low, b'_', ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_lowercase());
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// FNV-1a, 64 bit.
// Not the hasher of std: cut names stay in the kernel over releases, so their hash must not change.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Cuts a name that is too long, and makes it unique again by a hash of the whole.
fn fit(name: String) -> String {
    if name.len() <= NAME_BYTES {
        return name;
    }
    let hash = fnv1a(name.as_bytes());
    // Only ASCII is left after escaping; a prefix from the configuration may hold more.
    let mut cut = NAME_BYTES - 18;
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}_h{hash:016x}", &name[..cut])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn family() -> Family {
        Family {
            table: "crowdsec".into(),
            chain: "crowdsec-chain".into(),
            set: "crowdsec-blacklists".into(),
            priority: -10,
            set_only: false,
            exclusive: false,
        }
    }

    #[test]
    fn stock_names_are_kept() {
        for (source, name) in [
            ("CAPI", "crowdsec-blacklists-CAPI"),
            ("cscli-import", "crowdsec-blacklists-cscli-import"),
            ("lists:firehol_greensnow", "crowdsec-blacklists-lists-firehol_greensnow"),
            ("lists:my list:2", "crowdsec-blacklists-lists-my_x20_list_x3A_2"),
        ] {
            assert_eq!(host_set(&family(), source), name);
            assert_eq!(holds(&family(), name), Some(Holds::Hosts(source.to_owned())));
        }
        assert_eq!(chain(&family(), Hook::Input), "crowdsec-chain-input");
    }

    #[test]
    fn nothing_else_is_taken_for_ours() {
        for name in ["crowdsec-blacklists", "crowdsec-blacklists.gate-x", "mine", "crowdsec-blacklists2-CAPI"]
        {
            assert_eq!(holds(&family(), name), None, "{name}");
        }
    }

    #[test]
    fn each_name_of_ours_comes_back() {
        for length in 0..=128 {
            assert_eq!(holds(&family(), &range_map(&family(), length)), Some(Holds::Ranges(length)));
            assert_eq!(holds(&family(), &gate(&family(), length)), Some(Holds::Gate(length)));
            assert_eq!(holds(&family(), &inner_gate(&family(), length)), Some(Holds::InnerGate(length)));
            assert_eq!(holds(&family(), &front_gate(&family(), length)), Some(Holds::FrontGate(length)));
        }
        assert_eq!(holds(&family(), &allow_set(&family())), Some(Holds::Allow));
        let former = holds(&family(), "crowdsec-blacklists.ranges-lists-my_x20_list");
        assert_eq!(former, Some(Holds::FormerRanges("lists:my list".into())));
    }

    #[test]
    fn long_names_fit_and_stay_apart() {
        let (a, b) = (format!("lists:{}a", "x".repeat(400)), format!("lists:{}b", "x".repeat(400)));
        assert_eq!(host_set(&family(), &a).len(), NAME_BYTES);
        assert_ne!(host_set(&family(), &a), host_set(&family(), &b));
    }

    proptest! {
        #[test]
        fn every_source_comes_back(text in "[ -~äß_x0-9A-F]{0,20}") {
            prop_assume!(!text.starts_with("lists-"));
            let name = host_set(&family(), &text);
            prop_assert!(name.bytes().all(is_plain));
            prop_assert_eq!(holds(&family(), &name), Some(Holds::Hosts(text)));
        }
    }
}
