//! Takes bouncers. Rows that share a key are taken as they are: they are one bouncer here as well.

use std::collections::{HashMap, HashSet};

use palisade_wire::UnixMillis;
use sqlx::Error;

use super::columns::{As, Fields};
use super::import::Import;
use super::known::{RowKind, digest};
use crate::StoreError;
use crate::engine::SqlRow;

const TABLE: &str = "bouncers";
const COLUMNS: [(&str, As); 16] = [
    ("id", As::Int),
    ("created_at", As::Time),
    ("updated_at", As::Time),
    ("last_pull", As::Time),
    ("name", As::Text),
    ("api_key", As::Text),
    ("revoked", As::Flag),
    ("ip_address", As::Text),
    ("type", As::Text),
    ("version", As::Text),
    ("auth_type", As::Text),
    ("auto_created", As::Flag),
    ("osname", As::Text),
    ("osfamily", As::Text),
    ("osversion", As::Text),
    ("featureflags", As::Text),
];
/// Rows per read.
const PAGE: usize = 1000;

/// A row of CrowdSec's table.
struct Bouncer {
    id: i64,
    created: Option<UnixMillis>,
    updated: Option<UnixMillis>,
    last_pull: Option<UnixMillis>,
    name: String,
    key: String,
    revoked: bool,
    ip: String,
    kind: String,
    version: String,
    auth_type: String,
    auto_created: bool,
    /// Operating system (three columns), feature flags.
    rest: [String; 4],
}

fn read(row: &SqlRow) -> Result<Bouncer, Error> {
    let mut fields = Fields::new(row);
    let mut bouncer = Bouncer {
        id: fields.int()?.unwrap_or(0),
        created: fields.time()?,
        updated: fields.time()?,
        last_pull: fields.time()?,
        name: fields.text()?,
        key: fields.text()?,
        revoked: fields.flag()?,
        ip: fields.text()?,
        kind: fields.text()?,
        version: fields.text()?,
        auth_type: fields.text()?,
        auto_created: fields.flag()?,
        rest: [fields.text()?, fields.text()?, fields.text()?, fields.text()?],
    };
    // 1.4.6 sets a pull when a bouncer is made; one without an address was never used.
    if bouncer.ip.is_empty() {
        bouncer.last_pull = None;
    }
    Ok(bouncer)
}

/// The bouncers that were taken for the first time and have pulled: row id and last pull.
pub(super) type Pulls = Vec<(i64, UnixMillis)>;

impl Import<'_> {
    pub(super) async fn bouncers(&mut self) -> Result<Pulls, StoreError> {
        let session = self.tx.session();
        let sql = session.sql("SELECT name, id FROM bouncers");
        let mut names: HashMap<String, i64> =
            session.read(sql, |row| Ok((row.get(0)?, row.get(1)?))).await?.into_iter().collect();
        let here: HashSet<i64> = names.values().copied().collect();
        let columns = self.source.columns(TABLE, &COLUMNS);
        let mut pulls = Vec::new();
        let mut after = i64::MIN;
        loop {
            let page = self.source.page(TABLE, &columns, after, PAGE, read).await?;
            let count = page.len();
            for bouncer in page {
                after = bouncer.id;
                let last_pull = bouncer.last_pull;
                if let (Some(row), Some(pull)) = (self.bouncer(bouncer, &mut names, &here).await?, last_pull)
                {
                    pulls.push((row, pull));
                }
            }
            self.advance(count);
            if count < PAGE {
                break;
            }
        }
        for (id, known) in self.known.forgotten(RowKind::Bouncer) {
            self.known.forget(self.tx, RowKind::Bouncer, id).await?;
            let session = self.tx.session();
            let sql = session.sql("DELETE FROM bouncers WHERE id = $1").bind(known.row);
            self.report.bouncers.removed += session.run(sql).await?;
        }
        Ok(pulls)
    }

    /// Takes one bouncer; returns its row when it is new.
    async fn bouncer(
        &mut self,
        bouncer: Bouncer,
        names: &mut HashMap<String, i64>,
        here: &HashSet<i64>,
    ) -> Result<Option<i64>, StoreError> {
        let digest = digest(&[&bouncer.key, if bouncer.revoked { "revoked" } else { "" }]);
        if let Some(known) = self.known.take(RowKind::Bouncer, bouncer.id) {
            if !here.contains(&known.row) || known.digest == digest {
                self.report.bouncers.unchanged += 1;
                return Ok(None);
            }
            self.report.bouncers.changed += 1;
            let session = self.tx.session();
            let sql = session
                .sql("UPDATE bouncers SET key_hash = $1, revoked = $2, updated_at = $3 WHERE id = $4")
                .bind(bouncer.key)
                .bind(bouncer.revoked)
                .bind(self.now.0)
                .bind(known.row);
            session.run(sql).await?;
            self.known.record(self.tx, RowKind::Bouncer, bouncer.id, known.row, &digest).await?;
            return Ok(None);
        }
        if names.contains_key(&bouncer.name) {
            self.report.bouncers.unchanged += 1;
            self.report.skip("a bouncer of this name was registered here", || bouncer.name);
            return Ok(None);
        }
        if bouncer.name.is_empty() || bouncer.key.is_empty() {
            self.report.skip("a bouncer without a name or key", || format!("id {}", bouncer.id));
            return Ok(None);
        }
        let (id, name) = (bouncer.id, bouncer.name.clone());
        let row = self.insert_bouncer(bouncer).await?;
        self.report.bouncers.added += 1;
        self.known.record(self.tx, RowKind::Bouncer, id, row, &digest).await?;
        names.insert(name, row);
        Ok(Some(row))
    }

    async fn insert_bouncer(&mut self, bouncer: Bouncer) -> Result<i64, StoreError> {
        let [os_name, os_family, os_version, flags] = bouncer.rest;
        let now = self.now;
        let session = self.tx.session();
        let sql = session
            .sql(
                "INSERT INTO bouncers (created_at, updated_at, name, key_hash, revoked, ip, kind, version, \
                 last_pull, auth_type, auto_created, os_name, os_family, os_version, feature_flags) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id",
            )
            .bind(bouncer.created.unwrap_or(now).0)
            .bind(bouncer.updated.unwrap_or(now).0)
            .bind(bouncer.name)
            .bind(bouncer.key)
            .bind(bouncer.revoked)
            .bind(bouncer.ip)
            .bind(bouncer.kind)
            .bind(bouncer.version)
            .bind(bouncer.last_pull.map(|at| at.0))
            .bind(bouncer.auth_type)
            .bind(bouncer.auto_created)
            .bind(os_name)
            .bind(os_family)
            .bind(os_version)
            .bind(flags);
        self.tx.returned_id(sql).await
    }
}
