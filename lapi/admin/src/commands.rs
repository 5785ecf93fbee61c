//! The commands, one module per noun.

mod alerts;
mod allowlists;
mod bouncers;
mod completion;
mod config;
mod database;
mod decisions;
mod filters;
mod input;
mod lapi;
mod machines;
mod manual_pages;
mod metrics;
mod pki;
mod profiles;
mod usage_reports;

pub(crate) use completion::complete;
pub(crate) use config::version;

use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::{end_json, print};
use crate::session::{Globals, Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Manage alerts
    #[command(subcommand, visible_alias = "alert")]
    Alerts(alerts::Command),
    /// Manage centralized allowlists
    #[command(subcommand, visible_alias = "allowlist")]
    Allowlists(allowlists::Command),
    /// Manage bouncers [requires local API]
    #[command(subcommand, visible_alias = "bouncer")]
    Bouncers(bouncers::Command),
    /// Generate completion script
    Completion(completion::Args),
    /// Allows to view current config
    #[command(subcommand)]
    Config(config::Command),
    /// Take over a database of CrowdSec [requires local API]
    #[command(subcommand)]
    Database(database::Command),
    /// Manage decisions
    #[command(subcommand, visible_alias = "decision")]
    Decisions(decisions::Command),
    /// Manage interaction with Local API (LAPI)
    #[command(subcommand)]
    Lapi(lapi::Command),
    /// Manage local API machines [requires local API]
    #[command(subcommand, visible_alias = "machine")]
    Machines(machines::Command),
    /// Write a manual page of each command into a folder
    #[command(hide = true)]
    ManualPages(manual_pages::Args),
    /// Display crowdsec prometheus metrics.
    Metrics(metrics::Args),
    /// Make certificates for the LAPI and its clients
    #[command(subcommand)]
    Pki(pki::Command),
    /// Check profiles
    #[command(subcommand, visible_alias = "profile")]
    Profiles(profiles::Command),
    /// Display version
    Version,
}

impl Command {
    pub(crate) async fn run(self, globals: &Globals, commands: &CommandLine) -> Result<(), Failure> {
        match self {
            Self::Completion(args) => completion::run(commands.root(), &args),
            Self::ManualPages(args) => manual_pages::run(commands.declared(), &args),
            Self::Version => print(&version()),
            Self::Pki(command) => command.run(),
            command => {
                let session = Session::open(globals, commands.root().get_name() == "cscli")?;
                command.run_in(&session).await?;
                // `cscli` prints nothing for some commands, and no final newline for others.
                if session.is_json_only() { end_json() } else { Ok(()) }
            }
        }
    }

    async fn run_in(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Completion(_) | Self::ManualPages(_) | Self::Version | Self::Pki(_) => Ok(()),
            Self::Alerts(command) => command.run(session).await,
            Self::Allowlists(command) => command.run(session).await,
            Self::Bouncers(command) => command.run(session).await,
            Self::Config(command) => command.run(session),
            Self::Database(command) => command.run(session).await,
            Self::Decisions(command) => command.run(session).await,
            Self::Lapi(command) => command.run(session).await,
            Self::Machines(command) => command.run(session).await,
            Self::Metrics(args) => args.run(session).await,
            Self::Profiles(profiles::Command::Test(args)) => args.run(session),
        }
    }
}
