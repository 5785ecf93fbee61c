//! The `lapi` commands: this machine's own account. Over HTTP, so they work on every host.

use std::path::{Path, PathBuf};

use palisade_client::{LapiState, LapiStatus, MachineError, PullError, Registered};
use palisade_lapi_config::{Credentials, CredentialsError, Output};
use palisade_wire::Registration;

use crate::command_line::given;
use crate::failure::Failure;
use crate::output::{json, line, print};
use crate::secrets;
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register a machine to Local API (LAPI)
    Register(Register),
    /// Check authentication to Local API (LAPI)
    Status,
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Register(args) => register(session, &args).await,
            Self::Status => status(session).await,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Register {
    #[arg(long, short, help = "URL of the API (ie. http://127.0.0.1)")]
    url: Option<String>,
    /// output file destination
    #[arg(long, short)]
    file: Option<String>,
    /// Name of the machine to register with
    #[arg(long)]
    machine: Option<String>,
    /// Auto registration token to use
    #[arg(long)]
    token: Option<String>,
}

async fn register(session: &Session, args: &Register) -> Result<(), Failure> {
    // Credentials may not exist yet, but an existing file that cannot be parsed is not overwritten.
    let known = match session.config.credentials_path.as_deref().map(Credentials::load) {
        None | Some(Err(CredentialsError::Unreadable { .. } | CredentialsError::Empty(_))) => {
            Credentials::default()
        }
        Some(known) => known?,
    };
    let mut credentials = known.clone();
    let mut names = session.setting_names();
    if let Some(url) = given(&args.url) {
        names = names.with_url_flag("--url");
        // Set first, because the canonical form is made from it.
        credentials.url = Some(url.to_owned());
        credentials.url = credentials.base_url();
    }
    if credentials.url.is_none() {
        return Err(Failure::Command(
            "no Local API URL. Please provide it in your configuration or with the -u parameter".to_owned(),
        ));
    }
    let name = given(&args.machine).map_or_else(secrets::machine_name, |name| Ok(name.to_owned()))?;
    let password = secrets::password()?;
    let client = session.client_for(&credentials, names)?;
    let registration = Registration {
        machine_id: name.clone(),
        password: password.clone(),
        registration_token: given(&args.token).unwrap_or_default().to_owned(),
    };
    let registered = client.register(&registration).await.map_err(|error| {
        let status = match error.status() {
            Some(code) => format!(" http {code} {}", reason(code)),
            None => String::new(),
        };
        let url = client.url();
        Failure::from(plain(error)).doing(&format!("api client register: api register ({url}){status}"))
    })?;
    session.log.info("Successfully registered to Local API (LAPI)");
    if registered == Registered::Validated {
        session.log.info("The machine is validated");
    }

    // A certificate and a password exclude each other in the file.
    (credentials.login, credentials.password) = (Some(name), Some(password));
    (credentials.cert_path, credentials.key_path) = (None, None);
    // Written only now: a refused registration must not replace credentials that work.
    let file = given(&args.file).map(PathBuf::from).or_else(|| session.config.credentials_path.clone());
    match file.filter(|path| path != Path::new("-")) {
        None => print(&credentials.to_yaml())?,
        Some(path) => {
            credentials.save(&path)?;
            session.log.info(&format!("Local API credentials written to '{}'", path.display()));
        }
    }
    session.log.warn("Run 'sudo systemctl reload crowdsec' for the new configuration to be effective.");
    Ok(())
}

fn reason(code: u16) -> &'static str {
    reqwest::StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

/// A refusal in `cscli`'s wording, independent of the route.
fn plain(error: MachineError) -> MachineError {
    match error {
        MachineError::Failed(PullError::Refused { status, message, advice, .. }) => {
            MachineError::Api { status, message, advice: advice.trim_start_matches("; ").to_owned() }
        }
        other => other,
    }
}

async fn status(session: &Session) -> Result<(), Failure> {
    let path = session.credentials_path()?.to_owned();
    let credentials = session.credentials()?;
    let failed = |failure: Failure| failure.doing("failed to authenticate to Local API (LAPI)");
    let client = match session.client_for(&credentials, session.setting_names()) {
        // The URL; what is wrong with the file itself has its own beginning.
        Err(failure @ Failure::Advised { .. }) => return Err(failed(failure)),
        client => client?,
    };
    let url = credentials.base_url().unwrap_or_default();
    if session.is_json_only() {
        let status = client.status().await.map_err(|error| failed(Failure::from(error)))?;
        return line(&json(&as_json(url.to_string(), &status), 2));
    }
    line(&format!("Loaded credentials from {}", path.display()))?;
    match &credentials.cert_path {
        Some(cert) => {
            line(&format!("Trying to authenticate with certificate \"{}\" on {url}", cert.display()))?;
        }
        None => {
            let login = credentials.login.as_deref().unwrap_or_default();
            line(&format!("Trying to authenticate with username \"{login}\" on {url}"))?;
        }
    }
    let status = client.status().await.map_err(|error| failed(Failure::from(error)))?;
    line("You can successfully interact with Local API (LAPI)")?;
    // The stock command ends here.
    if session.as_cscli || session.output != Output::Human {
        return Ok(());
    }
    print(&described(&status))
}

/// A LAPI's description of itself; what a stock LAPI does not tell is `null`.
fn as_json(url: String, status: &LapiStatus) -> serde_json::Value {
    let state = status.state.as_ref();
    serde_json::json!({
        "url": url,
        "version": status.version,
        "clock_difference_seconds": status.clock_difference,
        "database": state.map(|state| &state.database),
        "machines": state.map(|state| &state.machines),
        "bouncers": state.map(|state| &state.bouncers),
        "decisions": state.map(|state| &state.decisions),
        "waiting": state.map(|state| &state.waiting),
    })
}

/// A LAPI's description of itself, one line for each fact.
fn described(status: &LapiStatus) -> String {
    let mut text = match &status.version {
        Some(version) => format!("Version: palisade-lapi {version}\n"),
        None => "Version: not told, as by a stock LAPI\n".to_owned(),
    };
    if let Some(seconds) = status.clock_difference {
        let difference = match seconds {
            0 => "the same as here".to_owned(),
            ahead @ 1.. => format!("{ahead} s ahead of this host's"),
            behind => format!("{} s behind this host's", -behind),
        };
        text.push_str(&format!("Clock: {difference}\n"));
    }
    if let Some(state) = &status.state {
        let LapiState { database, machines, bouncers, decisions, waiting } = state;
        text.push_str(&format!(
            "Database: {database}\nMachines: {machines}\nBouncers: {bouncers}\nDecisions: {decisions}\n\
             Push: {waiting} waiting\n"
        ));
    }
    text
}
