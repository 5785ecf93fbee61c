//! Errors of the pages' files.

use std::path::PathBuf;

/// Why the pages cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A file or the folder cannot be read.
    #[error("cannot read {}: {cause}; correct `pages.directory` or the file's permissions", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is larger than any page should be.
    #[error("{} has more than {limit} bytes; shorten it", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The largest size.
        limit: u64,
    },
    /// A file of a name that is never looked up.
    #[error("{} replaces no page; files are named {known}, with .html, .json or .txt, and style.css", path.display())]
    UnknownFile {
        /// Which.
        path: PathBuf,
        /// The names.
        known: String,
    },
    /// A template that does not compile, or cannot be rendered with values of a usual request.
    #[error("{}, line {line}: {reason}; correct the template", path.display())]
    Template {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A JSON template whose output is no JSON.
    #[error("{} does not produce JSON: {reason}; write values as {{{{ name }}}} without quotes, which adds them", path.display())]
    NoJson {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No texts in this language.
    #[error("there are no texts in language {language:?}; `pages.language` is one of en, de, fr, es, ja")]
    Language {
        /// As configured.
        language: String,
    },
    /// A value that cannot stand in a header.
    #[error("{what} {value:?} cannot be part of a Content-Security-Policy; correct it")]
    Policy {
        /// Which value.
        what: &'static str,
        /// As configured.
        value: String,
    },
}
