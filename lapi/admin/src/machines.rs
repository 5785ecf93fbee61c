//! The `machines` commands. Written to the database; running LAPIs pick up the changes.

use std::path::PathBuf;

use clap::Command;
use palisade_lapi_config::{Credentials, Output};
use palisade_store::{Machine, NewMachine, StoreError, UsageKind};
use palisade_wire::{GoDuration, UnixMillis};
use serde::Serialize;

use crate::cli::{Args, group, leaf, switch, value};
use crate::failure::{Failure, while_doing};
use crate::machine_details::{self, Metrics};
use crate::output::{csv, json, line, note, print, table};
use crate::secrets;
use crate::session::Session;

const COLUMNS: [&str; 8] =
    ["Name", "IP Address", "Last Update", "Status", "Version", "OS", "Auth Type", "Last Heartbeat"];
/// bcrypt ignores further bytes.
const MAX_PASSWORD: usize = 72;
/// A machine without a heartbeat for this long is marked.
const STALE: GoDuration = GoDuration::from_nanos(120_000_000_000);

pub(crate) fn command() -> Command {
    group("machines", "Manage local API machines [requires local API]")
        .visible_alias("machine")
        .subcommand(leaf("list", "list all machines in the database", ""))
        .subcommand(
            leaf("add", "add a single machine to the database", "NAME")
                .arg(value("password", 'p', "machine password to login to the API"))
                .arg(value(
                    "file",
                    'f',
                    "output file destination (defaults to the credentials path; - for standard output)",
                ))
                .arg(value("url", 'u', "URL of the local API"))
                .arg(switch("interactive", 'i', "ask for the password"))
                .arg(switch("auto", 'a', "automatically generate password (and username if not provided)"))
                .arg(switch("force", '\0', "will force add the machine if it already exist")),
        )
        .subcommand(leaf("delete", "delete machine(s) by name", "NAME").visible_alias("remove").arg(switch(
            "ignore-missing",
            '\0',
            "don't print errors if one or more machines don't exist",
        )))
        .subcommand(
            leaf("prune", "prune multiple machines from the database", "")
                .arg(value(
                    "duration",
                    'd',
                    "duration of time since validated machine last heartbeat (default 10m)",
                ))
                .arg(switch("not-validated-only", '\0', "only prune machines that are not validated"))
                .arg(switch("force", '\0', "force prune without asking for confirmation")),
        )
        .subcommand(leaf("validate", "validate a machine to access the local API", "NAME"))
        .subcommand(leaf("inspect", "inspect a machine by name", "NAME").arg(switch(
            "hub",
            'H',
            "show hub state",
        )))
}

pub(crate) async fn run(session: &Session, name: &str, args: &Args<'_>) -> Result<(), Failure> {
    match name {
        "list" => list(session, args).await,
        "add" => add(session, args).await,
        "delete" => delete(session, args).await,
        "prune" => prune(session, args).await,
        "validate" => validate(session, args).await,
        _ => inspect(session, args).await,
    }
}

/// A machine in `-o json`.
#[derive(Serialize)]
pub(crate) struct MachineView<'a> {
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_push: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_heartbeat: Option<String>,
    #[serde(rename = "machineId")]
    pub(crate) name: &'a str,
    #[serde(rename = "ipAddress", skip_serializing_if = "str::is_empty")]
    pub(crate) ip: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) version: &'a str,
    #[serde(rename = "isValidated", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) validated: bool,
    pub(crate) auth_type: &'a str,
    pub(crate) os: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) featureflags: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) datasources: std::collections::BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<Metrics>,
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
            os: crate::bouncers::os(&machine.os_name, &machine.os_version),
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

fn human(fancy: bool, now: UnixMillis, machines: &[Machine]) -> String {
    let rows = machines.iter().map(|machine| {
        vec![
            machine.name.clone(),
            machine.ip.clone(),
            machine.updated_at.rfc3339(),
            if machine.validated { "✔️" } else { "🚫" }.to_owned(),
            machine.version.clone(),
            crate::bouncers::os(&machine.os_name, &machine.os_version),
            machine.auth_type.clone(),
            heartbeat(machine.last_heartbeat, now),
        ]
    });
    table(fancy, &COLUMNS, rows)
}

