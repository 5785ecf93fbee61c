//! Reads and writes machine rows.

use palisade_wire::UnixMillis;
use sqlx::Error;

use super::{Machine, MachineUpdate};
use crate::StoreError;
use crate::bouncers::newer;
use crate::engine::{Session, SqlRow, Tx};

pub(super) const COLUMNS: &str = "id, name, password, created_at, updated_at, last_push, last_heartbeat, ip, scenarios, \
     version, validated, auth_type, os_name, os_family, os_version, feature_flags, hub_state, datasources";

pub(super) fn read_machine(row: &SqlRow) -> Result<Machine, Error> {
    let moment = |column| row.get::<Option<i64>>(column).map(|millis| millis.map(UnixMillis));
    Ok(Machine {
        id: row.get(0)?,
        name: row.get(1)?,
        password: row.get(2)?,
        created_at: UnixMillis(row.get(3)?),
        updated_at: UnixMillis(row.get(4)?),
        last_push: moment(5)?,
        last_heartbeat: moment(6)?,
        ip: row.get(7)?,
        scenarios: row.get(8)?,
        version: row.get(9)?,
        validated: row.get(10)?,
        auth_type: row.get(11)?,
        os_name: row.get(12)?,
        os_family: row.get(13)?,
        os_version: row.get(14)?,
        feature_flags: row.get(15)?,
        hub_state: row.get(16)?,
        datasources: row.get(17)?,
    })
}

pub(super) fn missing(name: &str) -> StoreError {
    StoreError::NotFound { kind: "machine", name: name.to_owned() }
}

pub(super) async fn by_name(session: &mut Session, name: &str) -> Result<Option<Machine>, StoreError> {
    let sql = session.sql(&format!("SELECT {COLUMNS} FROM machines WHERE name = $1")).bind(name);
    session.first(sql, read_machine).await
}

pub(super) async fn update(tx: &mut Tx, now: UnixMillis, update: MachineUpdate) -> Result<(), StoreError> {
    let session = tx.session();
    let mut sql = session.sql("UPDATE machines SET updated_at = ");
    sql.arg(now.0);
    for (column, moment) in [
        ("last_push", update.last_push),
        ("last_heartbeat", update.last_heartbeat),
        ("last_seen", update.last_seen),
    ] {
        if let Some(moment) = moment {
            newer(&mut sql, column, moment.0, now, &[(column, moment.0)]);
        }
    }
    let (os_name, os_family, os_version) = match update.os {
        Some((name, family, version)) => (Some(name), Some(family), Some(version)),
        None => (None, None, None),
    };
    for (column, text) in [
        ("ip", update.ip),
        ("version", update.version),
        ("scenarios", update.scenarios),
        ("os_name", os_name),
        ("os_family", os_family),
        ("os_version", os_version),
        ("feature_flags", update.feature_flags),
        ("hub_state", update.hub_state),
        ("datasources", update.datasources),
    ] {
        if let Some(text) = text {
            sql.push(", ").push(column).push(" = ").arg(text);
        }
    }
    sql.push(" WHERE id = ").arg(update.id);
    session.run(sql).await.map(drop)
}
