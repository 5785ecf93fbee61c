//! Collects missing and too long fields of a body, in the form of the stock server's validation texts.

use std::fmt;

/// All problems of a body, one line each under its heading; several headings where structures are nested. Displays as
/// the text that the stock server responds with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ValidationFailure(Group);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Line(String),
    Group(Group),
}

/// The failures of one structure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group(Vec<Entry>);

const HEADING: &str = "validation failure list:";

impl Group {
    /// Records a failure if the field is absent.
    pub(crate) fn require<T>(&mut self, at: impl fmt::Display, value: &Option<T>) {
        if value.is_none() {
            self.line(format!("{at} in body is required"));
        }
    }

    /// Records a failure if the text has more than `longest` characters.
    pub(crate) fn at_most(&mut self, at: impl fmt::Display, text: &str, longest: usize) {
        if text.chars().nth(longest).is_some() {
            self.line(format!("{at} in body should be at most {longest} chars long"));
        }
    }

    /// Records a failure if the text has fewer than `shortest` characters.
    pub(crate) fn at_least(&mut self, at: impl fmt::Display, text: &str, shortest: usize) {
        if text.chars().count() < shortest {
            self.line(format!("{at} in body should be at least {shortest} chars long"));
        }
    }

    fn line(&mut self, line: String) {
        self.0.push(Entry::Line(line));
    }

    /// Adds the failures of a nested structure, if any.
    pub(crate) fn nest(&mut self, inner: Self) {
        if !inner.0.is_empty() {
            self.0.push(Entry::Group(inner));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns an error if any failure was recorded.
    pub(crate) fn check(self) -> Result<(), ValidationFailure> {
        if self.is_empty() { Ok(()) } else { Err(ValidationFailure(self)) }
    }
}

impl ValidationFailure {
    /// The text with the headings at its start collapsed into one, as the usage-metrics route shows it.
    pub(crate) fn collapsed(&self) -> String {
        let text = self.to_string();
        let mut rest = text.as_str();
        while let Some(next) = rest.strip_prefix(HEADING).and_then(|after| after.strip_prefix('\n'))
            && next.starts_with(HEADING)
        {
            rest = next;
        }
        rest.to_owned()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADING)?;
        for entry in &self.0 {
            match entry {
                Entry::Line(line) => write!(f, "\n{line}")?,
                Entry::Group(group) => write!(f, "\n{group}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ValidationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
