//! The parameters of `GET` and `DELETE /v1/alerts`.

use ipnet::IpNet;
use palisade_wire::GoDuration;

/// Which alerts. Everything that is set must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertQuery {
    /// The source's scope is this.
    pub scope: Option<String>,
    /// The source's value is this.
    pub value: Option<String>,
    /// The alert's scenario, or one of its decisions', is this.
    pub scenario: Option<String>,
    /// A decision covers this.
    pub net: Option<IpNet>,
    /// With `net`: true when a decision must cover it, false when one must lie within it.
    pub contains: bool,
    /// Started no longer ago than this.
    pub since: Option<GoDuration>,
    /// Started at least this long ago.
    pub until: Option<GoDuration>,
    /// Stored at least this long ago.
    pub created_before: Option<GoDuration>,
    /// Has a decision of this type.
    pub decision_type: Option<String>,
    /// Has a decision of this origin.
    pub origin: Option<String>,
    /// False: nothing that comes from community lists.
    pub include_capi: bool,
    /// True: has a decision in force; false: has none at all.
    pub has_active_decision: Option<bool>,
    /// Is of this kind.
    pub kind: Option<String>,
    /// False: no simulated ones.
    pub simulated: bool,
    /// How many; `None` for all. Deletion ignores it.
    pub limit: Option<u64>,
    /// In which order. Deletion ignores it.
    pub sort: SortOrder,
    /// Whether the decisions are wanted with the alerts.
    pub with_decisions: bool,
    /// Only alerts whose number is above this.
    pub after_id: Option<i64>,
}

/// By time of creation, then by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// A parameter that cannot be used. The texts are the stock server's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

impl Default for AlertQuery {
    /// All alerts, the newest first, without a limit.
    fn default() -> Self {
        Self {
            scope: None,
            value: None,
            scenario: None,
            net: None,
            contains: true,
            since: None,
            until: None,
            created_before: None,
            decision_type: None,
            origin: None,
            include_capi: true,
            has_active_decision: None,
            kind: None,
            simulated: true,
            limit: None,
            sort: SortOrder::Descending,
            with_decisions: true,
            after_id: None,
        }
    }
}

impl AlertQuery {
    /// Reads a query string's pairs; of a repeated one the first counts. Without `limit` it is 100.
    ///
    /// # Errors
    ///
    /// On unknown parameters and unreadable values, in the stock server's words (all are answered with 500).
    pub fn parse(pairs: &[(String, String)], for_deletion: bool) -> Result<Self, QueryError> {
        let _ = (pairs, for_deletion);
        todo!()
    }
}
