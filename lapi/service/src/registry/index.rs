//! Lookup tables of the registry. Pure.

use std::{collections::HashMap, sync::Arc};

use subtle::ConstantTimeEq as _;

use super::records::{AuthType, Bouncer, Machine};

/// Machines and bouncers by name, and bouncers by key and address.
#[derive(Debug, Default)]
pub(super) struct RegistryIndex {
    machines: HashMap<String, Arc<Machine>>,
    bouncers: HashMap<String, Arc<Bouncer>>,
    keys: HashMap<String, KeyRows>,
}

#[derive(Debug, Default)]
struct KeyRows {
    /// In ascending order of id.
    rows: Vec<Arc<Bouncer>>,
    by_ip: HashMap<String, Arc<Bouncer>>,
}

impl RegistryIndex {
    /// A new index from the store's rows. State that changes at run time is carried over.
    pub(super) fn replaced_by(
        &self,
        machines: Vec<palisade_store::Machine>,
        bouncers: Vec<palisade_store::Bouncer>,
    ) -> Self {
        let mut next = Self::default();
        for row in machines {
            // The same name with another id is a machine that was deleted and created anew.
            let before = self.machines.get(&row.name).filter(|before| before.id == row.id);
            let machine = Arc::new(Machine::from_row(row, before.map(Arc::as_ref)));
            next.machines.insert(machine.name.clone(), machine);
        }
        let mut bouncers: Vec<Arc<Bouncer>> = bouncers
            .into_iter()
            .map(|row| {
                let before = self.bouncers.get(&row.name);
                let before = before.filter(|before| before.id == row.id && before.key == row.key_hash);
                Arc::new(Bouncer::from_row(row, before.map(Arc::as_ref)))
            })
            .collect();
        // The lowest id of a key is the row that an operator created, the others are named after it.
        bouncers.sort_by_key(|bouncer| bouncer.id);
        for bouncer in bouncers {
            next.insert(bouncer);
        }
        next
    }

    fn insert(&mut self, bouncer: Arc<Bouncer>) {
        self.bouncers.insert(bouncer.name.clone(), bouncer.clone());
        if bouncer.key.is_empty() {
            return;
        }
        let ip = bouncer.lock().ip.clone();
        let rows = self.keys.entry(bouncer.key.clone()).or_default();
        // Of two rows with one address the older one counts: rows are inserted in order of their ids.
        rows.by_ip.entry(ip).or_insert_with(|| bouncer.clone());
        let place = rows.rows.partition_point(|row| row.id < bouncer.id);
        rows.rows.insert(place, bouncer);
    }

    pub(super) fn len(&self) -> (usize, usize) {
        (self.machines.len(), self.bouncers.len())
    }

    pub(super) fn pending_machines(&self) -> usize {
        self.machines.values().filter(|machine| !machine.validated).count()
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().map(Arc::as_ref)
    }

    pub(super) fn machine(&self, name: &str) -> Option<Arc<Machine>> {
        self.machines.get(name).cloned()
    }

    pub(super) fn bouncer(&self, name: &str) -> Option<Arc<Bouncer>> {
        self.bouncers.get(name).cloned()
    }

    /// The rows of a key. The lookup is by a hash of a hash, so its timing reveals nothing useful; the match is
    /// compared in constant time all the same.
    fn rows(&self, key: &str) -> Option<&KeyRows> {
        let (known, rows) = self.keys.get_key_value(key)?;
        bool::from(known.as_bytes().ct_eq(key.as_bytes())).then_some(rows)
    }

    pub(super) fn first_with_key(&self, key: &str) -> Option<Arc<Bouncer>> {
        self.rows(key)?.rows.iter().find(|row| row.auth == AuthType::ApiKey).cloned()
    }

    pub(super) fn at(&self, key: &str, ip: &str) -> Option<Arc<Bouncer>> {
        self.rows(key)?.by_ip.get(ip).cloned()
    }

