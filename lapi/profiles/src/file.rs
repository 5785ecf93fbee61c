//! `profiles.yaml` as written: several documents with CrowdSec's keys, and the source location of each value.

use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use crate::ProfilesError;

/// A document. Unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    pub(crate) name: Option<String>,
    pub(crate) debug: Option<bool>,
    pub(crate) filters: Option<Vec<Spanned<String>>>,
    pub(crate) decisions: Option<Vec<Spanned<Template>>>,
    pub(crate) duration_expr: Option<Spanned<String>>,
    pub(crate) notifications: Option<Vec<String>>,
    pub(crate) on_success: Option<Spanned<String>>,
    pub(crate) on_failure: Option<Spanned<String>>,
    pub(crate) on_error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) duration: Option<Spanned<String>>,
    pub(crate) scope: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) simulated: Option<bool>,
    // Fields of a decision without meaning here; the reference accepts them too.
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "scenario")]
    _scenario: Option<IgnoredAny>,
    #[serde(rename = "until")]
    _until: Option<IgnoredAny>,
    #[serde(rename = "uuid")]
    _uuid: Option<IgnoredAny>,
    #[serde(rename = "value")]
    _value: Option<IgnoredAny>,
}

/// A file's name and text, for error locations.
#[derive(Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) path: &'s Path,
    pub(crate) text: &'s str,
}

impl Source<'_> {
    /// All documents that are not empty.
    pub(crate) fn documents(&self) -> Result<Vec<ProfileFile>, ProfilesError> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_multiple_with_options(self.text, options).map_err(|error| {
            let place = error.location();
            let reason = reason(&error);
            match place {
                Some(place) => self.invalid(place, reason),
                None => ProfilesError::Invalid { path: self.path.to_owned(), line: 0, column: 0, reason },
            }
        })
    }

    pub(crate) fn invalid(&self, place: Location, reason: impl Into<String>) -> ProfilesError {
        let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        ProfilesError::Invalid {
            path: self.path.to_owned(),
            line: at(place.line()),
            column: at(place.column()),
            reason: reason.into(),
        }
    }

    /// An error inside an expression at a location; `line` and `column` count from the start of the expression.
    pub(crate) fn invalid_inside(
        &self,
        place: Location,
        (line, column): (usize, usize),
        reason: String,
    ) -> ProfilesError {
        let start = usize::try_from(place.line()).unwrap_or(usize::MAX);
        let indent = usize::try_from(place.column()).unwrap_or(1);
        let written = self.text.lines().nth(start.wrapping_sub(1)).unwrap_or_default();
        let first = written.chars().nth(indent.saturating_sub(1));
        // A quoted text begins one character after its location, and escapes in it may shift columns. Only block
        // scalars have more than one line; their indentation is that of the first line.
        let quote = usize::from(line == 1 && matches!(first, Some('\'' | '"')));
        let (line, column) = (start + line - 1, indent + column - 1 + quote);
        ProfilesError::Invalid { path: self.path.to_owned(), line, column, reason }
    }
}

/// The parser's message without the location, which is reported separately.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    // The library has no message without it.
    let end = [" at line ", "; at line ", " (line "].iter().filter_map(|mark| text.find(mark)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}
