//! Defines what a bouncer program implements, and what it receives.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use palisade_cache::{Policy, Snapshot};
use palisade_client::LapiPool;
use palisade_daemon::file_access::Unit;
use palisade_daemon::flags::{Program, Typed};
use palisade_daemon::metrics::Metrics;
use palisade_daemon::{Document, Problems};
use palisade_stream::{CacheHandle, Published};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::config::{Checked, Loaded};
use crate::control::{About, Effect, LocalQuery, Subject};
use crate::settings::LapiSettings;
use crate::usage::{Meter, Reading};

/// How often to check whether the LAPI has responded for the first time.
const FIRST_ANSWER_INTERVAL: Duration = Duration::from_millis(50);

/// Number of characters shown of an unknown action's name.
const MAX_NAME_SHOWN: usize = 80;

/// The constants of a bouncer program.
#[derive(Debug, Clone, Copy)]
pub struct ProgramInfo {
    /// Name, flags and commands. The flags include [`PROGRAM_FLAGS`](super::PROGRAM_FLAGS), the commands
    /// [`CHECK`](super::CHECK), [`LOOKUP`](super::LOOKUP) and [`STATUS`](super::STATUS). The name is also that of the state directory.
    pub program: Program,
    /// The version, as the LAPI and `-version` show it.
    pub version: &'static str,
    /// The stock program that this one replaces, see [`Bouncer::stock_name`].
    pub stock_name: &'static str,
    /// The packaged unit. Commands read its configuration file when none is given, and `-t` as root looks at files as its
    /// user.
    pub unit: Unit,
    /// The keys of the configuration file that [`Bouncer::read_config`] reads or knows.
    pub keys: &'static [&'static str],
}

impl ProgramInfo {
    /// The program's description in answers to `lookup` and `status`.
    pub(super) fn about(&self, lapis: &LapiPool) -> About {
        About { program: self.program.name.to_owned(), version: self.version.to_owned(), lapi: lapis.urls() }
    }
}

/// The task that enforces. It ends when [`Start::stop`] fires; an error ends the daemon.
pub type Enforcement = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// What an enforcement starts with.
#[derive(Debug)]
pub struct Start<C> {
    /// The configuration.
    pub config: C,
    /// The LAPIs.
    pub lapis: LapiPool,
    /// The decisions: persisted ones at once, the LAPI's as they arrive.
    pub cache: CacheHandle,
    /// When there is something to enforce.
    pub first_decisions: FirstDecisions,
    /// The directory of persisted state, claimed by this process; `None` for none.
    pub state_dir: Option<PathBuf>,
    /// The program's metrics. Collectors registered here are served by `/metrics`.
    pub metrics: Metrics,
    /// Fires when the program is to end, for an enforcement that takes time to end.
    pub stopping: CancellationToken,
    /// Fires after everything else has ended: the final usage report still reads the enforcement's counters.
    pub stop: CancellationToken,
}

/// The current state of an enforcement.
pub trait EnforcementStatus: Clone + Send + Sync + 'static {
    /// The generation of the snapshot that is in force; `None` until there is one.
    fn generation(&self) -> Option<u64>;

    /// The number of addresses and ranges in force.
    fn elements(&self) -> u64;

    /// Whether the program does its work without decisions, so that it is ready before there are any.
    fn is_ready_without_decisions(&self) -> bool {
        false
    }

    /// The current failure, for the service manager's status line; `None` when the last change succeeded.
    fn failure(&self) -> Option<String> {
        None
    }

    /// The enforcement's lines of the command `status`.
    fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The enforcement's state for programs: `enforcement` in the JSON of the command `status`; `None` for none. Must
    /// not block, and must be bounded in size.
    fn report(&self) -> Option<serde_json::Value> {
        None
    }
}

/// The state of an enforcement that has no more to report: which snapshot is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// The generation of the snapshot; `None` until there is one.
    pub generation: Option<u64>,
    /// The number of addresses and ranges in force.
    pub elements: u64,
}

impl EnforcementStatus for InForce {
    fn generation(&self) -> Option<u64> {
        self.generation
    }

    fn elements(&self) -> u64 {
        self.elements
    }
}

