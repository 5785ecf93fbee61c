//! The `bouncers` commands. Written to the database; running LAPIs pick up the changes.

use clap::Command;
use palisade_lapi_config::Output;
use palisade_store::{Bouncer, BouncerDeletion, NewBouncer, StoreError};
use palisade_wire::{GoDuration, UnixMillis};
use serde::Serialize;

use crate::cli::{Args, group, leaf, switch, value};
use crate::failure::Failure;
use crate::instances::{self, Instances};
use crate::output::{self, csv, json, line, note, print, properties, table};
use crate::secrets;
use crate::session::Session;

const COLUMNS: [&str; 7] = ["Name", "IP Address", "Valid", "Last API pull", "Type", "Version", "Auth Type"];

pub(crate) fn command() -> Command {
    group("bouncers", "Manage bouncers [requires local API]")
        .visible_alias("bouncer")
        .subcommand(leaf("list", "list all bouncers within the database", ""))
        .subcommand(
            leaf("add", "add a single bouncer to the database", "NAME")
                .arg(value("key", 'k', "api key for the bouncer"))
                .arg(value("length", 'l', "deprecated: keys have one length").hide(true)),
        )
        .subcommand(
            leaf("delete", "delete bouncer(s) from the database", "NAME").visible_alias("remove").arg(
                switch("ignore-missing", '\0', "don't print errors if one or more bouncers don't exist"),
            ),
        )
        .subcommand(
            leaf("prune", "prune multiple bouncers from the database", "")
                .arg(value("duration", 'd', "duration of time since last pull (default 60m)"))
                .arg(switch("force", '\0', "force prune without asking for confirmation")),
        )
        .subcommand(leaf("inspect", "inspect a bouncer by name", "NAME"))
}

pub(crate) async fn run(session: &Session, name: &str, args: &Args<'_>) -> Result<(), Failure> {
    match name {
        "list" => list(session, args).await,
        "add" => add(session, args).await,
        "delete" => delete(session, args).await,
        "prune" => prune(session, args).await,
        _ => inspect(session, args).await,
    }
}

/// A bouncer in `-o json`.
#[derive(Serialize)]
struct BouncerView<'a> {
    created_at: String,
    updated_at: String,
    name: &'a str,
    revoked: bool,
    ip_address: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    version: &'a str,
    last_pull: Option<String>,
    auth_type: &'a str,
    os: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    featureflags: Vec<&'a str>,
    auto_created: bool,
    /// An extension of `cscli`: the machines that share the key and send an instance name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instances: Vec<instances::InstanceView<'a>>,
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
    fn with(bouncer: &'a Bouncer, instances: &'a Instances) -> Self {
        Self { instances: instances.of(&bouncer.name), ..Self::from(bouncer) }
    }
}

/// `debian/12`, or `?` if unknown.
pub(crate) fn os(name: &str, version: &str) -> String {
    if name.is_empty() && version.is_empty() { "?".to_owned() } else { format!("{name}/{version}") }
}

fn human(fancy: bool, bouncers: &[Bouncer]) -> String {
    let rows = bouncers.iter().map(|bouncer| {
        vec![
            bouncer.name.clone(),
            bouncer.ip.clone(),
            if bouncer.revoked { "🚫" } else { "✔️" }.to_owned(),
            bouncer.last_pull.map(UnixMillis::rfc3339).unwrap_or_default(),
            bouncer.kind.clone(),
            bouncer.version.clone(),
            bouncer.auth_type.clone(),
        ]
    });
    table(fancy, &COLUMNS, rows)
}

fn raw(bouncers: &[Bouncer]) -> Result<String, Failure> {
    let rows = bouncers.iter().map(|bouncer| {
        vec![
            bouncer.name.clone(),
            bouncer.ip.clone(),
            if bouncer.revoked { "pending" } else { "validated" }.to_owned(),
            bouncer.last_pull.map(UnixMillis::rfc3339).unwrap_or_default(),
            bouncer.kind.clone(),
            bouncer.version.clone(),
            bouncer.auth_type.clone(),
        ]
    });
    csv(&["name", "ip", "revoked", "last_pull", "type", "version", "auth_type"], rows)
}

async fn list(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let store = session.store().await?;
    let bouncers = store.bouncers().await?;
    let instances = Instances::read(&store, None).await?;
    match session.output {
        // `cscli` has no such table.
        Output::Human if session.as_cscli => print(&human(session.fancy, &bouncers)),
        Output::Human => print(&(human(session.fancy, &bouncers) + &instances.human(session.fancy))),
        Output::Raw => print(&raw(&bouncers)?),
        Output::Json => {
            let shown: Vec<_> =
                bouncers.iter().map(|bouncer| BouncerView::with(bouncer, &instances)).collect();
            line(&json(&shown, 2))
        }
    }
}

