//! Parameters of `GET` and `DELETE /v1/alerts`.

use ipnet::IpNet;
use palisade_net::parse_prefix;
use palisade_wire::{GoDuration, Scope};

/// Selects alerts. All conditions that are set must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertQuery {
    /// The source's scope.
    pub scope: Option<String>,
    /// The source's value.
    pub value: Option<String>,
    /// The scenario of the alert or of one of its decisions.
    pub scenario: Option<String>,
    /// A prefix that one of the decisions covers.
    pub net: Option<IpNet>,
    /// With `net`: true when a decision must cover it, false when one must lie within it.
    pub contains: bool,
    /// Started at most this long ago.
    pub since: Option<GoDuration>,
    /// Started at least this long ago.
    pub until: Option<GoDuration>,
    /// Created at least this long ago.
    pub created_before: Option<GoDuration>,
    /// Has a decision of this type.
    pub decision_type: Option<String>,
    /// Has a decision of this origin.
    pub origin: Option<String>,
    /// False: exclude alerts of community lists.
    pub include_capi: bool,
    /// True: has a decision in force; false: has no decision at all.
    pub has_active_decision: Option<bool>,
    /// The kind of alert.
    pub kind: Option<String>,
    /// False: exclude simulated alerts.
    pub simulated: bool,
    /// Maximum number; `None` for all. Ignored by deletion.
    pub limit: Option<u64>,
    /// Ignored by deletion.
    pub sort: SortOrder,
    /// Whether decisions are returned with their alerts.
    pub with_decisions: bool,
    /// Only alerts with a higher id.
    pub after_id: Option<i64>,
}

/// By time of creation, then by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// An invalid parameter, with the stock server's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

