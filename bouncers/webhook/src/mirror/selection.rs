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

/// Which decisions are taken.
#[derive(Debug)]
pub(super) struct Filter(FilterConfig);

impl Filter {
    pub(super) fn compile(config: &FilterConfig) -> anyhow::Result<Self> {
        anyhow::ensure!(config.expression.is_none(), "expressions are not supported for lists; remove it");
        Ok(Self(config.clone()))
    }

    pub(super) fn matches(&self, decision: &Decision<'_>) -> bool {
        let Self(FilterConfig { scopes, types, origins, scenarios, not_scenarios, .. }) = self;
        let one_of = |list: &[String], text: &str| {
            list.is_empty() || list.iter().any(|it| it.eq_ignore_ascii_case(text))
        };
        let scenario = decision.scenario.to_lowercase();
        let contains = |part: &String| scenario.contains(&part.to_lowercase());
        one_of(scopes, decision.scope)
            && one_of(types, decision.remediation)
            && (one_of(origins, decision.origin) || one_of(origins, &decision.source()))
            && (scenarios.is_empty() || scenarios.iter().any(contains))
            && !not_scenarios.iter().any(contains)
    }
}
