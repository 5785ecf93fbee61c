//! Configuration files: a YAML file, an optional `.local` file merged over it, and environment variables in both.
//!
//! The rules are those of CrowdSec's bouncers, so that their files work unchanged: both files are maps, the second is
//! merged into the first key by key, and `$NAME` and `${NAME}` are expanded in values. In addition, mistakes are reported
//! all at once, with file and line, and messages contain no secrets.

mod bounds;
mod compose;
mod emit;
mod expand;
mod merge;
mod problems;
mod redact;
mod rename;
mod tree;
mod typed;
mod unknown;

use std::{
    fmt, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use self::{
    compose::{SyntaxError, compose},
    expand::expand_values,
    problems::{has_password, has_secrets, is_secret, is_secret_file, shown},
    rename::Renamed,
    tree::{Kind, Node, TextPosition},
};
pub use self::{
    problems::{Problem, Problems, SourceLocation},
    unknown::UnknownKey,
};

/// Largest configuration file in bytes; thousands of times what one needs.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Why a configuration cannot be used. The texts have the stock prefixes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be opened or read.
    #[error("unable to read config file: while reading yaml file: open {}: {}", path.display(), plain(cause))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error; part of the text above.
        cause: io::Error,
    },
    /// A file is not a single YAML map, or has a duplicate key.
    #[error("unable to read config file: {}: [{line}:{column}] {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// The `.local` file has another kind of value for a key than the main file.
    #[error(
        "unable to read config file: {what} ({key} at {place}); give the key the same kind of value in both files"
    )]
    Mismatch {
        /// Dotted path of the key.
        key: String,
        /// The location of the overriding value.
        place: SourceLocation,
        /// `can't merge a sequence into a scalar`.
        what: String,
    },
    /// After expansion of environment variables, a value is not YAML any more, or expansion does not end.
    #[error(
        "unable to load configuration: failed to unmarshal: {what} ({key} at {place}, after environment expansion)"
    )]
    Expanded {
        /// Dotted path of the key.
        key: String,
        /// The location of the value.
        place: SourceLocation,
        /// What is wrong there.
        what: String,
    },
    /// Values that are invalid or contradict each other.
    #[error("unable to load configuration: {0}")]
    Invalid(Problems),
}

impl From<Problems> for ConfigError {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

/// The operating system's text without the error number that Rust appends, in Go's letter case.
fn plain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => cause.to_string(),
    }
}

/// A configuration that was read, merged and expanded, ready to be parsed once per concern.
#[derive(Clone)]
pub struct Document {
    path: PathBuf,
    local: Option<PathBuf>,
    merged: String,
    root: Node,
    renamed: Vec<Renamed>,
    with_secrets: Vec<PathBuf>,
}

