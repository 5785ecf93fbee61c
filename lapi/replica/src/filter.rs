//! The filter of a request: which decisions it selects.

use std::borrow::Cow;

use ipnet::IpNet;
use palisade_model::{StoredDecision, Value};
use palisade_net::{InvalidAddress, parse_prefix};
use palisade_wire::Scope;
use uuid::Uuid;

use crate::label::Label;
use crate::packed::Packed;

/// All conditions that are set must hold. `Default` matches every decision that is not simulated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub(crate) simulated: bool,
    /// One entry per parameter, each a list of names; the scope must be in every list.
    pub(crate) scopes: Vec<Vec<String>>,
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) scenario: Option<String>,
    /// Words in lower case, as in the next two fields.
    pub(crate) scenarios_containing: Option<Vec<String>>,
    pub(crate) scenarios_not_containing: Option<Vec<String>>,
    pub(crate) kind: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) net: Option<IpNet>,
    /// Select rows within `net` instead of rows that cover it.
    pub(crate) inside: bool,
    pub(crate) uuids: Option<Vec<Uuid>>,
    pub(crate) id_gt: Option<i64>,
    pub(crate) offset: usize,
    pub(crate) limit: Option<usize>,
}

/// A request of `GET /v1/decisions/stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Send all decisions, whatever the cursor.
    pub startup: bool,
    /// The decisions to send.
    pub filter: Filter,
    /// Of several decisions for the same target, send only the longest.
    pub dedup: bool,
    /// Treat notations of the same prefix (`192.0.2.1` and `192.0.2.1/32`) as equal, as a client that goes by address
    /// does: it would otherwise drop both when one ends. Stock clients go by the text.
    pub by_address: bool,
}

impl Default for StreamRequest {
    /// A request without parameters.
    fn default() -> Self {
        let scopes = vec![names("ip,range")];
        Self {
            startup: false,
            filter: Filter { scopes, ..Filter::default() },
            dedup: true,
            by_address: false,
        }
    }
}

impl Filter {
    /// Parses the parameters of the decision stream. Unknown parameters are ignored, as are `limit`, `offset` and
    /// `id_gt`: a stream cut by them could not be followed.
    ///
    /// # Errors
    ///
    /// When an address or `contains` is malformed.
    pub fn for_stream(pairs: &[(String, String)]) -> Result<StreamRequest, FilterError> {
        let mut request = StreamRequest::default();
        let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        // Only this literal, as in the stock server: `startup=1` is a delta there.
        request.startup = first("startup") == Some("true");
        request.dedup = first("dedup") != Some("false");
        let mut filter = Self::default();
        for (name, value) in firsts(pairs) {
            filter.take_common(name, value)?;
        }
        // The stock server's default applies even with `scope`, so `scope=country` alone selects nothing.
        if first("scopes").is_none() {
            filter.scopes.append(&mut request.filter.scopes);
        }
        request.filter = filter;
        Ok(request)
    }

