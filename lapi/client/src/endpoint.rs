//! The parsed `api_url` setting: a LAPI's URL or unix socket.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use palisade_go_compat::unset_variable;
use url::{Host, Url};

use crate::{BuildError, SettingNames};

/// The address of a LAPI. Displays as configured, without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Ends in a slash. For a unix socket it is `http://unix/`, as Go's clients send it.
    base: Url,
    pub(crate) socket: Option<PathBuf>,
    shown: String,
}

impl Endpoint {
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        Self::parse_setting(text, &SettingNames::bouncer())
    }

    /// `names` has the name of the setting, for errors.
    pub(crate) fn parse_setting(text: &str, names: &SettingNames) -> Result<Self, BuildError> {
        let text = text.trim();
        let setting = names.url();
        let wrong =
            |reason: String| BuildError::Url { setting: setting.to_owned(), url: redacted(text), reason };
        if let Some(name) = unset_variable(text) {
            return Err(BuildError::UnsetVariable { setting: setting.to_owned(), name: name.to_owned() });
        }
        let path = text.strip_prefix("unix://").or_else(|| text.starts_with('/').then_some(text));
        if let Some(path) = path {
            if !path.starts_with('/') {
                return Err(wrong(
                    "a socket needs an absolute path, such as unix:///run/crowdsec.sock".into(),
                ));
            }
            // The kernel's limit on the path of a socket, including the final NUL.
            if path.len() >= 108 {
                return Err(wrong("a socket's path must be shorter than 108 bytes".into()));
            }
            // The host is not resolved. It is sent as `Host`, and `unix` is what Go's clients send.
            let base = Url::parse("http://unix/").expect("a constant that parses");
            return Ok(Self { base, socket: Some(PathBuf::from(path)), shown: path.to_owned() });
        }
        // Checked before parsing: `localhost:8080` is also a valid URL with the scheme `localhost`.
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut base = Url::parse(&with_scheme).map_err(|error| wrong(url_error(&with_scheme, error)))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("only http, https and unix sockets are spoken here".into()));
        }
        // Routes are appended to the path, so a query would be lost.
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("it must end before any `?` or `#`".into()));
        }
        // Without the slash `/lapi` and `v1/…` would become one segment.
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let shown = redacted(base.as_str());
        Ok(Self { base, socket: None, shown })
    }

    /// The URL of a route, such as `v1/decisions/stream`.
    pub(crate) fn route(&self, route: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{route}", self.base.path()));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// The name or address to connect to, and the port; `None` for a unix socket.
    pub(crate) fn host_and_port(&self) -> Option<(String, u16)> {
        let host = match self.base.host().filter(|_| self.socket.is_none())? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Some((host, self.base.port_or_known_default()?))
    }

    /// Whether the path begins at the version prefix of the routes, which is added to it.
    pub(crate) fn is_below_version(&self) -> bool {
        self.base.path_segments().is_some_and(|mut segments| segments.any(|segment| segment == "v1"))
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether it is this host, which is never reached through a proxy.
    pub(crate) fn is_local(&self) -> bool {
        self.socket.is_some()
            || match self.base.host() {
                Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
                Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
                // `::ffff:127.0.0.1` is this host as well.
                Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical().is_loopback(),
                None => false,
            }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Why a URL cannot be parsed, in Go's words where scripts search for them.
fn url_error(url: &str, error: url::ParseError) -> String {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    match (error, authority.rsplit_once(':')) {
        (url::ParseError::InvalidPort, Some((_, port))) => format!("invalid port \":{port}\" after host"),
        _ => error.to_string(),
    }
}

/// A URL without its user part.
pub(crate) fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority_end = rest.find('/').unwrap_or(rest.len());
    // Not by parsing: the text may be one that does not parse, and is about to be shown for that reason. The last
    // `@`, because a password may contain others.
    match rest[..authority_end].rfind('@') {
        Some(at) if scheme.is_empty() => format!("…{}", &rest[at..]),
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it_leads_to_the_same_route() {
        for (text, url, shown) in [
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/x?q=1", "http://127.0.0.1:8080/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/x?q=1", "http://127.0.0.1:8080/"),
            (" localhost:8080 ", "http://localhost:8080/v1/x?q=1", "http://localhost:8080/"),
            ("[::1]:8080", "http://[::1]:8080/v1/x?q=1", "http://[::1]:8080/"),
            (
                "https://lapi.example/crowdsec",
                "https://lapi.example/crowdsec/v1/x?q=1",
                "https://lapi.example/crowdsec/",
            ),
            ("/run/lapi.sock", "http://unix/v1/x?q=1", "/run/lapi.sock"),
            ("unix:///run/lapi.sock", "http://unix/v1/x?q=1", "/run/lapi.sock"),
            ("http://me:word@lapi:1/", "http://me:word@lapi:1/v1/x?q=1", "http://…@lapi:1/"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.route("v1/x", "q=1").as_str(), url);
            assert_eq!(endpoint.to_string(), shown);
        }
        assert_eq!(Endpoint::parse("h").unwrap().route("v1/x", "").as_str(), "http://h/v1/x");
    }

    #[test]
    fn what_is_no_lapi_address_is_refused() {
        for text in [
            "",
            "ftp://lapi/",
            "http://",
            "unix://run/x.sock",
            "http://lapi/?a=b",
            "http://lapi/#x",
            "http://la pi/",
        ] {
            assert!(matches!(Endpoint::parse(text), Err(BuildError::Url { .. })), "{text}");
        }
        assert!(Endpoint::parse(&format!("/{}", "x".repeat(107))).is_err());
        let error = Endpoint::parse("ftp://me:word@lapi/").unwrap_err().to_string();
        assert!(!error.contains("word"), "{error}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        for (text, name) in [
            ("$LAPI_URL", Some("LAPI_URL")),
            ("http://${LAPI_HOST}:8080/", Some("LAPI_HOST")),
            ("https://lapi:$PORT/", Some("PORT")),
            ("http://lapi/$/x", None),
        ] {
            match (Endpoint::parse(text), name) {
                (Err(error), Some(name)) => {
                    let text =
                        format!("the environment variable {name}, which `api_url` refers to, is not set");
                    assert!(error.to_string().starts_with(&text), "{error}");
                }
                (parsed, name) => assert!(parsed.is_ok() && name.is_none(), "{text}"),
            }
        }
        let error = Endpoint::parse("http://127.0.0.1:-80").unwrap_err().to_string();
        assert!(error.contains(r#"invalid port ":-80" after host"#), "{error}");
    }

    #[test]
    fn this_machine_is_recognised() {
        for (text, local) in [
            ("127.0.0.1:8080", true),
            ("127.1.2.3", true),
            ("LOCALHOST", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("/run/x.sock", true),
            ("192.0.2.1", false),
            ("localhost.example", false),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
