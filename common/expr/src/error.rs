//! Errors of compilation and evaluation, with their positions.

use std::fmt;

/// A byte range of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let clip = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: clip(start), end: clip(end) }
    }

    pub(crate) fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Line and column of the start, both counted from 1, columns in characters.
    pub fn position(self, source: &str) -> (usize, usize) {
        let mut at = (self.start as usize).min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        let before = &source[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Why an expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({line}:{column})")]
pub struct CompileError {
    /// What is wrong, and the remedy where it is known.
    pub reason: String,
    /// Line in the expression, counted from 1.
    pub line: usize,
    /// Column in the expression, counted from 1, in characters.
    pub column: usize,
    /// The part of the source at fault.
    pub span: Span,
}

impl CompileError {
    pub(crate) fn new(reason: impl Into<String>, span: Span, source: &str) -> Self {
        let (line, column) = span.position(source);
        Self { reason: reason.into(), line, column, span }
    }
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({line}:{column})")]
pub struct EvalError {
    /// Why.
    pub reason: String,
    /// Line in the expression, counted from 1.
    pub line: usize,
    /// Column in the expression, counted from 1, in characters.
    pub column: usize,
}

/// Why an operation or a host function failed, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}
