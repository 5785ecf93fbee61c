//! Parses single values of the configuration file. Pure.

use super::super::{ListenAddress, UpstreamAddress};

/// The longest name in DNS.
const LONGEST_HOST: usize = 253;

/// A lower-case host name or address, or `*.` and a name.
pub(super) fn host_pattern(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_ipv6 = name.starts_with('[')
        && name.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok();
    let is_name = !name.is_empty()
        && name.len() <= LONGEST_HOST
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    (is_ipv6 || is_name).then(|| lower.strip_suffix('.').unwrap_or(&lower).to_owned())
}

/// A path prefix in the form in which paths are matched; a slash at the end is optional.
pub(super) fn path_prefix(text: &str) -> Option<String> {
    let rest = text.strip_prefix('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'\\' | b';');
    let sound = rest.is_empty()
        || rest
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain));
    sound.then(|| format!("/{rest}"))
}

/// `HOST:PORT`, `unix:/PATH` or `systemd:NAME`.
pub(super) fn listen_address(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| ListenAddress::Unix(path.into()));
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        return (!name.is_empty()).then(|| ListenAddress::Inherited(name.to_owned()));
    }
    let (_, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some(ListenAddress::Tcp(text.to_owned()))
}

/// Whether TLS is used, and where an upstream is.
pub(super) fn upstream_url(text: &str) -> Option<(bool, UpstreamAddress)> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| (false, UpstreamAddress::Unix(path.into())));
    }
    let (tls, rest, default_port) = match text.split_once("://")? {
        ("http", rest) => (false, rest, 80),
        ("https", rest) => (true, rest, 443),
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if after.is_empty() { default_port } else { after.strip_prefix(':')?.parse().ok()? };
            return Some((tls, UpstreamAddress::Tcp { host: host.to_owned(), port }));
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default_port),
        },
    };
    let host = host_pattern(host).filter(|host| !host.starts_with('*'))?;
    Some((tls, UpstreamAddress::Tcp { host, port }))
}

/// `200`, or `200-399`.
pub(super) fn status_range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (100..=599).contains(&low).then_some(())?;
    (low <= high && high <= 599).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_without_port() {
        for (text, host) in [
            ("App.Example.org", Some("app.example.org")),
            ("*.example.org.", Some("*.example.org")),
            ("localhost", Some("localhost")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("a:80", None),
            ("", None),
            ("*", None),
            ("a..b", None),
            ("a/b", None),
        ] {
            assert_eq!(host_pattern(text).as_deref(), host, "{text}");
        }
    }

    #[test]
    fn path_prefixes_are_in_normal_form() {
        for (text, prefix) in [
            ("/", Some("/")),
            ("/api", Some("/api")),
            ("/api/", Some("/api")),
            ("/a/b", Some("/a/b")),
            ("api", None),
            ("/a//b", None),
            ("/../a", None),
            ("/%61", None),
            ("/a?b", None),
        ] {
            assert_eq!(path_prefix(text).as_deref(), prefix, "{text}");
        }
    }

    #[test]
    fn upstream_urls_name_a_host_or_a_socket() {
        let tcp = |host: &str, port| UpstreamAddress::Tcp { host: host.to_owned(), port };
        for (text, url) in [
            ("http://app:3000", Some((false, tcp("app", 3000)))),
            ("http://app:3000/", Some((false, tcp("app", 3000)))),
            ("https://app.example.org", Some((true, tcp("app.example.org", 443)))),
            ("http://[::1]:8080", Some((false, tcp("::1", 8080)))),
            ("unix:/run/app.sock", Some((false, UpstreamAddress::Unix("/run/app.sock".into())))),
            ("http://app/path", None),
            ("http://user@app", None),
            ("ftp://app", None),
            ("app:3000", None),
        ] {
            assert_eq!(upstream_url(text), url, "{text}");
        }
    }

    #[test]
    fn addresses_of_listeners_have_a_port() {
        for (text, is_valid) in [
            (":80", true),
            ("[::]:443", true),
            ("unix:/run/p.sock", true),
            ("systemd:web", true),
            ("80", false),
        ] {
            assert_eq!(listen_address(text).is_some(), is_valid, "{text}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        assert_eq!(status_range("200-399"), Some((200, 399)));
        assert_eq!(status_range("204"), Some((204, 204)));
        for text in ["", "2xx", "399-200", "99", "200-600"] {
            assert_eq!(status_range(text), None, "{text}");
        }
    }
}
