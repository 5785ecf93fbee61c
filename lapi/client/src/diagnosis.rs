//! Diagnoses failed requests: what happened, the likely cause, and the setting to check. Pure.

use std::error::Error;
use std::io;
use std::time::Duration;

use palisade_go_compat::go_errors;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};

use crate::SettingNames;
use crate::endpoint::Endpoint;

/// What is known about a connection, for messages.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionFacts {
    pub(crate) endpoint: Endpoint,
    pub(crate) names: SettingNames,
    /// Whether there is a client certificate.
    pub(crate) has_certificate: bool,
    /// Whether authorities besides the system's are trusted.
    pub(crate) has_ca: bool,
    pub(crate) connect_timeout: Duration,
    /// Whether requests go through the proxy of the environment.
    pub(crate) is_proxied: bool,
}

/// The kind of failure, as far as the error reveals it.
#[derive(Debug)]
enum Kind {
    /// The server's certificate cannot be verified.
    ServerCertificate(CertificateError),
    /// The server aborted the handshake because of the client's certificate, or the lack of one.
    ClientCertificate(AlertDescription),
    /// The server does not speak TLS.
    NoTls,
    /// Another failure of the handshake.
    Tls(String),
    /// The server does not speak HTTP.
    NoHttp,
    /// The host name cannot be resolved.
    Name,
    /// No answer to the connection.
    ConnectTimeout,
    /// The connection was established, and closed without a response.
    Closed,
    /// Anything else, such as a refused connection.
    Other,
}

