//! The values of a YAML document as a tree, with their source positions.

use super::problems::{has_secrets, is_secret_file};

/// A position in one of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TextPosition {
    /// Which text: 0 is the main file, 1 the `.local` one.
    pub source: u8,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
}

/// A value with its position.
#[derive(Clone)]
pub(crate) struct Node {
    pub position: TextPosition,
    pub kind: Kind,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Scalar {
    /// The value with quotes and escapes resolved.
    pub text: String,
    /// Whether it was written without quotes, so that `true`, `10` and `null` have their YAML meaning.
    pub plain: bool,
    /// The same scalar as one line of YAML.
    pub yaml: String,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub key: Scalar,
    pub position: TextPosition,
    pub value: Node,
}

impl Node {
    /// Whether there is no value: `key:`, `key: null` or `key: ~`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.is_null(),
            Kind::Sequence(_) | Kind::Mapping(_) => false,
        }
    }

    /// The kind of value, for messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Scalar(_) => "scalar",
            Kind::Sequence(_) => "sequence",
            Kind::Mapping(_) => "mapping",
        }
    }

    /// The entry at a dotted path.
    pub(crate) fn entry(&self, dotted: &str) -> Option<&Entry> {
        let (first, rest) = match dotted.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (dotted, None),
        };
        let Kind::Mapping(entries) = &self.kind else { return None };
        let entry = entries.iter().find(|entry| entry.key.text == first)?;
        match rest {
            Some(rest) => entry.value.entry(rest),
            None => Some(entry),
        }
    }

    /// Removes the entry at a dotted path and returns it. The maps around it stay, even if they are empty then.
    pub(crate) fn take(&mut self, dotted: &str) -> Option<Entry> {
        let (first, rest) = match dotted.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (dotted, None),
        };
        let Kind::Mapping(entries) = &mut self.kind else { return None };
        let at = entries.iter().position(|entry| entry.key.text == first)?;
        match rest {
            Some(rest) => entries[at].value.take(rest),
            None => Some(entries.remove(at)),
        }
    }

    /// Adds an entry to a map.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Kind::Mapping(entries) = &mut self.kind {
            entries.push(entry);
        }
    }

    /// The value at a path with list indices like `[0]`, and the position to report for it.
    pub(crate) fn find(&self, path: &str) -> Option<(TextPosition, &Self)> {
        let Some(open) = path.find('[') else {
            return self.entry(path).map(|entry| (entry.position, &entry.value));
        };
        let mut node = &self.entry(&path[..open])?.value;
        let mut rest = &path[open..];
        while let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']')?;
            let Kind::Sequence(items) = &node.kind else { return None };
            node = items.get(index.parse::<usize>().ok()?)?;
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(rest) => node.find(rest),
            None => Some((node.position, node)),
        }
    }

    /// Calls `change` for every position in the tree.
    pub(crate) fn for_each_position(&mut self, change: &mut dyn FnMut(&mut TextPosition)) {
        change(&mut self.position);
        match &mut self.kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => items.iter_mut().for_each(|item| item.for_each_position(change)),
            Kind::Mapping(entries) => {
                for entry in entries {
                    change(&mut entry.position);
                    entry.value.for_each_position(change);
                }
            }
        }
    }

    /// Calls `visit` with the name of the nearest key, its position and the text of every scalar.
    pub(crate) fn for_each_scalar<'n>(
        &'n self,
        key: &'n str,
        position: TextPosition,
        visit: &mut dyn FnMut(&'n str, TextPosition, &'n str),
    ) {
        match &self.kind {
            Kind::Scalar(scalar) => visit(key, position, &scalar.text),
            Kind::Sequence(items) => {
                items.iter().for_each(|item| item.for_each_scalar(key, item.position, visit))
            }
            Kind::Mapping(entries) => {
                for entry in entries {
                    // In a map of header names the map's name says what the values are.
                    let name = if has_secrets(key) || is_secret_file(key) { key } else { &entry.key.text };
                    entry.value.for_each_scalar(name, entry.position, visit);
                }
            }
        }
    }

    /// How many nodes this one consists of, keys included.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::Sequence(items) => items.iter().map(Self::size).sum(),
            Kind::Mapping(entries) => entries.iter().map(|entry| 1 + entry.value.size()).sum(),
        }
    }
}

impl Scalar {
    pub(crate) fn new(text: String, plain: bool) -> Self {
        let yaml = yaml_of(&text, plain);
        Self { text, plain, yaml }
    }

    fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// A scalar as one line of YAML that parses to the same value.
fn yaml_of(text: &str, plain: bool) -> String {
    let one_line = !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    match (plain, one_line) {
        (true, true) if matches!(text, "" | "~") => "null".to_owned(),
        (true, true) => text.to_owned(),
        (false, true) if text.chars().all(is_harmless) => format!("'{}'", text.replace('\'', "''")),
        _ => double_quoted(text),
    }
}

fn is_harmless(c: char) -> bool {
    c == '\t' || (c >= ' ' && c != '\u{7f}' && !('\u{80}'..'\u{a0}').contains(&c) && c != '\u{feff}')
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if is_harmless(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
