//! Reads what `explain` needs beside the configuration: decisions, upstreams that are up, places of addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use palisade_bouncer::control::{LookupAnswer, Subject};
use palisade_bouncer::run::CommandContext;
use palisade_go_compat::with_causes;

use crate::proxy::Proxy;
use crate::remediation::geo::{CountryCode, Geo, Places as _, SystemNumber};
use crate::serve::upstream_line;

/// Where the answers are from.
pub(super) trait Knowledge {
    /// The decisions on a subject, or why they are not known.
    fn decisions_on(&mut self, subject: &Subject) -> Result<LookupAnswer, String>;
    /// Whether an upstream is up; `None` when no proxy runs.
    fn is_up(&mut self, pool: &str, url: &str) -> Option<bool>;
    fn country(&self, address: IpAddr) -> Option<CountryCode>;
    fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber>;
}

/// The running daemon, or its persisted decisions.
pub(super) struct Daemon<'a> {
    context: &'a CommandContext<'a, Proxy>,
    geo: Geo,
    /// The daemon's lines of `status`, once they were read.
    status: Option<BTreeMap<String, String>>,
}

impl<'a> Daemon<'a> {
    /// # Errors
    /// A geo database cannot be read.
    pub(super) fn new(context: &'a CommandContext<'a, Proxy>) -> anyhow::Result<Self> {
        Ok(Self { context, geo: Geo::open(&context.loaded.config.geo)?, status: None })
    }
}

impl Knowledge for Daemon<'_> {
    fn decisions_on(&mut self, subject: &Subject) -> Result<LookupAnswer, String> {
        self.context.query().decisions_on(subject).map_err(|error| with_causes(&error))
    }

    fn is_up(&mut self, pool: &str, url: &str) -> Option<bool> {
        let query = self.context.query();
        // Without a daemon the lines are missing, so nothing is known.
        let lines = self
            .status
            .get_or_insert_with(|| query.status_answer().map(|answer| answer.enforcer).unwrap_or_default());
        lines.get(&upstream_line(pool, url)).map(|state| state.starts_with("up"))
    }

    fn country(&self, address: IpAddr) -> Option<CountryCode> {
        self.geo.country(address)
    }

    fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber> {
        self.geo.autonomous_system(address)
    }
}
