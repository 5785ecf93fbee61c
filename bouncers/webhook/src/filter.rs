//! Decides which decisions an endpoint or a list takes.
//!
//! Lists are compared first, the expression last: it costs a hundred times as much. An empty filter has nothing to
//! compare.

mod expression;

use std::sync::Arc;

use palisade_cache::Decision;

use self::expression::Condition;
pub use self::expression::{EXPRESSION_FIELDS, MAX_EXPRESSION_BYTES};
use crate::config::FilterConfig;

/// The prefix of an origin that names one subscribed list.
const LIST: &str = "lists:";

/// Decides whether a decision is taken.
pub type Takes = Arc<dyn Fn(&Decision<'_>) -> bool + Send + Sync>;

/// Which decisions are taken, compiled.
///
/// Whether a decision is taken depends on the decision alone, never on the time: an entry that no longer matched would be
/// lifted before its end.
#[derive(Debug, Default)]
pub struct Filter {
    scopes: Vec<String>,
    types: Vec<String>,
    origins: Vec<String>,
    scenarios: Vec<String>,
    not_scenarios: Vec<String>,
    condition: Option<Condition>,
}

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The expression cannot be compiled.
    #[error(
        "filter expression: {reason} (line {line}, column {column}); Decision has the fields {EXPRESSION_FIELDS}"
    )]
    Expression {
        /// What is wrong, with a suggestion where there is one.
        reason: String,
        /// Line in the expression, counted from 1.
        line: usize,
        /// Column in the expression, counted from 1, in characters.
        column: usize,
    },
    /// The expression is too long.
    #[error("filter expression: {length} bytes are too long; at most {MAX_EXPRESSION_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A text of a list is empty: it would match no decision, or all scenarios.
    #[error("filter: an empty text in `{list}`; remove it")]
    Empty {
        /// The list.
        list: &'static str,
    },
}

impl Filter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// When a text is empty or the expression cannot be compiled.
    pub fn compile(config: &FilterConfig) -> Result<Self, FilterError> {
        Ok(Self {
            scopes: lower("scopes", &config.scopes)?,
            types: lower("types", &config.types)?,
            origins: lower("origins", &config.origins)?,
            scenarios: lower("scenarios", &config.scenarios)?,
            not_scenarios: lower("not_scenarios", &config.not_scenarios)?,
            condition: config.expression.as_deref().map(Condition::compile).transpose()?,
        })
    }

    /// Whether it takes all decisions.
    pub fn is_empty(&self) -> bool {
        self.condition.is_none()
            && [&self.scopes, &self.types, &self.origins, &self.scenarios, &self.not_scenarios]
                .iter()
                .all(|list| list.is_empty())
    }

    /// Whether a decision is taken.
    pub fn matches(&self, decision: &Decision<'_>) -> bool {
        one_of(&self.scopes, decision.scope)
            && one_of(&self.types, decision.remediation)
            && self.takes_origin(decision)
            && self.takes_scenario(decision.scenario)
            && self.condition.as_ref().is_none_or(|condition| condition.holds(decision))
    }

    /// How often the expression could not be evaluated; such a decision is not taken.
    pub fn evaluation_errors(&self) -> u64 {
        self.condition.as_ref().map_or(0, Condition::errors)
    }

    fn takes_origin(&self, decision: &Decision<'_>) -> bool {
        self.origins.is_empty()
            || self.origins.iter().any(|wanted| match wanted.strip_prefix(LIST) {
                Some(list) => {
                    decision.origin.eq_ignore_ascii_case("lists") && equals(decision.scenario, list)
                }
                None => equals(decision.origin, wanted),
            })
    }

    fn takes_scenario(&self, scenario: &str) -> bool {
        if self.scenarios.is_empty() && self.not_scenarios.is_empty() {
            return true;
        }
        let scenario = scenario.to_lowercase();
        let contains = |part: &String| scenario.contains(part.as_str());
        (self.scenarios.is_empty() || self.scenarios.iter().any(contains))
            && !self.not_scenarios.iter().any(contains)
    }
}

fn lower(list: &'static str, texts: &[String]) -> Result<Vec<String>, FilterError> {
    if texts.iter().any(String::is_empty) {
        return Err(FilterError::Empty { list });
    }
    Ok(texts.iter().map(|text| text.to_lowercase()).collect())
}

fn one_of(wanted: &[String], text: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| equals(text, wanted))
}

/// Whether a text is `wanted` (in lower case) without regard to case.
fn equals(text: &str, wanted: &str) -> bool {
    text.eq_ignore_ascii_case(wanted) || (!text.is_ascii() && text.to_lowercase() == wanted)
}

#[cfg(test)]
mod tests;
