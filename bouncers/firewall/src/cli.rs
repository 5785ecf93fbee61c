//! The command line: what was asked for, and the first steps every answer shares.
//!
//! [`begin`] does these in the stock bouncer's order: flags, version, configuration, logging. None of it touches the
//! kernel or the network.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use palisade_daemon::{
    Document,
    flags::{Command, Flag, FlagError, Program, Typed},
    logs::{LogTarget, Logs},
};
use tracing::{info, warn};

use crate::config::{self, Loaded, Mode, Overrides};

/// Our version, as the LAPI and `-version` show it.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// Logged by `-t` at info level when the configuration is valid.
pub const CONFIG_IS_VALID: &str = "config is valid";

/// The configuration file of the packaged service: what commands read when none is given.
pub const PACKAGED_CONFIG: &str = "/etc/crowdsec/bouncers/crowdsec-firewall-bouncer.yaml";

const JSON: Flag = Flag::switch("json", "print JSON instead of text");

/// Everything the program understands; usage text and manual page are made from it.
pub const PROGRAM: Program = Program {
    name: "palisade-firewall",
    about: "Keeps addresses banned by a CrowdSec LAPI out with nftables.",
    flags: &[
        Flag::valued(
            "c",
            "file",
            "configuration file; required, except by commands (default: the packaged one)",
        ),
        Flag::switch("v", "log at debug level at least"),
        Flag::switch("t", "test the configuration without touching anything, and exit"),
        Flag::switch("T", "print the configuration with its .local merged in, and exit"),
        Flag::switch("version", "print the version and exit"),
        Flag::switch("V", "print the version and exit (deprecated)"),
        Flag::switch("strict", "refuse a configuration with unknown keys"),
    ],
    commands: &[
        Command {
            name: "lookup",
            words: &["address"],
            flags: &[JSON],
            help: "what holds for an address or prefix, and why",
        },
        Command {
            name: "status",
            words: &[],
            flags: &[JSON],
            help: "how many decisions there are, and how fresh",
        },
        Command {
            name: "explain",
            words: &["address"],
            flags: &[Flag::valued("port", "number", "destination port: 443 or 443/tcp, 53/udp"), JSON],
            help: "what a packet from an address meets in the kernel, why, and where decisions differ",
        },
    ],
};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Be the daemon.
    Daemon {
        /// The configuration file.
        config: PathBuf,
        /// What the command line adds to it.
        overrides: Overrides,
    },
    /// `-t`.
    Test {
        /// The configuration file.
        config: PathBuf,
        /// What the command line adds to it.
        overrides: Overrides,
    },
    /// `-T`.
    PrintConfig {
        /// The configuration file.
        config: PathBuf,
    },
    /// `-version` or `-V`.
    Version,
    /// A command that asks about the running daemon's decisions.
    Ask {
        /// The configuration file.
        config: PathBuf,
        /// What the command line adds to it.
        overrides: Overrides,
        /// The question.
        question: Question,
        /// Print JSON instead of text.
        json: bool,
    },
}

/// What a command wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What holds for this address or prefix (not parsed yet), and why.
    Lookup(String),
    /// How many decisions there are, and how fresh.
    Status,
    /// What a packet meets in the kernel.
    Explain(Packet),
}

/// A packet to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Its protocol and destination port.
    pub port: Option<(Protocol, u16)>,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a command line cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// Help was asked for, or a flag is not understood.
    #[error("{}", .0.text())]
    Flags(FlagError),
    /// `-c` is missing or empty.
    #[error("configuration file is required")]
    NoConfig,
    /// `explain` is about one address.
    #[error("explain: {0:?} is not an address")]
    NotAnAddress(String),
    /// `-port` is wrong.
    #[error("explain: {0:?} is not a port; write for example 443 or 53/udp")]
    NotAPort(String),
}

