//! `profiles.yaml` as written: several documents with CrowdSec's keys, and the source location of each value.

use std::path::Path;

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};

use crate::ProfilesError;

/// A document. Unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    /// The profile's name, in logs and in `palisade profiles test`.
    ///
    /// - default: `""`
    /// - example: `ssh_for_a_day`
    pub(crate) name: Option<String>,
    /// Log the result of each filter.
    ///
    /// - default: `false`
    /// - example: `true`
    pub(crate) debug: Option<bool>,
    /// Conditions over `Alert` in CrowdSec's expression language. The profile matches when one of them is true;
    /// each true one makes the decisions. A profile without filters never matches.
    ///
    /// - value: list of expressions
    /// - default: `[]`
    /// - example: `[Alert.Remediation == true && Alert.GetScope() == "Ip"]`
    pub(crate) filters: Option<Vec<Spanned<String>>>,
    /// The decisions that a matching profile makes.
    pub(crate) decisions: Option<Vec<Spanned<Template>>>,
    /// An expression that gives the duration of the decisions; when it fails, `duration` is used.
    ///
    /// - value: expression
    /// - default: none
    /// - example: `Sprintf("%dh", (GetDecisionsCount(Alert.GetValue()) + 1) * 4)`
    pub(crate) duration_expr: Option<Spanned<String>>,
    /// Names of notifications. Without effect yet, with a warning: nothing is sent.
    ///
    /// - default: `[]`
    /// - example: `[slack_default]`
    pub(crate) notifications: Option<Vec<String>>,
    /// Whether further profiles are looked at when this one has matched and made decisions.
    ///
    /// - words: `continue`, `break`
    /// - default: `continue`
    /// - example: `break`
    pub(crate) on_success: Option<Spanned<String>>,
    /// Accepted without effect, as by the stock server.
    ///
    /// - words: `continue`, `break`, `apply`
    /// - default: none
    /// - example: `continue`
    pub(crate) on_failure: Option<Spanned<String>>,
    /// What follows when a filter fails: `continue` or `ignore` skips the profile, `apply` counts it as matched,
    /// `break` ends the search. Other words are warned of.
    ///
    /// - value: `continue`, `ignore`, `apply` or `break`
    /// - default: the alert is refused
    /// - example: `continue`
    pub(crate) on_error: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Template {
    /// The remediation. Required.
    ///
    /// - example: `ban`
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// How long it lasts.
    ///
    /// - value: duration
    /// - default: `4h`
    /// - example: `7d`
    pub(crate) duration: Option<Spanned<String>>,
    /// The scope, instead of the alert's.
    ///
    /// - default: that of the alert
    /// - example: `Range`
    pub(crate) scope: Option<String>,
    /// Appended to the origin, which becomes `crowdsec/` and this text.
    ///
    /// - default: none: the origin is `crowdsec`
    /// - example: `honeypot`
    pub(crate) origin: Option<String>,
    /// Make decisions that bouncers are not sent.
    ///
    /// - default: `false`
    /// - example: `true`
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
