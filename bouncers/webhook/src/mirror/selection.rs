//! Decides which decisions are on a list. Pure.

use palisade_cache::Decision;

use crate::config::FilterConfig;

/// Whether a decision's type is one of these, in lower case; all are when there are none.
pub(super) fn takes_type(types: &[String], decision: &Decision<'_>) -> bool {
    types.is_empty() || types.iter().any(|name| name.eq_ignore_ascii_case(decision.remediation))
}

/// The configuration without the types, which a request may override.
pub(super) fn without_types(filter: &FilterConfig) -> FilterConfig {
    FilterConfig { types: Vec::new(), ..filter.clone() }
}