impl Invocation {
    /// Reads the arguments after the program's name.
    pub fn from_args<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Result<Self, CliError> {
        let typed = PROGRAM.parse(args).map_err(CliError::Flags)?;
        if typed.switch("version") || typed.switch("V") {
            return Ok(Self::Version);
        }
        // The daemon requires it as the stock one does; commands are typed by hand.
        let default = typed.command().map(|_| PACKAGED_CONFIG);
        let config = typed.value("c").or(default).filter(|path| !path.is_empty());
        let config = PathBuf::from(config.ok_or(CliError::NoConfig)?);
        let overrides = Overrides { verbose: typed.switch("v"), strict: typed.switch("strict") };
        if let Some(question) = question(&typed)? {
            return Ok(Self::Ask { config, overrides, question, json: typed.switch("json") });
        }
        Ok(match (typed.switch("T"), typed.switch("t")) {
            (true, _) => Self::PrintConfig { config },
            (false, true) => Self::Test { config, overrides },
            (false, false) => Self::Daemon { config, overrides },
        })
    }
}

fn question(typed: &Typed) -> Result<Option<Question>, CliError> {
    // The parser has checked that the word of a command that takes one is there.
    let word = || typed.words().first().cloned().unwrap_or_default();
    Ok(match typed.command() {
        None => None,
        Some("lookup") => Some(Question::Lookup(word())),
        Some("explain") => Some(Question::Explain(packet(&word(), typed.value("port"))?)),
        Some(_) => Some(Question::Status),
    })
}

fn packet(address: &str, port: Option<&str>) -> Result<Packet, CliError> {
    let source: IpAddr =
        address.trim().parse().map_err(|_| CliError::NotAnAddress(address.chars().take(80).collect()))?;
    let read = |text: &str| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        number.parse().ok().filter(|number| *number > 0).map(|number| (protocol, number))
    };
    let port = match port {
        None => None,
        Some(text) => Some(read(text).ok_or_else(|| CliError::NotAPort(text.chars().take(80).collect()))?),
    };
    Ok(Packet { source: source.to_canonical(), port })
}

/// What is left to do after [`begin`].
#[derive(Debug)]
pub enum Begun {
    /// Nothing: exit with this.
    Done(ExitCode),
    /// Check what only the other concerns can check, log [`CONFIG_IS_VALID`], exit.
    Test(Box<Loaded>, Logs),
    /// Enforce.
    Daemon {
        /// The configuration.
        loaded: Box<Loaded>,
        /// What the command line adds to it, for reloads.
        overrides: Overrides,
        /// The log.
        logs: Logs,
    },
    /// Answer on standard output.
    Ask {
        /// The configuration.
        loaded: Box<Loaded>,
        /// The log, which stays on standard error.
        logs: Logs,
        /// The question.
        question: Question,
        /// Print JSON instead of text.
        json: bool,
    },
}

/// Follows the command line up to the point where the kernel or the LAPI come in.
pub fn begin<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Begun {
    let logs = match Logs::start() {
        Ok(logs) => logs,
        Err(error) => {
            warn_plainly(&error.to_string());
            return Begun::Done(ExitCode::FAILURE);
        }
    };
    let invocation = match Invocation::from_args(args) {
        Ok(invocation) => invocation,
        Err(CliError::Flags(error)) => {
            warn_plainly(error.text().trim_end());
            return Begun::Done(ExitCode::from(error.exit_code()));
        }
        Err(error) => return failed(&logs, &error),
    };
    match invocation {
        Invocation::Version => {
            print(&version_text());
            Begun::Done(ExitCode::SUCCESS)
        }
        Invocation::PrintConfig { config } => match Document::load(&config) {
            Ok(document) => {
                print(&without_key(&document));
                Begun::Done(ExitCode::SUCCESS)
            }
            Err(error) => failed(&logs, &error),
        },
        Invocation::Test { config, overrides } => match prepare(&config, overrides, &logs, Talk::Stderr) {
            Ok(loaded) => Begun::Test(loaded, logs),
            Err(code) => Begun::Done(code),
        },
        Invocation::Daemon { config, overrides } => {
            match prepare(&config, overrides, &logs, Talk::AsConfigured) {
                Ok(loaded) => {
                    info!("Starting crowdsec-firewall-bouncer {VERSION} (palisade-firewall)");
                    info!("backend type: {}", mode_word(loaded.config.mode));
                    Begun::Daemon { loaded, overrides, logs }
                }
                Err(code) => Begun::Done(code),
            }
        }
        Invocation::Ask { config, overrides, question, json } => {
            match prepare(&config, overrides, &logs, Talk::OnlyTrouble) {
                Ok(loaded) => Begun::Ask { loaded, logs, question, json },
                Err(code) => Begun::Done(code),
            }
        }
    }
}

