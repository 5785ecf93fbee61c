//! Reads the configuration types from their sources: keys, types, and the doc comment of each.

use std::collections::BTreeMap;

use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

use crate::read;

/// What is said of a key: the lines `- default: …` and so on at the end of its doc comment, and the text above them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doc {
    /// The text, in paragraphs.
    pub text: Vec<String>,
    /// The lines `- name: value`, by name.
    pub facts: BTreeMap<String, String>,
}

impl Doc {
    /// A fact that is one YAML value in backticks, which can be tried.
    pub fn literal(&self, name: &str) -> Option<&str> {
        let value = self.facts.get(name)?.strip_prefix('`')?.strip_suffix('`')?;
        (!value.contains('`')).then_some(value)
    }

    /// The words of a fact such as `` `a`, `b` ``.
    pub fn literals(&self, name: &str) -> Vec<&str> {
        self.facts.get(name).map(|list| list.split('`').skip(1).step_by(2).collect()).unwrap_or_default()
    }
}

/// What a key takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A value, described in a few words.
    Value(String),
    /// One of these words, each with its explanation.
    Words(Vec<(String, Doc)>),
    /// A block of keys, or a list of such blocks.
    Block {
        /// The type that has its keys.
        name: String,
        /// Whether it is a list.
        is_list: bool,
    },
    /// A map from names of one's own to values.
    Map(String),
    /// Anything: the key has no effect.
    Ignored,
}

/// A key of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// What is said of it.
    pub doc: Doc,
}

/// The types of some source files, by name.
#[derive(Debug, Default)]
pub struct Types {
    /// The keys of each struct.
    pub blocks: BTreeMap<String, (Doc, Vec<Key>)>,
    words: BTreeMap<String, Vec<(String, Doc)>>,
}

impl Types {
    /// Reads these files. Of types with one name in several files the first counts.
    ///
    /// # Panics
    /// When a file cannot be read or is no Rust.
    pub fn of(paths: &[&str]) -> Self {
        let files: Vec<syn::File> = paths
            .iter()
            .map(|path| syn::parse_file(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}")))
            .collect();
        let mut types = Self::default();
        for item in files.iter().flat_map(|file| &file.items) {
            if let Item::Enum(item) = item {
                let style = serde_value(&item.attrs, "rename_all").unwrap_or_default();
                let words = item.variants.iter().map(|variant| {
                    let name = variant.ident.to_string();
                    let name =
                        serde_value(&variant.attrs, "rename").unwrap_or_else(|| in_style(&name, &style));
                    (name, doc(&variant.attrs))
                });
                types.words.entry(item.ident.to_string()).or_insert_with(|| words.collect());
            }
        }
        for item in files.iter().flat_map(|file| &file.items) {
            if let Item::Struct(item) = item
                && let Fields::Named(fields) = &item.fields
                && item.attrs.iter().any(|attribute| attribute.path().is_ident("serde"))
            {
                let keys = fields.named.iter().map(|field| {
                    let written = field.ident.as_ref().expect("a named field").to_string();
                    let name = serde_value(&field.attrs, "rename").unwrap_or(written);
                    Key { name, kind: types.kind(&field.ty), doc: doc(&field.attrs) }
                });
                let entry = (doc(&item.attrs), keys.collect());
                types.blocks.entry(item.ident.to_string()).or_insert(entry);
            }
        }
        types
    }

    fn kind(&self, of: &Type) -> Kind {
        let (name, inner) = parts(of);
        match (name.as_str(), inner.as_slice()) {
            ("Option" | "Spanned", [inner]) => self.kind(inner),
            ("Vec", [inner]) => match self.kind(inner) {
                Kind::Block { name, .. } => Kind::Block { name, is_list: true },
                Kind::Value(value) => Kind::Value(format!("list of {value}s")),
                kind => kind,
            },
            ("BTreeMap", [_, inner]) => match self.kind(inner) {
                Kind::Value(value) => Kind::Map(value),
                kind => kind,
            },
            ("IgnoredAny", _) => Kind::Ignored,
            ("bool", _) => Kind::Value("boolean".to_owned()),
            ("String" | "Secret", _) => Kind::Value("text".to_owned()),
            ("PathBuf", _) => Kind::Value("path".to_owned()),
            ("GoDuration", _) => Kind::Value("duration".to_owned()),
            ("Port", _) => Kind::Value("port".to_owned()),
            ("u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64", _) => Kind::Value("number".to_owned()),
            (name, _) => match self.words.get(name) {
                Some(words) => Kind::Words(words.clone()),
                None => Kind::Block { name: name.to_owned(), is_list: false },
            },
        }
    }
}

/// The last segment of a type's path, and its type arguments.
fn parts(of: &Type) -> (String, Vec<&Type>) {
    let Type::Path(path) = of else { return (String::new(), Vec::new()) };
    let Some(last) = path.path.segments.last() else { return (String::new(), Vec::new()) };
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(list) => list
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(inner) => Some(inner),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    (last.ident.to_string(), inner)
}

/// The text of `#[serde(name = "…")]`.
fn serde_value(attributes: &[Attribute], name: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let _ = attribute.parse_nested_meta(|meta| {
            if let Ok(value) = meta.value() {
                let literal: Lit = value.parse()?;
                if let (true, Lit::Str(text)) = (meta.path.is_ident(name), literal) {
                    found = Some(text.value());
                }
            }
            Ok(())
        });
    }
    found
}

/// A variant's name as serde writes it.
fn in_style(name: &str, style: &str) -> String {
    let separator = match style {
        "snake_case" => "_",
        "kebab-case" => "-",
        "lowercase" => return name.to_lowercase(),
        _ => return name.to_owned(),
    };
    let mut written = String::new();
    for (index, letter) in name.char_indices() {
        if index > 0 && letter.is_ascii_uppercase() {
            written.push_str(separator);
        }
        written.push(letter.to_ascii_lowercase());
    }
    written
}

fn doc(attributes: &[Attribute]) -> Doc {
    let mut doc = Doc::default();
    let mut paragraph = String::new();
    let mut last_fact: Option<String> = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        let Meta::NameValue(value) = &attribute.meta else { continue };
        let Expr::Lit(literal) = &value.value else { continue };
        let Lit::Str(line) = &literal.lit else { continue };
        let line = line.value();
        let bare = line.trim();
        if let Some((name, value)) = bare.strip_prefix("- ").and_then(|fact| fact.split_once(": ")) {
            doc.facts.insert(name.to_owned(), value.to_owned());
            last_fact = Some(name.to_owned());
        } else if let (Some(name), true) = (&last_fact, line.starts_with("   ")) {
            // The fact goes on.
            let value = doc.facts.entry(name.clone()).or_default();
            value.push(' ');
            value.push_str(bare);
        } else if bare.is_empty() {
            doc.text.extend(Some(std::mem::take(&mut paragraph)).filter(|text| !text.is_empty()));
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(bare);
        }
    }
    doc.text.extend(Some(paragraph).filter(|text| !text.is_empty()));
    doc
}
