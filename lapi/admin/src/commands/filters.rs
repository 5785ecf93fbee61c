//! Flags that several commands filter by, and the query parameters that they become.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_wire::{GoDuration, Scope};

use crate::advice::for_address;
use crate::command_line::given;
use crate::failure::Failure;

pub(super) type Query = Vec<(&'static str, String)>;

/// Adds the parameters whose flags have a value.
pub(super) fn push_given<const N: usize>(query: &mut Query, flags: [(&'static str, &Option<String>); N]) {
    query.extend(flags.into_iter().filter_map(|(name, text)| Some((name, given(text)?.to_owned()))));
}

/// The scope under the name that LAPIs store.
pub(super) fn canonical_scope(scope: &Option<String>) -> Option<String> {
    given(scope).map(|scope| Scope::parse(scope).as_str().to_owned())
}

/// The filters of `alerts list` and `decisions list`, both of which list alerts.
#[derive(Debug, clap::Args)]
pub(super) struct ListFilter {
    /// Include decisions from Central API
    #[arg(long, short)]
    all: bool,
    /// restrict to alerts newer than since (ie. 4h, 30d)
    #[arg(long)]
    since: Option<GoDuration>,
    /// restrict to alerts older than until (ie. 4h, 30d)
    #[arg(long)]
    until: Option<GoDuration>,
    /// restrict to this scope (ie. ip,range,session)
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    source: SourceFilter,
    /// restrict to this scenario (ie. crowdsecurity/ssh-bf)
    #[arg(long, short)]
    scenario: Option<String>,
    /// the value must match the specified origin (cscli,crowdsec,console,cscli-import,lists,CAPI,remediation_sync ...)
    #[arg(long)]
    origin: Option<String>,
    /// query decisions contained by range
    #[arg(long)]
    contained: bool,
    /// print machines that sent alerts
    #[arg(long, short)]
    pub(super) machine: bool,
}

impl ListFilter {
    /// Whether the limit is ignored.
    pub(super) fn is_unlimited(&self) -> bool {
        self.all
    }

    pub(super) fn query(&self, limit: i64) -> Result<Query, Failure> {
        // In Go's form, because old servers do not accept days.
        let age = |age: Option<GoDuration>| age.map(|age| age.to_string());
        let mut query = Query::new();
        push_given(
            &mut query,
            [
                ("since", &age(self.since)),
                ("until", &age(self.until)),
                ("scope", &canonical_scope(&self.scope)),
            ],
        );
        self.source.push_to(&mut query)?;
        push_given(&mut query, [("scenario", &self.scenario), ("origin", &self.origin)]);
        // On, the default, selects what contains the given range; off, what lies inside it.
        if self.contained {
            query.push(("contains", "false".to_owned()));
        }
        query.push(("include_capi", self.all.to_string()));
        query.push(("limit", if self.all { 0 } else { limit }.to_string()));
        Ok(query)
    }
}

/// The filters of `alerts delete` and `decisions delete`.
#[derive(Debug, clap::Args)]
pub(super) struct DeleteFilter {
    #[command(flatten)]
    source: SourceFilter,
    /// the scenario (ie. crowdsecurity/ssh-bf)
    #[arg(long, short)]
    scenario: Option<String>,
    /// delete only this one
    #[arg(long)]
    id: Option<String>,
    /// query decisions contained by range
    #[arg(long)]
    contained: bool,
}

impl DeleteFilter {
    pub(super) fn id(&self) -> Option<&str> {
        given(&self.id)
    }

    /// The address or range of the filter, if this value is a range around it.
    pub(super) fn narrower_than(&self, value: &str) -> Option<&str> {
        let wanted = given(&self.source.ip).or(given(&self.source.range))?;
        let (inner, outer) =
            (palisade_net::parse_prefix(wanted).ok()?, palisade_net::parse_prefix(value).ok()?);
        (inner != outer && outer.contains(&inner)).then_some(wanted)
    }

    /// The parameters, `more` included. Something must be selected, unless `all` is wanted.
    pub(super) fn query<const N: usize>(
        &self,
        more: [(&'static str, &Option<String>); N],
        all: bool,
    ) -> Result<Query, Failure> {
        let mut query = Query::new();
        self.source.push_to(&mut query)?;
        push_given(&mut query, [("scenario", &self.scenario)]);
        push_given(&mut query, more);
        if all {
            if query.is_empty() && self.id().is_none() && !self.contained {
                return Ok(query);
            }
            // The stock CLI ignores the filter and deletes everything.
            return Err(Failure::Command(
                "--all deletes everything and cannot be combined with a filter; leave one of them out"
                    .to_owned(),
            ));
        }
        if query.is_empty() && self.id().is_none() {
            return Err(Failure::Usage("at least one filter or --all must be specified".to_owned()));
        }
        if self.contained {
            query.push(("contains", "false".to_owned()));
        }
        Ok(query)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct SourceFilter {
    #[arg(long, short, help = "source ip (shorthand for --scope ip --value <IP>)")]
    pub(super) ip: Option<String>,
    #[arg(long, short, help = "source range (shorthand for --scope range --value <RANGE>)")]
    pub(super) range: Option<String>,
    /// value in the given scope (ie. --scope username --value foobar)
    #[arg(long, short)]
    pub(super) value: Option<String>,
}

impl SourceFilter {
    /// Checks `--ip` and `--range`, and returns the scope and value that the first of them stands for.
    pub(super) fn address(&self) -> Result<Option<(&'static str, &str)>, Failure> {
        let (ip, range) = (given(&self.ip), given(&self.range));
        if let Some(text) = ip.filter(|text| text.parse::<IpAddr>().is_err()) {
            return Err(Failure::advised(format!("{text} is not a valid ip"), for_address(text)));
        }
        if let Some(text) = range.filter(|text| text.parse::<IpNet>().is_err()) {
            return Err(Failure::advised(format!("{text} is not a valid range"), for_address(text)));
        }
        Ok(ip.map(|ip| ("Ip", ip)).or(range.map(|range| ("Range", range))))
    }

    /// Adds the parameters for `GET` and `DELETE`.
    pub(super) fn push_to(&self, query: &mut Query) -> Result<(), Failure> {
        self.address()?;
        push_given(query, [("value", &self.value), ("ip", &self.ip), ("range", &self.range)]);
        Ok(())
    }
}