/// Which messages about the configuration are logged, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// All, to the configured log.
    AsConfigured,
    /// Everything, but into no log file: a test leaves no traces.
    Stderr,
    /// Nothing but what goes wrong: the answer to a question is what counts.
    OnlyTrouble,
}

/// Reads the configuration, sets up logging, and logs the messages about the file.
fn prepare(path: &Path, overrides: Overrides, logs: &Logs, talk: Talk) -> Result<Box<Loaded>, ExitCode> {
    let fail = |error: &dyn std::error::Error| {
        logs.fatal(&with_causes(error));
        ExitCode::FAILURE
    };
    let mut loaded = config::load(path, overrides).map_err(|error| fail(&error))?;
    if talk != Talk::AsConfigured {
        loaded.logs.target = LogTarget::Stderr;
    }
    let log_file = logs.configure(&loaded.logs);
    if log_file.is_err() {
        // Enforcing matters more than where the log is: it stays on standard error, which the service manager keeps.
        loaded.logs.target = LogTarget::Stderr;
        logs.configure(&loaded.logs).map_err(|error| fail(&error))?;
    }
    if let Err(error) = log_file {
        warn!(error = &error as &dyn std::error::Error, "logging to standard error instead of a file");
    }
    if talk != Talk::OnlyTrouble {
        loaded.document.announce();
        loaded.notes.iter().for_each(config::Note::log);
    }
    Ok(Box::new(loaded))
}

fn failed(logs: &Logs, error: &dyn std::error::Error) -> Begun {
    logs.fatal(&with_causes(error));
    Begun::Done(ExitCode::FAILURE)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Nftables => "nftables",
        Mode::DryRun => "dry-run",
    }
}

