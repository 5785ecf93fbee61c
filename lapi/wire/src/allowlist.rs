//! Allowlists, as returned by the LAPI.

use serde::{Deserialize, Serialize};

use crate::request_body::{self, BodyError, null_is_default, texts};

/// The expiration of items that never expire: Go's zero time.
pub const NO_EXPIRATION: &str = "0001-01-01T00:00:00.000Z";

/// A list of addresses and ranges that must not be banned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Allowlist {
    /// Its id at the central service; local lists have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allowlist_id: String,
    /// Whether the console manages it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub console_managed: bool,
    /// RFC 3339 in UTC with milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub created_at: String,
    /// A description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its items that have not expired; empty unless requested.
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub items: Vec<AllowlistItem>,
    /// Its name, unique.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub name: String,
    /// RFC 3339 in UTC with milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub updated_at: String,
}

/// One address or range.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AllowlistItem {
    /// RFC 3339 in UTC with milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub created_at: String,
    /// A comment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it expires, RFC 3339 in UTC with milliseconds; [`NO_EXPIRATION`] if never.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub expiration: String,
    /// The address or range as entered.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub value: String,
}

/// The response of `GET /v1/allowlists/check/{ip_or_range}`: `{}` when the target is on no list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckAnswer {
    /// Whether the target is on a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowlisted: bool,
    /// The items and lists, with their comments.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The body of `POST /v1/allowlists/check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkCheckRequest {
    /// Addresses and ranges.
    #[serde(default, deserialize_with = "texts")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub targets: Vec<String>,
}

/// The response: only targets that are on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkCheckAnswer {
    /// One for each target on a list.
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub results: Vec<BulkCheckResult>,
}

/// A target that is on a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BulkCheckResult {
    /// The items and lists, with their comments.
    #[serde(default, deserialize_with = "null_is_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub allowlists: Vec<String>,
    /// As requested.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub target: String,
}

/// Parses the body of `POST /v1/allowlists/check`. That the list is not empty must be checked by the server.
///
/// # Errors
/// When it is malformed.
pub fn read_bulk_check(body: &[u8]) -> Result<BulkCheckRequest, BodyError> {
    Ok(request_body::read(body)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out_where_stock_clients_expect_it() {
        let list = Allowlist { name: "office".into(), ..Allowlist::default() };
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"created_at":"","items":[],"name":"office","updated_at":""}"#
        );
        assert_eq!(serde_json::to_string(&CheckAnswer::default()).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&BulkCheckAnswer::default()).unwrap(), r#"{"results":[]}"#);
        assert_eq!(read_bulk_check(br#"{"targets":["1.2.3.4"]}"#).unwrap().targets, ["1.2.3.4"]);
    }
}
