//! Which decisions a request asks for.

use std::borrow::Cow;

use ipnet::IpNet;
use palisade_wire::Scope;
use uuid::Uuid;

use crate::label::Label;
use crate::packed::{Packed, Value};
use crate::row::{ReplicaRow, parse_prefix, target_prefix};

/// Which decisions a request is about: every condition given must hold. `Default` lets everything pass that is not
/// simulated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub(crate) simulated: bool,
    /// Each entry is one parameter's list of names; the scope must be in every list.
    pub(crate) scopes: Vec<Vec<String>>,
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) scenario: Option<String>,
    /// Words in lower case, as the two below.
    pub(crate) scenarios_containing: Option<Vec<String>>,
    pub(crate) scenarios_not_containing: Option<Vec<String>>,
    pub(crate) kind: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) net: Option<IpNet>,
    /// Whether rows inside `net` are asked for, instead of rows that cover it.
    pub(crate) inside: bool,
    pub(crate) uuids: Option<Vec<Uuid>>,
    pub(crate) id_gt: Option<i64>,
    pub(crate) offset: usize,
    pub(crate) limit: Option<usize>,
}

/// What a `GET /v1/decisions/stream` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Everything that holds, whatever the cursor.
    pub startup: bool,
    /// Which decisions.
    pub filter: Filter,
    /// Of several decisions about the same, tell the longest only.
    pub dedup: bool,
    /// Two notations of the same addresses (`192.0.2.1` and `192.0.2.1/32`) are the same, as they are to a client that
    /// goes by addresses: it would otherwise let go of both when one ends. Stock clients go by the text.
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
    /// Reads the parameters of the decision stream. Unknown ones are ignored, as are `limit`, `offset` and `id_gt`,
    /// which would cut a stream into something no bouncer can follow.
    ///
    /// # Errors
    ///
    /// When an address or `contains` is malformed.
    pub fn for_stream(pairs: &[(String, String)]) -> Result<StreamRequest, FilterError> {
        let mut request = StreamRequest::default();
        let first = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        request.startup = first("startup") == Some("true");
        request.dedup = first("dedup") != Some("false");
        let mut filter = Self::default();
        for (name, value) in firsts(pairs) {
            filter.take_common(name, value)?;
        }
        if first("scopes").is_none() {
            filter.scopes.append(&mut request.filter.scopes);
        }
        request.filter = filter;
        Ok(request)
    }

    /// Reads the parameters of `GET /v1/decisions`. Unknown ones are ignored.
    ///
    /// # Errors
    ///
    /// When an address, `contains` or a number is malformed.
    pub fn for_query(pairs: &[(String, String)]) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (name, value) in firsts(pairs) {
            match name {
                "limit" => {
                    // As SQLite reads it: a negative limit is none.
                    filter.limit = usize::try_from(integer("limit", value)?).ok();
                }
                "offset" => filter.offset = usize::try_from(integer("offset", value)?).unwrap_or(0),
                "id_gt" => filter.id_gt = Some(integer("id_gt", value)?),
                _ => filter.take_common(name, value)?,
            }
        }
        Ok(filter)
    }

    /// Reads the parameters of `DELETE /v1/decisions`. Simulated decisions are meant too. Beyond the stock server,
    /// `scope` is understood as `scopes` is; the known names in any letter case.
    ///
    /// # Errors
    ///
    /// When a parameter is unknown, or an address or `contains` malformed: deleting more than was meant is worse.
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
                    // A text that is no UUID names no decision; an empty list lets none pass.
                    filter.uuids = Some(all.filter_map(|(_, text)| text.parse().ok()).collect());
                }
                "value" | "type" | "ip" | "range" | "contains" => filter.take_common(name, value)?,
                _ => return Err(FilterError::Unknown(name.to_owned())),
            }
        }
        Ok(filter)
    }

    /// Whether a row meets every condition but those of paging. Whether it is in force is not asked.
    pub fn matches(&self, row: &ReplicaRow) -> bool {
        self.matches_words(&row.origin, &row.scenario, &row.scope, &row.kind, row.simulated)
            && self.value.as_ref().is_none_or(|value| *value == row.value)
            && self.matches_uuid(row.uuid)
            && self.net.is_none_or(|asked| {
                matches!(target_prefix(&row.scope, &row.value), Some(Ok(covered)) if self.covers(covered, asked))
            })
    }

    pub(crate) fn matches_label(&self, label: &Label) -> bool {
        self.matches_words(&label.origin, &label.scenario, &label.scope, &label.kind, label.simulated)
    }

    /// The part of [`Self::matches`] that labels do not tell.
    pub(crate) fn matches_value(&self, row: &Packed, wanted: Option<&Value>) -> bool {
        wanted.is_none_or(|value| *value == row.value)
            && self.matches_uuid(row.uuid())
            && self.net.is_none_or(|asked| row.prefix().is_some_and(|covered| self.covers(covered, asked)))
    }

    fn matches_words(&self, origin: &str, scenario: &str, scope: &str, kind: &str, simulated: bool) -> bool {
        let any = |names: &[String], word: &str| names.iter().any(|name| name == word);
        let mut lowered: Option<Cow<'_, str>> = None;
        let mut mentions = |words: &[String]| {
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

    /// `IpNet::contains` is false across address families.
    fn covers(&self, row: IpNet, asked: IpNet) -> bool {
        if self.inside { asked.contains(&row) } else { row.contains(&asked) }
    }

    fn take_common(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        match name {
            "simulated" => self.simulated = value != "false",
            "scope" | "scopes" => self.scopes.push(names(value)),
            "origins" => self.origins = Some(value.split(',').map(str::to_owned).collect()),
            "scenarios_containing" => self.scenarios_containing = Some(words(value)),
            "scenarios_not_containing" => self.scenarios_not_containing = Some(words(value)),
            "value" => self.value = Some(value.to_owned()),
            "type" => self.kind = Some(value.to_owned()),
            // Of both, the stock server takes one at random; here the first, as the pairs come.
            "ip" | "range" if self.net.is_none() => {
                self.net = Some(parse_prefix(value).map_err(|_| FilterError::Address(value.to_owned()))?);
            }
            "ip" | "range" => drop(parse_prefix(value).map_err(|_| FilterError::Address(value.to_owned()))?),
            "contains" => self.inside = !boolean("contains", value)?,
            _ => {}
        }
        Ok(())
    }
}

/// The first of each name, as Go's `value[0]`.
fn firsts(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().enumerate().filter_map(|(at, (name, value))| {
        let repeated = pairs.iter().take(at).any(|(earlier, _)| earlier == name);
        (!repeated).then_some((name.as_str(), value.as_str()))
    })
}

/// A list of scopes, the known ones in the spelling that is stored.
fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| Scope::parse(name).as_str().to_owned()).collect()
}

fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| lower(word).into_owned()).collect()
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        Cow::Owned(text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// As Go's `strconv.ParseBool`.
fn boolean(name: &'static str, text: &str) -> Result<bool, FilterError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(FilterError::Malformed {
            name,
            call: "ParseBool",
            text: text.to_owned(),
            why: "invalid syntax",
        }),
    }
}

/// As Go's `strconv.Atoi`.
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

/// Why parameters cannot be read, in the stock server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// `ip` or `range` is neither an address nor a prefix.
    #[error("unable to convert '{0}' to int: invalid ip address '{0}': invalid ip address / range")]
    Address(String),
    /// A flag or a number that is none.
    #[error("invalid {name} value: strconv.{call}: parsing {text:?}: {why}: invalid filter")]
    Malformed {
        /// The parameter.
        name: &'static str,
        /// The Go function that would have refused it.
        call: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A deletion does not know this parameter.
    #[error("'{0}' doesn't exist: invalid filter")]
    Unknown(String),
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