/// The four lines of `-version`, with the labels scripts look for.
pub fn version_text() -> String {
    format!(
        "version: {VERSION}-{}\nBuildDate: {}\nGoVersion: none (Rust {})\nPlatform: {}\n",
        option_env!("PALISADE_BUILD_TAG").unwrap_or("dev"),
        option_env!("PALISADE_BUILD_DATE").unwrap_or("unknown"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
    )
}

#[expect(clippy::print_stdout, reason = "printing is what -version and -T are for")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "usage goes to standard error as it is, not as a log line")]
fn warn_plainly(text: &str) {
    eprintln!("{text}");
}

/// The merged text, the API key left out: what is printed ends up in tickets. A placeholder of the package, or a
/// reference to the environment, is no key and stays, since the package's scripts look for it.
fn without_key(document: &Document) -> String {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Keys {
        api_key: Option<String>,
    }
    let keys: Keys = document.parse().unwrap_or_default();
    let text = document.merged_text();
    match keys.api_key {
        Some(key) if !key.is_empty() && !key.starts_with(['$', '<']) => hide(text, &key),
        _ => text.to_owned(),
    }
}

/// Hides the key in the lines that name it; if it is in none of them (a block of its own), wherever it is.
fn hide(text: &str, key: &str) -> String {
    let hidden = |line: &str| match line.find("api_key") {
        Some(at) => format!("{}{}", &line[..at], line[at..].replace(key, "<hidden>")),
        None => line.to_owned(),
    };
    let shown: String = text.split_inclusive('\n').map(hidden).collect();
    if shown == text { text.replace(key, "<hidden>") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_hidden_where_it_stands_and_nothing_else_is() {
        for (text, shown) in [
            ("mode: nftables\napi_key: mode\n", "mode: nftables\napi_key: <hidden>\n"),
            ("{\"api_key\": \"mode\", \"x\": 1}", "{\"api_key\": \"<hidden>\", \"x\": 1}"),
            ("api_key: >-\n  mode\n", "api_key: >-\n  <hidden>\n"),
            ("log_dir: /mode\n", "log_dir: /<hidden>\n"),
        ] {
            assert_eq!(hide(text, "mode"), shown);
        }
    }

    fn invocation(line: &str) -> Result<Invocation, CliError> {
        Invocation::from_args(line.split_whitespace())
    }

    #[test]
    fn flags_lead_to_what_they_did_in_the_stock_bouncer() {
        let config = PathBuf::from("f.yaml");
        let overrides = Overrides::default();
        for (line, expected) in [
            ("-c f.yaml", Invocation::Daemon { config: config.clone(), overrides }),
            (
                "--c=f.yaml -v --strict",
                Invocation::Daemon {
                    config: config.clone(),
                    overrides: Overrides { verbose: true, strict: true },
                },
            ),
            ("-t -c f.yaml", Invocation::Test { config: config.clone(), overrides }),
            ("-c f.yaml -T", Invocation::PrintConfig { config: config.clone() }),
            ("-c f.yaml -t -T", Invocation::PrintConfig { config: config.clone() }),
            ("-version", Invocation::Version),
            ("-V", Invocation::Version),
            (
                "-c f.yaml lookup 192.0.2.1 -json",
                Invocation::Ask {
                    config: config.clone(),
                    overrides,
                    question: Question::Lookup("192.0.2.1".into()),
                    json: true,
                },
            ),
            (
                "status -c f.yaml",
                Invocation::Ask { config, overrides, question: Question::Status, json: false },
            ),
            (
                "lookup 192.0.2.1",
                Invocation::Ask {
                    config: PACKAGED_CONFIG.into(),
                    overrides,
                    question: Question::Lookup("192.0.2.1".into()),
                    json: false,
                },
            ),
        ] {
            assert_eq!(invocation(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_missing_configuration_is_named() {
        for line in ["", "-t", "-T", "-v", "-c=", "-c= lookup 192.0.2.1"] {
            assert_eq!(invocation(line).unwrap_err().to_string(), "configuration file is required", "{line}");
        }
    }

    #[test]
    fn a_packet_is_read_from_address_and_port() {
        for (line, address, port) in [
            ("explain 192.0.2.1", "192.0.2.1", None),
            ("explain ::ffff:192.0.2.1 -port 443", "192.0.2.1", Some((Protocol::Tcp, 443))),
            ("explain --port=53/udp 2001:db8::1", "2001:db8::1", Some((Protocol::Udp, 53))),
            ("explain 192.0.2.1 -port 22/tcp", "192.0.2.1", Some((Protocol::Tcp, 22))),
        ] {
            let Ok(Invocation::Ask { question: Question::Explain(packet), .. }) = invocation(line) else {
                panic!("{line} is not understood")
            };
            assert_eq!(packet, Packet { source: address.parse().unwrap(), port }, "{line}");
        }
        for (line, error) in [
            ("explain 192.0.2.0/24", "explain: \"192.0.2.0/24\" is not an address"),
            ("explain 192.0.2.1 -port 0", "explain: \"0\" is not a port; write for example 443 or 53/udp"),
            (
                "explain 192.0.2.1 -port 1/x",
                "explain: \"1/x\" is not a port; write for example 443 or 53/udp",
            ),
        ] {
            assert_eq!(invocation(line).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn mistakes_exit_2_and_help_exits_0() {
        for (line, code) in [("-x", 2), ("-c f.yaml start", 2), ("-h", 0), ("-help", 0), ("lookup -c f", 2)] {
            let Err(CliError::Flags(error)) = invocation(line) else { panic!("{line} is understood") };
            assert_eq!(error.exit_code(), code, "{line}");
            assert!(error.text().contains("Usage of palisade-firewall:"));
        }
    }

    #[test]
    fn version_has_the_four_lines() {
        let text = version_text();
        let labels: Vec<_> =
            text.lines().filter_map(|line| line.split_once(": ")).map(|(label, _)| label).collect();
        assert_eq!(labels, ["version", "BuildDate", "GoVersion", "Platform"]);
        assert!(text.starts_with(&format!("version: {VERSION}-")));
    }
}
