//! Gives keys of a document other names, so that one reader serves files that name them differently.
//!
//! Values move with their positions, and messages go on naming the key that was written.

use super::{
    Document,
    problems::Problem,
    tree::{Entry, Kind, Node, Scalar},
};

/// A key that has another name than the one in the file.
#[derive(Debug, Clone)]
pub(super) struct Renamed {
    /// Dotted path of the key in the file.
    written: String,
    /// The key at the top level that readers know.
    name: String,
}

impl Document {
    /// Makes keys readable under other names: with `("crowdsec_config.lapi_url", "api_url")` the value that was written
    /// as the first (a dotted path) is the second, which is a key at the top level. Errors name what was written. A key
    /// stays as it is when the file has the other one too.
    #[must_use]
    pub fn with_renamed(mut self, names: &[(&str, &str)]) -> Self {
        for (written, name) in names {
            if self.root.entry(name).is_some() {
                continue;
            }
            let Some(entry) = self.root.take(written) else { continue };
            self.root.push(Entry { key: Scalar::new((*name).to_owned(), true), ..entry });
            self.renamed.push(Renamed { written: (*written).to_owned(), name: (*name).to_owned() });
        }
        self
    }

    /// Gives a key at the top level a value, written in YAML, when the file has none.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        if self.root.entry(name).is_none_or(|entry| entry.value.is_null()) {
            self.root.take(name);
            let position = self.root.position;
            let value = Node { position, kind: Kind::Scalar(Scalar::new(value.to_owned(), true)) };
            self.root.push(Entry { key: Scalar::new(name.to_owned(), true), position, value });
        }
        self
    }

    /// The path in the tree of a key as it was written.
    pub(super) fn path_in_tree<'k>(&'k self, key: &'k str) -> &'k str {
        self.renamed.iter().find(|renamed| renamed.written == key).map_or(key, |renamed| &renamed.name)
    }

    /// Makes a problem name the key that was written.
    pub(super) fn name_as_written(&self, problem: &mut Problem) {
        let top = problem.key.split(['.', '[']).next().unwrap_or_default();
        let Some(Renamed { written, name }) = self.renamed.iter().find(|renamed| renamed.name == top) else {
            return;
        };
        let last = written.rsplit('.').next().unwrap_or(written);
        problem.text = replace_word(&problem.text, name, last);
        problem.key.replace_range(..name.len(), written);
    }
}

/// Replaces a word wherever it is no part of a longer one.
fn replace_word(text: &str, word: &str, other: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        replaced.push_str(before);
        let is_whole = !replaced.ends_with(is_part) && !after.starts_with(is_part);
        replaced.push_str(if is_whole { other } else { word });
        rest = after;
    }
    replaced + rest
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;
    use crate::{ConfigError, Problems};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Keys {
        api_url: Option<String>,
        origins: Option<Vec<String>>,
        insecure: Option<bool>,
        size: Option<u32>,
    }

    const NAMES: &[(&str, &str)] = &[
        ("lapi.url", "api_url"),
        ("lapi.only_from", "origins"),
        ("lapi.skip_verify", "insecure"),
        ("media", "mode"),
    ];

    fn document(text: &str, local: Option<&str>) -> Document {
        Document::from_text(Path::new("x.yaml"), text, local, &|_| None).unwrap().with_renamed(NAMES)
    }

    #[test]
    fn values_are_read_under_the_other_name_and_keep_their_lines() {
        let document =
            document("a: 1\nlapi:\n  url: http://h/\n  only_from: [x, y]\n", Some("lapi:\n  url: z\n"));
        let keys: Keys = document.parse().unwrap();
        assert_eq!((keys.api_url.as_deref(), keys.origins.unwrap().len()), (Some("z"), 2));
        assert!(document.has("lapi") && document.has("lapi.url") && document.has("api_url"));
        assert_eq!(document.place_of("lapi.url").unwrap().to_string(), "x.yaml.local:2");
        let unknown = document.unknown_keys(&["lapi.url", "api_url", "origins"]);
        assert_eq!(unknown.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(document.merged_text().contains("lapi:\n  url: z\n"), "what is printed is what was written");
    }

    #[test]
    fn errors_name_what_was_written() {
        let document =
            document("lapi:\n  skip_verify: maybe\n  only_from: [a, {b: c}]\nmedia: paper\n", None);
        let Err(ConfigError::Invalid(wrong)) = document.parse::<Keys>() else { panic!("accepted") };
        let texts: Vec<_> = wrong.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "expected text, not a block of keys (lapi.only_from[1] at x.yaml:3)",
                "expected true or false (lapi.skip_verify at x.yaml:2, now \"maybe\")",
            ]
        );
        let mut found = Problems::new();
        found.add("mode", "mode should be 'x'; a model is no mode");
        found.add("lapi.url", "is missing");
        found.add("lapi.skip_verify", "no");
        let located = document.locate(document.locate(found)).to_string();
        assert_eq!(
            located,
            "media should be 'x'; a model is no media (media at x.yaml:4, now \"paper\"); \
             is missing (lapi.url); no (lapi.skip_verify at x.yaml:2, now \"maybe\")"
        );
    }

    #[test]
    fn a_key_given_under_both_names_stays() {
        let document = document("lapi:\n  url: a\napi_url: b\n", None);
        assert_eq!(document.parse::<Keys>().unwrap().api_url.as_deref(), Some("b"));
        assert!(document.has("lapi.url"));
    }

    #[test]
    fn a_default_does_not_replace_a_value() {
        for (text, size) in [("a: 1\n", 40), ("size:\n", 40), ("size: 7\n", 7), ("", 40)] {
            let document = document(text, None).with_default("size", "40");
            assert_eq!(document.parse::<Keys>().unwrap().size, Some(size), "{text}");
        }
    }
}