fn raw(machines: &[Machine]) -> Result<String, Failure> {
    let rows = machines.iter().map(|machine| {
        vec![
            machine.name.clone(),
            machine.ip.clone(),
            machine.updated_at.rfc3339(),
            machine.validated.to_string(),
            machine.version.clone(),
            machine.auth_type.clone(),
            machine.last_heartbeat.map_or_else(|| "-".to_owned(), UnixMillis::rfc3339),
            format!("{}/{}", machine.os_name, machine.os_version),
        ]
    });
    let header = [
        "machine_id",
        "ip_address",
        "updated_at",
        "validated",
        "version",
        "auth_type",
        "last_heartbeat",
        "os",
    ];
    csv(&header, rows)
}

async fn list(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let machines = session.store().await?.machines().await?;
    match session.output {
        Output::Human => print(&human(session.fancy, UnixMillis::now(), &machines)),
        Output::Raw => print(&raw(&machines)?),
        Output::Json => line(&json(&machines.iter().map(MachineView::from).collect::<Vec<_>>(), 2)),
    }
}

async fn add(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let plain = args.at_most(1)?;
    let (auto, force) = (args.is_set("auto")?, args.is_set("force")?);
    let server = session.server()?;
    let refuse = |text: &str| Err(Failure::Command(text.to_owned()));
    let name = match plain.first() {
        Some(name) => (*name).to_owned(),
        None if auto => secrets::machine_name()?,
        None => return refuse("please specify a machine name to add, or use --auto"),
    };
    let file = credentials_file(session, args.text("file").unwrap_or_default(), force)?;
    let password = match args.text("password").filter(|password| !password.is_empty()) {
        Some(password) => password.to_owned(),
        None if args.is_set("interactive")? => machine_details::ask_password()?,
        None if auto => secrets::password()?,
        None => return refuse("please specify a password with --password or use --auto"),
    };
    let url = match args.text("url").filter(|url| !url.is_empty()) {
        Some(url) => url.to_owned(),
        None => {
            let known = session.credentials().ok().and_then(|credentials| credentials.base_url());
            known.or_else(|| machine_details::own_url(server)).ok_or_else(|| {
                Failure::Command(
                    "unable to dump an api URL. Please provide it in your configuration or with the -u parameter"
                        .to_owned(),
                )
            })?
        }
    };

    let store = session.store().await?;
    create(&store, &name, &password, force).await.map_err(while_doing("unable to create machine"))?;
    store.close().await;
    note(&format!("Machine '{name}' successfully added to the local API."));

    let credentials =
        Credentials { url: Some(url), login: Some(name), password: Some(password), ..Credentials::default() };
    match file {
        None => print(&credentials.to_yaml()),
        Some(path) => {
            credentials.save(&path)?;
            note(&format!("API credentials written to '{}'.", path.display()));
            Ok(())
        }
    }
}

/// The file for the credentials; `None` is standard output. The configured file is not overwritten without force.
fn credentials_file(session: &Session, given: &str, force: bool) -> Result<Option<PathBuf>, Failure> {
    match (given, &session.config.credentials_path) {
        ("-", _) => Ok(None),
        ("", Some(path)) if force || !path.exists() => Ok(Some(path.clone())),
        ("", Some(path)) => Err(Failure::Command(format!(
            "credentials file '{}' already exists: please remove it, use \"--force\" or specify a different file \
             with \"-f\" (\"-f -\" for standard output)",
            path.display()
        ))),
        ("", None) => Err(Failure::Command(
            "please specify a file to dump credentials to, with -f (\"-f -\" for standard output)".to_owned(),
        )),
        (path, _) => Ok(Some(PathBuf::from(path))),
    }
}

