//! Reads and writes bouncer rows.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use palisade_model::Commit;
use palisade_wire::UnixMillis;
use sqlx::Error;

use super::{Bouncer, BouncerUpdate, NewBouncer};
use crate::StoreError;
use crate::decisions::number;
use crate::engine::{Kind, Session, Sql, SqlRow, Tx, Value, json};

pub(super) const COLUMNS: &str = "id, name, key_hash, created_at, updated_at, revoked, ip, kind, version, last_pull, \
     cursor_commit, cursor_time, auth_type, os_name, os_family, os_version, feature_flags, auto_created";

pub(super) fn read_bouncer(row: &SqlRow) -> Result<Bouncer, Error> {
    let commit: Option<i64> = row.get(10)?;
    let time: Option<i64> = row.get(11)?;
    Ok(Bouncer {
        id: row.get(0)?,
        name: row.get(1)?,
        key_hash: row.get(2)?,
        created_at: UnixMillis(row.get(3)?),
        updated_at: UnixMillis(row.get(4)?),
        revoked: row.get(5)?,
        ip: row.get(6)?,
        kind: row.get(7)?,
        version: row.get(8)?,
        last_pull: row.get::<Option<i64>>(9)?.map(UnixMillis),
        cursor: commit.zip(time).map(|(commit, time)| (Commit(commit.unsigned_abs()), UnixMillis(time))),
        auth_type: row.get(12)?,
        os_name: row.get(13)?,
        os_family: row.get(14)?,
        os_version: row.get(15)?,
        feature_flags: row.get(16)?,
        auto_created: row.get(17)?,
    })
}

pub(super) async fn by_name(session: &mut Session, name: &str) -> Result<Option<Bouncer>, StoreError> {
    let sql = session.sql(&format!("SELECT {COLUMNS} FROM bouncers WHERE name = $1")).bind(name);
    session.first(sql, read_bouncer).await
}

/// The other bouncers to which an operator gave the key of this one; none for certificates.
pub(super) async fn operators_with_key(
    session: &mut Session,
    bouncer: &Bouncer,
) -> Result<Vec<String>, StoreError> {
    let sql = session
        .sql(
            "SELECT name FROM bouncers WHERE key_hash = $1 AND key_hash <> '' AND NOT auto_created AND id <> $2 \
             ORDER BY id",
        )
        .bind(bouncer.key_hash.as_str())
        .bind(bouncer.id);
    session.read(sql, |row| row.get(0)).await
}

/// The rows that were created automatically for a bouncer: by its name, and by its key if `whole_key`.
pub(super) async fn created_for(
    session: &mut Session,
    bouncer: &Bouncer,
    whole_key: bool,
) -> Result<Vec<String>, StoreError> {
    // `substr` rather than `LIKE`: names may contain its wildcards.
    let front = format!("{}@", bouncer.name);
    let length = i64::try_from(front.chars().count()).unwrap_or(i64::MAX);
    let sql = session
        .sql(
            "SELECT name FROM bouncers WHERE auto_created AND id <> $1 \
             AND ((substr(name, 1, CAST($2 AS INTEGER)) = $3 AND $4) OR (key_hash = $5 AND key_hash <> '' AND $6)) \
             ORDER BY id",
        )
        .bind(bouncer.id)
        .bind(length)
        .bind(front)
        // A row that was created automatically has no rows of its own, whatever its name begins with.
        .bind(!bouncer.auto_created)
        .bind(bouncer.key_hash.as_str())
        .bind(whole_key);
    session.read(sql, |row| row.get(0)).await
}

pub(super) async fn insert(tx: &mut Tx, now: UnixMillis, new: NewBouncer) -> Result<Bouncer, StoreError> {
    tx.bump_registry_version();
    let session = tx.session();
    let text = format!(
        "INSERT INTO bouncers (created_at, updated_at, name, key_hash, auth_type, ip, auto_created) \
         VALUES ($1, $1, $2, $3, $4, $5, $6) RETURNING {COLUMNS}"
    );
    let sql = session
        .sql(&text)
        .bind(now.0)
        .bind(new.name)
        .bind(new.key_hash)
        .bind(new.auth_type)
        .bind(new.ip)
        .bind(new.auto_created);
    let made = session.first(sql, read_bouncer).await?;
    made.ok_or_else(|| session.fails("the row that was made did not come back"))
}

/// Merges updates of the same bouncer, later ones taking precedence. Returns updates that only move the last pull
/// separately: they are the vast majority.
pub(super) fn merged(updates: Vec<BouncerUpdate>) -> (Vec<BouncerUpdate>, Vec<BouncerUpdate>) {
    let mut by_id: BTreeMap<i64, BouncerUpdate> = BTreeMap::new();
    for later in updates {
        match by_id.entry(later.id) {
            Entry::Vacant(place) => {
                place.insert(later);
            }
            Entry::Occupied(mut place) => {
                let one = place.get_mut();
                *one = BouncerUpdate {
                    id: later.id,
                    last_pull: later.last_pull.or(one.last_pull),
                    last_seen: later.last_seen.or(one.last_seen),
                    cursor: later.cursor.or(one.cursor),
                    ip: later.ip.or(one.ip.take()),
                    kind: later.kind.or(one.kind.take()),
                    version: later.version.or(one.version.take()),
                    os: later.os.or(one.os.take()),
                    feature_flags: later.feature_flags.or(one.feature_flags.take()),
                };
            }
        }
    }
    by_id.into_values().partition(|one| {
        let bare = BouncerUpdate {
            id: one.id,
            last_pull: one.last_pull,
            last_seen: one.last_seen,
            cursor: one.cursor,
            ..BouncerUpdate::default()
        };
        *one == bare
    })
}

