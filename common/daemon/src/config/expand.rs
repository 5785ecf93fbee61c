//! Expands environment variables in the values of a configuration, with the rules of CrowdSec's bouncers.
//!
//! - `$NAME` (letters, digits, underscore) and `${NAME}` (up to the next `}`) are replaced if the variable is set, and left
//!   as they are if it is not: an API key such as `foo$bar` survives.
//! - The replaced text is scanned again from its *second* character, so values may refer to other names anywhere but
//!   at their very start, and an empty value shields the byte that follows it.
//! - There is no `${NAME:-default}` and no escape for `$`.
//!
//! Unlike the original, a `$` at the very end does not crash, a value that contains its own name is an error instead of
//! exhausting memory, and comments and keys are not expanded.

use super::{
    compose::compose_value,
    tree::{Kind, Node, Scalar, TextPosition},
};

/// Maximum growth of a value by expansion; a variable that refers to itself would grow it forever.
const MAX_ADDED_BYTES: usize = 1 << 20;

/// A value that cannot be expanded.
#[derive(Debug)]
pub(crate) struct ExpansionError {
    /// Path of the value, `[0]` for list entries.
    pub key: String,
    pub position: TextPosition,
    pub what: String,
}

/// Replaces references to the names that `lookup` finds in all values of `node`, whose path is `key`.
///
/// A value without quotes is parsed again if it changed: a variable may contain a number, a boolean or a list. Everything
/// in it has the position of the reference.
pub(crate) fn expand_values(
    node: &mut Node,
    key: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ExpansionError> {
    match &mut node.kind {
        Kind::Sequence(items) => items
            .iter_mut()
            .zip(0..)
            .try_for_each(|(item, at)| expand_values(item, &format!("{key}[{at}]"), lookup)),
        Kind::Mapping(entries) => entries.iter_mut().try_for_each(|entry| {
            let name = &entry.key.text;
            let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            expand_values(&mut entry.value, &path, lookup)
        }),
        Kind::Scalar(scalar) => {
            let position = node.position;
            let failed = |what| ExpansionError { key: key.to_owned(), position, what };
            let text = expand(&scalar.text, lookup).map_err(failed)?;
            if text == scalar.text {
                return Ok(());
            }
            if scalar.plain {
                *node = compose_value(&text).map_err(|error| failed(error.what))?;
                node.for_each_position(&mut |at| *at = position);
            } else {
                *scalar = Scalar::new(text, false);
            }
            Ok(())
        }
    }
}

/// Replaces references in a text. The error names the variable that made it too long.
fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    let mut scan =
        Scan { pending: text.bytes().rev().collect(), out: Vec::new(), added: 0, no_brace_left: false };
    while let Some(byte) = scan.pending.pop() {
        if byte == b'$'
            && let Some((name, len)) = scan.name_ahead()
            && let Some(value) = lookup(&name)
        {
            scan.added += value.len();
            if scan.added > MAX_ADDED_BYTES {
                return Err(format!(
                    "the environment variable {name} refers to itself or is larger than 1 MiB; set it to a plain value"
                ));
            }
            scan.replace(len, &value);
        } else {
            scan.out.push(byte);
        }
    }
    // Values replace ASCII references, so the text remains valid UTF-8; lossy only to rule out a panic.
    Ok(String::from_utf8(scan.out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The pending text, last byte first so that values can be pushed in front of it, and the text produced so far.
struct Scan {
    pending: Vec<u8>,
    out: Vec<u8>,
    added: usize,
    /// `pending` contains no `}`: avoids searching for one at every `${`.
    no_brace_left: bool,
}

impl Scan {
    /// The name after a `$` and how many pending bytes the reference takes.
    fn name_ahead(&mut self) -> Option<(String, usize)> {
        let mut ahead = self.pending.iter().rev().copied();
        let (bytes, taken): (Vec<u8>, usize) = if *self.pending.last()? == b'{' {
            if self.no_brace_left {
                return None;
            }
            let name: Vec<u8> = ahead.by_ref().skip(1).take_while(|byte| *byte != b'}').collect();
            if name.len() + 2 > self.pending.len() {
                self.no_brace_left = true;
                return None;
            }
            let taken = name.len() + 2;
            (name, taken)
        } else {
            let name: Vec<u8> =
                ahead.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').collect();
            let taken = name.len();
            (name, taken)
        };
        let name = String::from_utf8(bytes).ok()?;
        // The environment has no variable with an empty name or these characters.
        (!name.is_empty() && !name.contains(['=', '\0'])).then_some((name, taken))
    }

    /// Replaces the next `len` pending bytes by `value`, whose first byte is not scanned.
    fn replace(&mut self, len: usize, value: &str) {
        self.pending.truncate(self.pending.len() - len);
        self.pending.extend(value.bytes().rev());
        self.no_brace_left = false;
        self.out.extend(self.pending.pop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "A" => "alpha",
            "EMPTY" => "",
            "MID" => "x$A",
            "START" => "$A",
            "END" => "x$",
            "LOOP" => "x$LOOP",
            "weird name" => "odd",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn follows_the_rules_of_the_original() {
        for (text, expanded) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "alpha"),
            ("${A}", "alpha"),
            ("k: $A-$A", "k: alpha-alpha"),
            ("foo$bar", "foo$bar"),
            ("foo$BAR", "foo$BAR"),
            ("${BACKEND}", "${BACKEND}"),
            ("$AB", "$AB"),
            ("$A.b", "alpha.b"),
            ("# comment $A", "# comment alpha"),
            ("x${EMPTY}y", "xy"),
            ("$EMPTY$A", "$A"),
            ("$EMPTY-$A", "-alpha"),
            ("$MID", "xalpha"),
            ("$START", "$A"),
            ("$END", "x$"),
            ("$END\n", "x$\n"),
            ("$$A", "$alpha"),
            ("$", "$"),
            ("a: b$", "a: b$"),
            ("${", "${"),
            ("${A", "${A"),
            ("${A $A", "${A alpha"),
            ("${nope} and ${A}", "${nope} and alpha"),
            ("${no\npe} ${A}", "${no\npe} alpha"),
            ("${weird name}", "odd"),
            ("${A:-x}", "${A:-x}"),
            ("${}$A", "${}alpha"),
            ("größe: $A ü", "größe: alpha ü"),
            ("${ü}", "${ü}"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expanded, "{text:?}");
        }
    }

    #[test]
    fn a_value_that_contains_itself_is_an_error() {
        assert!(
            expand("$LOOP", &env).unwrap_err().starts_with("the environment variable LOOP refers to itself")
        );
    }

    #[test]
    fn a_hundred_thousand_open_braces_take_no_time() {
        let text = "${".repeat(100_000);
        assert_eq!(expand(&text, &env).unwrap(), text);
    }
}
