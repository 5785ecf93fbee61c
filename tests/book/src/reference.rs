//! The reference pages: one for each program, generated from the types that its configuration file is read into.

mod components;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub use self::components::{Component, Part, components};
pub use self::types::{Doc, Key, Kind, Types};

/// The command that writes the pages.
pub const UPDATE: &str = "UPDATE=1 cargo test -p palisade-book --test reference";

/// A key with its place in the file.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The path with `[]` behind lists, as on the page: `upstreams[].servers[].url`.
    pub shown: String,
    /// The path as the program lists its keys: `upstreams.servers.url`, `endpoints.headers.*`.
    pub known: String,
    /// The key.
    pub key: Key,
}

/// A block of the file, with the keys that are directly in it.
#[derive(Debug)]
struct Section {
    /// The block's path as on the page; empty for the top level.
    shown: String,
    doc: Doc,
    keys: Vec<Placed>,
    /// The path of the block of the same type that was explained before.
    same_as: Option<String>,
}

impl Component {
    /// Every key with a value, in the order of the page.
    pub fn keys(&self) -> Vec<Placed> {
        let sections = self.parts.iter().flat_map(|part| sections(part, &mut BTreeMap::new()));
        let keys = sections.flat_map(|section| section.keys);
        keys.filter(|placed| !matches!(placed.key.kind, Kind::Block { .. })).collect()
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = format!("# {}\n\n", self.title);
        let _ = writeln!(
            page,
            "<!-- Generated from the configuration types; do not edit. To write it anew: {UPDATE} -->\n"
        );
        let _ = writeln!(page, "{}\n", self.introduction.trim());
        for part in &self.parts {
            let _ = writeln!(page, "## {}\n", part.title);
            if !part.introduction.is_empty() {
                let _ = writeln!(page, "{}\n", part.introduction);
            }
            let mut explained = BTreeMap::new();
            for section in sections(part, &mut explained) {
                section.write(&mut page);
            }
            write_ignored(part, &mut page);
        }
        let listed: BTreeSet<String> = self.keys().into_iter().map(|placed| placed.known).collect();
        let unread: Vec<&str> = self.known.iter().copied().filter(|known| !listed.contains(*known)).collect();
        if !unread.is_empty() {
            let _ = writeln!(page, "## Keys of other programs\n\n{}\n", self.unread.trim());
            let names: Vec<String> = unread.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(page, "{}.", names.join(", "));
        }
        format!("{}\n", page.trim_end())
    }
}

impl Section {
    fn write(&self, page: &mut String) {
        if !self.shown.is_empty() {
            let _ = writeln!(page, "### `{}`\n", self.shown);
            write_text(&self.doc, page);
        }
        if let Some(other) = &self.same_as {
            let _ = writeln!(page, "The keys are those of [`{other}`](#{}).\n", anchor(other));
            return;
        }
        let here =
            self.keys.iter().filter(|placed| !matches!(placed.key.kind, Kind::Block { .. } | Kind::Ignored));
        for placed in here {
            write_key(placed, if self.shown.is_empty() { "###" } else { "####" }, page);
        }
    }
}

fn write_text(doc: &Doc, page: &mut String) {
    for paragraph in &doc.text {
        let _ = writeln!(page, "{paragraph}\n");
    }
}