impl Default for AlertQuery {
    /// All alerts, newest first, without a limit.
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
    /// Parses a query string's pairs; of a repeated parameter the first counts. The default limit is 100.
    ///
    /// # Errors
    ///
    /// On unknown parameters and malformed values, with the stock server's texts (all answered with 500).
    pub fn parse(pairs: &[(String, String)], for_deletion: bool) -> Result<Self, QueryError> {
        let mut query = Self { limit: Some(DEFAULT_LIMIT), ..Self::default() };
        let mut seen = Vec::new();
        for (name, value) in pairs {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            query.set(name, value, for_deletion)?;
        }
        // As in the stock server: an alert of the origin CAPI would otherwise be asked for and excluded at once.
        if query.origin.is_some() {
            query.include_capi = true;
        }
        // A deletion concerns all matches, as in the stock server.
        if for_deletion {
            query.limit = None;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, for_deletion: bool) -> Result<(), QueryError> {
        let text = || Some(value.to_owned());
        match name {
            // Only these two are normalised, as in the stock server; `country` does not find `Country`.
            "scope" => {
                self.scope = Some(match Scope::parse(value) {
                    known @ (Scope::Ip | Scope::Range) => known.as_str().to_owned(),
                    _ => value.to_owned(),
                });
            }
            "value" => self.value = text(),
            "scenario" => self.scenario = text(),
            "ip" | "range" => {
                self.net = Some(parse_prefix(value).map_err(|bad| QueryError(bad.to_string()))?)
            }
            "contains" => {
                self.contains = go_bool(value)
                    .map_err(|why| QueryError(format!("invalid contains value: {why}: invalid filter")))?;
            }
            "since" => self.since = Some(duration(value)?),
            "until" => self.until = Some(duration(value)?),
            "created_before" => self.created_before = Some(duration(value)?),
            "decision_type" => self.decision_type = text(),
            "origin" => self.origin = text(),
            // Other values are ignored and no error, as in the stock server.
            "include_capi" => self.include_capi = value != "false",
            "has_active_decision" => {
                self.has_active_decision = Some(go_bool(value).map_err(|why| {
                    QueryError(format!("'{value}' is not a boolean: {why}: unable to parse type"))
                })?);
            }
            "kind" => self.kind = text(),
            "simulated" => self.simulated = value != "false",
            "limit" if !for_deletion => self.limit = limit(value)?,
            "sort" => match value {
                "ASC" => self.sort = SortOrder::Ascending,
                "DESC" => self.sort = SortOrder::Descending,
                _ => {}
            },
            "with_decisions" => self.with_decisions = value != "false",
            // Only accepted: deletion has no limit.
            "limit" => {}
            _ => {
                return Err(QueryError(format!(
                    "filter parameter '{name}' is unknown (={value}): invalid filter"
                )));
            }
        }
        Ok(())
    }
}

const DEFAULT_LIMIT: u64 = 100;

fn duration(value: &str) -> Result<GoDuration, QueryError> {
    value.parse().map_err(|error| QueryError(format!("while parsing duration: {error}")))
}

/// Zero and negative values mean all.
fn limit(value: &str) -> Result<Option<u64>, QueryError> {
    match value.parse::<i64>() {
        Ok(count) => Ok(u64::try_from(count).ok().filter(|&count| count > 0)),
        // Go prints the list of the parameter's values.
        Err(_) => Err(QueryError(format!("bad limit in parameters: [{value}]: unable to query"))),
    }
}

/// A boolean as Go reads it, with Go's error text.
fn go_bool(value: &str) -> Result<bool, String> {
    palisade_go_compat::parse_bool(value)
        .ok_or_else(|| format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AlertQuery, String> {
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        AlertQuery::parse(&pairs, false).map_err(|error| error.to_string())
    }

    #[test]
    fn every_parameter_is_read() {
        let all = parse(
            "scope=ip&value=v&scenario=s&ip=1.2.3.4&contains=0&since=1h&until=30m&created_before=2d&\
             decision_type=ban&include_capi=false&has_active_decision=true&kind=waf&simulated=false&limit=7&\
             sort=ASC&with_decisions=false&limit=x",
        )
        .unwrap();
        let expected = AlertQuery {
            scope: Some("Ip".into()),
            value: Some("v".into()),
            scenario: Some("s".into()),
            net: Some("1.2.3.4/32".parse().unwrap()),
            contains: false,
            since: Some("1h".parse().unwrap()),
            until: Some("30m".parse().unwrap()),
            created_before: Some("48h".parse().unwrap()),
            decision_type: Some("ban".into()),
            origin: None,
            include_capi: false,
            has_active_decision: Some(true),
            kind: Some("waf".into()),
            simulated: false,
            limit: Some(7),
            sort: SortOrder::Ascending,
            with_decisions: false,
            after_id: None,
        };
        assert_eq!(all, expected);
        assert_eq!(parse("").unwrap().limit, Some(100));
        assert_eq!(parse("limit=0").unwrap().limit, None);
        assert_eq!(parse("scope=country").unwrap().scope.as_deref(), Some("country"));
        assert!(parse("include_capi=false&origin=CAPI").unwrap().include_capi);
        assert!(parse("include_capi=maybe&sort=up").unwrap().include_capi);
        let pairs = [("limit".to_owned(), "x".to_owned())];
        assert_eq!(AlertQuery::parse(&pairs, true).unwrap().limit, None);
    }

    #[test]
    fn complaints_are_the_stock_servers() {
        for (text, complaint) in [
            ("test=test", "filter parameter 'test' is unknown (=test): invalid filter"),
            ("ip=x", "invalid ip address 'x'"),
            ("range=1.2.3.4/33", "invalid ip range '1.2.3.4/33': invalid CIDR address: 1.2.3.4/33"),
            ("since=zz", "while parsing duration: time: invalid duration \"zz\""),
            (
                "has_active_decision=maybe",
                "'maybe' is not a boolean: strconv.ParseBool: parsing \"maybe\": invalid syntax: \
                 unable to parse type",
            ),
            (
                "contains=maybe",
                "invalid contains value: strconv.ParseBool: parsing \"maybe\": invalid syntax: invalid filter",
            ),
            ("limit=abc", "bad limit in parameters: [abc]: unable to query"),
            (
                "limit=99999999999999999999",
                "bad limit in parameters: [99999999999999999999]: unable to query",
            ),
        ] {
            assert_eq!(parse(text), Err(complaint.to_owned()), "{text}");
        }
    }
}