    /// The key's only row, if the key was never used; it gets the address of the first use.
    pub(super) fn fresh(&self, key: &str) -> Option<Arc<Bouncer>> {
        // With several rows the key has been used from some address before.
        let [only] = self.rows(key)?.rows.as_slice() else { return None };
        only.lock().ip.is_empty().then(|| only.clone())
    }

    pub(super) fn add_machine(&mut self, row: palisade_store::Machine) -> Arc<Machine> {
        let machine = Arc::new(Machine::from_row(row, None));
        self.machines.insert(machine.name.clone(), machine.clone());
        machine
    }

    pub(super) fn remove_machine(&mut self, name: &str) {
        self.machines.remove(name);
    }

    /// Adds or replaces a row. An older row of the same name with another key is removed.
    pub(super) fn add_bouncer(&mut self, row: palisade_store::Bouncer) -> Arc<Bouncer> {
        let old = self.bouncers.remove(&row.name);
        if let Some(old) = &old
            && let Some(rows) = self.keys.get_mut(&old.key)
        {
            rows.rows.retain(|row| row.id != old.id);
            rows.by_ip.retain(|_, row| row.id != old.id);
            if rows.rows.is_empty() {
                self.keys.remove(&old.key);
            }
        }
        let same = old.filter(|old| old.id == row.id && old.key == row.key_hash);
        let bouncer = Arc::new(Bouncer::from_row(row, same.as_deref()));
        self.insert(bouncer.clone());
        bouncer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, name: &str, key: &str, ip: &str) -> palisade_store::Bouncer {
        palisade_store::Bouncer {
            id,
            name: name.into(),
            key_hash: key.into(),
            ip: ip.into(),
            auth_type: "api-key".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_fresh_key_is_adopted_once() {
        let mut all = RegistryIndex::default().replaced_by(vec![], vec![row(1, "fw", "k", "")]);
        assert!(all.at("k", "192.0.2.1").is_none());
        assert_eq!(all.fresh("k").unwrap().id, 1);
        all.add_bouncer(row(1, "fw", "k", "192.0.2.1"));
        assert_eq!(all.at("k", "192.0.2.1").unwrap().id, 1);
        assert!(all.fresh("k").is_none(), "it has an address now");
        assert!(all.at("k", "").is_none());
    }

    #[test]
    fn reading_anew_keeps_what_is_newer_in_memory() {
        let all = RegistryIndex::default().replaced_by(vec![], vec![row(1, "fw", "k", "")]);
        let held = all.fresh("k").unwrap();
        // Another LAPI saw the key used first.
        let rows = vec![row(2, "fw@192.0.2.2", "k", "192.0.2.2"), row(1, "fw", "k", "192.0.2.1")];
        let next = all.replaced_by(vec![], rows);
        assert_eq!(next.at("k", "192.0.2.1").unwrap().id, 1);
        assert_eq!(next.at("k", "192.0.2.2").unwrap().id, 2);
        assert_eq!(next.first_with_key("k").unwrap().id, 1, "rows in order of their numbers");
        // A handle to the old record writes to the shared state of the new one.
        held.lock().version = "v2".into();
        assert_eq!(next.bouncer("fw").unwrap().live().version, "v2");
        // Another key under the same name is another bouncer.
        let other = next.replaced_by(vec![], vec![row(1, "fw", "other", "")]);
        assert_eq!(other.bouncer("fw").unwrap().live().version, "");
        assert!(other.first_with_key("k").is_none());
    }

    #[test]
    fn a_row_that_takes_over_a_name_ends_the_old_one() {
        let mut all = RegistryIndex::default()
            .replaced_by(vec![], vec![row(1, "a@::1", "old", "::1"), row(2, "a", "new", "")]);
        all.add_bouncer(row(1, "a@::1", "new", "::1"));
        assert!(all.first_with_key("old").is_none());
        assert_eq!(all.at("new", "::1").unwrap().id, 1);
    }
}
