//! The ledger's labels: one for each (remediation, origin, scenario) in use, with places that are reused.

use hashbrown::HashTable;

use crate::Policy;
use crate::batch::{Reason, hash_texts};
use crate::chunked::Chunked;
use crate::table::{Label, LabelCounts};

#[derive(Debug, Default)]
pub(crate) struct Labels {
    index: HashTable<u32>,
    free: Vec<u32>,
    perhaps_unused: Vec<u32>,
    /// Decisions on addresses and ranges whose remediation the policy does not list.
    unlisted: usize,
}

impl Labels {
    /// The label of a reason, made when it is new. It stays until [`Labels::sweep`].
    pub(crate) fn intern(&mut self, table: &mut Chunked<Label>, policy: &Policy, reason: Reason<'_>) -> u32 {
        let Reason { remediation, origin, scenario } = reason;
        let hash = hash_texts(remediation, origin, scenario);
        if let Some(&at) = self.index.find(hash, |&at| table.get(at).matches(remediation, origin, scenario)) {
            return at;
        }
        let label = Label::new(policy, remediation, origin, scenario);
        let at = match self.free.pop() {
            Some(at) => {
                // Snapshots that still have rows with the old label share the old chunk, not this one.
                *table.get_mut(at) = label;
                at
            }
            None => {
                table.push(label);
                u32::try_from(table.len() - 1).expect("fewer than 2^32 labels fit into memory")
            }
        };
        self.index.insert_unique(hash, at, |&at| hash_of(table.get(at)));
        at
    }

    /// Changes the number of decisions with a label.
    pub(crate) fn count(
        &mut self,
        table: &mut Chunked<Label>,
        at: u32,
        change: impl FnOnce(&mut LabelCounts),
    ) {
        let label = table.get_mut(at);
        let before = label.held.nets();
        change(&mut label.held);
        if !label.is_listed {
            self.unlisted = self.unlisted + label.held.nets() - before;
        }
        if label.held.is_empty() {
            self.perhaps_unused.push(at);
        }
    }

    pub(crate) fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Removes labels without decisions: those whose count fell to zero since the last call, and those in `also`. Not
    /// while a response is applied, which may use a label again.
    pub(crate) fn sweep(&mut self, table: &mut Chunked<Label>, also: impl IntoIterator<Item = u32>) {
        for at in std::mem::take(&mut self.perhaps_unused).into_iter().chain(also) {
            let label = table.get(at);
            // The same number may be listed several times, so only one that is still in the index becomes free.
            if label.held.is_empty()
                && let Ok(entry) = self.index.find_entry(hash_of(label), |&other| other == at)
            {
                entry.remove();
                self.free.push(at);
            }
        }
    }
}

fn hash_of(label: &Label) -> u64 {
    hash_texts(&label.remediation, &label.origin, &label.scenario)
}