/// Writes last pulls, last requests and cursors. Thousands arrive every few seconds: one statement, to save round trips.
pub(super) async fn record_pulls(
    tx: &mut Tx,
    now: UnixMillis,
    pulls: Vec<BouncerUpdate>,
) -> Result<(), StoreError> {
    if pulls.is_empty() {
        return Ok(());
    }
    let session = tx.session();
    let said = pulls.iter().map(|one| {
        let (commit, time) = one.cursor.unzip();
        let millis = |moment: Option<UnixMillis>| moment.map(|time| time.0);
        (one.id, millis(one.last_pull), commit.map(number), millis(time), millis(one.last_seen))
    });
    let mut sql = session.sql("UPDATE bouncers SET updated_at = ");
    sql.arg(now.0);
    for (column, value, guard, time) in [
        ("last_pull", "asked", "last_pull", "asked"),
        // Guarded by time and not by commit: after a restored backup commit numbers begin lower.
        ("cursor_commit", "commit_no", "cursor_time", "time"),
        ("cursor_time", "time", "cursor_time", "time"),
        ("last_seen", "seen", "last_seen", "seen"),
    ] {
        sql.push(&format!(
            ", {column} = CASE WHEN pull.{time} IS NULL OR ({guard} > pull.{time} AND {guard} < "
        ))
        .arg(latest_plausible(now))
        .push(&format!(") THEN {column} ELSE pull.{value} END"));
    }
    match session.kind() {
        Kind::Sqlite => sql
            .push(
                " FROM (SELECT value->>0 AS id, value->>1 AS asked, value->>2 AS commit_no, value->>3 AS time, \
                 value->>4 AS seen FROM json_each(",
            )
            .arg(json(said))
            .push(")) AS pull"),
        Kind::Postgres => {
            let mut columns = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
            columns.extend(said);
            sql.push(" FROM UNNEST(").arg(Value::Ints(columns.0)).push("::bigint[], ");
            sql.arg(Value::MaybeInts(columns.1)).push("::bigint[], ");
            sql.arg(Value::MaybeInts(columns.2)).push("::bigint[], ");
            sql.arg(Value::MaybeInts(columns.3)).push("::bigint[], ");
            sql.arg(Value::MaybeInts(columns.4)).push("::bigint[]) AS pull (id, asked, commit_no, time, seen)")
        }
    };
    sql.push(" WHERE bouncers.id = pull.id");
    session.run(sql).await.map(drop)
}

/// Stored times after this one are implausible: they were written by a host whose clock was ahead. They are overwritten
/// by older times, or they would stay until all clocks have caught up.
fn latest_plausible(now: UnixMillis) -> i64 {
    const MAX_CLOCK_SKEW: i64 = 60_000;
    now.0.saturating_add(MAX_CLOCK_SKEW)
}

/// Appends assignments that apply unless the row's `guard` is newer than `time`: another LAPI may have written a later
/// update first.
pub(crate) fn newer(sql: &mut Sql, guard: &str, time: i64, now: UnixMillis, columns: &[(&str, i64)]) {
    // `CASE` in the statement instead of a read before it: another LAPI may write in between.
    for (column, value) in columns {
        sql.push(", ").push(column).push(" = CASE WHEN ").push(guard).push(" > ").arg(time);
        sql.push(" AND ").push(guard).push(" < ").arg(latest_plausible(now));
        sql.push(" THEN ").push(column).push(" ELSE ").arg(*value).push(" END");
    }
}

pub(super) async fn update(tx: &mut Tx, now: UnixMillis, update: BouncerUpdate) -> Result<(), StoreError> {
    let session = tx.session();
    let mut sql = session.sql("UPDATE bouncers SET updated_at = ");
    sql.arg(now.0);
    if let Some(moment) = update.last_pull {
        newer(&mut sql, "last_pull", moment.0, now, &[("last_pull", moment.0)]);
    }
    if let Some(moment) = update.last_seen {
        newer(&mut sql, "last_seen", moment.0, now, &[("last_seen", moment.0)]);
    }
    if let Some((commit, time)) = update.cursor {
        newer(
            &mut sql,
            "cursor_time",
            time.0,
            now,
            &[("cursor_commit", number(commit)), ("cursor_time", time.0)],
        );
    }
    let (os_name, os_family, os_version) = match update.os {
        Some((name, family, version)) => (Some(name), Some(family), Some(version)),
        None => (None, None, None),
    };
    // Only the columns that changed, so that an older report of another LAPI does not undo the rest.
    for (column, text) in [
        ("ip", update.ip),
        ("kind", update.kind),
        ("version", update.version),
        ("os_name", os_name),
        ("os_family", os_family),
        ("os_version", os_version),
        ("feature_flags", update.feature_flags),
    ] {
        if let Some(text) = text {
            sql.push(", ").push(column).push(" = ").arg(text);
        }
    }
    sql.push(" WHERE id = ").arg(update.id);
    session.run(sql).await.map(drop)
}