async fn create(
    store: &palisade_store::Store,
    name: &str,
    password: &str,
    force: bool,
) -> Result<(), Failure> {
    if password.len() > MAX_PASSWORD {
        return Err(Failure::Command(format!("password too long (max {MAX_PASSWORD} characters)")));
    }
    let hash = bcrypt::hash(password, bcrypt::DEFAULT_COST)
        .map_err(|error| Failure::Command(format!("unable to hash: {error}")))?;
    let machine = NewMachine {
        name: name.to_owned(),
        password: hash.clone(),
        auth_type: "password".to_owned(),
        validated: true,
        ip: String::new(),
    };
    let now = UnixMillis::now();
    match store.create_machine(now, machine).await {
        Ok(_) => Ok(()),
        Err(StoreError::Exists { .. }) if force => Ok(store.set_machine_password(now, name, &hash).await?),
        Err(StoreError::Exists { .. }) => Err(Failure::Command(format!("user '{name}': user already exist"))),
        Err(error) => Err(error.into()),
    }
}

async fn delete(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let names = args.at_least(1)?;
    let ignore_missing = args.is_set("ignore-missing")?;
    let store = session.store().await?;
    for name in names {
        match store.delete_machine(name).await {
            Ok(()) => session.log.info(&format!("machine '{name}' deleted successfully")),
            Err(StoreError::NotFound { .. }) if ignore_missing => {}
            Err(StoreError::NotFound { .. }) => {
                session.log.error(&format!("unable to delete machine: '{name}' does not exist"));
            }
            Err(error) => return Err(Failure::from(error).doing("unable to delete machine")),
        }
    }
    store.close().await;
    Ok(())
}

async fn validate(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let [name] = args.exactly()?;
    let store = session.store().await?;
    store.validate_machine(UnixMillis::now(), name, true).await.map_err(|error| match error {
        StoreError::NotFound { .. } => {
            Failure::Command(format!("unable to validate machine '{name}': machine not found"))
        }
        other => Failure::from(other).doing(&format!("unable to validate machine '{name}'")),
    })?;
    store.close().await;
    session.log.info(&format!("machine '{name}' validated successfully"));
    Ok(())
}

async fn prune(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    args.exactly::<0>()?;
    let duration = args.duration("duration")?.unwrap_or_else(|| GoDuration::from_nanos(600_000_000_000));
    let pending_only = args.is_set("not-validated-only")?;
    let force = args.is_set("force")?;
    if duration < STALE && !pending_only {
        let question = "The duration you provided is less than 2 minutes. This can break installations if the machines are only \
             temporarily disconnected. Continue?";
        if !session.confirm(question, false)? {
            return line("User aborted prune. No changes were made.");
        }
    }
    let store = session.store().await?;
    let now = UnixMillis::now();
    let cutoff = now.plus(GoDuration::from_nanos(duration.nanos().saturating_neg()));
    let idle = store.idle_machines(cutoff, pending_only).await?;
    if idle.is_empty() {
        return line("No machines to prune.");
    }
    print(&human(session.fancy, now, &idle))?;
    if !force {
        let question = "You are about to PERMANENTLY remove the above machines from the database. These will NOT be recoverable. Continue?";
        if !session.confirm(question, false)? {
            return line("User aborted prune. No changes were made.");
        }
    }
    let ids: Vec<i64> = idle.iter().map(|machine| machine.id).collect();
    let count = store.delete_machines(&ids).await.map_err(while_doing("unable to prune machines"))?;
    store.close().await;
    note(&format!("successfully deleted {count} machines"));
    Ok(())
}

async fn inspect(session: &Session, args: &Args<'_>) -> Result<(), Failure> {
    let [name] = args.exactly()?;
    let store = session.store().await?;
    let Some(machine) = store.machine(name).await? else {
        return Err(Failure::Command(format!(
            "unable to read machine data '{name}': user '{name}': user doesn't exist"
        )));
    };
    if args.is_set("hub")? {
        return machine_details::hub(session, &machine);
    }
    session.no_raw()?;
    let metrics = Metrics::of(&store.usage(UsageKind::LogProcessor, Some(name)).await?);
    store.close().await;
    if session.output == Output::Json {
        let shown = MachineView { metrics: Some(metrics), ..MachineView::from(&machine) };
        return line(&json(&shown, 2));
    }
    print(&machine_details::human(session.fancy, &machine, &metrics))
}

/// Names for completion.
pub(crate) async fn names(session: &Session) -> Result<Vec<String>, Failure> {
    Ok(session.store().await?.machines().await?.into_iter().map(|machine| machine.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
