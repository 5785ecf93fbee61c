//! The names of a certificate, and which hosts they cover. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// The most names of one certificate that are used.
const MAX_NAMES: usize = 1_000;

/// The names of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Lower case.
    exact: Vec<String>,
    /// The part behind `*.`, lower case.
    wildcard: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// The names that `certificate` is valid for. Without any, its common name is used for choosing it, though clients
    /// ignore that one.
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names).take(MAX_NAMES) {
            match name {
                GeneralName::DNSName(name) => names.add(name),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        if names.is_empty()
            && let Some(common) = certificate.subject().iter_common_name().next()
            && let Ok(name) = common.as_str()
        {
            names.add(name);
        }
        names
    }

    #[cfg(test)]
    /// The one name `name`, which may begin with `*.`.
    pub(super) fn single(name: &str) -> Self {
        let mut names = Self::default();
        names.add(name);
        names
    }

    fn add(&mut self, name: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.push(parent.to_owned()),
            None => self.exact.push(name),
        }
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.addresses.is_empty()
    }

    /// Whether clients accept the certificate for `host`: a name or an address, without port, in any case.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if self.exact.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return true;
        }
        // A wildcard stands for exactly one label.
        if let Some((label, parent)) = host.split_once('.')
            && !label.is_empty()
            && self.wildcard.iter().any(|name| name.eq_ignore_ascii_case(parent))
        {
            return true;
        }
        !self.addresses.is_empty()
            && host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .is_ok_and(|a| self.addresses.contains(&a))
    }

    pub(super) fn exact(&self) -> &[String] {
        &self.exact
    }

    pub(super) fn wildcard_parents(&self) -> &[String] {
        &self.wildcard
    }

    /// All names as text.
    pub fn to_texts(&self) -> Vec<String> {
        let wildcard = self.wildcard.iter().map(|parent| format!("*.{parent}"));
        self.exact
            .iter()
            .cloned()
            .chain(wildcard)
            .chain(self.addresses.iter().map(ToString::to_string))
            .collect()
    }
}

/// `host` in the form that names are compared in, without allocating when it has it.
pub(super) fn canonical(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let names = Names::single("*.Example.org");
        for (host, covered) in [
            ("www.example.org", true),
            ("WWW.EXAMPLE.ORG", true),
            ("www.example.org.", true),
            ("example.org", false),
            (".example.org", false),
            ("a.b.example.org", false),
            ("wwwexample.org", false),
            ("", false),
        ] {
            assert_eq!(names.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn an_exact_name_covers_itself_in_any_case() {
        let names = Names::single("example.org");
        assert!(names.covers("Example.ORG"));
        assert!(!names.covers("www.example.org"));
        assert!(!names.covers("192.0.2.1"));
    }
}
