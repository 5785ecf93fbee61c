//! Decides whether a request may read a list. Pure.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::ListAccess;

/// The answer to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It may read the list.
    Granted,
    /// It has to send a name and a password: 401.
    CredentialsNeeded,
    /// It may not read the list: 403.
    Denied,
}

/// Whether a peer with these headers may read a list. The peer is the one of the connection: header fields that name
/// another client are not read.
pub(super) fn access(list: &ListAccess, peer: Option<IpAddr>, headers: &HeaderMap) -> Access {
    let granted = match list {
        ListAccess::Open => true,
        ListAccess::Addresses(addresses) => peer.is_some_and(|peer| addresses.contains(peer)),
        ListAccess::Basic { user, password } => {
            let Some(sent) = headers.get(AUTHORIZATION) else { return Access::CredentialsNeeded };
            is_credentials(sent.as_bytes(), user, password.reveal())
        }
    };
    if granted { Access::Granted } else { Access::Denied }
}

fn is_credentials(header: &[u8], user: &str, password: &str) -> bool {
    let sent = header.split_at_checked(6).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"basic "));
    let sent = sent.and_then(|(_, encoded)| STANDARD.decode(encoded.trim_ascii()).ok());
    let Some(sent) = sent else { return false };
    // Digests are of one length, so the comparison shows neither content nor length.
    let expected = Sha256::digest(format!("{user}:{password}"));
    Sha256::digest(sent).ct_eq(&expected).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use palisade_client::Secret;

    use super::*;

    fn sent(value: Option<&str>) -> HeaderMap {
        value.map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap())).into_iter().collect()
    }

    #[test]
    fn basic_needs_the_right_name_and_password() {
        let list = ListAccess::Basic { user: "reader".into(), password: Secret::new("p:w") };
        for (header, expected) in [
            (None, Access::CredentialsNeeded),
            (Some(format!("Basic {}", STANDARD.encode("reader:p:w"))), Access::Granted),
            (Some(format!("basic {}", STANDARD.encode("reader:p:w"))), Access::Granted),
            (Some(format!("Basic {}", STANDARD.encode("reader:p:"))), Access::Denied),
            (Some(format!("Basic {}", STANDARD.encode(":"))), Access::Denied),
            (Some("Basic ".to_owned()), Access::Denied),
            (Some("Bearer x".to_owned()), Access::Denied),
            (Some(String::new()), Access::Denied),
        ] {
            assert_eq!(access(&list, None, &sent(header.as_deref())), expected, "{header:?}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_connection() {
        let prefixes = ["192.0.2.0/24", "::1"].map(|text| palisade_net::parse_prefix(text).unwrap());
        let list = ListAccess::Addresses(Box::new(prefixes.into_iter().collect()));
        for (peer, expected) in [
            (Some("192.0.2.9"), Access::Granted),
            (Some("::ffff:192.0.2.9"), Access::Granted),
            (Some("::1"), Access::Granted),
            (Some("198.51.100.1"), Access::Denied),
            (None, Access::Denied),
        ] {
            let peer = peer.map(|peer| peer.parse().unwrap());
            assert_eq!(access(&list, peer, &HeaderMap::new()), expected, "{peer:?}");
        }
        assert_eq!(access(&ListAccess::Open, None, &HeaderMap::new()), Access::Granted);
    }
}
