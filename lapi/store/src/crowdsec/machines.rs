//! Takes machines.

use std::collections::{HashMap, HashSet};

use sqlx::Error;

use super::columns::{As, Fields};
use super::import::Import;
use super::known::{RowKind, digest};
use crate::StoreError;
use crate::engine::SqlRow;

const TABLE: &str = "machines";
const COLUMNS: [(&str, As); 18] = [
    ("id", As::Int),
    ("created_at", As::Time),
    ("updated_at", As::Time),
    ("last_push", As::Time),
    ("last_heartbeat", As::Time),
    ("machine_id", As::Text),
    ("password", As::Text),
    ("ip_address", As::Text),
    ("scenarios", As::Text),
    ("version", As::Text),
    ("is_validated", As::Flag),
    ("auth_type", As::Text),
    ("osname", As::Text),
    ("osfamily", As::Text),
    ("osversion", As::Text),
    ("featureflags", As::Text),
    ("hubstate", As::Text),
    ("datasources", As::Text),
];
/// Rows per read.
const PAGE: usize = 1000;

/// A row of CrowdSec's table.
struct Machine {
    id: i64,
    times: [Option<i64>; 4],
    name: String,
    password: String,
    ip: String,
    scenarios: String,
    version: String,
    validated: bool,
    auth_type: String,
    /// Operating system (three columns), feature flags, hub items, data sources.
    rest: [String; 6],
}

fn read(row: &SqlRow) -> Result<Machine, Error> {
    let mut fields = Fields::new(row);
    let id = fields.int()?.unwrap_or(0);
    let mut times = [None; 4];
    for time in &mut times {
        *time = fields.time()?.map(|at| at.0);
    }
    Ok(Machine {
        id,
        times,
        name: fields.text()?,
        password: fields.text()?,
        ip: fields.text()?,
        scenarios: fields.text()?,
        version: fields.text()?,
        validated: fields.flag()?,
        auth_type: fields.text()?,
        rest: [
            fields.text()?,
            fields.text()?,
            fields.text()?,
            fields.text()?,
            json(fields.text()?),
            json(fields.text()?),
        ],
    })
}

/// Reports that are no JSON are left out.
fn json(text: String) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() && text != "null" {
        text
    } else {
        String::new()
    }
}

impl Import<'_> {
    /// Takes the machines; returns the id here for each id of the source.
    pub(super) async fn machines(&mut self) -> Result<HashMap<i64, i64>, StoreError> {
        let session = self.tx.session();
        let sql = session.sql("SELECT name, id FROM machines");
        let mut names: HashMap<String, i64> =
            session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await?.into_iter().collect();
        let here: HashSet<i64> = names.values().copied().collect();
        let columns = self.source.columns(TABLE, &COLUMNS);
        let mut ids = HashMap::new();
        let mut after = i64::MIN;
        loop {
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            for machine in page {
                after = machine.id;
                let id = machine.id;
                if let Some(row) = self.machine(machine, &mut names, &here).await? {
                    ids.insert(id, row);
                }
            }
            self.advance(count);
            if count < PAGE {
                break;
            }
        }
        for (id, known) in self.known.forgotten(RowKind::Machine) {
            self.known.forget(self.tx, RowKind::Machine, id).await?;
            let session = self.tx.session();
            let sql = session.sql("DELETE FROM machines WHERE id = $1").bind(known.row);
            self.report.machines.removed += session.run(sql).await?;
        }
        Ok(ids)
    }

    /// Takes one machine; returns its id here, `None` when it was deleted here.
    async fn machine(
        &mut self,
        machine: Machine,
        names: &mut HashMap<String, i64>,
        here: &HashSet<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let digest = digest(&[&machine.password, if machine.validated { "valid" } else { "" }]);
        if let Some(known) = self.known.take(RowKind::Machine, machine.id) {
            if !here.contains(&known.row) {
                return Ok(None);
            }
            if known.digest == digest {
                self.report.machines.unchanged += 1;
                return Ok(Some(known.row));
            }
            self.report.machines.changed += 1;
            let session = self.tx.session();
            let sql = session
                .sql("UPDATE machines SET password = $1, validated = $2, updated_at = $3 WHERE id = $4")
                .bind(machine.password)
                .bind(machine.validated)
                .bind(self.now.0)
                .bind(known.row);
            session.run(sql).await?;
            self.known.record(self.tx, RowKind::Machine, machine.id, known.row, &digest).await?;
            return Ok(Some(known.row));
        }
        if let Some(&row) = names.get(&machine.name) {
            self.report.machines.unchanged += 1;
            self.report.skip("a machine of this name was registered here", || machine.name);
            return Ok(Some(row));
        }
        if machine.name.is_empty() {
            self.report.skip("a machine without a name", || format!("id {}", machine.id));
            return Ok(None);
        }
        let (id, name) = (machine.id, machine.name.clone());
        let row = self.insert_machine(machine).await?;
        self.report.machines.added += 1;
        self.known.record(self.tx, RowKind::Machine, id, row, &digest).await?;
        names.insert(name, row);
        Ok(Some(row))
    }

    async fn insert_machine(&mut self, machine: Machine) -> Result<i64, StoreError> {
        let [created, updated, pushed, heartbeat] = machine.times;
        let [os_name, os_family, os_version, flags, hub, sources] = machine.rest;
        // 1.4.6 sets a heartbeat when a machine is made; one without an address has never logged in.
        let heartbeat = heartbeat.filter(|_| !machine.ip.is_empty());
        let now = self.now.0;
        let session = self.tx.session();
        let sql = session
            .sql(
                "INSERT INTO machines (created_at, updated_at, name, password, last_push, last_heartbeat, ip, \
                 scenarios, version, validated, auth_type, os_name, os_family, os_version, feature_flags, \
                 hub_state, datasources) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING id",
            )
            .bind(created.unwrap_or(now))
            .bind(updated.unwrap_or(now))
            .bind(machine.name)
            .bind(machine.password)
            .bind(pushed)
            .bind(heartbeat)
            .bind(machine.ip)
            .bind(machine.scenarios)
            .bind(machine.version)
            .bind(machine.validated)
            .bind(machine.auth_type)
            .bind(os_name)
            .bind(os_family)
            .bind(os_version)
            .bind(flags)
            .bind(hub)
            .bind(sources);
        self.tx.returned_id(sql).await
    }
}
