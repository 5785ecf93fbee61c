//! The context of a command: configuration, output, database and LAPI client.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_client::{
    MachineAuth, MachineClient, MachineConfig, ProxyConfig, Retries, Secret, SettingNames, UserAgent,
};
use palisade_lapi_config::{Config, Credentials, DbConfig as DbBlock, Output, ServerConfig};
use palisade_store::{Engine, FirstStart, OnProgress, Store};
use palisade_wire::UnixMillis;

use crate::client_log;
use crate::failure::Failure;
use crate::missing_database;
use crate::output::{Level, Log, line, note};

/// How long a command waits until the running LAPIs have applied what it wrote.
const SYNC_TIMEOUT: Duration = Duration::from_secs(2);

/// One run of the program.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) output: Output,
    /// Whether output may be coloured and use box-drawing characters.
    pub(crate) fancy: bool,
    /// Whether it was invoked as `cscli`, whose tables have no extra columns.
    pub(crate) as_cscli: bool,
    pub(crate) log: Log,
}

/// The flags of every command.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// path to the configuration file (default /etc/crowdsec/config.yaml)
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
    /// Output format: human, json, raw
    #[arg(long, short, global = true)]
    output: Option<String>,
    /// Output color: yes, no, auto
    #[arg(long, global = true)]
    color: Option<String>,
    /// Set logging to debug
    #[arg(long, global = true)]
    debug: bool,
    /// Set logging to info
    #[arg(long, global = true)]
    info: bool,
    /// Set logging to warning
    #[arg(long, global = true)]
    warning: bool,
    /// Set logging to error
    #[arg(long, global = true)]
    error: bool,
    /// Set logging to trace
    #[arg(long, global = true)]
    trace: bool,
}

impl Globals {
    pub(crate) fn with_config(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// The most verbose of the levels that are set.
    fn level(&self) -> Level {
        if self.trace || self.debug {
            Level::Debug
        } else if self.warning && !self.info {
            Level::Warning
        } else if self.error && !self.info {
            Level::Error
        } else {
            Level::Info
        }
    }
}

impl Session {
    /// Loads the configuration and determines the output format.
    pub(crate) fn open(globals: &Globals, as_cscli: bool) -> Result<Self, Failure> {
        let path = globals.config.as_deref().unwrap_or(Path::new("/etc/crowdsec/config.yaml"));
        let config = Config::load(path)?;
        let output = match globals.output.as_deref() {
            None | Some("") => config.output,
            Some(word) => Output::parse(word).ok_or_else(|| {
                Failure::Bare(format!("output format '{word}' invalid: expected one of human, json, raw"))
            })?,
        };
        let color = match globals.color.as_deref().or(config.color.as_deref()) {
            None | Some("" | "auto") => io::stdout().is_terminal(),
            Some("yes") => true,
            Some("no") => false,
            Some(word) => {
                return Err(Failure::Bare(format!(
                    "output color '{word}' invalid: expected one of yes, no, auto"
                )));
            }
        };
        let level = match output {
            Output::Human => globals.level(),
            // As in `cscli`: scripts that merge both outputs get the result alone.
            Output::Json | Output::Raw => Level::Error,
        };
        let log = Log::new(level, output == Output::Json);
        client_log::show(log);
        Ok(Self { config, output, fancy: color, as_cscli, log })
    }

    /// Whether standard output is JSON alone. `cscli` prints text for some commands with `-o json`, and goes on doing so.
    pub(crate) fn is_json_only(&self) -> bool {
        self.output == Output::Json && !self.as_cscli
    }

    /// Prints a line about what was done; where only JSON is printed it becomes one of the messages of
    /// [`end_json`](crate::output::end_json).
    pub(crate) fn report(&self, text: &str) -> Result<(), Failure> {
        match self.is_json_only() {
            true => self.log.info(text),
            false => line(text)?,
        }
        Ok(())
    }

    /// As [`report`](Self::report), on standard error.
    pub(crate) fn report_aside(&self, text: &str) {
        if self.is_json_only() { self.log.info(text) } else { note(text) }
    }

    /// The LAPI's part of the configuration, which database commands require.
    pub(crate) fn server(&self) -> Result<&ServerConfig, Failure> {
        self.config.server.as_ref().filter(|server| server.enable).ok_or_else(|| {
            Failure::Command(
                "local API is disabled -- this command must be run on the local API machine".to_owned(),
            )
        })
    }

    /// The block `db_config`.
    pub(crate) fn database(&self) -> Result<DbBlock, Failure> {
        let block = self.config.database.clone();
        let mut block = block.ok_or_else(|| {
            Failure::advised(
                "no database configuration provided",
                format!("add `db_config` to {}", self.config.path.display()),
            )
        })?;
        // A command needs few connections, whatever limit the server has.
        block.store.max_open = block.store.max_open.min(4);
        Ok(block)
    }

    /// Opens the database, for reading; see [`Session::change`]. The first command on a database of CrowdSec takes
    /// it over, as the first start of the server does.
    pub(crate) async fn store(&self) -> Result<Store, Failure> {
        self.open_store(false).await
    }

