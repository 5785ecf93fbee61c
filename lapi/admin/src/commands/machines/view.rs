//! Shows machines as tables, CSV and JSON.

use std::collections::BTreeMap;

use palisade_store::Machine;
use palisade_wire::{GoDuration, UnixMillis};
use serde::Serialize;

use super::counters::Counters;
use crate::failure::Failure;
use crate::output::{csv, os};
use crate::table::Table;

const COLUMNS: [&str; 8] =
    ["Name", "IP Address", "Last Update", "Status", "Version", "OS", "Auth Type", "Last Heartbeat"];
/// A machine without a heartbeat for this long is marked.
const STALE: GoDuration = GoDuration::from_nanos(120_000_000_000);

/// A machine in `-o json`.
#[derive(Serialize)]
pub(super) struct MachineView<'a> {
    pub(super) created_at: String,
    pub(super) updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_push: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_heartbeat: Option<String>,
    #[serde(rename = "machineId")]
    pub(super) name: &'a str,
    #[serde(rename = "ipAddress", skip_serializing_if = "str::is_empty")]
    pub(super) ip: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) version: &'a str,
    #[serde(rename = "isValidated", skip_serializing_if = "std::ops::Not::not")]
    pub(super) validated: bool,
    pub(super) auth_type: &'a str,
    pub(super) os: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) featureflags: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) datasources: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics: Option<Counters>,
}

impl<'a> From<&'a Machine> for MachineView<'a> {
    fn from(machine: &'a Machine) -> Self {
        let flags = machine.feature_flags.split(',').filter(|flag| !flag.is_empty());
        Self {
            created_at: machine.created_at.rfc3339(),
            updated_at: machine.updated_at.rfc3339(),
            last_push: machine.last_push.map(UnixMillis::rfc3339),
            last_heartbeat: machine.last_heartbeat.map(UnixMillis::rfc3339),
            name: &machine.name,
            ip: &machine.ip,
            version: &machine.version,
            validated: machine.validated,
            auth_type: &machine.auth_type,
            os: os(&machine.os_name, &machine.os_version),
            featureflags: flags.collect(),
            datasources: serde_json::from_str(&machine.datasources).unwrap_or_default(),
            metrics: None,
        }
    }
}

/// Time since the last heartbeat, marked if it exceeds [`STALE`].
fn heartbeat(last: Option<UnixMillis>, now: UnixMillis) -> String {
    match last.map(|last| now.since(last)) {
        None => "⚠️ -".to_owned(),
        Some(ago) if ago > STALE => format!("⚠️ {}", ago.rounded()),
        Some(ago) => ago.rounded().to_string(),
    }
}

pub(super) fn human(fancy: bool, now: UnixMillis, machines: &[Machine]) -> String {
    let rows = machines.iter().map(|machine| {
        vec![
            machine.name.clone(),
            machine.ip.clone(),
            machine.updated_at.rfc3339(),
            if machine.validated { "✔️" } else { "🚫" }.to_owned(),
            machine.version.clone(),
            os(&machine.os_name, &machine.os_version),
            machine.auth_type.clone(),
            heartbeat(machine.last_heartbeat, now),
        ]
    });
    Table::plain(fancy).header(&COLUMNS).rows(rows).render()
}

pub(super) fn raw(machines: &[Machine]) -> Result<String, Failure> {
    let rows = machines.iter().map(|machine| {
        vec![
            machine.name.clone(),
            machine.ip.clone(),
            machine.updated_at.rfc3339(),
            machine.validated.to_string(),
            machine.version.clone(),
            machine.auth_type.clone(),
            machine.last_heartbeat.map_or_else(|| "-".to_owned(), UnixMillis::rfc3339),
            // Without the `?` of the table, as in `cscli`.
            format!("{}/{}", machine.os_name, machine.os_version),
        ]
    });
    csv("machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os", rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json;

    #[test]
    fn a_machine_is_shown_in_three_forms() {
        let at = |text| UnixMillis::parse_rfc3339(text).unwrap();
        let machine = Machine {
            name: "web-1".into(),
            ip: "10.0.0.7".into(),
            created_at: at("2026-01-02T03:04:05Z"),
            updated_at: at("2026-01-02T04:00:00Z"),
            last_push: Some(at("2026-01-02T03:04:05Z")),
            last_heartbeat: Some(at("2026-01-02T04:00:00Z")),
            version: "v1.7.8".into(),
            validated: true,
            auth_type: "password".into(),
            os_name: "debian".into(),
            os_version: "12".into(),
            datasources: r#"{"file":2,"journalctl":1}"#.into(),
            ..Machine::default()
        };
        let young = Machine { name: "new".into(), auth_type: "password".into(), ..Machine::default() };
        let both = [machine, young];
        assert_eq!(
            raw(&both).unwrap(),
            "machine_id,ip_address,updated_at,validated,version,auth_type,last_heartbeat,os\n\
             web-1,10.0.0.7,2026-01-02T04:00:00Z,true,v1.7.8,password,2026-01-02T04:00:00Z,debian/12\n\
             new,,1970-01-01T00:00:00Z,false,,password,-,/\n"
        );
        let shown = json(&both.iter().map(MachineView::from).collect::<Vec<_>>(), 2);
        assert!(
            shown.contains(
                "    \"machineId\": \"web-1\",\n    \"ipAddress\": \"10.0.0.7\",\n    \"version\": \"v1.7.8\",\n    \
                 \"isValidated\": true,\n    \"auth_type\": \"password\",\n    \"os\": \"debian/12\",\n    \
                 \"datasources\": {\n      \"file\": 2,\n      \"journalctl\": 1\n    }\n"
            ),
            "{shown}"
        );
        assert!(
            shown.ends_with(
                "\"machineId\": \"new\",\n    \"auth_type\": \"password\",\n    \"os\": \"?\"\n  }\n]"
            ),
            "{shown}"
        );
        let now = at("2026-01-02T04:05:00.4Z");
        assert_eq!(heartbeat(Some(at("2026-01-02T04:00:00Z")), now), "⚠️ 5m0s");
        assert_eq!(heartbeat(Some(at("2026-01-02T04:04:30Z")), now), "30s");
        assert_eq!(heartbeat(None, now), "⚠️ -");
    }
}
