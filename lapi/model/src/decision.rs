//! Decisions, before and after they are stored.

use std::sync::Arc;

use palisade_wire::UnixMillis;
use uuid::Uuid;

use crate::{Commit, Target};

/// A decision to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// What it applies to.
    pub target: Target,
    /// `ban`, `captcha`, ….
    pub remediation: Arc<str>,
    /// When it ends; may lie in the past.
    pub until: UnixMillis,
    /// `crowdsec`, `cscli`, `lists`, ….
    pub origin: Arc<str>,
    /// The scenario, the list's name, or a free-text reason.
    pub scenario: Arc<str>,
    /// Sent to bouncers only on request.
    pub simulated: bool,
    /// Assigned by the LAPI; decisions of community lists have none.
    pub uuid: Option<Uuid>,
}

/// A decision as the store and the replica keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the other fields are those of `NewDecision`")]
pub struct StoredDecision {
    /// Never reused.
    pub id: i64,
    /// The commit that wrote it last.
    pub commit: Commit,
    /// The id of its alert.
    pub alert: i64,
    pub target: Target,
    pub remediation: Arc<str>,
    /// When it ends or has ended.
    pub until: UnixMillis,
    pub origin: Arc<str>,
    pub scenario: Arc<str>,
    pub simulated: bool,
    pub uuid: Option<Uuid>,
}

impl NewDecision {
    /// The same as a row.
    pub fn stored(self, id: i64, alert: i64, commit: Commit) -> StoredDecision {
        let Self { target, remediation, until, origin, scenario, simulated, uuid } = self;
        StoredDecision { id, commit, alert, target, remediation, until, origin, scenario, simulated, uuid }
    }
}
