//! Diagnoses failed connections: the likely cause, and the setting to check. Pure.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::endpoint::Endpoint;

/// Names of settings in the file that the user edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SettingNames {
    pub(crate) url: &'static str,
    pub(crate) ca: &'static str,
    pub(crate) cert: &'static str,
}

impl SettingNames {
    /// A bouncer's configuration file.
    pub(crate) const BOUNCER: Self = Self { url: "api_url", ca: "ca_cert_path", cert: "cert_path" };
    /// A machine's credentials file.
    pub(crate) const MACHINE: Self = Self { url: "url", ..Self::BOUNCER };
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
    /// The server does not speak HTTP.
    NoHttp,
    /// The host name cannot be resolved.
    Name,
    /// Anything else, such as a refused connection.
    Other,
}

/// One line with the failure, the likely cause, and the innermost error, without repetitions.
pub(crate) fn describe(
    error: &(dyn Error + 'static),
    endpoint: &Endpoint,
    names: SettingNames,
    has_certificate: bool,
) -> String {
    let SettingNames { url, ca, cert } = names;
    let innermost = innermost(error);
    match kind(error, endpoint) {
        Kind::ServerCertificate(CertificateError::UnknownIssuer) => format!(
            "the LAPI at {endpoint} has a certificate signed by unknown authority; put that authority's certificate into a \
             file and name it in `{ca}`"
        ),
        Kind::ServerCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!(
            "the certificate of the LAPI at {endpoint} is for another name than the one in `{url}`: {innermost}"
        ),
        Kind::ServerCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!(
                "the certificate of the LAPI at {endpoint} has expired, or this host's clock is wrong: {innermost}"
            )
        }
        Kind::ServerCertificate(problem) => {
            format!("the certificate of the LAPI at {endpoint} does not verify: {problem}")
        }
        Kind::ClientCertificate(alert) if has_certificate => format!(
            "the LAPI at {endpoint} did not accept the client certificate in `{cert}` ({alert:?}); is it in force, and \
             signed by the authority that the LAPI trusts for clients (`ca_cert_path` under `tls` in its \
             configuration)?"
        ),
        Kind::ClientCertificate(alert) => format!(
            "the LAPI at {endpoint} wants a client certificate ({alert:?}); set `{cert}` and `key_path`"
        ),
        Kind::NoTls => format!(
            "what answers at {endpoint} does not speak TLS; should `{url}` begin with http:// instead of https://?"
        ),
        Kind::NoHttp => format!(
            "what answers at {endpoint} does not speak HTTP; should `{url}` begin with https:// instead of http://?"
        ),
        Kind::Name => {
            format!("the name in `{url}` ({endpoint}) cannot be resolved: {innermost}")
        }
        Kind::Other => {
            format!("cannot reach the LAPI at {endpoint}; is it running, and is `{url}` right? ({innermost})")
        }
    }
}

fn kind(error: &(dyn Error + 'static), endpoint: &Endpoint) -> Kind {
    if let Some(tls) = find_tls(error) {
        use AlertDescription as Alert;
        match tls {
            rustls::Error::InvalidCertificate(problem) => return Kind::ServerCertificate(problem.clone()),
            // A plain HTTP response does not parse as a TLS record.
            rustls::Error::InvalidMessage(_) => return Kind::NoTls,
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
            ) => return Kind::ClientCertificate(*alert),
            _ => {}
        }
    }
    let mut cause = Some(error);
    while let Some(inner) = cause {
        // By text, because neither hyper nor the resolver exports the type of these errors.
        let text = inner.to_string();
        if !endpoint.is_tls() && text.contains("invalid HTTP version") {
            return Kind::NoHttp;
        }
        if text.starts_with("dns error") {
            return Kind::Name;
        }
        cause = inner.source();
    }
    Kind::Other
}

/// The TLS error inside an error.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An I/O error does not expose what it wraps as its `source`, and wrappers may be nested.
        let mut wrapped = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        while let Some(custom) = wrapped {
            if let Some(tls) = custom.downcast_ref::<rustls::Error>() {
                return Some(tls);
            }
            wrapped = custom.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        }
        cause = inner.source();
    }
    None
}

/// The innermost error as Go programs print it, because scripts search for that text: `connection refused`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    // Rust prints `Connection refused (os error 111)`.
    let text = text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words);
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // Not `TLS …` and other abbreviations.
        (Some(first), Some(second)) if second.is_lowercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(error: io::Error, url: &str, has_certificate: bool) -> String {
        let endpoint = Endpoint::parse(url).unwrap();
        describe(&error, &endpoint, SettingNames::BOUNCER, has_certificate)
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
            (certificate(CertificateError::UnknownIssuer), false, "name it in `ca_cert_path`"),
            (certificate(CertificateError::NotValidForName), false, "another name than the one in `api_url`"),
            (certificate(CertificateError::Expired), false, "has expired, or this host's clock is wrong"),
            (not_tls, false, "should `api_url` begin with http://"),
        ] {
            // At any depth.
            for error in [tls(error.clone()), io::Error::other(tls(error))] {
                let text = text_of(error, "https://lapi.example:8080", has_certificate);
                assert!(text.contains(part), "{text}");
                assert!(!text.contains("is it running"), "{text}");
            }
        }
        let refused = io::Error::from_raw_os_error(111);
        let text = text_of(refused, "http://lapi.example:8080", false);
        assert!(text.contains("is it running, and is `api_url` right? (connection refused)"), "{text}");
    }
}
