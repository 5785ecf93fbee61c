//! The `machines` commands. Written to the database; running LAPIs pick up the changes.

mod counters;
mod inspect;
mod view;

use std::path::PathBuf;

use palisade_lapi_config::{Credentials, Output, ServerConfig};
use palisade_store::{MAX_PASSWORD_BYTES, NewMachine, Store, StoreError, UsageKind, hash_password};
use palisade_wire::{GoDuration, UnixMillis};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use self::counters::Counters;
use self::view::{MachineView, human, raw};
use crate::command_line::given;
use crate::failure::{Failure, while_doing};
use crate::output::{json, line, print};
use crate::prompt::{self, MIN_PRUNE_AGE, confirm_prune};
use crate::secrets;
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// list all machines in the database
    List,
    /// add a single machine to the database
    Add(Add),
    /// delete machine(s) by name
    #[command(visible_alias = "remove")]
    Delete {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// don't print errors if one or more machines don't exist
        #[arg(long)]
        ignore_missing: bool,
    },
    /// prune multiple machines from the database
    Prune(Prune),
    /// validate a machine to access the local API
    Validate { name: String },
    /// inspect a machine by name
    Inspect {
        name: String,
        /// show hub state
        #[arg(long, short = 'H')]
        hub: bool,
    },
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Add(args) => add(session, args).await,
            Self::Delete { names, ignore_missing } => delete(session, &names, ignore_missing).await,
            Self::Prune(args) => prune(session, &args).await,
            Self::Validate { name } => validate(session, &name).await,
            Self::Inspect { name, hub } => inspect(session, &name, hub).await,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    name: Option<String>,
    /// machine password to login to the API
    #[arg(long, short)]
    password: Option<String>,
    /// output file destination (defaults to the credentials path; - for standard output)
    #[arg(long, short, default_value = "", hide_default_value = true)]
    file: String,
    /// URL of the local API
    #[arg(long, short)]
    url: Option<String>,
    /// ask for the password
    #[arg(long, short)]
    interactive: bool,
    /// automatically generate password (and username if not provided)
    #[arg(long, short)]
    auto: bool,
    /// will force add the machine if it already exist
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// duration of time since validated machine last heartbeat
    #[arg(long, short, default_value = "10m")]
    duration: GoDuration,
    /// only prune machines that are not validated
    #[arg(long)]
    not_validated_only: bool,
    /// force prune without asking for confirmation
    #[arg(long)]
    force: bool,
}

async fn list(session: &Session) -> Result<(), Failure> {
    let machines = session.store().await?.machines().await?;
    match session.output {
        Output::Human => print(&human(session.fancy, UnixMillis::now(), &machines)),
        Output::Raw => print(&raw(&machines)?),
        Output::Json => line(&json(&machines.iter().map(MachineView::from).collect::<Vec<_>>(), 2)),
    }
}

