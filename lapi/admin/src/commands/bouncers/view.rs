//! Shows bouncers as tables, CSV and JSON.

use palisade_store::Bouncer;
use palisade_wire::UnixMillis;
use serde::Serialize;

use super::instances::{InstanceView, Instances};
use crate::failure::Failure;
use crate::output::{csv, os};
use crate::table::Table;

const COLUMNS: [&str; 7] = ["Name", "IP Address", "Valid", "Last API pull", "Type", "Version", "Auth Type"];

/// A bouncer in `-o json`.
#[derive(Serialize)]
pub(super) struct BouncerView<'a> {
    pub(super) created_at: String,
    pub(super) updated_at: String,
    name: &'a str,
    revoked: bool,
    ip_address: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    pub(super) last_pull: Option<String>,
    auth_type: &'a str,
    pub(super) os: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) featureflags: Vec<&'a str>,
    auto_created: bool,
    /// An extension of `cscli`: the machines that share the key and send an instance name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instances: Vec<InstanceView<'a>>,
}

impl<'a> From<&'a Bouncer> for BouncerView<'a> {
    fn from(bouncer: &'a Bouncer) -> Self {
        let flags = bouncer.feature_flags.split(',').filter(|flag| !flag.is_empty());
        Self {
            created_at: bouncer.created_at.rfc3339(),
            updated_at: bouncer.updated_at.rfc3339(),
            name: &bouncer.name,
            revoked: bouncer.revoked,
            ip_address: &bouncer.ip,
            kind: &bouncer.kind,
            version: &bouncer.version,
            last_pull: bouncer.last_pull.map(UnixMillis::rfc3339),
            auth_type: &bouncer.auth_type,
            os: os(&bouncer.os_name, &bouncer.os_version),
            featureflags: flags.collect(),
            auto_created: bouncer.auto_created,
            instances: Vec::new(),
        }
    }
}

impl<'a> BouncerView<'a> {
    pub(super) fn with(bouncer: &'a Bouncer, instances: &'a Instances) -> Self {
        Self { instances: instances.of(&bouncer.name), ..Self::from(bouncer) }
    }
}

pub(super) fn human(fancy: bool, bouncers: &[Bouncer]) -> String {
    let rows = bouncers.iter().map(|bouncer| cells(bouncer, if bouncer.revoked { "🚫" } else { "✔️" }));
    Table::plain(fancy).header(&COLUMNS).rows(rows).render()
}

pub(super) fn raw(bouncers: &[Bouncer]) -> Result<String, Failure> {
    // The column is called `revoked` and has these words, as in `cscli`.
    let state = |bouncer: &Bouncer| if bouncer.revoked { "pending" } else { "validated" };
    let rows = bouncers.iter().map(|bouncer| cells(bouncer, state(bouncer)));
    csv("name,ip,revoked,last_pull,type,version,auth_type", rows)
}

fn cells(bouncer: &Bouncer, state: &str) -> Vec<String> {
    vec![
        bouncer.name.clone(),
        bouncer.ip.clone(),
        state.to_owned(),
        bouncer.last_pull.map(UnixMillis::rfc3339).unwrap_or_default(),
        bouncer.kind.clone(),
        bouncer.version.clone(),
        bouncer.auth_type.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json;

    fn sample() -> Bouncer {
        let at = |text| UnixMillis::parse_rfc3339(text).unwrap();
        Bouncer {
            name: "fw-1".into(),
            created_at: at("2026-01-02T03:04:05Z"),
            updated_at: at("2026-01-02T03:04:06.7Z"),
            ip: "10.0.0.5".into(),
            kind: "crowdsec-firewall-bouncer".into(),
            version: "v0.0.34".into(),
            last_pull: Some(at("2026-01-02T03:04:07Z")),
            auth_type: "api-key".into(),
            os_name: "ubuntu".into(),
            os_version: "24.04".into(),
            ..Bouncer::default()
        }
    }

    #[test]
    fn a_bouncer_is_shown_in_three_forms() {
        let bouncers = [sample()];
        assert_eq!(
            raw(&bouncers).unwrap(),
            "name,ip,revoked,last_pull,type,version,auth_type\n\
             fw-1,10.0.0.5,validated,2026-01-02T03:04:07Z,crowdsec-firewall-bouncer,v0.0.34,api-key\n"
        );
        assert_eq!(
            json(&[BouncerView::from(&sample())], 2),
            r#"[
  {
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:06Z",
    "name": "fw-1",
    "revoked": false,
    "ip_address": "10.0.0.5",
    "type": "crowdsec-firewall-bouncer",
    "version": "v0.0.34",
    "last_pull": "2026-01-02T03:04:07Z",
    "auth_type": "api-key",
    "os": "ubuntu/24.04",
    "auto_created": false
  }
]"#
        );
        let shown = human(false, &bouncers);
        let rule = "-".repeat(shown.lines().next().unwrap().len());
        assert_eq!(
            shown,
            [
                &rule,
                " Name  IP Address  Valid  Last API pull         Type                       Version  Auth Type ",
                &rule,
                " fw-1  10.0.0.5    ✔️      2026-01-02T03:04:07Z  crowdsec-firewall-bouncer  v0.0.34  api-key   ",
                &rule,
                "",
            ]
            .join("\n")
        );
        let young = Bouncer { name: "x".into(), revoked: true, ..Bouncer::default() };
        assert!(raw(std::slice::from_ref(&young)).unwrap().ends_with("x,,pending,,,,\n"));
        let shown = json(&BouncerView::from(&young), 2);
        assert!(shown.contains(r#""last_pull": null"#) && shown.contains(r#""os": "?""#), "{shown}");
    }
}
