//! Parses single values of the configuration. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_net::canonical;

use super::{Hook, LogRate, RatePeriod, RejectWith};

/// Longest name of a table, chain or set, in bytes.
// The kernel's limit is 256 with the final zero.
pub(super) const LONGEST_NAME: usize = 255;
/// Longest prefix of set names in managed mode, in bytes.
// A separator and an origin or list name follow, which are cut if they are longer than the rest.
pub(super) const LONGEST_SET_PREFIX: usize = 128;
/// Longest log prefix, in bytes.
// The kernel's limit is 128 with the final zero.
pub(super) const LONGEST_LOG_PREFIX: usize = 127;
/// Longest interface name, in bytes.
// The kernel's limit is 16 with the final zero.
const LONGEST_INTERFACE: usize = 15;

/// Parses a hook.
pub(super) fn hook(word: &str) -> Result<Hook, String> {
    if let Some(hook) = Hook::ALL.into_iter().find(|hook| hook.as_str().eq_ignore_ascii_case(word)) {
        return Ok(hook);
    }
    let known = Hook::ALL.map(Hook::as_str).join(", ");
    // The stock bouncer accepts any text. `ingress`, and each mistyped name, becomes prerouting.
    Err(if word.eq_ignore_ascii_case("ingress") {
        "ingress is no hook of the ip and ip6 tables (the stock bouncer silently takes prerouting instead); \
         write prerouting"
            .to_owned()
    } else {
        format!("unknown hook; it must be one of {known}")
    })
}

/// Parses `reject_with`; nft's spellings are accepted too.
pub(super) fn reject_with(word: &str) -> Option<RejectWith> {
    let word = word.to_ascii_lowercase().replace(['_', ' '], "-");
    let word = word.strip_prefix("icmpx-").or_else(|| word.strip_prefix("icmp-")).unwrap_or(&word);
    Some(match word {
        "port-unreachable" => RejectWith::PortUnreachable,
        "admin-prohibited" => RejectWith::AdminProhibited,
        "host-unreachable" => RejectWith::HostUnreachable,
        "tcp-reset" => RejectWith::TcpReset,
        _ => return None,
    })
}

/// Parses `10/second` or `unlimited`; `None` when it is neither.
pub(super) fn log_rate(text: &str) -> Option<Option<LogRate>> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unlimited") {
        return Some(None);
    }
    let (packets, per) = text.split_once('/')?;
    let per = match per.trim().to_ascii_lowercase().as_str() {
        "s" | "sec" | "second" => RatePeriod::Second,
        "m" | "min" | "minute" => RatePeriod::Minute,
        "h" | "hour" => RatePeriod::Hour,
        "d" | "day" => RatePeriod::Day,
        _ => return None,
    };
    let packets = packets.trim().parse().ok().filter(|packets| *packets > 0)?;
    Some(Some(LogRate { packets, per }))
}

/// The problem with a name of a table, chain or set.
pub(super) fn name_fault(name: &str, longest: usize) -> Option<String> {
    if name.len() > longest {
        return Some(format!(
            "this name has {} bytes and the kernel leaves room for {longest}; choose a shorter one, for example \
             crowdsec-set",
            name.len()
        ));
    }
    let mut chars = name.chars();
    // The kernel accepts any byte. `nft` must be able to read the name, in our commands and in a ruleset that the
    // operator saves.
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || !chars.all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) {
        return Some(
            "nft cannot read this name; it must begin with a letter and go on with letters, digits, `-`, `_`, `.` or `/`"
                .to_owned(),
        );
    }
    None
}

/// The problem with the name of an interface, which may end in `*`.
pub(super) fn interface_fault(name: &str) -> Option<&'static str> {
    let bare = name.strip_suffix('*').unwrap_or(name);
    if bare.is_empty() {
        return Some("an interface name is missing; every interface would be let through");
    }
    if bare.len() > LONGEST_INTERFACE {
        return Some("no interface name is longer than 15 bytes");
    }
    // What the kernel refuses in a name, and what would end the string in a command of `nft`.
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '"' | '*');
    bare.contains(odd).then_some("no interface can have this name; `ip link` lists those there are")
}

/// Parses an address or prefix to let through. The flag is set if there were bits beyond the prefix.
pub(super) fn allowed_net(text: &str) -> Option<(IpNet, bool)> {
    let text = text.trim();
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some((canonical(net), net != net.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let rate = |packets, per| Some(Some(LogRate { packets, per }));
        for (text, expected) in [
            ("10/second", rate(10, RatePeriod::Second)),
            (" 5 / Minute", rate(5, RatePeriod::Minute)),
            ("1/h", rate(1, RatePeriod::Hour)),
            ("7/day", rate(7, RatePeriod::Day)),
            ("unlimited", Some(None)),
            ("0/second", None),
            ("10", None),
            ("-1/second", None),
            ("10/week", None),
        ] {
            assert_eq!(log_rate(text), expected, "{text}");
        }
    }

    #[test]
    fn names() {
        for name in ["crowdsec", "crowdsec6-blacklists", "_x", "a/b.c"] {
            assert_eq!(name_fault(name, LONGEST_NAME), None, "{name}");
        }
        for name in ["", "-x", "6to4", "two words", "a:b", "größe", "x;flush ruleset"] {
            assert!(name_fault(name, LONGEST_NAME).is_some(), "{name}");
        }
        let long = "x".repeat(256);
        assert!(name_fault(&long, LONGEST_NAME).unwrap().contains("256 bytes"));
        assert_eq!(name_fault(&long[1..], LONGEST_NAME), None);
    }

    #[test]
    fn interfaces() {
        for name in ["eth0", "wg*", "br-0123456789ab", "vlan.10", "tun:1"] {
            assert_eq!(interface_fault(name), None, "{name}");
        }
        for name in ["", "*", "a b", "eth0/1", "sixteen-bytes-no", "x\"y", "e*h0"] {
            assert!(interface_fault(name).is_some(), "{name}");
        }
    }

    #[test]
    fn allowed_nets() {
        for (text, net, cleared) in [
            ("192.0.2.1", "192.0.2.1/32", false),
            ("192.0.2.0/24", "192.0.2.0/24", false),
            ("192.0.2.1/24", "192.0.2.0/24", true),
            ("::ffff:192.0.2.1", "192.0.2.1/32", false),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24", false),
            ("::/0", "::/0", false),
            ("2001:db8::1", "2001:db8::1/128", false),
        ] {
            assert_eq!(allowed_net(text), Some((net.parse().unwrap(), cleared)), "{text}");
        }
        for text in ["", "localhost", "192.0.2.1/33", "192.0.2"] {
            assert_eq!(allowed_net(text), None, "{text}");
        }
    }
}
