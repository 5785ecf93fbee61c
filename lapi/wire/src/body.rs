//! Reads JSON bodies of requests, leniently as the stock server: unknown names are ignored, `null` is as good as absent,
//! and so are bytes after the first value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};

use crate::usage::MAX_METRIC_TEXT;

/// Why a body is refused; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not JSON, or a value has the wrong type.
    #[error("{0}")]
    Malformed(String),
    /// A field is missing, too short or too long.
    #[error("validation failure list:\n{0}")]
    Invalid(String),
}

/// The longest text of an error, in characters: it may quote what a peer sent.
const MAX_MESSAGE: usize = 500;
/// How serde reports an absent field.
const ABSENT: &str = "missing field `";
/// How [`required`] reports a field that is `null`.
const NULL: &str = "null where a value is required";

impl BodyError {
    pub(crate) fn missing(at: impl fmt::Display) -> Self {
        Self::Invalid(format!("{at} in body is required"))
    }

    fn new(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let at = dotted(error.path());
        let text = error.into_inner().to_string();
        if let Some((name, _)) = text.strip_prefix(ABSENT).and_then(|rest| rest.split_once('`')) {
            return Self::missing(if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") });
        }
        if text.starts_with(NULL) {
            return Self::missing(at);
        }
        let text = brief(&text, MAX_MESSAGE);
        Self::Malformed(if at.is_empty() { text.into_owned() } else { format!("{at}: {text}") })
    }
}

/// `0.decisions.3.value`: the stock server's form of a path.
fn dotted(path: &Path) -> String {
    let segments = path.iter().filter(|segment| !matches!(segment, Segment::Unknown));
    let names: Vec<String> = segments
        .map(|segment| match segment {
            Segment::Seq { index } => index.to_string(),
            other => brief(&other.to_string(), MAX_METRIC_TEXT).into_owned(),
        })
        .collect();
    names.join(".")
}

/// Reads the first JSON value of a body; `None` for `null`.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, BodyError> {
    // Bytes that are not UTF-8 become replacement characters, so that one log line cannot block a batch of alerts.
    let text = String::from_utf8_lossy(body);
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text)).map_err(BodyError::new)
}

/// Checks a field that may be `null` in JSON but must be there.
pub(crate) fn require<T>(value: Option<T>, at: impl fmt::Display) -> Result<T, BodyError> {
    value.ok_or_else(|| BodyError::missing(at))
}

/// Checks that a text has at most `longest` characters.
pub(crate) fn at_most(at: impl fmt::Display, text: &str, longest: usize) -> Result<(), BodyError> {
    match text.chars().nth(longest) {
        None => Ok(()),
        Some(_) => Err(BodyError::Invalid(format!("{at} in body should be at most {longest} chars long"))),
    }
}

/// For `deserialize_with`: `null` is as good as absent, and the field is required.
pub(crate) fn required<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from)?.ok_or_else(|| D::Error::custom(NULL))
}

/// For `deserialize_with`: `null` is as good as absent, and the field is optional.
pub(crate) fn null_is_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What a list contains, with defaults for each `null`.
pub(crate) fn without_nulls<T: Default>(list: Option<Vec<Option<T>>>) -> Vec<T> {
    list.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect()
}

/// Truncates a text from a peer for a response or a log line.
pub(crate) fn brief(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
