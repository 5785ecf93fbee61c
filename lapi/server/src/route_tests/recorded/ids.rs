//! Translates the ids of the recording.
//!
//! The recorded server refuses a batch with one invalid alert whole, where this one stores the others; so this one has
//! given out more ids. A recorded id stands for one of ours: an alert's since it was posted, a decision's since it was
//! first seen. Later ones have greater ids in both.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::Answer;

/// Recorded ids and ours.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    alerts: BTreeMap<u64, u64>,
    decisions: BTreeMap<u64, u64>,
    /// Recorded alerts that this server has not stored.
    missing: BTreeSet<u64>,
}

impl Ids {
    /// Notes the ids of alerts that were posted.
    pub(super) fn posted(&mut self, recorded: &Answer, ours: &Answer) {
        let ids = |answer: &Answer| -> Option<Vec<u64>> {
            let texts: Vec<String> = serde_json::from_str(&answer.body).ok()?;
            texts.iter().map(|text| text.parse().ok()).collect()
        };
        let (recorded, ours) = (ids(recorded).unwrap_or_default(), ids(ours).unwrap_or_default());
        if recorded.len() == ours.len() {
            self.alerts.extend(recorded.into_iter().zip(ours));
        } else {
            self.missing.extend(recorded);
        }
    }

    /// Whether the path is that of an alert that this server has not stored, for an accepted reason.
    pub(super) fn is_missing(&self, path: &str) -> bool {
        path.strip_prefix("/v1/alerts/")
            .and_then(|id| id.parse().ok())
            .is_some_and(|id| self.missing.contains(&id))
    }

    /// Our path for a recorded one.
    pub(super) fn path(&self, recorded: &str) -> Option<String> {
        let id = recorded.strip_prefix("/v1/alerts/")?.parse().ok()?;
        Some(format!("/v1/alerts/{}", self.alerts.get(&id)?))
    }

    /// Whether an alert's id is ours for the recorded one.
    pub(super) fn same_alert(&self, recorded: u64, ours: u64) -> bool {
        self.alerts.get(&recorded) == Some(&ours)
    }

    /// The same for a decision.
    pub(super) fn same_decision(&mut self, recorded: u64, ours: u64) -> bool {
        let before = self.decisions.range(..recorded).next_back().is_none_or(|(_, before)| *before < ours);
        before && *self.decisions.entry(recorded).or_insert(ours) == ours
    }
}