async fn add(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let [name] = args.exactly()?;
    let key = match args.text("key").filter(|key| !key.is_empty()) {
        Some(key) => key.to_owned(),
        None => secrets::bouncer_key()?,
    };
    let bouncer = NewBouncer {
        name: name.to_owned(),
        key_hash: secrets::key_hash(&key),
        auth_type: "api-key".to_owned(),
        ..NewBouncer::default()
    };
    let store = session.store().await?;
    store.create_bouncer(UnixMillis::now(), bouncer).await.map_err(|error| match error {
        StoreError::Exists { .. } => {
            Failure::Command(format!("unable to create bouncer: bouncer {name} already exists"))
        }
        other => Failure::from(other).doing("unable to create bouncer"),
    })?;
    store.close().await;
    match session.output {
        Output::Human => print(&format!(
            "API key for '{name}':\n\n   {key}\n\nPlease keep this key since you will not be able to retrieve it!\n"
        )),
        Output::Raw => print(&key),
        Output::Json => print(&json(&key, 0)),
    }
}

async fn delete(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let names = args.at_least(1)?;
    let ignore_missing = args.is_set("ignore-missing")?;
    let store = session.store().await?;
    for name in names {
        match store.delete_bouncer(name).await {
            Ok(BouncerDeletion::Deleted(gone)) => {
                for name in gone {
                    session.log.info(&format!("bouncer '{name}' deleted successfully"));
                }
            }
            Ok(BouncerDeletion::AutoCreated { parent }) => session.log.warn(&format!(
                "bouncer '{name}' is auto-created and cannot be deleted, delete parent bouncer {parent} instead"
            )),
            Err(StoreError::NotFound { .. }) if ignore_missing => {}
            Err(StoreError::NotFound { .. }) => {
                return Err(Failure::Command(format!(
                    "unable to delete bouncer {name}: ent: bouncer not found"
                )));
            }
            Err(error) => return Err(Failure::from(error).doing(&format!("unable to delete bouncer {name}"))),
        }
    }
    store.close().await;
    Ok(())
}

async fn prune(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let duration = args.duration("duration")?.unwrap_or_else(|| GoDuration::from_nanos(3_600_000_000_000));
    let force = args.is_set("force")?;
    if duration < GoDuration::from_nanos(120_000_000_000) {
        let question =
            "The duration you provided is less than 2 minutes. This may remove active bouncers. Continue?";
        if !session.confirm(question, false)? {
            return line("User aborted prune. No changes were made.");
        }
    }
    let store = session.store().await?;
    let now = UnixMillis::now();
    let cutoff = now.plus(GoDuration::from_nanos(duration.nanos().saturating_neg()));
    let idle = store.idle_bouncers(cutoff).await?;
    if idle.is_empty() {
        return line("No bouncers to prune.");
    }
    print(&human(session.fancy, &idle))?;
    if !force {
        let question = "You are about to PERMANENTLY remove the above bouncers from the database. These will NOT be recoverable. Continue?";
        if !session.confirm(question, false)? {
            return line("User aborted prune. No changes were made.");
        }
    }
    let ids: Vec<i64> = idle.iter().map(|bouncer| bouncer.id).collect();
    let count =
        store.delete_bouncers(&ids).await.map_err(crate::failure::while_doing("unable to prune bouncers"))?;
    store.close().await;
    note(&format!("Successfully deleted {count} bouncers"));
    Ok(())
}

async fn inspect(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let [name] = args.exactly()?;
    let store = session.store().await?;
    let found = store.bouncer(name).await?;
    let Some(bouncer) = found else {
        return Err(Failure::Command(format!(
            "unable to read bouncer data '{name}': ent: bouncer not found"
        )));
    };
    session.no_raw()?;
    let instances = Instances::read(&store, Some(name)).await?;
    if session.output == Output::Json {
        return line(&json(&BouncerView::with(&bouncer, &instances), 2));
    }
    let shown = BouncerView::from(&bouncer);
    let flags = output::lines(&shown.featureflags);
    print(&properties(
        session.fancy,
        &format!("Bouncer: {}", bouncer.name),
        vec![
            ("Created At", shown.created_at),
            ("Last Update", shown.updated_at),
            ("Revoked?", bouncer.revoked.to_string()),
            ("IP Address", bouncer.ip.clone()),
            ("Type", bouncer.kind.clone()),
            ("Version", bouncer.version.clone()),
            ("Last Pull", shown.last_pull.unwrap_or_default()),
            ("Auth type", bouncer.auth_type.clone()),
            ("OS", shown.os),
            ("Auto Created", bouncer.auto_created.to_string()),
            ("Feature Flags", flags),
        ],
    ))?;
    if session.as_cscli { Ok(()) } else { print(&instances.human(session.fancy)) }
}

/// Names for completion: bouncers that `delete` accepts.
pub(crate) async fn names(session: &Session) -> Result<Vec<String>, Failure> {
    let bouncers = session.store().await?.bouncers().await?;
    let deletable =
        bouncers.into_iter().filter(|bouncer| !bouncer.auto_created || bouncer.auth_type == "tls");
    Ok(deletable.map(|bouncer| bouncer.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(shown.contains("| Name | IP Address | Valid | Last API pull "), "{shown}");
        assert!(shown.contains("| fw-1 | 10.0.0.5   | ✔️ "), "{shown}");
        let young = Bouncer { name: "x".into(), revoked: true, ..Bouncer::default() };
        assert!(raw(std::slice::from_ref(&young)).unwrap().ends_with("x,,pending,,,,\n"));
        let shown = json(&BouncerView::from(&young), 2);
        assert!(shown.contains(r#""last_pull": null"#) && shown.contains(r#""os": "?""#), "{shown}");
    }
}
