//! Finds keys that nothing reads, and suggests what was meant.

use std::fmt;

use super::{
    problems::SourceLocation,
    tree::{Entry, Kind, Node, TextPosition},
};

/// A key in the file that no part of the program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Dotted path of the key.
    pub key: String,
    /// Where it is.
    pub place: SourceLocation,
    /// The most similar known key.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key `{}` at {} has no effect", self.key, self.place)?;
        match &self.suggestion {
            Some(known) => write!(f, "; did you mean `{known}`?"),
            None => f.write_str("; remove it, or see the manual page for the keys there are"),
        }
    }
}

/// Returns every key below `root` that is not in `known`, with its position and the closest known key.
pub(super) fn unknown_keys(root: &Node, known: &[&str]) -> Vec<(String, TextPosition, Option<String>)> {
    let mut found = Vec::new();
    walk(root, "", known, &mut found);
    found
}

fn walk(node: &Node, path: &str, known: &[&str], found: &mut Vec<(String, TextPosition, Option<String>)>) {
    match &node.kind {
        Kind::Scalar(_) => {}
        // Keys inside list entries are known by the path of the list.
        Kind::Sequence(items) => items.iter().for_each(|item| walk(item, path, known, found)),
        Kind::Mapping(entries) => {
            for Entry { key, position, value } in entries {
                let full = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                if is_known(&full, known) {
                    walk(value, &full, known, found);
                } else {
                    let suggestion = closest(&full, known);
                    found.push((full, *position, suggestion));
                }
            }
        }
    }
}

/// Whether a path is known itself, the parent of a known key, or below a `prefix.*`.
pub(super) fn is_known(path: &str, known: &[&str]) -> bool {
    known.iter().any(|key| match key.strip_suffix(".*") {
        Some(prefix) => path == prefix || below(path, prefix),
        None => path == *key || below(key, path),
    })
}

fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

/// The known key most similar to `path`: a similar spelling at the same level, else the same name at another level.
fn closest(path: &str, known: &[&str]) -> Option<String> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    // All known keys and their parents, without duplicates.
    let mut all: Vec<&str> = Vec::new();
    for key in known {
        let key = key.strip_suffix(".*").unwrap_or(key);
        for (end, _) in key.match_indices('.').chain([(key.len(), "")]) {
            if !all.contains(&&key[..end]) {
                all.push(&key[..end]);
            }
        }
    }
    let parts = |key: &'_ str| {
        key.rsplit_once('.').map_or((String::new(), key.to_owned()), |(p, n)| (p.to_owned(), n.to_owned()))
    };
    let budget = 1 + name.chars().count() / 4;
    let sibling = all
        .iter()
        .filter(|key| parts(key).0 == parent)
        .map(|key| (strsim::osa_distance(&folded(name), &folded(&parts(key).1)), *key))
        .filter(|(far, _)| *far <= budget)
        .min_by_key(|(far, _)| *far);
    let elsewhere = || all.iter().find(|key| folded(&parts(key).1) == folded(name)).map(|key| (0, *key));
    sibling.or_else(elsewhere).map(|(_, key)| key.to_owned())
}

/// A form in which commonly confused spellings are equal.
fn folded(name: &str) -> String {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &[
        "mode",
        "log_level",
        "deny_log",
        "deny_log_prefix",
        "nftables.ipv4.enabled",
        "nftables.ipv4.set-only",
        "nftables.ipv6.set-only",
        "prometheus.listen_port",
        "labels.*",
    ];

    #[test]
    fn names_what_was_probably_meant() {
        for (key, suggestion) in [
            ("modes", Some("mode")),
            ("mdoe", Some("mode")),
            ("Mode", Some("mode")),
            ("deny_logs", Some("deny_log")),
            ("log-level", Some("log_level")),
            ("nftables.ipv4.set_only", Some("nftables.ipv4.set-only")),
            ("nftables.ipv6.enabled", Some("nftables.ipv4.enabled")),
            ("nftable", Some("nftables")),
            ("nftables.ipv5", Some("nftables.ipv4")),
            ("listen_port", Some("prometheus.listen_port")),
            ("entirely_different", None),
        ] {
            assert_eq!(closest(key, KNOWN).as_deref(), suggestion, "{key}");
        }
    }

    #[test]
    fn reports_the_topmost_unknown_key_once() {
        let text = "mode: x\nlabels: {anything: 1}\nfoo:\n  bar: 1\nnftables:\n  ipv4:\n    set_only: true\n";
        let root = super::super::compose::compose(text, 0).unwrap();
        let found: Vec<_> =
            unknown_keys(&root, KNOWN).into_iter().map(|(key, position, _)| (key, position.line)).collect();
        assert_eq!(found, [("foo".to_owned(), 3), ("nftables.ipv4.set_only".to_owned(), 7)]);
    }
}
