//! Reads JSON bodies of requests, leniently as the stock server: unknown names are ignored, `null` is as good as absent,
//! and so are bytes after the first value.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path, Segment};

use crate::object_reader::ObjectReader;

/// Why a body is refused; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not JSON, or a value has the wrong type.
    #[error("{0}")]
    Malformed(String),
    /// A field is missing or too short.
    #[error("validation failure list:\n{0}")]
    Invalid(String),
    /// A field is longer than this server takes.
    #[error("validation failure list:\n{0}")]
    TooLong(String),
}

/// How much more memory than its own length the lists of a body may take. An element of a posted list takes about twice the
/// bytes of its text, a short label four times; a list of empty elements would take hundreds of times as much.
const LIST_BYTES_PER_BYTE: usize = 4;
/// What the lists of a short body may take, in bytes.
const LIST_BYTES: usize = 1 << 20;

thread_local! {
    /// What the lists of the body that this thread is reading may still take, in bytes; unlimited between bodies, since the
    /// same types are also read from the store.
    static LIST_BUDGET: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The longest text of an error, in characters: it may quote what a peer sent.
const MAX_MESSAGE: usize = 500;
/// The longest name in a path of an error, in characters.
const MAX_SEGMENT: usize = 255;
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
            other => brief(&other.to_string(), MAX_SEGMENT).into_owned(),
        })
        .collect();
    names.join(".")
}

/// The text of a body. Bytes that are not UTF-8 become replacement characters, so that one log line cannot block a batch
/// of alerts.
pub fn body_text(body: &[u8]) -> Cow<'_, str> {
    without_unstorable(String::from_utf8_lossy(body), true)
}

/// Reads the first JSON value of a body; `None` for `null`.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, BodyError> {
    // NUL is left to the checks of names.
    read_text(&without_unstorable(String::from_utf8_lossy(body), false))
}

/// The same for what refers to the body.
pub(crate) fn read_text<'de, T: Deserialize<'de>>(body: &'de str) -> Result<Option<T>, BodyError> {
    let budget = LIST_BYTES.saturating_add(body.len().saturating_mul(LIST_BYTES_PER_BYTE));
    LIST_BUDGET.set(budget);
    let read = Option::deserialize(ObjectReader(&mut serde_json::Deserializer::from_str(body)));
    let read = read.or_else(|_| {
        // Only a body that is refused is read with its path, which takes twice as long.
        LIST_BUDGET.set(budget);
        serde_path_to_error::deserialize(ObjectReader(&mut serde_json::Deserializer::from_str(body)))
    });
    LIST_BUDGET.set(usize::MAX);
    read.map_err(BodyError::new)
}

/// Replaces the escapes of halves of surrogate pairs, which no text can hold, and of NUL, which PostgreSQL cannot store, by
/// those of the replacement character: a text has one form in memory and in every database.
fn without_unstorable(mut text: Cow<'_, str>, nul: bool) -> Cow<'_, str> {
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        let (unit, next) = (unstorable(&text[at..]), unstorable(text.get(at + 6..).unwrap_or_default()));
        match (unit, next) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0), _) if !nul => at += 6,
            (Some(_), _) => {
                text.to_mut().replace_range(at..at + 6, "\\ufffd");
                at += 6;
            }
            // Whatever is escaped, such as a backslash, begins no escape itself.
            (None, _) => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    text
}

/// The half of a surrogate pair, or NUL, that is escaped at the beginning of a text.
fn unstorable(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16));
    let unit = unit?.ok()?;
    matches!(unit, 0 | 0xd800..=0xdfff).then_some(unit)
}

/// A text of a body, copied only if it has escapes.
// A type of its own, because serde borrows into `Cow` but not into `Option<Cow>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BorrowedText<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for BorrowedText<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        from.deserialize_str(Text).map(Self)
    }
}

/// Checks a field that may be `null` in JSON but must be there.
pub(crate) fn require<T>(value: Option<T>, at: impl fmt::Display) -> Result<T, BodyError> {
    value.ok_or_else(|| BodyError::missing(at))
}

/// Checks that a text has at most `longest` characters.
pub(crate) fn at_most(at: impl fmt::Display, text: &str, longest: usize) -> Result<(), BodyError> {
    // Compared in bytes first, which are never fewer than characters.
    if text.len() <= longest {
        return Ok(());
    }
    match text.chars().nth(longest) {
        None => Ok(()),
        Some(_) => Err(BodyError::TooLong(format!("{at} in body should be at most {longest} chars long"))),
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

/// For `deserialize_with`: a list, whose memory counts against the budget of the body; absent for `null`.
pub(crate) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct Elements<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(element) = elements.next_element()? {
                let left = LIST_BUDGET.get().checked_sub(size_of::<T>());
                let left = left.ok_or_else(|| {
                    A::Error::custom("more elements than a body of this length may have; post fewer at once")
                })?;
                LIST_BUDGET.set(left);
                all.push(element);
            }
            Ok(Some(all))
        }
    }

    from.deserialize_any(Elements(PhantomData))
}

/// For `deserialize_with`: the same, empty for `null`.
pub(crate) fn list_or_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(list(from)?.unwrap_or_default())
}

/// For `deserialize_with`: the same, and the field is required.
pub(crate) fn required_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    list(from)?.ok_or_else(|| D::Error::custom(NULL))
}

/// For `deserialize_with`: a number that an `f32` can hold. A larger one would become infinite, which JSON cannot express.
pub(crate) fn finite<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f32>, D::Error> {
    let number: Option<f32> = Option::deserialize(from)?;
    match number {
        Some(number) if !number.is_finite() => Err(D::Error::custom("the number is out of range")),
        number => Ok(number),
    }
}

/// Checks a name: at most `longest` characters, and no control characters, which a terminal would obey.
pub(crate) fn name(at: impl fmt::Display, text: &str, longest: usize) -> Result<(), BodyError> {
    if text.contains(char::is_control) {
        return Err(BodyError::Invalid(format!("{at} in body must not contain control characters")));
    }
    at_most(at, text, longest)
}

/// For `deserialize_with`: a list whose `null` elements are left out; empty for `null`.
pub(crate) fn list_of_some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    Ok(list::<Option<T>, D>(from)?.unwrap_or_default().into_iter().flatten().collect())
}

/// For `deserialize_with`: the same, and the field is required.
pub(crate) fn required_list_of_some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let all: Vec<Option<T>> = required_list(from)?;
    Ok(all.into_iter().flatten().collect())
}

/// For `deserialize_with`: a list of texts, of which each `null` is empty; empty for `null`.
pub(crate) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(without_nulls(list(from)?))
}

/// A field whose type is checked and whose value is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused<T>(PhantomData<T>);

impl<T> Default for Unused<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unused<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(from).map(|_| Self::default())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_has_one_form_from_the_edge_on() {
        for (body, expected) in [
            (r#"["192.0.2.7\u0000"]"#, "192.0.2.7\u{fffd}"),
            (r#"["\u0000\ud800\u0000\ud83d\ude00"]"#, "\u{fffd}\u{fffd}\u{fffd}\u{1f600}"),
            // An escaped backslash, and no escape.
            (r#"["\\u0000"]"#, "\\u0000"),
        ] {
            assert_eq!(read_text::<Vec<String>>(&body_text(body.as_bytes())).unwrap().unwrap(), [expected]);
        }
    }
}
