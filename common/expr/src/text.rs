//! Texts: borrowed from the host or the program, or shared.

use std::{fmt, ops::Deref, sync::Arc};

/// A text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'v> {
    /// Borrowed from the host or the program.
    Borrowed(&'v str),
    /// Created during evaluation, or shared by the host.
    Shared(Arc<str>),
}

impl<'v> Text<'v> {
    /// The bytes from `start` to `end`, which must be in bounds. A cut character becomes U+FFFD.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        match (self, self.get(start..end)) {
            (Self::Borrowed(text), Some(_)) => Self::Borrowed(&text[start..end]),
            (_, Some(part)) => Self::Shared(part.into()),
            (_, None) => {
                let bytes = self.as_bytes().get(start..end).unwrap_or_default();
                Self::Shared(String::from_utf8_lossy(bytes).into())
            }
        }
    }

    /// `part`, a substring of this text, without a copy where that is possible.
    pub fn within(&self, part: &str) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(self.as_ptr() as usize);
        match self {
            Self::Borrowed(text) => match text.get(start..start.wrapping_add(part.len())) {
                Some(part) => Self::Borrowed(part),
                None => Self::Shared(part.into()),
            },
            Self::Shared(_) => Self::Shared(part.into()),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}
