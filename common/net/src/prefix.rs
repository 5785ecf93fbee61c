//! The canonical form of prefixes.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// A text that is neither an address nor a prefix. Displayed as the stock server words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", stock_text(.0))]
pub struct InvalidAddress(pub String);

fn stock_text(text: &str) -> String {
    match text.contains('/') {
        true => format!("invalid ip range '{text}': invalid CIDR address: {text}"),
        false => format!("invalid ip address '{text}'"),
    }
}

/// Parses an address or a prefix into its canonical form; an address is the prefix of its full length.
///
/// # Errors
///
/// When the text is neither.
pub fn parse_prefix(text: &str) -> Result<IpNet, InvalidAddress> {
    let net =
        if text.contains('/') { text.parse().ok() } else { text.parse::<IpAddr>().ok().map(IpNet::from) };
    net.map(canonical).ok_or_else(|| InvalidAddress(text.to_owned()))
}

/// The prefix without host bits, and as IPv4 if it lies in the IPv4-mapped block: `::ffff:192.0.2.9/120` is
/// `192.0.2.0/24`. A prefix wider than that block stays IPv6.
pub fn canonical(net: IpNet) -> IpNet {
    if let IpNet::V6(six) = net
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Some(length) = six.prefix_len().checked_sub(96)
        && let Ok(four) = Ipv4Net::new(four, length)
    {
        return IpNet::V4(four.trunc());
    }
    net.trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations_of_one_prefix_are_one() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("2001:DB8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_prefix(text).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "FR", "192.0.2", "192.0.2.1/33", "192.0.2.1/+8", "192.0.2.1%eth0", " 192.0.2.1"] {
            assert_eq!(parse_prefix(text), Err(InvalidAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn errors_have_the_words_of_the_stock_server() {
        for (text, error) in [
            ("192.0.2", "invalid ip address '192.0.2'"),
            ("192.0.2.1/33", "invalid ip range '192.0.2.1/33': invalid CIDR address: 192.0.2.1/33"),
            ("x/y", "invalid ip range 'x/y': invalid CIDR address: x/y"),
        ] {
            assert_eq!(parse_prefix(text).unwrap_err().to_string(), error);
        }
    }
}