async fn add(session: &Session, args: Add) -> Result<(), Failure> {
    let server = session.server()?;
    let refuse = |text: &str| Err(Failure::Command(text.to_owned()));
    let name = match args.name {
        Some(name) => name,
        None if args.auto => secrets::machine_name()?,
        None => return refuse("please specify a machine name to add, or use --auto"),
    };
    // Checked before anything is written: a machine whose password was never stored is useless.
    let file = credentials_file(session, &args.file, args.force)?;
    let password = match given(&args.password) {
        Some(password) => password.to_owned(),
        None if args.interactive => prompt::password()?,
        None if args.auto => secrets::password()?,
        None => return refuse("please specify a password with --password or use --auto"),
    };
    let url = match given(&args.url) {
        Some(url) => url.to_owned(),
        None => {
            // The LAPI in whose database the machine is. An old file may name another one, or http where TLS is on now.
            let known = || session.credentials().ok().and_then(|credentials| credentials.base_url());
            own_url(server).or_else(known).ok_or_else(|| {
                Failure::Command(
                    "unable to dump an api URL. Please provide it in your configuration or with the -u parameter"
                        .to_owned(),
                )
            })?
        }
    };

    let create = async |store: &Store| create(store, &name, &password, args.force).await;
    session.change(create).await.map_err(while_doing("unable to create machine"))?;
    // Standard output is left to the credentials, for `-f -`.
    session.report_aside(&format!("Machine '{name}' successfully added to the local API."));

    let credentials =
        Credentials { url: Some(url), login: Some(name), password: Some(password), ..Credentials::default() };
    match file {
        None => print(&credentials.to_yaml()),
        Some(path) => {
            credentials.save(&path)?;
            session.report_aside(&format!("API credentials written to '{}'.", path.display()));
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

/// The URL of this host's LAPI: its socket, or the address it listens on.
fn own_url(server: &ServerConfig) -> Option<String> {
    if let Some(socket) = &server.listen_socket {
        return Some(socket.display().to_string());
    }
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    server.listen_uri.as_ref().map(|listen| format!("{scheme}://{}/", reachable(listen)))
}

/// A wildcard address is replaced by loopback.
fn reachable(listen: &str) -> String {
    let Some((host, port)) = listen.rsplit_once(':') else { return listen.to_owned() };
    match host {
        "" | "0.0.0.0" => format!("127.0.0.1:{port}"),
        "[::]" => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

async fn create(store: &Store, name: &str, password: &str, force: bool) -> Result<(), Failure> {
    let hash = hash_password(password).ok_or_else(|| {
        Failure::Command(format!("password too long (max {MAX_PASSWORD_BYTES} characters)"))
    })?;
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
        // The machine keeps its alerts; only its password changes.
        Err(StoreError::Exists { .. }) if force => Ok(store.set_machine_password(now, name, &hash).await?),
        Err(StoreError::Exists { .. }) => Err(Failure::Command(format!("user '{name}': user already exist"))),
        Err(error) => Err(error.into()),
    }
}

async fn delete(session: &Session, names: &[String], ignore_missing: bool) -> Result<(), Failure> {
    session.change(async |store: &Store| delete_from(store, session, names, ignore_missing).await).await
}

async fn delete_from(
    store: &Store,
    session: &Session,
    names: &[String],
    ignore_missing: bool,
) -> Result<(), Failure> {
    for name in names {
        match store.delete_machine(name).await {
            Ok(()) => session.log.info(&format!("machine '{name}' deleted successfully")),
            Err(StoreError::NotFound { .. }) if ignore_missing => {}
            Err(StoreError::NotFound { .. }) => {
                // The others are deleted all the same, unlike bouncers: as in `cscli`.
                session.log.error(&format!("unable to delete machine: '{name}' does not exist"));
            }
            Err(error) => return Err(Failure::from(error).doing("unable to delete machine")),
        }
    }
    Ok(())
}

async fn validate(session: &Session, name: &str) -> Result<(), Failure> {
    let validate = async |store: &Store| {
        store.validate_machine(UnixMillis::now(), name, true).await.map_err(|error| match error {
            StoreError::NotFound { .. } => {
                Failure::Command(format!("unable to validate machine '{name}': machine not found"))
            }
            other => Failure::from(other).doing(&format!("unable to validate machine '{name}'")),
        })
    };
    session.change(validate).await?;
    session.log.info(&format!("machine '{name}' validated successfully"));
    Ok(())
}

async fn prune(session: &Session, args: &Prune) -> Result<(), Failure> {
    if args.duration < MIN_PRUNE_AGE
        && !args.not_validated_only
        && !confirm_prune(
            "The duration you provided is less than 2 minutes. This can break installations if the machines are only \
             temporarily disconnected.",
        )?
    {
        return Ok(());
    }
    session.change(async |store: &Store| prune_from(store, session, args).await).await
}

async fn prune_from(store: &Store, session: &Session, args: &Prune) -> Result<(), Failure> {
    // A machine that has just been active must be known as such.
    session.sync(store).await;
    let now = UnixMillis::now();
    let cutoff = now.plus(GoDuration::from_nanos(args.duration.nanos().saturating_neg()));
    let mut idle = store.idle_machines(cutoff, args.not_validated_only).await?;
    if let Ok(credentials) = session.credentials() {
        idle.retain(|machine| {
            let own = is_own(&credentials, &machine.name);
            if own {
                let name = &machine.name;
                session.log.warn(&format!("machine '{name}' is not pruned: this command logs in as it"));
            }
            !own
        });
    }
    if idle.is_empty() {
        return session.report("No machines to prune.");
    }
    if !session.is_json_only() {
        print(&human(session.fancy, now, &idle))?;
    }
    if !args.force
        && !confirm_prune(
            "You are about to PERMANENTLY remove the above machines from the database. These will NOT be recoverable.",
        )?
    {
        return Ok(());
    }
    let ids: Vec<i64> = idle.iter().map(|machine| machine.id).collect();
    let count = store.delete_machines(&ids).await.map_err(while_doing("unable to prune machines"))?;
    session.report_aside(&format!("successfully deleted {count} machines"));
    Ok(())
}

/// Whether these credentials are those of the machine of this name.
fn is_own(credentials: &Credentials, name: &str) -> bool {
    let Some(path) = &credentials.cert_path else { return credentials.login.as_deref() == Some(name) };
    let pem = std::fs::read(path).unwrap_or_default();
    let certificate = CertificateDer::pem_slice_iter(&pem).next().and_then(Result::ok);
    let parsed = certificate.as_deref().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    let common_name = parsed
        .as_ref()
        .and_then(|(_, found)| found.subject().iter_common_name().find_map(|name| name.as_str().ok()));
    // Named by the LAPI after the certificate and the address of the login.
    common_name.is_some_and(|own| name.rsplit_once('@').is_some_and(|(front, _)| front == own))
}

async fn inspect(session: &Session, name: &str, hub: bool) -> Result<(), Failure> {
    let store = session.store().await?;
    let Some(machine) = store.machine(name).await? else {
        return Err(Failure::Command(format!(
            "unable to read machine data '{name}': user '{name}': user doesn't exist"
        )));
    };
    if hub {
        return inspect::hub(session, &machine);
    }
    // After the look-up: `cscli` reports a missing machine first.
    session.no_raw()?;
    let counters = Counters::of(&store.usage(UsageKind::LogProcessor, Some(name)).await?);
    store.close().await;
    if session.output == Output::Json {
        let shown = MachineView { metrics: Some(counters), ..MachineView::from(&machine) };
        return line(&json(&shown, 2));
    }
    print(&inspect::human(session.fancy, &machine, &counters))
}

/// Names for completion.
pub(super) async fn names(session: &Session) -> Result<Vec<String>, Failure> {
    Ok(session.store().await?.machines().await?.into_iter().map(|machine| machine.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lapi_is_reached_where_it_listens() {
        for (listen, url) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("lapi.example:1", "lapi.example:1"),
        ] {
            assert_eq!(reachable(listen), url);
        }
    }
}
