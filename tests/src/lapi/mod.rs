//! The LAPIs of the tests: ours, CrowdSec's own, and a scripted one that misbehaves on request.

mod authority;
mod lapi_process;
mod machine;
mod real;
mod scripted;

use std::time::Duration;

pub use authority::{Authority, Certificate};
pub use lapi_process::{LapiProcess, Make, SHIPPED_PROFILES, Setup};
pub use machine::{AlertId, Machine};
pub use real::{Lapi, tls_config};
pub use scripted::{Fault, RecordedRequest, ScriptedLapi};

/// The settings with which a bouncer connects to a LAPI.
#[derive(Debug, Clone)]
pub struct Access {
    /// Base address, with a slash at the end.
    pub url: String,
    /// A key it accepts.
    pub key: String,
}

/// A decision to be added.
#[derive(Debug, Clone)]
pub struct Ban {
    /// `Ip`, `Range`, …
    pub scope: String,
    /// The address, prefix or name.
    pub value: String,
    /// `ban`, `captcha`, …
    pub kind: String,
    /// `cscli`, `CAPI`, `lists`, …
    pub origin: String,
    /// The scenario; for origin `lists` the name of the list.
    pub scenario: String,
    /// Its duration from now.
    pub duration: Duration,
}

impl Ban {
    /// A ban of an address, or of a range when there is a slash: by an operator, for an hour.
    pub fn of(value: impl Into<String>) -> Self {
        let value = value.into();
        let scope = if value.contains('/') { "Range" } else { "Ip" };
        Self {
            scope: scope.to_owned(),
            value,
            kind: "ban".to_owned(),
            origin: "cscli".to_owned(),
            scenario: "a story bans".to_owned(),
            duration: Duration::from_secs(3600),
        }
    }

    /// With another duration.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// With another origin; for `lists:NAME` the scenario becomes the list's name, as in the LAPI.
    #[must_use]
    pub fn from_origin(mut self, origin: &str) -> Self {
        match origin.split_once(':') {
            Some((origin, scenario)) => {
                self.origin = origin.to_owned();
                self.scenario = scenario.to_owned();
            }
            None => self.origin = origin.to_owned(),
        }
        self
    }

    /// With another type, such as `captcha`.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = kind.to_owned();
        self
    }

    /// With another scope, such as `Country`.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = scope.to_owned();
        self
    }
}

impl From<&str> for Ban {
    fn from(value: &str) -> Self {
        Self::of(value)
    }
}

impl From<String> for Ban {
    fn from(value: String) -> Self {
        Self::of(value)
    }
}

impl From<std::net::IpAddr> for Ban {
    fn from(address: std::net::IpAddr) -> Self {
        Self::of(address.to_string())
    }
}

/// `count` different IPv4 addresses in 10.0.0.0/8, spread so that no two are neighbours of one range.
pub fn many_addresses(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| std::net::Ipv4Addr::from(0x0a00_0001 + n * 2).to_string())
}
