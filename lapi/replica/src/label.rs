//! Labels: the fields that many decisions share, interned.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use palisade_model::StoredDecision;
use palisade_model::json_text::push_text;
use rustc_hash::FxBuildHasher;

/// The fields of a decision that take few distinct values, shared by all rows with the same values.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) origin: Arc<str>,
    pub(crate) scenario: Arc<str>,
    pub(crate) scope: Box<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) simulated: bool,
    /// Whether its rows were deleted from the store: they are never in force again, whatever the clock.
    pub(crate) gone: bool,
    /// Whether values are addresses (scope `Ip` or `Range`).
    pub(crate) addressed: bool,
    /// `,"origin":…,"scenario":…,"scope":…,"type":…`, ready for a body.
    pub(crate) json: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(crate) struct Labels {
    table: HashTable<Arc<Label>>,
    /// Unused labels are dropped when there are this many: free-text reasons would accumulate otherwise.
    sweep_at: usize,
}

type LabelFields<'a> = (&'a str, &'a str, &'a str, &'a str, bool, bool);

impl Labels {
    pub(crate) fn of(&mut self, row: &StoredDecision, gone: bool) -> Arc<Label> {
        self.intern((
            &row.origin,
            &row.scenario,
            row.target.scope.as_str(),
            &row.remediation,
            row.simulated,
            gone,
        ))
    }

    /// The label with `gone` set.
    pub(crate) fn as_deleted(&mut self, label: &Arc<Label>) -> Arc<Label> {
        let (origin, scenario, scope, kind, simulated, _) = label.fields();
        self.intern((origin, scenario, scope, kind, simulated, true))
    }

    fn intern(&mut self, fields: LabelFields<'_>) -> Arc<Label> {
        let hash = FxBuildHasher.hash_one(fields);
        if let Some(label) = self.table.find(hash, |label| label.fields() == fields) {
            return Arc::clone(label);
        }
        if self.table.len() >= self.sweep_at.max(1024) {
            // A count of 1 is the table's own. A view that still has the label counts too, so it keeps its address.
            self.table.retain(|label| Arc::strong_count(label) > 1);
            // Twice what was left, so that a sweep costs each new label a constant.
            self.sweep_at = self.table.len() * 2;
        }
        let label = Arc::new(Label::new(fields));
        self.table.insert_unique(hash, Arc::clone(&label), |label| FxBuildHasher.hash_one(label.fields()));
        label
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

impl Label {
    fn new((origin, scenario, scope, kind, simulated, gone): LabelFields<'_>) -> Self {
        let mut json = Vec::with_capacity(64 + origin.len() + scenario.len() + scope.len() + kind.len());
        for (name, text) in [
            (&b",\"origin\":"[..], origin),
            (b",\"scenario\":", scenario),
            (b",\"scope\":", scope),
            (b",\"type\":", kind),
        ] {
            json.extend_from_slice(name);
            push_text(&mut json, text);
        }
        Self {
            origin: origin.into(),
            scenario: scenario.into(),
            scope: scope.into(),
            kind: kind.into(),
            simulated,
            gone,
            addressed: matches!(scope, "Ip" | "Range"),
            json: json.into(),
        }
    }

    fn fields(&self) -> LabelFields<'_> {
        (&self.origin, &self.scenario, &self.scope, &self.kind, self.simulated, self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scenario: &str) -> StoredDecision {
        StoredDecision {
            id: 1,
            commit: palisade_model::Commit(1),
            until: palisade_wire::UnixMillis(0),
            alert: 1,
            simulated: false,
            uuid: None,
            origin: "cscli".into(),
            scenario: scenario.into(),
            target: palisade_model::Target::stored("Ip", "192.0.2.1"),
            remediation: "ban".into(),
        }
    }

    #[test]
    fn the_same_words_are_one_label_and_unused_ones_are_let_go() {
        let mut labels = Labels::default();
        let kept = labels.of(&row("a \"quoted\" reason"), false);
        assert!(Arc::ptr_eq(&kept, &labels.of(&row("a \"quoted\" reason"), false)));
        let gone = labels.as_deleted(&kept);
        assert!(gone.gone && !Arc::ptr_eq(&kept, &gone));
        assert!(
            kept.json.starts_with(br#","origin":"cscli","scenario":"a \"quoted\" reason","scope":"Ip","#)
        );
        for n in 0..10_000 {
            labels.of(&row(&format!("typed by hand {n}")), false);
        }
        assert!(labels.len() < 2_000, "{}", labels.len());
        assert!(Arc::ptr_eq(&kept, &labels.of(&row("a \"quoted\" reason"), false)));
    }
}
