//! What a decision applies to, with a sortable binary form for the store.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_cache::Target;

/// An address, a range, or the value of another scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// An address (a prefix of full length) or a range, without host bits; never an IPv4-mapped address.
    Net(IpNet),
    /// The value of any other scope, such as a country code.
    Name {
        /// The scope, such as `Country`.
        scope: Box<str>,
        /// The value, such as `FR`.
        value: Box<str>,
    },
}

/// Bytes are no stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stored value")]
pub struct ValueError;

const V4: u8 = 4;
const V6: u8 = 6;
const NAME: u8 = 9;

impl Value {
    /// Of a decision's scope and target.
    pub fn of(scope: &str, target: Target<'_>) -> Self {
        match target {
            Target::Net(net) => Self::Net(net),
            Target::Name(value) => Self::Name { scope: scope.into(), value: value.into() },
        }
    }

    /// `Ip`, `Range`, or the scope.
    pub fn scope(&self) -> &str {
        match self {
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => "Ip",
            Self::Net(_) => "Range",
            Self::Name { scope, .. } => scope,
        }
    }

    /// Its binary form: distinct for distinct values, and in the order in which they are stored.
    pub fn to_key(&self) -> Vec<u8> {
        match self {
            Self::Net(net) => {
                let mut key = Vec::with_capacity(18);
                match net.network() {
                    IpAddr::V4(address) => {
                        key.push(V4);
                        key.extend(address.octets());
                    }
                    IpAddr::V6(address) => {
                        key.push(V6);
                        key.extend(address.octets());
                    }
                }
                key.push(net.prefix_len());
                key
            }
            Self::Name { scope, value } => {
                let mut key = Vec::with_capacity(5 + scope.len() + value.len());
                key.push(NAME);
                key.extend(u32::try_from(scope.len()).unwrap_or(u32::MAX).to_be_bytes());
                key.extend(scope.as_bytes());
                key.extend(value.as_bytes());
                key
            }
        }
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn from_key(key: &[u8]) -> Result<Self, ValueError> {
        let (&kind, rest) = key.split_first().ok_or(ValueError)?;
        match (kind, rest) {
            (V4, &[a, b, c, d, length]) => net(Ipv4Addr::new(a, b, c, d).into(), length),
            (V6, [address @ .., length]) => {
                let octets: [u8; 16] = address.try_into().map_err(|_| ValueError)?;
                net(Ipv6Addr::from(octets).into(), *length)
            }
            (NAME, [a, b, c, d, texts @ ..]) => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                let (scope, value) = texts.split_at_checked(length).ok_or(ValueError)?;
                let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ValueError);
                Ok(Self::Name { scope: text(scope)?.into(), value: text(value)?.into() })
            }
            _ => Err(ValueError),
        }
    }
}

fn net(address: IpAddr, length: u8) -> Result<Value, ValueError> {
    IpNet::new(address, length).map(Value::Net).map_err(|_| ValueError)
}

/// The value alone, as CrowdSec writes it: an address without a length.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => Target::Net(*net).fmt(f),
            Self::Name { value, .. } => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_form_reads_back_and_nothing_else_does() {
        let name = |scope: &str, value: &str| Value::Name { scope: scope.into(), value: value.into() };
        let nets = ["192.0.2.1/32", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::1/128", "2001:db8::/32"];
        let nets = nets.map(|net| Value::Net(net.parse().unwrap()));
        let names = [name("Country", "FR"), name("", "x"), name("a", ""), name("Countr", "yFR")];
        for value in nets.into_iter().chain(names) {
            assert_eq!(Value::from_key(&value.to_key()), Ok(value));
        }
        for key in [&[][..], &[4, 1, 2, 3, 4], &[4, 1, 2, 3, 4, 33], &[6, 1], &[9, 0, 0, 0, 9, 1], &[7]] {
            assert_eq!(Value::from_key(key), Err(ValueError), "{key:?}");
        }
    }

    #[test]
    fn a_value_is_shown_as_crowdsec_writes_it() {
        for (net, scope, shown) in [
            ("192.0.2.1/32", "Ip", "192.0.2.1"),
            ("192.0.2.0/24", "Range", "192.0.2.0/24"),
            ("2001:db8::/64", "Range", "2001:db8::/64"),
        ] {
            let value = Value::Net(net.parse().unwrap());
            assert_eq!((value.scope(), value.to_string().as_str()), (scope, shown));
        }
    }
}