impl ConnectionFacts {
    /// One line with the failure, the likely cause, and the innermost error, without repetitions. `is_timeout` tells
    /// that the time for connecting has passed.
    pub(crate) fn describe(&self, error: &(dyn Error + 'static), is_timeout: bool) -> String {
        let (endpoint, url) = (&self.endpoint, self.names.url());
        let innermost = innermost(error);
        match kind(error, endpoint, is_timeout) {
            Kind::ServerCertificate(problem) => self.server_certificate(&problem, &innermost),
            Kind::ClientCertificate(alert) if self.has_certificate => format!(
                "the LAPI at {endpoint} did not accept the client certificate in {} ({alert:?}); is it in force, and \
                 signed by the authority that the LAPI trusts for clients (`ca_cert_path` under `tls` in its \
                 configuration)?",
                self.names.key("cert_path")
            ),
            Kind::ClientCertificate(alert) => format!(
                "the LAPI at {endpoint} wants a client certificate ({alert:?}); set `cert_path` and {}",
                self.names.key("key_path")
            ),
            Kind::NoTls => format!(
                "what answers at {endpoint} does not speak TLS (server gave HTTP response to HTTPS client); should \
                 {url} begin with http:// instead of https://?"
            ),
            Kind::Tls(reason) => format!(
                "the LAPI at {endpoint} was reached, but TLS could not be agreed on ({reason}); does {url} name the \
                 port of another service, or begin with https:// where http:// is right?"
            ),
            Kind::NoHttp => format!(
                "what answers at {endpoint} does not speak HTTP; should {url} begin with https:// instead of \
                 http://, or does it name the port of another service?"
            ),
            Kind::Name => self.unresolved(error),
            Kind::ConnectTimeout => format!(
                "cannot reach the LAPI at {endpoint}: no answer within {} s (i/o timeout); does a firewall stand in \
                 between, and is {url} right?",
                self.connect_timeout.as_secs_f64().round()
            ),
            Kind::Closed => format!(
                "the LAPI at {endpoint} was reached, but closed the connection without an answer ({innermost}); is it \
                 restarting, or does {url} name the port of another service?"
            ),
            Kind::Other if endpoint.socket.is_some() => format!(
                "cannot reach the LAPI at the unix socket {endpoint}; is it running with this `listen_socket`, may \
                 this user open it, and is {url} right? ({innermost})"
            ),
            Kind::Other => {
                format!(
                    "cannot reach the LAPI at {endpoint}; is it running, and is {url} right? ({innermost})"
                )
            }
        }
    }

    /// The same for an error of the resolver.
    pub(crate) fn unresolved(&self, error: &(dyn Error + 'static)) -> String {
        let host = self.endpoint.host_and_port().map(|(host, _)| host).unwrap_or_default();
        format!(
            "the name in {} ({}) cannot be resolved: lookup {host}: {}; correct it",
            self.names.url(),
            self.endpoint,
            lookup_reason(error)
        )
    }

    fn server_certificate(&self, problem: &CertificateError, innermost: &str) -> String {
        use CertificateError as Bad;
        let (endpoint, url) = (&self.endpoint, self.names.url());
        match problem {
            Bad::UnknownIssuer if self.has_ca => format!(
                "the LAPI at {endpoint} has a certificate signed by unknown authority: by none in the file that {} \
                 names, and none of the system's; put that authority's certificate into the file",
                self.names.key("ca_cert_path")
            ),
            Bad::UnknownIssuer => format!(
                "the LAPI at {endpoint} has a certificate signed by unknown authority; put that authority's \
                 certificate into a file and name it in {}",
                self.names.key("ca_cert_path")
            ),
            Bad::NotValidForNameContext { expected, presented } => format!(
                "the certificate of the LAPI at {endpoint} is for another name than the one in {url}: certificate is \
                 valid for {}, not {}; write such a name into {url}, or give the LAPI a certificate for this one",
                plain_names(presented),
                server_name(expected)
            ),
            Bad::NotValidForName => format!(
                "the certificate of the LAPI at {endpoint} is for another name than the one in {url}: {innermost}"
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => format!(
                "the certificate of the LAPI at {endpoint} has expired, or this host's clock is wrong: {innermost}; \
                 renew it there"
            ),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => format!(
                "the certificate of the LAPI at {endpoint} is not yet valid, or this host's clock is wrong: {innermost}"
            ),
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => format!(
                "the certificate of the LAPI at {endpoint} is one of an authority (CA:TRUE), which is no server's; \
                 give the LAPI one that is signed by it"
            ),
            other => format!("the certificate of the LAPI at {endpoint} does not verify: {other}"),
        }
    }

    /// What to do about an error status: empty, or a clause that begins with a semicolon.
    pub(crate) fn advice(&self, status: u16, body: &[u8]) -> String {
        let url = self.names.url();
        let is_page = body.trim_ascii_start().starts_with(b"<");
        let is_json = body.trim_ascii_start().starts_with(b"{");
        match status {
            // The response of a Go server to plain HTTP on its TLS port.
            400 if contains(body, b"HTTP request to an HTTPS server") => {
                format!("; {url} must begin with https://")
            }
            404 | 405 if self.endpoint.is_below_version() => {
                format!("; leave `/v1` out of {url}, which is the LAPI's root")
            }
            502..=504 if !is_json => {
                format!("; a proxy answers, and not the LAPI behind it: is that running, and is {url} right?")
            }
            _ if is_page => format!("; that is a web server and no LAPI: is {url} right, its port too?"),
            404 | 405 if !is_json => format!("; does {url} lead to the LAPI's root?"),
            500.. => "; see its log".to_owned(),
            _ => String::new(),
        }
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// Names of a certificate as rustls lists them, `DnsName("a")`, without their kinds.
fn plain_names(presented: &[String]) -> String {
    let plain = presented.iter().map(|name| match name.split_once('(') {
        Some((_, inner)) => inner.trim_end_matches(')').trim_matches('"'),
        None => name,
    });
    let plain: Vec<&str> = plain.collect();
    if plain.is_empty() { "no name".to_owned() } else { plain.join(", ") }
}

fn server_name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

fn kind(error: &(dyn Error + 'static), endpoint: &Endpoint, is_timeout: bool) -> Kind {
    if let Some(tls) = find::<rustls::Error>(error) {
        use AlertDescription as Alert;
        return match tls {
            rustls::Error::InvalidCertificate(problem) => Kind::ServerCertificate(problem.clone()),
            // A plain HTTP response does not parse as a TLS record.
            rustls::Error::InvalidMessage(_) => Kind::NoTls,
            rustls::Error::AlertReceived(
                alert @ (Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::NoCertificate
                | Alert::AccessDenied
                // All alerts by which servers reject a certificate or its absence. Libraries differ in which one they
                // send.
                | Alert::DecryptError),
            ) => Kind::ClientCertificate(*alert),
            other => Kind::Tls(other.to_string()),
        };
    }
    let mut cause = Some(error);
    while let Some(inner) = cause {
        // By text, because neither hyper nor the resolver exports the type of these errors.
        let text = inner.to_string();
        if !endpoint.is_tls() && text.contains("invalid HTTP version") {
            return Kind::NoHttp;
        }
        if text.contains("tls handshake eof") {
            return Kind::Tls("the handshake was cut off: EOF".to_owned());
        }
        if text.starts_with("dns error") {
            return Kind::Name;
        }
        if text.contains("connection closed before message completed") {
            return Kind::Closed;
        }
        cause = inner.source();
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => {
            Kind::Closed
        }
        Some(io::ErrorKind::TimedOut) => Kind::ConnectTimeout,
        _ if is_timeout => Kind::ConnectTimeout,
        _ => Kind::Other,
    }
}

/// Why a name has no address, in Go's words where the resolver reports that there is no such name.
fn lookup_reason(error: &(dyn Error + 'static)) -> String {
    let text = innermost(error);
    match ["Name or service not known", "No address associated", "nodename nor servname"]
        .iter()
        .any(|words| text.contains(words))
    {
        true => "no such host".to_owned(),
        false => text.rsplit(": ").next().unwrap_or(&text).to_lowercase(),
    }
}

/// The first error of a type inside an error.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<T>().filter(|found| !is_wrapper(*found)) {
            return Some(found);
        }
        // An I/O error does not expose what it wraps as its `source`, and wrappers may be nested.
        let mut wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        while let Some(custom) = wrapped {
            let custom: &(dyn Error + 'static) = custom;
            if let Some(found) = custom.downcast_ref::<T>().filter(|found| !is_wrapper(*found)) {
                return Some(found);
            }
            wrapped = custom.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        }
        cause = inner.source();
    }
    None
}

/// Whether it is an I/O error of no kind of its own around another error.
fn is_wrapper(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|io| io.kind() == io::ErrorKind::Other && io.get_ref().is_some())
}

/// The innermost error as Go programs print it, because scripts search for that text: `connection refused`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    go_errors(&innermost.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(url: &str, has_certificate: bool) -> ConnectionFacts {
        ConnectionFacts {
            endpoint: Endpoint::parse(url).unwrap(),
            names: SettingNames::bouncer(),
            has_certificate,
            has_ca: false,
            connect_timeout: Duration::from_secs(10),
            is_proxied: false,
        }
    }

    #[test]
    fn the_setting_that_is_likely_wrong_is_named() {
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let alert = |alert| rustls::Error::AlertReceived(alert);
        let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let certificate = rustls::Error::InvalidCertificate;
        for (error, has_certificate, part) in [
            (alert(AlertDescription::UnknownCA), true, "client certificate in `cert_path`"),
            (alert(AlertDescription::CertificateRequired), false, "set `cert_path` and `key_path`"),
            (alert(AlertDescription::ProtocolVersion), false, "TLS could not be agreed on"),
            (certificate(CertificateError::UnknownIssuer), false, "name it in `ca_cert_path`"),
            (certificate(CertificateError::NotValidForName), false, "another name than the one in `api_url`"),
            (certificate(CertificateError::Expired), false, "has expired, or this host's clock is wrong"),
            (certificate(CertificateError::NotValidYet), false, "is not yet valid, or this host's clock"),
            (not_tls, false, "should `api_url` begin with http://"),
        ] {
            // At any depth.
            for error in [tls(error.clone()), io::Error::other(tls(error))] {
                let text = facts("https://lapi.example:8080", has_certificate).describe(&error, false);
                assert!(text.contains(part), "{text}");
                assert!(!text.contains("is it running") && !text.contains("cannot reach"), "{text}");
            }
        }
    }

    #[test]
    fn only_what_was_not_reached_is_called_so() {
        for (errno, is_timeout, part) in [
            (111, false, "is it running, and is `api_url` right? (connection refused)"),
            (113, false, "is it running, and is `api_url` right? (no route to host)"),
            (110, false, "no answer within 10 s (i/o timeout)"),
            (
                104,
                false,
                "was reached, but closed the connection without an answer (connection reset by peer)",
            ),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            let text = facts("http://lapi.example:8080", false).describe(&error, is_timeout);
            assert!(text.contains(part), "{text}");
            assert_eq!(text.contains("cannot reach"), errno != 104, "{text}");
        }
        let error = io::Error::from_raw_os_error(2);
        let text = facts("/run/none.sock", false).describe(&error, false);
        assert!(
            text.contains("unix socket /run/none.sock; is it running with this `listen_socket`"),
            "{text}"
        );
    }

    #[test]
    fn a_status_comes_with_the_next_step() {
        let page = b"<html><body>404</body></html>".as_slice();
        for (url, status, body, advice) in [
            ("http://l/v1/", 404, b"".as_slice(), "; leave `/v1` out of `api_url`, which is the LAPI's root"),
            ("http://l/v1/decisions", 404, b"", "; leave `/v1` out of `api_url`, which is the LAPI's root"),
            ("http://l/x", 404, b"", "; does `api_url` lead to the LAPI's root?"),
            ("http://l/", 404, page, "; that is a web server and no LAPI: is `api_url` right, its port too?"),
            ("http://l/", 403, page, "; that is a web server and no LAPI: is `api_url` right, its port too?"),
            (
                "http://l/",
                502,
                page,
                "; a proxy answers, and not the LAPI behind it: is that running, and is `api_url` right?",
            ),
            (
                "http://l/",
                400,
                b"Client sent an HTTP request to an HTTPS server.\n",
                "; `api_url` must begin with https://",
            ),
            ("http://l/", 500, br#"{"message":"m"}"#, "; see its log"),
            ("http://l/", 404, br#"{"message":"object not found"}"#, ""),
            ("http://l/", 422, br#"{"message":"m"}"#, ""),
        ] {
            assert_eq!(facts(url, false).advice(status, body), advice, "{url} {status}");
        }
    }
}
