//! Decisions on other scopes than addresses: countries, autonomous systems, users, ...

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Timestamp;
use crate::batch::hash_texts;

/// Many small shards, so that a change copies one of them and not the table.
const SHARDS: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct NamedRow {
    pub(crate) until: Timestamp,
    pub(crate) id: i64,
    pub(crate) label: u32,
    pub(crate) rank: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct NamedEntry {
    pub(crate) scope: Arc<str>,
    pub(crate) value: Arc<str>,
    pub(crate) rows: Vec<NamedRow>,
}

/// Entries sorted by scope and value within their shard; a clone shares storage.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    shards: Arc<Vec<Arc<Vec<NamedEntry>>>>,
    len: usize,
    /// Decisions of each scope. Few scopes are in use, and a lookup of none of them should cost nothing.
    scopes: Arc<BTreeMap<Arc<str>, usize>>,
}

impl Default for Named {
    fn default() -> Self {
        Self { shards: Arc::new(vec![Arc::default(); SHARDS]), len: 0, scopes: Arc::default() }
    }
}

impl Named {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is a decision of this scope.
    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.len > 0 && self.scopes.contains_key(scope)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NamedEntry> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Each shard in a fixed order, sorted by scope and value.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Arc<Vec<NamedEntry>>> {
        self.shards.iter()
    }

    pub(crate) fn get(&self, scope: &str, value: &str) -> Option<&NamedEntry> {
        let shard = &self.shards[shard_of(scope, value)];
        position(shard, scope, value).ok().map(|at| &shard[at])
    }

    /// Lets `change` edit the rows of one name; a name left without rows goes.
    pub(crate) fn edit<R>(
        &mut self,
        scope: &str,
        value: &str,
        change: impl FnOnce(&mut Vec<NamedRow>) -> R,
    ) -> R {
        let shard = Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard_of(scope, value)]);
        // Inserted even if `change` adds no row; it is removed below then.
        let at = position(shard, scope, value).unwrap_or_else(|at| {
            shard.insert(at, NamedEntry { scope: scope.into(), value: value.into(), rows: Vec::new() });
            at
        });
        let before = shard[at].rows.len();
        let result = change(&mut shard[at].rows);
        let after = shard[at].rows.len();
        if after == 0 {
            shard.remove(at);
        }
        self.len = self.len + after - before;
        if before != after {
            let scopes = Arc::make_mut(&mut self.scopes);
            let count = scopes.entry(scope.into()).or_default();
            *count = *count + after - before;
            if *count == 0 {
                scopes.remove(scope);
            }
        }
        result
    }
}

fn shard_of(scope: &str, value: &str) -> usize {
    hash_texts(scope, value, "") as usize % SHARDS
}

fn position(shard: &[NamedEntry], scope: &str, value: &str) -> Result<usize, usize> {
    shard.binary_search_by(|entry| (&*entry.scope, &*entry.value).cmp(&(scope, value)))
}