    async fn open_store(&self, may_create: bool) -> Result<Store, Failure> {
        self.server()?;
        let block = self.database()?;
        // The entrypoint of CrowdSec's container makes the database with `cscli machines inspect`.
        missing_database::check(&block.store, may_create || self.as_cscli)?;
        let started = Instant::now();
        let keep = block.flush.unwrap_or_default();
        let quiet: OnProgress = Arc::new(|_| ());
        let (store, first) = Store::open_or_take_over(&block.store, UnixMillis::now(), &keep, quiet).await?;
        match first {
            FirstStart::Imported(from, report) => self.log.info(&format!(
                "took over {from}: {} machines, {} bouncers, {} alerts, {} decisions",
                report.machines.added, report.bouncers.added, report.alerts.added, report.decisions.added
            )),
            FirstStart::Moved(from) => {
                self.log.info(&format!("moved our database from {from} to a place of its own"))
            }
            FirstStart::Earlier | FirstStart::New => {}
        }
        let database = match &block.store.engine {
            Engine::Sqlite { path, .. } => path.display().to_string(),
            Engine::Postgres(server) => server.to_string(),
        };
        let took = started.elapsed().as_millis();
        self.log.debug(&format!("database opened database={database} took_ms={took}"));
        Ok(store)
    }

    /// Runs `work` on the database, then waits until the running LAPIs have applied what it wrote.
    pub(crate) async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store = self.open_store(true).await?;
        let before = store.head().await?;
        let done = work(&store).await;
        // Also after a failure: what was written before it is to be in force as well.
        if store.head().await? != before {
            self.sync(&store).await;
        }
        store.close().await;
        done
    }

    /// Waits until the running LAPIs have applied what is in the database, and have written what their clients did.
    pub(crate) async fn sync(&self, store: &Store) {
        if let Err(error) = store.sync_lapis(SYNC_TIMEOUT).await {
            self.log.warn_always(&format!(
                "a running LAPI has not confirmed that it knows the state of the database; it follows by itself once \
                 it works again: {error}"
            ));
        }
    }

    pub(crate) fn credentials_path(&self) -> Result<&Path, Failure> {
        self.config.credentials_path.as_deref().ok_or_else(|| {
            Failure::Command("loading api client: no API client section in configuration".to_owned())
        })
    }

    /// The credentials of this host's machine.
    pub(crate) fn credentials(&self) -> Result<Credentials, Failure> {
        let path = self.credentials_path()?;
        let credentials = Credentials::load(path)?;
        // What scripts read of `cscli` stays as it is.
        if !self.as_cscli {
            Credentials::exposed_secrets(path).iter().for_each(|warning| self.log.warn(warning));
        }
        Ok(credentials)
    }

    /// A client of the LAPI in the credentials file.
    pub(crate) fn client(&self) -> Result<(MachineClient, Credentials), Failure> {
        let credentials = self.credentials()?;
        Ok((self.client_for(&credentials, self.setting_names())?, credentials))
    }

    /// The names of the settings in the credentials file, for messages.
    pub(crate) fn setting_names(&self) -> SettingNames {
        SettingNames::credentials(self.config.credentials_path.as_deref())
    }

    pub(crate) fn client_for(
        &self,
        credentials: &Credentials,
        names: SettingNames,
    ) -> Result<MachineClient, Failure> {
        let Some(url) = credentials.base_url() else {
            return Err(Failure::Command(format!(
                "loading api client: no credentials or URL found in api client configuration '{}'",
                self.config.credentials_path.as_deref().unwrap_or(Path::new("")).display()
            )));
        };
        let auth = match (&credentials.cert_path, &credentials.key_path) {
            // The file has either a certificate or a password; loading it checked that.
            (Some(cert), Some(key)) => MachineAuth::Certificate { cert: cert.clone(), key: key.clone() },
            _ => MachineAuth::Password {
                login: credentials.login.clone().unwrap_or_default(),
                password: Secret::new(credentials.password.clone().unwrap_or_default()),
            },
        };
        let config = MachineConfig {
            ca: credentials.ca_cert_path.clone(),
            insecure_skip_verify: self.config.insecure_skip_verify,
            proxy: ProxyConfig::from_environment(|name| std::env::var(name).ok()),
            // A starting LAPI is retried briefly; an interactive user should not wait for minutes.
            retries: Retries {
                busy: vec![Duration::from_secs(1), Duration::from_secs(3)],
                login: Vec::new(),
            },
            names,
            ..MachineConfig::new(url, auth)
        };
        Ok(MachineClient::new(&config, &agent())?)
    }

    /// Rejects `-o raw` for commands without a raw form.
    pub(crate) fn no_raw(&self) -> Result<(), Failure> {
        if self.output == Output::Raw {
            return Err(Failure::Command("output format 'raw' not supported for this command".to_owned()));
        }
        Ok(())
    }
}

pub(crate) fn agent() -> UserAgent {
    UserAgent::new("palisade", concat!("v", env!("CARGO_PKG_VERSION")))
        .expect("visible ASCII without a slash")
}