/// Shows the files, never their contents.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("path", &self.path)
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Reads `path` and, if it is there, the same path with `.local` appended; expands environment variables.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let base = read(path)?;
        let local_path = local_of(path);
        let local = match read(&local_path) {
            Ok(text) => Some(text),
            Err(ConfigError::Unreadable { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Self::from_text(path, &base, local.as_deref(), &|name| std::env::var(name).ok())
    }

    /// The same from texts. `lookup` returns the value of an environment variable.
    pub fn from_text(
        path: &Path,
        base: &str,
        local: Option<&str>,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let local_path = local.is_some().then(|| local_of(path));
        let files = Files { base: path, local: local_path.as_deref() };
        let base_root = compose(base, 0).map_err(|error| files.syntax(0, error))?;
        let (merged, mut root) = match local {
            None => (base.to_owned(), base_root),
            Some(local) => {
                let over = compose(local, 1).map_err(|error| files.syntax(1, error))?;
                let root = merge::merge(base_root, over).map_err(|clash| ConfigError::Mismatch {
                    key: clash.key,
                    place: files.place(clash.position),
                    what: clash.what,
                })?;
                (emit::document(&root), root)
            }
        };
        // Before the expansion: a value from the environment is not in the file.
        let with_secrets = secret_sources(&root).map(|source| files.path(source)).collect();
        expand_values(&mut root, "", lookup).map_err(|error| ConfigError::Expanded {
            key: error.key,
            place: files.place(error.position),
            what: error.what,
        })?;
        Ok(Self { path: path.to_owned(), local: local_path, merged, root, renamed: Vec::new(), with_secrets })
    }

    /// The main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `.local` file, if there was one.
    pub fn local_path(&self) -> Option<&Path> {
        self.local.as_deref()
    }

    /// Logs that a `.local` file was used, if so. To be called once logging is set up.
    pub fn announce(&self) {
        if let Some(local) = &self.local {
            tracing::info!(
                "Loading yaml file: '{}' with additional values from '{}'",
                self.path.display(),
                local.display()
            );
        }
    }

    /// What `-T` prints: the main file unchanged, or the merged document; environment variables not expanded.
    pub fn merged_text(&self) -> &str {
        &self.merged
    }

    /// [`merged_text`](Self::merged_text) with its secrets hidden. `known` is that of
    /// [`unknown_keys`](Self::unknown_keys), for keys that are misspelt. Where a secret cannot be hidden in the text as
    /// it is, the text is written anew, without comments, and begins with a line about that.
    pub fn text_without_secrets(&self, known: &[&str]) -> String {
        redact::without_secrets(&self.merged, known)
    }

    /// Parses the keys of `T` and ignores all others; reports every invalid value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let mut wrong = Problems::new();
        match self.parse_into(&mut wrong) {
            Some(value) if wrong.is_empty() => Ok(value),
            _ => Err(ConfigError::Invalid(wrong)),
        }
    }

    /// The same for a concern that continues checking: invalid values are added to `wrong` and treated as absent.
    /// `None` when nothing can be parsed, for example because a required key is invalid.
    pub fn parse_into<T: DeserializeOwned>(&self, wrong: &mut Problems) -> Option<T> {
        let (value, faults) = typed::read(&self.root);
        let mut problems = Problems::new();
        for fault in faults {
            let (key, position) =
                fault.at.map_or((String::new(), None), |(key, position)| (key, Some(position)));
            problems.push(Problem {
                key,
                text: fault.text,
                place: position.map(|position| self.place(position)),
                value: None,
            });
        }
        wrong.extend(self.locate(problems));
        value
    }

    /// Keys in the file that are not in `known`. `known` holds dotted paths; `a.b` makes `a` known too, `a.*` makes
    /// everything below `a` known, and keys inside list entries are known by the path of the list.
    pub fn unknown_keys(&self, known: &[&str]) -> Vec<UnknownKey> {
        unknown::unknown_keys(&self.root, known)
            .into_iter()
            .map(|(key, position, suggestion)| UnknownKey { key, place: self.place(position), suggestion })
            .collect()
    }

    /// Whether the file has this key (a dotted path), whatever its value.
    pub fn has(&self, dotted: &str) -> bool {
        self.root.entry(self.path_in_tree(dotted)).is_some()
    }

    /// The file and line a key (a dotted path, `[0]` for list entries) was written in.
    pub fn place_of(&self, dotted: &str) -> Option<SourceLocation> {
        self.root.find(self.path_in_tree(dotted)).map(|(position, _)| self.place(position))
    }

    /// Adds file, line and value to each problem that names a key.
    pub fn locate(&self, mut problems: Problems) -> Problems {
        for problem in problems.iter_mut() {
            let found = self.root.find(self.path_in_tree(&problem.key));
            if let Some((position, node)) = found {
                problem.place.get_or_insert_with(|| self.place(position));
                if let Kind::Scalar(scalar) = &node.kind
                    && problem.value.is_none()
                {
                    problem.value = Some(shown(&problem.key, &scalar.text));
                }
            }
            self.name_as_written(problem);
        }
        problems
    }

    /// Each value with the name (not the path) of its key.
    pub fn values(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        self.root.for_each_scalar("", self.root.position, &mut |key, _, text| found.push((key, text)));
        found
    }

    /// The files that hold secrets: the main file and its `.local`, if a secret is written there, and the files of keys,
    /// passwords and tokens that they name. They need not exist.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mut found = self.with_secrets.clone();
        for (key, text) in self.values() {
            let path = Path::new(text);
            if key == CREDENTIALS && path.is_absolute() {
                // A file of keys like this one: it may have its secrets from the environment.
                found.extend(Self::load(path).iter().flat_map(Self::own_secret_files));
            }
        }
        found.extend(self.own_secret_files());
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The same without the files of credentials, so that two that name each other do no harm.
    fn own_secret_files(&self) -> Vec<PathBuf> {
        let values = self.values().into_iter();
        let named =
            values.filter(|(key, text)| *key != CREDENTIALS && is_secret_file(key) && text.starts_with('/'));
        named.map(|(_, text)| PathBuf::from(text)).chain(self.with_secrets.iter().cloned()).collect()
    }

    fn place(&self, position: TextPosition) -> SourceLocation {
        Files { base: &self.path, local: self.local.as_deref() }.place(position)
    }
}

/// The file of a text position.
struct Files<'p> {
    base: &'p Path,
    local: Option<&'p Path>,
}

impl Files<'_> {
    fn path(&self, source: u8) -> PathBuf {
        if source == 0 { self.base } else { self.local.unwrap_or(self.base) }.to_owned()
    }

    fn place(&self, position: TextPosition) -> SourceLocation {
        SourceLocation { file: self.path(position.source), line: position.line }
    }

    fn syntax(&self, source: u8, error: SyntaxError) -> ConfigError {
        ConfigError::Syntax {
            path: self.path(source),
            line: error.line,
            column: error.column,
            what: error.what,
        }
    }
}

/// The key that names a file of credentials, which is YAML too.
const CREDENTIALS: &str = "credentials_path";

/// The texts (0 is the main file, 1 the `.local` one) in which a secret is written.
fn secret_sources(root: &Node) -> impl Iterator<Item = u8> {
    let mut found = std::collections::BTreeSet::new();
    root.for_each_scalar("", root.position, &mut |key, position, text| {
        // Packages write placeholders in `<>`; what begins with `$` comes from the environment.
        let is_written = !text.is_empty() && !text.starts_with(['<', '$']);
        let is_path = is_secret_file(key) && text.starts_with('/');
        if is_written && !is_path && (is_secret(key) || has_secrets(key) || has_password(text)) {
            found.insert(position.source);
        }
    });
    found.into_iter()
}

fn local_of(path: &Path) -> PathBuf {
    let mut local = path.as_os_str().to_owned();
    local.push(".local");
    local.into()
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text)?;
        match text.len() as u64 > MAX_CONFIG_BYTES {
            true => Err(std::io::Error::other(format!("it is larger than {MAX_CONFIG_BYTES} bytes"))),
            false => Ok(text),
        }
    };
    read().map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