fn write_key(placed: &Placed, level: &str, page: &mut String) {
    let (key, doc) = (&placed.key, &placed.key.doc);
    let _ = writeln!(page, "{level} `{}`\n", placed.shown);
    write_text(doc, page);
    let value = match (&key.kind, doc.facts.get("value"), doc.facts.get("words")) {
        (_, Some(value), _) => value.clone(),
        (Kind::Words(words), ..) => alternatives(words),
        (_, _, Some(words)) => format!("one of {words}"),
        (Kind::Value(value), ..) => value.clone(),
        (Kind::Map(value), ..) => format!("map of names to {value}s"),
        _ => String::new(),
    };
    let bounds = match (doc.facts.get("at least"), doc.facts.get("at most")) {
        (Some(least), Some(most)) => format!(", from {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    let _ = writeln!(page, "- value: {value}{bounds}");
    let default = doc.facts.get("default").map_or("none", String::as_str);
    let _ = writeln!(page, "- default: {default}");
    if let Some(with) = doc.facts.get("with") {
        let _ = writeln!(page, "- only with: {with}");
    }
    if let Some(example) = doc.literal("example") {
        let _ = writeln!(page, "- example: `{}: {example}`", key.name);
    }
    page.push('\n');
}

fn alternatives(words: &[(String, Doc)]) -> String {
    let words = words.iter().map(|(word, doc)| {
        let text = doc.text.join(" ");
        let text = text.trim_end_matches('.');
        format!(
            "`{word}` ({}{})",
            text.chars().next().map_or(String::new(), |c| c.to_lowercase().to_string()),
            text.get(1..).unwrap_or_default()
        )
    });
    format!("one of {}", words.collect::<Vec<_>>().join(", "))
}

fn write_ignored(part: &Part, page: &mut String) {
    let all = sections(part, &mut BTreeMap::new());
    let ignored: Vec<String> = all
        .iter()
        .flat_map(|section| &section.keys)
        .filter(|placed| placed.key.kind == Kind::Ignored)
        .map(|placed| format!("`{}`", placed.shown))
        .collect();
    if !ignored.is_empty() {
        let _ = writeln!(
            page,
            "Accepted without effect, as files of the stock program have them: {}.\n",
            ignored.join(", ")
        );
    }
}

/// The anchor of a heading that is code.
fn anchor(shown: &str) -> String {
    shown.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn sections(part: &Part, explained: &mut BTreeMap<String, String>) -> Vec<Section> {
    let mut found = Vec::new();
    // A block at the top level explains those of its type that are deeper in the file.
    for key in part.types.blocks.get(part.root).map(|(_, keys)| keys).into_iter().flatten() {
        if let Kind::Block { name, is_list } = &key.kind {
            let list = if *is_list { "[]" } else { "" };
            explained.entry(name.clone()).or_insert_with(|| format!("{}{list}", key.name));
        }
    }
    collect(&part.types, part.root, "", "", Doc::default(), explained, &mut found);
    found
}

fn collect(
    types: &Types,
    name: &str,
    shown: &str,
    known: &str,
    doc: Doc,
    explained: &mut BTreeMap<String, String>,
    found: &mut Vec<Section>,
) {
    let (_, keys) = types.blocks.get(name).unwrap_or_else(|| panic!("the type {name} is not in the files"));
    let join = |path: &str, key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let keys: Vec<Placed> = keys
        .iter()
        .map(|key| {
            let star = if matches!(key.kind, Kind::Map(_)) { ".*" } else { "" };
            let list = if matches!(key.kind, Kind::Block { is_list: true, .. }) { "[]" } else { "" };
            Placed {
                shown: format!("{}{list}", join(shown, &key.name)),
                known: format!("{}{star}", join(known, &key.name)),
                key: key.clone(),
            }
        })
        .collect();
    let first = explained.entry(name.to_owned()).or_insert_with(|| shown.to_owned());
    let same_as = Some(first.clone()).filter(|first| first != shown);
    let blocks: Vec<Placed> =
        keys.iter().filter(|placed| matches!(placed.key.kind, Kind::Block { .. })).cloned().collect();
    let is_repeated = same_as.is_some();
    found.push(Section { shown: shown.to_owned(), doc, keys, same_as });
    for placed in blocks {
        let Kind::Block { name, .. } = &placed.key.kind else { continue };
        let mut within = BTreeMap::new();
        // Of a block that is explained elsewhere, the blocks within are too.
        let explained = if is_repeated { &mut within } else { &mut *explained };
        let from = found.len();
        collect(types, name, &placed.shown, &placed.known, placed.key.doc.clone(), explained, found);
        if is_repeated {
            // Only their keys are needed, not their headings.
            let inner: Vec<Placed> = found.drain(from..).flat_map(|section| section.keys).collect();
            if let Some(outer) = found.last_mut() {
                outer.keys.extend(inner);
            }
        }
    }
}
