//! Collects all problems of a configuration, so that one run reports them all.

use std::{fmt, path::PathBuf};

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// The main file or its `.local`.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A problem.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key, with `[0]` for list entries; empty for the file as a whole.
    pub key: String,
    /// What is wrong and the next step, lower-case, without a full stop. Must not quote secrets.
    pub text: String,
    /// Where the key is; `None` when it is missing or not located yet.
    pub place: Option<SourceLocation>,
    /// The value as written, already redacted.
    pub value: Option<String>,
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problem({self})")
    }
}

/// The text comes first, so that the phrases operators search for directly follow the prefix of the message.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.key.is_empty() && self.place.is_none() {
            return Ok(());
        }
        f.write_str(" (")?;
        match (&self.key, &self.place) {
            (key, Some(place)) if !key.is_empty() => write!(f, "{key} at {place}")?,
            (_, Some(place)) => write!(f, "{place}")?,
            (key, None) => write!(f, "{key}")?,
        }
        match &self.value {
            Some(value) => write!(f, ", now {value})"),
            None => f.write_str(")"),
        }
    }
}

/// Problems in the order they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No problems.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem of `key` (a dotted path). `text` names the problem and the remedy;
    /// [`Document::locate`](super::Document::locate) adds line and value.
    pub fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.push(Problem { key: key.into(), text: text.into(), place: None, value: None });
    }

    /// Adds a located problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds the problems of another check of the same file, except for keys that have a problem already: later findings
    /// are mostly its consequences.
    pub fn extend(&mut self, other: Self) {
        for problem in other.0 {
            let named = !problem.key.is_empty() && self.0.iter().any(|known| known.key == problem.key);
            if !named && !self.0.contains(&problem) {
                self.0.push(problem);
            }
        }
    }

    /// Whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The problems, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Problem> {
        self.0.iter_mut()
    }

    /// `value` if there are no problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// All problems on one line, for a log.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The key whose values are headers of requests, any of which may be a credential.
const HEADERS: &str = "headers";

/// Whether the value of this key, or each value of its list, is a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
    if parent.rsplit('.').next() == Some(HEADERS) {
        return true;
    }
    let last = last.split('[').next().unwrap_or(last).to_ascii_lowercase();
    ["key", "password", "passwd", "secret", "secrets", "token", "bearer", "credential", "credentials"]
        .iter()
        .any(|word| last.split(['_', '-']).any(|part| part == *word))
        && !names_file(&last)
}

/// The endings of keys whose values name files.
const FILE_ENDS: [&str; 3] = ["_path", "_file", "_files"];

/// Whether a key ends as those do whose values name files.
pub(crate) fn names_file(key: &str) -> bool {
    FILE_ENDS.iter().any(|end| key.ends_with(end))
}

/// The last name of a dotted path, without indices.
pub(crate) fn name_of(path: &str) -> &str {
    let last = path.rsplit('.').next().unwrap_or(path);
    last.split('[').next().unwrap_or(last)
}

/// Whether this key has a block of keys one of which is a secret, so that anything else in its place may be one.
pub(crate) fn is_secret_block(path: &str) -> bool {
    ["basic", "hmac", "authentication"].iter().any(|name| name_of(path).eq_ignore_ascii_case(name))
}

/// Whether this is the URL of a receiver: path and query of an incoming webhook are a secret.
pub(crate) fn is_endpoint_url(path: &str) -> bool {
    let mut names = path.rsplit('.').map(name_of);
    names.next().is_some_and(|name| name.eq_ignore_ascii_case("url"))
        && names.any(|name| matches!(name, "endpoints" | "lists"))
}

/// Scheme and host of a receiver's URL, with `instead` for the rest. `None` if it is no such URL.
pub(crate) fn endpoint_url(text: &str, instead: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, address) = match authority.rsplit_once('@') {
        Some((_, host)) => (format!("{instead}@"), host),
        None => (String::new(), authority),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (address, ""),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]${}".contains(&byte);
    // A name with a password that has a `/` in it looks like host and port.
    let is_ambiguous = !port.is_empty() && tail.contains('@');
    let is_url = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https")
        && !host.is_empty()
        && host.bytes().all(is_host)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !is_ambiguous;
    let tail = if matches!(tail, "" | "/") { tail.to_owned() } else { format!("/{instead}") };
    is_url.then(|| format!("{scheme}://{user}{address}{tail}"))
}

