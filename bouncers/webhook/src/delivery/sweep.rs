//! Iterates over everything an endpoint holds and everything in force, in pieces that need little memory. Pure
//! but for reading the store.

use palisade_cache::Snapshot;

use super::pending::Marks;
use crate::event::Value;
use crate::store::{Store, StoreError, ValueRecord};

/// Values read at once.
pub(super) const SWEEP_CHUNK: usize = 2048;

/// What a sweep is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SweepKind {
    /// Find every difference: at the start, and after more changes than can be kept.
    Reconcile,
    /// Send everything in force, as a snapshot or to a receiver that has lost it.
    Present,
    /// Take everything in force for known.
    Adopt,
}

#[derive(Debug)]
enum Position {
    /// Stored values, after this one.
    Stored(Option<Value>),
    /// Targets of the snapshot, from this position.
    Targets(usize),
    End,
}

/// A sweep under way. Values that change meanwhile are not its matter.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) kind: SweepKind,
    /// The state that it goes through; positions are those of one snapshot.
    pub(super) snapshot: Snapshot,
    position: Position,
}

/// The next values of a sweep.
#[derive(Debug)]
pub(super) enum Piece {
    /// With what is stored of them.
    Stored(Vec<(Value, ValueRecord)>),
    /// Of the snapshot.
    Targets(Vec<Value>),
    /// There are no more.
    End,
}

impl Sweep {
    pub(super) fn new(kind: SweepKind, snapshot: Snapshot) -> Self {
        let position = match kind {
            SweepKind::Reconcile => Position::Stored(None),
            SweepKind::Present | SweepKind::Adopt => Position::Targets(0),
        };
        Self { kind, snapshot, position }
    }

    pub(super) fn marks(&self) -> Marks {
        Marks {
            present: self.kind == SweepKind::Present,
            adopt: self.kind == SweepKind::Adopt,
            not_received: false,
        }
    }

    /// Whether all values have been found.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.position, Position::End)
    }

    /// Moves on by one piece.
    pub(super) fn next(&mut self, store: &Store) -> Result<Piece, StoreError> {
        match &self.position {
            Position::Stored(after) => {
                let rows = store.scan(after.as_ref(), SWEEP_CHUNK)?;
                self.position = match rows.last() {
                    Some((last, _)) if rows.len() == SWEEP_CHUNK => Position::Stored(Some(last.clone())),
                    _ => Position::Targets(0),
                };
                Ok(Piece::Stored(rows))
            }
            Position::Targets(from) => {
                let mut position = *from;
                let targets = self.snapshot.targets_from(*from).take(SWEEP_CHUNK);
                let values: Vec<Value> = targets
                    .map(|(next, scope, target)| {
                        position = next;
                        Value::of(scope, target)
                    })
                    .collect();
                let is_end = values.len() < SWEEP_CHUNK;
                self.position = if is_end { Position::End } else { Position::Targets(position) };
                Ok(Piece::Targets(values))
            }
            Position::End => Ok(Piece::End),
        }
    }
}