/// A bouncer program: a remediation, and how it is configured and observed. [`run`](super::run()) does the rest.
pub trait Bouncer: Send + Sync + Sized + 'static {
    /// The checked configuration.
    type Config: Clone + Send + Sync + 'static;
    /// The state of the enforcement.
    type Status: EnforcementStatus;

    /// The constants of the program.
    const INFO: ProgramInfo;

    /// Changes the document before anything is read from it: a program that takes the file of another program makes its
    /// keys those of this one, with [`Document::with_renamed`].
    fn translate(document: Document) -> Document {
        document
    }

    /// The stock program that this one replaces, or its own name for a file of its own; after [`translate`](Self::translate).
    /// Logged at the start, and with `.log` the name of the log file.
    fn stock_name(_document: &Document) -> &'static str {
        Self::INFO.stock_name
    }

    /// Reads and checks the program's own keys. `None` when it has added problems.
    fn read_config(document: &Document, problems: &mut Problems) -> Option<Checked<Self::Config>>;

    /// The remediations to enforce; all when `None`.
    fn types(_config: &Self::Config) -> Option<&[String]> {
        None
    }

    /// The scopes to pull when the file does not name any; the LAPI's default, addresses and ranges, when empty.
    fn scopes(_config: &Self::Config) -> &[&'static str] {
        &[]
    }

    /// The type half of the User-Agent, shown by `cscli bouncers list`.
    fn present_as(_config: &Self::Config) -> &str {
        Self::INFO.program.name
    }

    /// Whether to keep no trace: no instance lock, no instance name, no usage metrics.
    fn is_dry_run(_config: &Self::Config) -> bool {
        false
    }

    /// How long the enforcement may take to end; 10 seconds unless it is longer.
    fn grace(_config: &Self::Config) -> Duration {
        Duration::ZERO
    }

    /// Which of several decisions on an address holds.
    fn policy() -> Policy {
        Policy::longest_wins()
    }

    /// Logs what is about to start, before anything is connected.
    fn announce(_config: &Self::Config) {}

    /// `-t`: checks without changing anything what the configuration requires of the system.
    fn check(_config: &Self::Config) -> impl Future<Output = anyhow::Result<()>> + Send {
        ready(Ok(()))
    }

    /// Runs a command of the program's own that needs no configuration; `None` for all others.
    fn command_without_config(_typed: &Typed) -> Option<anyhow::Result<()>> {
        None
    }

    /// Runs a command of the program's own.
    ///
    /// # Errors
    /// When there is no answer.
    fn command(context: &CommandContext<'_, Self>) -> anyhow::Result<()> {
        anyhow::bail!("{} has no such command", context.typed.command().unwrap_or_default())
    }

    /// Prepares to enforce. Nothing is in force before the returned task runs.
    ///
    /// # Errors
    /// End the daemon.
    fn start(start: Start<Self::Config>) -> impl Future<Output = anyhow::Result<(Self, Enforcement)>> + Send;

    /// The state of the enforcement.
    fn status(&self) -> watch::Receiver<Self::Status>;

    /// Continues with a new configuration.
    ///
    /// # Errors
    /// When it cannot be applied: then everything goes on with the old one.
    fn reload(
        &self,
        config: Self::Config,
        lapis: &LapiPool,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Called once a second.
    fn tick(&self, _lapis: &LapiPool) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// The effect of the enforcement on a packet or request from `subject`, for `lookup`. May take time.
    fn effect(&self, subject: &Subject, snapshot: &Snapshot) -> Effect;

    /// Carries out an action of the program's own that a command has requested with [`LocalQuery::act`], and returns
    /// its result.
    ///
    /// May block: it is called on a thread for blocking work, within the runtime, several at a time. It must end well
    /// within [`EXCHANGE_TIMEOUT`](crate::control::EXCHANGE_TIMEOUT): afterwards the command has no answer, although the
    /// action goes on. The same follows from a command that has given up waiting while its request was in the socket's
    /// queue. So an action that is repeated must do no harm, and its result must be bounded in size.
    ///
    /// # Errors
    /// Why the action was not carried out, with the next step: the command prints this text alone. It must not contain
    /// secrets.
    fn act(&self, name: &str, _arguments: &[String]) -> Result<serde_json::Value, String> {
        let name: String = name.chars().take(MAX_NAME_SHOWN).collect();
        Err(format!("unknown action {name:?}: {} has no such action", Self::INFO.program.name))
    }

    /// The source of usage metrics.
    fn meter(&self) -> impl Meter + 'static {
        NoMeter
    }
}

struct NoMeter;

impl Meter for NoMeter {
    fn read(&mut self) -> impl Future<Output = Vec<Reading>> + Send {
        ready(Vec::new())
    }
}

/// What a command works with.
#[derive(Debug)]
pub struct CommandContext<'a, B: Bouncer> {
    /// The configuration.
    pub loaded: &'a Loaded<B::Config>,
    /// The LAPI's settings.
    pub settings: &'a LapiSettings,
    /// The LAPIs; not connected.
    pub lapis: &'a LapiPool,
    /// The command line.
    pub typed: &'a Typed,
}

impl<B: Bouncer> CommandContext<'_, B> {
    /// Whether to print JSON.
    pub fn json(&self) -> bool {
        self.typed.switch("json")
    }

    /// A query to the running daemon, or to its persisted decisions.
    pub fn query(&self) -> LocalQuery<'_> {
        LocalQuery {
            about: B::INFO.about(self.lapis),
            settings: self.settings,
            types: B::types(&self.loaded.config),
            policy: B::policy(),
            json: self.json(),
        }
    }
}

/// Waits for the first decisions.
#[derive(Debug)]
pub struct FirstDecisions {
    pub(super) cache: CacheHandle,
    pub(super) stop: CancellationToken,
    /// Fires when the LAPI has refused the client from the start.
    pub(super) refused: CancellationToken,
}

impl FirstDecisions {
    /// Waits for decisions (persisted ones, or the LAPI's first response, which may have none) or the end of the
    /// program. `false` when the LAPI has refused the client before anything was known: then whatever an earlier
    /// process has left in force must stay.
    pub async fn wait(&self) -> bool {
        // Persisted decisions are in the first snapshot, so a start without the LAPI does not wait.
        self.wait_until(|published| !published.snapshot.is_empty() || published.freshness.is_complete()).await
    }

    /// Waits for decisions that the LAPI has confirmed, or the end of the program: for enforcements that report changes.
    /// Persisted decisions may be older than what was reported before a crash, so that the difference to them would
    /// report changes that never were. `false` when the program ends before.
    pub async fn wait_complete(&self) -> bool {
        self.wait_until(|published| published.freshness.is_complete()).await && !self.stop.is_cancelled()
    }

    async fn wait_until(&self, is_known: impl Fn(&Published) -> bool) -> bool {
        let mut generations = self.cache.changed();
        let mut ticks = interval(FIRST_ANSWER_INTERVAL);
        loop {
            if is_known(&self.cache.published()) {
                return true;
            }
            tokio::select! {
                // A LAPI that refuses the client ends the program before anything is known. What an earlier process
                // left in force must then stay.
                () = self.stop.cancelled() => return !self.refused.is_cancelled(),
                Ok(_) = generations.changed() => {}
                // A first response without any decision publishes no new generation.
                _ = ticks.tick() => {}
            }
        }
    }
}