/// Whether the value of this key must not be shown, whatever its shape: a secret, or what may be one by mistake.
fn may_be_secret(key: &str, value: &str) -> bool {
    let name = name_of(key);
    let mut around = key.split('.').map(name_of);
    let is_lapi_url = matches!(name, "api_url" | "api_urls" | "lapi_url");
    is_secret(key)
        || is_secret_block(key)
        || around.any(|name| has_secrets(name) || is_secret(name))
        // The secret itself instead of the name of its file.
        || (is_secret_file(name) && !value.starts_with('/'))
        || (is_lapi_url && !["http://", "https://", "/"].iter().any(|start| value.starts_with(start)))
}

/// Whether the value of this key, or each value of its list or mapping, names a file with a secret.
pub(crate) fn is_secret_file(key: &str) -> bool {
    let stem = FILE_ENDS.iter().find_map(|end| key.strip_suffix(end));
    // A URL or a header in a file of its own is there because it is a secret. The last two have no such ending.
    stem.is_some_and(|stem| is_secret(stem) || matches!(stem, "url" | "header"))
        || matches!(key, "key" | "ssl_client_key")
}

/// Whether all values of this mapping are secrets.
pub(crate) fn has_secrets(key: &str) -> bool {
    key == HEADERS
}

/// Whether this is a URL with a user part.
pub(crate) fn has_password(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

const REDACTED: &str = "[redacted]";

/// A value in a form that may be shown or logged.
pub(crate) fn shown(key: &str, value: &str) -> String {
    const MAX_CHARS: usize = 80;
    if may_be_secret(key, value) {
        return REDACTED.to_owned();
    }
    if is_endpoint_url(key) {
        return endpoint_url(value, REDACTED).map_or_else(|| REDACTED.to_owned(), |url| format!("{url:?}"));
    }
    // The user part of a URL may contain a password.
    let value =
        match value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, host)) => format!("{scheme}://[redacted]@{host}"),
            None => value.to_owned(),
        };
    let short: String = value.chars().take(MAX_CHARS).collect();
    let dots = if short.len() < value.len() { "..." } else { "" };
    format!("{:?}", short + dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        for key in [
            "api_key",
            "a.password",
            "webhook.secret",
            "tokens[1].token",
            "API_KEY",
            "api-key",
            "a[0].bearer",
            "a[0].signing_secrets[1]",
            "a[0].headers.X-Any",
            "a[0].headers.X-Any[0]",
            "headers.x.mode",
            "a[0].session_token.a",
            "a[0].basic",
            "a[0].basic[1]",
            "a[0].hmac",
            "a[0].bearer_file",
            "key_path",
            "api_url",
            "api_urls[1]",
            "crowdsec_config.lapi_url",
            "endpoints[0].url",
        ] {
            assert_eq!(shown(key, "hunter2"), "[redacted]", "{key}");
        }
        for key in ["key_path", "api_key_file", "signing_secret_files[0]", "mode", "monkey", "a.hmac.header"]
        {
            assert_eq!(shown(key, "/x"), "\"/x\"", "{key}");
        }
        for (url, seen) in [
            ("https://hooks.slack.com/services/hunter2?x=hunter2", "\"https://hooks.slack.com/[redacted]\""),
            ("https://u:hunter2@h:8080", "\"https://[redacted]@h:8080\""),
            ("https://hunter2@[::1]:80/", "\"https://[redacted]@[::1]:80/\""),
            ("https://[::1]/?hunter2", "\"https://[::1]/[redacted]\""),
            ("https://u:99999/hunter2@h/", "[redacted]"),
            ("https://u:hun/ter2@h/", "[redacted]"),
            ("http:// bad host/hunter2", "[redacted]"),
            ("hooks.slack.com/hunter2", "[redacted]"),
            ("hunter2://x", "[redacted]"),
        ] {
            assert_eq!(shown("endpoints[0].url", url), seen, "{url}");
        }
        assert_eq!(shown("api_url", "http://u:p@w@host/"), "\"http://[redacted]@host/\"");
        assert_eq!(shown("mode", &"x".repeat(200)).len(), 85);
    }

    #[test]
    fn reads_well() {
        let mut wrong = Problems::new();
        wrong.add("mode", "config does not contain 'mode'; set `mode: nftables`");
        wrong.push(Problem {
            key: "update_frequency".into(),
            text: "lapi update interval must be positive".into(),
            place: Some(SourceLocation { file: "/etc/x.yaml".into(), line: 3 }),
            value: Some("\"0s\"".into()),
        });
        assert_eq!(
            wrong.to_string(),
            "config does not contain 'mode'; set `mode: nftables` (mode); \
             lapi update interval must be positive (update_frequency at /etc/x.yaml:3, now \"0s\")"
        );
        let twice = wrong.clone();
        wrong.extend(twice);
        assert_eq!(wrong.len(), 2);
    }
}
