//! Identifies requests in logs and on pages.

use std::fmt::Write as _;

/// A number that is unlikely to occur twice. Its text is only made where it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(u128);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(fastrand::u128(..))
    }

    /// 32 hexadecimal digits.
    pub(crate) fn to_text(self) -> String {
        let mut text = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:032x}", self.0);
        text
    }
}
