//! Bouncers as rows: reading, making, noting what they did.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use palisade_active::Commit;
use palisade_wire::UnixMillis;
use sqlx::Error;

use super::{Bouncer, BouncerUpdate, NewBouncer};
use crate::StoreError;
use crate::decisions::number;
use crate::engine::{Kind, Row, Session, Tx, Value};

pub(super) const COLUMNS: &str = "id, name, key_hash, created_at, updated_at, revoked, ip, kind, version, last_pull, \
     cursor_commit, auth_type, os_name, os_family, os_version, feature_flags, auto_created";

pub(super) fn read_bouncer(row: &Row) -> Result<Bouncer, Error> {
    let cursor: Option<i64> = row.get(10)?;
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
        cursor_commit: cursor.map(|commit| Commit(commit.unsigned_abs())),
        auth_type: row.get(11)?,
        os_name: row.get(12)?,
        os_family: row.get(13)?,
        os_version: row.get(14)?,
        feature_flags: row.get(15)?,
        auto_created: row.get(16)?,
    })
}

pub(super) async fn by_name(session: &mut Session, name: &str) -> Result<Option<Bouncer>, StoreError> {
    let sql = session.sql(&format!("SELECT {COLUMNS} FROM bouncers WHERE name = $1")).bind(name);
    session.first(sql, read_bouncer).await
}

pub(super) async fn insert(tx: &mut Tx, now: UnixMillis, new: NewBouncer) -> Result<Bouncer, StoreError> {
    tx.touch_roster();
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

/// One update for each bouncer, the later word of several; those that only say how far a bouncer has pulled apart,
/// for they are nearly all.
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
                    cursor_commit: later.cursor_commit.or(one.cursor_commit),
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
            cursor_commit: one.cursor_commit,
            ..BouncerUpdate::default()
        };
        *one == bare
    })
}

/// Writes how far bouncers have pulled. A thousand of them say so every few seconds: on a server that is one
/// statement, where each would cost a way there and back.
pub(super) async fn note_pulls(
    tx: &mut Tx,
    now: UnixMillis,
    pulls: Vec<BouncerUpdate>,
) -> Result<(), StoreError> {
    if tx.session().kind() == Kind::Sqlite {
        for one in pulls {
            update(tx, now, one).await?;
        }
        return Ok(());
    }
    if pulls.is_empty() {
        return Ok(());
    }
    let session = tx.session();
    let sql = session
        .sql(
            "UPDATE bouncers SET updated_at = $1, last_pull = COALESCE(pull.time, last_pull), \
             cursor_commit = COALESCE(pull.commit_no, cursor_commit) \
             FROM UNNEST($2::bigint[], $3::bigint[], $4::bigint[]) AS pull (id, time, commit_no) \
             WHERE bouncers.id = pull.id",
        )
        .bind(now.0)
        .bind(Value::Ints(pulls.iter().map(|one| one.id).collect()))
        .bind(Value::MaybeInts(pulls.iter().map(|one| one.last_pull.map(|time| time.0)).collect()))
        .bind(Value::MaybeInts(pulls.iter().map(|one| one.cursor_commit.map(number)).collect()));
    session.run(sql).await.map(drop)
}

/// Writes what one update says.
pub(super) async fn update(tx: &mut Tx, now: UnixMillis, update: BouncerUpdate) -> Result<(), StoreError> {
    let session = tx.session();
    let mut sql = session.sql("UPDATE bouncers SET updated_at = ");
    sql.arg(now.0);
    if let Some(moment) = update.last_pull {
        sql.push(", last_pull = ").arg(moment.0);
    }
    if let Some(commit) = update.cursor_commit {
        sql.push(", cursor_commit = ").arg(number(commit));
    }
    let (os_name, os_family, os_version) = match update.os {
        Some((name, family, version)) => (Some(name), Some(family), Some(version)),
        None => (None, None, None),
    };
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
