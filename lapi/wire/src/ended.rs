//! The decisions that a deletion ended, an extension of the protocol: a machine that asks for them with `Prefer` gets them
//! beside `nbDeleted`.

use serde::{Deserialize, Serialize};

/// The value of the header `Prefer` (RFC 7240) with which the ended decisions are listed.
pub const LIST_ENDED: &str = "return=representation";
/// At most this many are listed.
pub const MAX_ENDED: usize = 100;

/// A decision that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndedDecision {
    /// Its id.
    pub id: i64,
    /// Its origin.
    pub origin: String,
    /// Its scope.
    pub scope: String,
    /// Its remediation: `ban`, `captcha`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    pub value: String,
}
