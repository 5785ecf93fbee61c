//! Why a certificate was not obtained, for logs and `status`.

use std::fmt::Write as _;

use instant_acme::{Error, Problem};

use super::schedule::Failure;

/// The most characters of a text from the directory that are kept.
const MAX_TEXT: usize = 500;

/// Why a certificate was not obtained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct OrderError {
    /// With the next step where there is one. Without control characters.
    pub(super) text: String,
    pub(super) unreachable: bool,
    /// By a limit of the directory, which may hold for other names too.
    pub(super) rate_limited: bool,
}

impl OrderError {
    pub(super) fn refused(text: impl AsRef<str>) -> Self {
        Self { text: printable(text.as_ref()), unreachable: false, rate_limited: false }
    }

    fn unreachable(text: impl AsRef<str>) -> Self {
        Self { unreachable: true, ..Self::refused(text) }
    }

    pub(super) fn storage(cause: &std::io::Error) -> Self {
        Self::refused(format!("the ACME storage cannot be used: {cause}"))
    }

    /// How this counts, with the delay that the directory asked for.
    pub(super) fn kind(&self, retry_after: Option<u64>) -> Failure {
        match self.unreachable {
            true => Failure::Unreachable,
            false => Failure::Refused(retry_after),
        }
    }
}

impl From<Error> for OrderError {
    fn from(cause: Error) -> Self {
        match cause {
            Error::Api(problem) => Self::from(&problem),
            Error::Timeout(_) => Self::refused("the directory did not complete the order in time"),
            // What answers is not a directory: a proxy or a page of maintenance.
            Error::Json(_) => Self::unreachable("the directory's response is not ACME"),
            Error::Other(cause) => {
                let mut text = format!("the directory cannot be reached: {cause}");
                let mut source = cause.source();
                while let Some(cause) = source {
                    // Writing to a string cannot fail.
                    let _ = write!(text, ": {cause}");
                    source = cause.source();
                }
                Self::unreachable(text)
            }
            cause => Self::unreachable(cause.to_string()),
        }
    }
}

impl From<&Problem> for OrderError {
    fn from(problem: &Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
        let mut text = problem.to_string();
        if let Some(hint) = hint(kind) {
            let _ = write!(text, "; {hint}");
        }
        Self {
            text: printable(&text),
            unreachable: matches!(kind, "serverInternal" | "badNonce"),
            rate_limited: kind == "rateLimited",
        }
    }
}

/// What to do about a kind of problem (RFC 8555, section 6.7).
fn hint(kind: &str) -> Option<&'static str> {
    match kind {
        "dns" => Some("check that the name has an address record"),
        "connection" => {
            Some("check that the name's address leads here, on port 80 for http-01 and 443 for tls-alpn-01")
        }
        "unauthorized" | "incorrectResponse" | "tls" => {
            Some("check that the name's address leads here, and not to another server")
        }
        "caa" => Some("the name's CAA records do not allow this authority"),
        "rateLimited" => Some("the next attempt is postponed"),
        "rejectedIdentifier" => Some("the authority does not issue certificates for this name"),
        "externalAccountRequired" => {
            Some("accounts that are bound to a contract are not supported; use another directory")
        }
        _ => None,
    }
}

/// Bounded, and without characters that could disturb a log or a terminal.
fn printable(text: &str) -> String {
    let kept: String = text.chars().take(MAX_TEXT).collect();
    kept.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_directory_are_bounded_and_have_the_next_step() {
        let problem = |kind: &str, detail: &str| {
            let text =
                serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
            OrderError::from(&serde_json::from_value::<Problem>(text).unwrap())
        };
        let refused = problem("connection", "timeout\n\u{1b}[31m");
        assert!(!refused.unreachable && refused.text.contains("port 80"), "{refused}");
        assert!(!refused.text.contains('\n') && !refused.text.contains('\u{1b}'), "{refused}");
        assert_eq!(problem("dns", &"x".repeat(10_000)).text.chars().count(), MAX_TEXT);
        assert!(problem("serverInternal", "").unreachable);
        let limited = problem("rateLimited", "");
        assert!(limited.rate_limited && limited.kind(Some(60)) == Failure::Refused(Some(60)));
    }
}
