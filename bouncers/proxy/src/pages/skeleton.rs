//! Keeps a page rendered once, with gaps for what depends on the request.
//!
//! A ban flood must cost little. The built-in templates only print values and test whether optional ones are there, so
//! that a page is rendered once for each set of present values, and filled for each request.

use super::context::{Field, FieldValues};
use super::escape::Escape;

/// Around the field's letter in a rendered page. Private-use characters: no text of ours contains them, and no form of
/// escaping changes them.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
const FIRST: u32 = 0xe010;

/// The mark of a field, which stands for its value while a page is rendered.
pub(super) fn mark(field: Field) -> String {
    let letter = char::from_u32(FIRST + field as u32).unwrap_or(CLOSE);
    String::from_iter([OPEN, letter, CLOSE])
}

/// A page with gaps.
#[derive(Debug)]
pub(super) struct Skeleton {
    text: Box<str>,
    /// Where in `text` which value is inserted, ascending.
    gaps: Box<[(usize, Field)]>,
    escape: Escape,
}

impl Skeleton {
    /// Cuts a rendered page at its marks.
    pub(super) fn new(rendered: &str, escape: Escape) -> Self {
        let mut text = String::with_capacity(rendered.len());
        let mut gaps = Vec::new();
        let mut rest = rendered;
        while let Some(at) = rest.find(OPEN) {
            text.push_str(&rest[..at]);
            let mut mark = rest[at..].char_indices().skip(1);
            let field = mark.next().and_then(|(_, letter)| {
                Field::ALL.get((letter as u32).checked_sub(FIRST)? as usize).copied()
            });
            if let Some(field) = field {
                gaps.push((text.len(), field));
            }
            rest = mark.next().map_or("", |(close, _)| &rest[at + close + CLOSE.len_utf8()..]);
        }
        text.push_str(rest);
        Self { text: text.into(), gaps: gaps.into(), escape }
    }

    /// The page with the values of a request.
    pub(super) fn fill(&self, values: &FieldValues<'_>) -> String {
        // The values of a usual request fit; a long path costs one more allocation.
        let mut out = String::with_capacity(self.text.len() + self.gaps.len() * 40);
        let mut value = String::new();
        let mut from = 0;
        for &(at, field) in &self.gaps {
            out.push_str(&self.text[from..at]);
            from = at;
            value.clear();
            values.write(field, &mut value);
            self.escape.write(&value, &mut out);
        }
        out.push_str(&self.text[from..]);
        out
    }
}
