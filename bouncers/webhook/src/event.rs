//! Defines what endpoints receive: changes of decisions, value by value. Pure.
//!
//! ```text
//!   Value ── an address, range or name: deliveries for one value are in order, values are independent
//!     └─ Entry ── one decision on it, as the endpoint is to hold it (filtered and grouped)
//!   Event ── one Entry of one Value was added, changed, lifted, or is part of a snapshot
//! ```

mod id;
mod value;

use std::sync::Arc;

use palisade_cache::{Decision, Timestamp};

pub use self::id::EventId;
pub use self::value::{Value, ValueError};

/// A decision as an endpoint holds it.
///
/// Texts are shared: of many decisions most have one of few scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The remediation: `ban`, `captcha` or any other word, in lower case.
    pub remediation: Arc<str>,
    /// The origin: `crowdsec`, `cscli`, `CAPI`, `lists`, ...
    pub origin: Arc<str>,
    /// The scenario, the list's name for origin `lists`, or the reason of a manual decision.
    pub scenario: Arc<str>,
    /// When it ends.
    pub until: Timestamp,
    /// The LAPI's id, for display; not part of what makes two entries the same.
    pub id: i64,
}

impl Entry {
    /// The entry of a decision.
    pub fn of(decision: &Decision<'_>) -> Self {
        Self {
            remediation: decision.remediation.into(),
            origin: decision.origin.into(),
            scenario: decision.scenario.into(),
            until: decision.until,
            id: decision.id,
        }
    }

    /// Whether both are the same to a receiver: everything but the LAPI's id.
    pub fn is_same(&self, other: &Self) -> bool {
        self.until == other.until
            && self.remediation == other.remediation
            && self.origin == other.origin
            && self.scenario == other.scenario
    }
}

/// Which decisions on one value are separate entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// One entry: the strongest decision.
    Value,
    /// One entry for each remediation: the decision that ends last. What the stock programs receive.
    Remediation,
    /// One entry for each remediation and origin (and list): every decision as announced, also those that another one
    /// hides.
    Decision,
}

impl Grouping {
    /// Whether two entries on one value are versions of the same one.
    pub fn is_same_entry(self, a: &Entry, b: &Entry) -> bool {
        match self {
            Self::Value => true,
            Self::Remediation => a.remediation == b.remediation,
            Self::Decision => {
                a.remediation == b.remediation
                    && a.origin == b.origin
                    && (&*a.origin != "lists" || a.scenario == b.scenario)
            }
        }
    }
}

/// Why an entry is no longer in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LiftCause {
    /// Its end was reached.
    Expired,
    /// It was removed before its end.
    Deleted,
    /// It is gone before its end while other decisions on the value remain, none of which the endpoint takes.
    Superseded,
}

impl LiftCause {
    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Superseded => "superseded",
        }
    }
}

/// What happened to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It came into force.
    Added,
    /// Its end, remediation, origin or scenario is another one now. The version that the endpoint holds.
    Changed(Entry),
    /// It is no longer in force.
    Lifted(LiftCause),
    /// It is in force: part of a snapshot, or of what is sent again to a receiver that lost its state.
    Present,
}

impl EventKind {
    /// The event's type as it is sent: `decision.added`, `decision.changed`, `decision.lifted`, `decision.present`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Added => "decision.added",
            Self::Changed(_) => "decision.changed",
            Self::Lifted(_) => "decision.lifted",
            Self::Present => "decision.present",
        }
    }

    /// Whether the entry is in force after it.
    pub fn is_in_force(&self) -> bool {
        !matches!(self, Self::Lifted(_))
    }
}

/// One change for an endpoint.
///
/// Receivers should treat `Added`, `Changed` and `Present` alike, as "holds now, with this end", and `Lifted` of a value
/// they do not hold as nothing to do: delivery is at least once, and after a crash an event may describe what the
/// receiver has already seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same whenever this event is sent again, also after a restart.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// What the decision applies to.
    pub value: Value,
    /// The entry as it is now; for `Lifted` as it was.
    pub entry: Entry,
    /// When the change was noticed.
    pub at: Timestamp,
}