    /// Parses the parameters of `GET /v1/decisions`. Unknown parameters are ignored.
    ///
    /// # Errors
    ///
    /// When an address, `contains` or a number is malformed.
    pub fn for_query(pairs: &[(String, String)]) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (name, value) in firsts(pairs) {
            match name {
                "limit" => {
                    // As SQLite does: a negative limit is no limit.
                    filter.limit = usize::try_from(integer("limit", value)?).ok();
                }
                "offset" => filter.offset = usize::try_from(integer("offset", value)?).unwrap_or(0),
                "id_gt" => filter.id_gt = Some(integer("id_gt", value)?),
                _ => filter.take_common(name, value)?,
            }
        }
        Ok(filter)
    }

    /// Parses the parameters of `DELETE /v1/decisions`, which also selects simulated decisions. Beyond the stock
    /// server, `scope` is an alias of `scopes`, and known scopes may be written in any letter case.
    ///
    /// # Errors
    ///
    /// When a parameter is unknown, or an address or `contains` is malformed: ignoring it could delete too much.
    pub fn for_deletion(pairs: &[(String, String)]) -> Result<Self, FilterError> {
        let mut filter = Self { simulated: true, ..Self::default() };
        for (name, value) in firsts(pairs) {
            match name {
                "scope" | "scopes" => {
                    filter.scopes.push(vec![Scope::parse(value).as_str().to_owned()]);
                }
                "origin" => filter.origins = Some(vec![value.to_owned()]),
                "scenario" => filter.scenario = Some(value.to_owned()),
                "uuid" => {
                    let all = pairs.iter().filter(|(key, _)| key == "uuid");
                    // A text that is not a UUID matches no decision; an empty list matches none.
                    filter.uuids = Some(all.filter_map(|(_, text)| text.parse().ok()).collect());
                }
                "value" | "type" | "ip" | "range" | "contains" => filter.take_common(name, value)?,
                // A misspelled parameter that was ignored would delete everything else as well.
                _ => return Err(FilterError::Unknown(name.to_owned())),
            }
        }
        Ok(filter)
    }

    /// Whether only some of the matching rows are wanted, in ascending id.
    pub(crate) fn is_page(&self) -> bool {
        self.id_gt.is_some() || self.offset > 0 || self.limit.is_some()
    }

    /// Whether a row satisfies all conditions except paging. Whether it is in force is not checked.
    pub fn matches(&self, row: &StoredDecision) -> bool {
        self.matches_words(
            &row.origin,
            &row.scenario,
            row.target.scope.as_str(),
            &row.remediation,
            row.simulated,
        ) && self.value.as_ref().is_none_or(|value| *value == row.target.value.text())
            && self.matches_uuid(row.uuid)
            && self
                .net
                .is_none_or(|wanted| row.target.prefix().is_some_and(|covered| self.covers(covered, wanted)))
    }

    pub(crate) fn matches_label(&self, label: &Label) -> bool {
        self.matches_words(&label.origin, &label.scenario, &label.scope, &label.kind, label.simulated)
    }

    /// The part of [`Self::matches`] that does not depend on the label.
    pub(crate) fn matches_value(&self, row: &Packed, wanted: Option<&Value>) -> bool {
        wanted.is_none_or(|value| *value == row.value)
            && self.matches_uuid(row.uuid())
            && self.net.is_none_or(|wanted| row.prefix().is_some_and(|covered| self.covers(covered, wanted)))
    }

    fn matches_words(&self, origin: &str, scenario: &str, scope: &str, kind: &str, simulated: bool) -> bool {
        let any = |names: &[String], word: &str| names.iter().any(|name| name == word);
        let mut lowered: Option<Cow<'_, str>> = None;
        let mut mentions = |words: &[String]| {
            // Lower-cased only if a condition needs it.
            let text = lowered.get_or_insert_with(|| lower(scenario));
            words.iter().any(|word| text.contains(word.as_str()))
        };
        (self.simulated || !simulated)
            && self.scopes.iter().all(|names| any(names, scope))
            && self.origins.as_ref().is_none_or(|names| any(names, origin))
            && self.kind.as_ref().is_none_or(|name| name == kind)
            && self.scenario.as_ref().is_none_or(|name| name == scenario)
            && self.scenarios_containing.as_ref().is_none_or(|words| mentions(words))
            && self.scenarios_not_containing.as_ref().is_none_or(|words| !mentions(words))
    }

    fn matches_uuid(&self, uuid: Option<Uuid>) -> bool {
        self.uuids.as_ref().is_none_or(|all| uuid.is_some_and(|uuid| all.contains(&uuid)))
    }

    /// False across families, as `IpNet::contains` is.
    fn covers(&self, row: IpNet, wanted: IpNet) -> bool {
        if self.inside { wanted.contains(&row) } else { row.contains(&wanted) }
    }

    fn take_common(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        match name {
            // As in the stock server: any other value includes simulated decisions.
            "simulated" => self.simulated = value != "false",
            "scope" | "scopes" => self.scopes.push(names(value)),
            // Without trimming, as in the stock server.
            "origins" => self.origins = Some(value.split(',').map(str::to_owned).collect()),
            "scenarios_containing" => self.scenarios_containing = Some(words(value)),
            "scenarios_not_containing" => self.scenarios_not_containing = Some(words(value)),
            "value" => self.value = Some(value.to_owned()),
            "type" => self.kind = Some(value.to_owned()),
            // When both are given, the stock server uses either; here the first one counts.
            "ip" | "range" if self.net.is_none() => {
                self.net = Some(parse_prefix(value).map_err(FilterError::Address)?);
            }
            // Checked nevertheless, as the stock server refuses the request.
            "ip" | "range" => drop(parse_prefix(value).map_err(FilterError::Address)?),
            "contains" => self.inside = !boolean("contains", value)?,
            _ => {}
        }
        Ok(())
    }
}

/// The first value of each parameter, as Go's `value[0]`.
fn firsts(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().enumerate().filter_map(|(at, (name, value))| {
        let repeated = pairs.iter().take(at).any(|(earlier, _)| earlier == name);
        (!repeated).then_some((name.as_str(), value.as_str()))
    })
}

/// A list of scopes; known ones in their canonical spelling.
fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| Scope::parse(name).as_str().to_owned()).collect()
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| lower(word).into_owned()).collect()
}

fn lower(text: &str) -> Cow<'_, str> {
    // Most texts are in lower case already and need no copy.
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        Cow::Owned(text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn boolean(name: &'static str, text: &str) -> Result<bool, FilterError> {
    palisade_go_compat::parse_bool(text).ok_or_else(|| FilterError::Malformed {
        name,
        call: "ParseBool",
        text: text.to_owned(),
        why: "invalid syntax",
    })
}

/// Go's `strconv.Atoi`.
fn integer(name: &'static str, text: &str) -> Result<i64, FilterError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i64>().map_err(|error| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        FilterError::Malformed { name, call: "Atoi", text: text.to_owned(), why }
    })
}

/// Why parameters are refused, with the stock server's texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// `ip` or `range` is neither an address nor a prefix.
    #[error("unable to convert '{text}' to int: {0}: invalid ip address / range", text = .0.0)]
    Address(InvalidAddress),
    /// A malformed flag or number.
    #[error("invalid {name} value: strconv.{call}: parsing {text:?}: {why}: invalid filter")]
    Malformed {
        /// The parameter.
        name: &'static str,
        /// The Go function named in the stock server's text.
        call: &'static str,
        /// The value.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An unknown parameter of a deletion.
    #[error("'{0}' doesn't exist: invalid filter")]
    Unknown(String),
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
