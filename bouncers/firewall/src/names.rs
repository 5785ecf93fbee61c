//! Names of the objects in the kernel, and the way back from a set's name to the origin it stands for.
//!
//! Names are the stock bouncer's (`<set>-<origin>`, `<chain>-<hook>`), so that dashboards and habits keep
//! working. What it does not have is named with a dot where it has a dash, which no origin can imitate:
//! `<set>.ranges-<origin>`, `<set>.allow`.

use crate::config::{Family, Hook};

/// Counter of every packet that enters one of our chains.
pub(crate) const PROCESSED: &str = "processed";

/// The kernel's limit is 256 with the final zero.
const NAME_BYTES: usize = 255;

/// What a set of ours holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Single addresses of one origin.
    Hosts,
    /// Disjoint ranges of one origin.
    Ranges,
}

/// Name of the host set of a source; also the name of its counter. A source is an origin, or `lists:<name>`.
pub(crate) fn host_set(family: &Family, source: &str) -> String {
    fit(format!("{}-{}", family.set, suffix(source)))
}

/// Name of the range set of a source.
pub(crate) fn range_set(family: &Family, source: &str) -> String {
    fit(format!("{}.ranges-{}", family.set, suffix(source)))
}

/// Name of the set of what is let through.
pub(crate) fn allow_set(family: &Family) -> String {
    format!("{}.allow", family.set)
}

/// Name of the base chain of a hook.
pub(crate) fn chain(family: &Family, hook: Hook) -> String {
    format!("{}-{hook}", family.chain)
}

/// The source a set of a managed table stands for; `None` when the set is not one of ours.
pub(crate) fn source_of(family: &Family, set: &str) -> Option<(String, Holds)> {
    let rest = set.strip_prefix(family.set.as_str())?;
    if let Some(suffix) = rest.strip_prefix(".ranges-") {
        Some((source(suffix), Holds::Ranges))
    } else {
        Some((source(rest.strip_prefix('-')?), Holds::Hosts))
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

/// Writes every byte that `nft` could not reload as `_xHH_`, and the underscore of anything that looks like that.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let imitates = byte == b'_' && escaped_byte(&text.as_bytes()[at..]).is_some();
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

/// Cuts a name that is too long and makes it unique again by a hash of the whole.
fn fit(name: String) -> String {
    if name.len() <= NAME_BYTES {
        return name;
    }
    // FNV-1a, 64 bit: stable over releases, which std's hasher does not promise.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
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
            assert_eq!(source_of(&family(), name), Some((source.to_owned(), Holds::Hosts)));
        }
        assert_eq!(chain(&family(), Hook::Input), "crowdsec-chain-input");
    }

    #[test]
    fn nothing_else_is_taken_for_ours() {
        for name in ["crowdsec-blacklists", "crowdsec-blacklists.allow", "mine", "crowdsec-blacklists2-CAPI"]
        {
            assert_eq!(source_of(&family(), name), None, "{name}");
        }
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
            for holds in [Holds::Hosts, Holds::Ranges] {
                let name = match holds {
                    Holds::Hosts => host_set(&family(), &text),
                    Holds::Ranges => range_set(&family(), &text),
                };
                prop_assert!(name.bytes().all(is_plain));
                prop_assert_eq!(source_of(&family(), &name), Some((text.clone(), holds)));
            }
        }
    }
}
