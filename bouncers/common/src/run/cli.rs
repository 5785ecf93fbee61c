//! Parses the command line of a bouncer: the stock bouncer's flags, and commands. Prints `-T`.

use std::path::{Path, PathBuf};

use palisade_daemon::Document;
use palisade_daemon::flags::{Command, Flag, FlagError, Typed};

use super::bouncer::Bouncer;
use super::config::Overrides;
use super::load::known_keys;

/// The flags of every bouncer.
pub const PROGRAM_FLAGS: &[Flag] = &[
    Flag::valued("c", "file", "configuration file; required, except by commands (default: the packaged one)"),
    Flag::switch("v", "log at debug level at least"),
    Flag::switch("t", "test the configuration without touching anything, and exit"),
    Flag::valued(
        "user",
        "name",
        "with -t as root: check that this user can use the files; root for no check (default: the packaged unit's user, \
         for its configuration file)",
    ),
    Flag::switch("T", "print the configuration with its .local merged in, and exit"),
    Flag::switch("version", "print the version and exit"),
    Flag::switch("V", "print the version and exit (deprecated)"),
    Flag::switch("strict", "refuse a configuration with unknown keys"),
];

/// `-debug`, which some stock programs have instead of `-v`; for a program that replaces one of them.
pub const DEBUG_FLAG: Flag = Flag::switch("debug", "the same as -v");

/// `-trace`, beside [`DEBUG_FLAG`].
pub const TRACE_FLAG: Flag = Flag::switch("trace", "log at trace level");

const JSON: &[Flag] = &[Flag::switch("json", "print JSON instead of text")];

/// The command `lookup`.
pub const LOOKUP: Command = Command {
    name: "lookup",
    words: &["address"],
    flags: JSON,
    help: "what holds for an address or prefix, and why",
};

/// The command `status`.
pub const STATUS: Command =
    Command { name: "status", words: &[], flags: JSON, help: "how many decisions there are, and how fresh" };

/// The command `check`.
pub const CHECK: Command = Command {
    name: "check",
    words: &["[address]"],
    flags: JSON,
    help: "whether each LAPI can be reached and accepts this bouncer, exit code 1 if not; with an address, as lookup",
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Invocation {
    Daemon {
        config: PathBuf,
        overrides: Overrides,
    },
    /// `-t`.
    Test {
        config: PathBuf,
        overrides: Overrides,
        /// `-user`.
        user: Option<String>,
    },
    /// `-T`.
    PrintConfig {
        config: PathBuf,
    },
    /// `-version` or `-V`.
    Version,
    Command {
        config: PathBuf,
        overrides: Overrides,
        typed: Typed,
    },
}

/// Why a command line cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CliError {
    /// Help was requested, or a flag is unknown.
    #[error("{}", .0.text())]
    Flags(FlagError),
    /// `-c` is missing or empty.
    #[error("configuration file is required")]
    NoConfig,
}

impl Invocation {
    /// Parses the arguments after the program's name.
    pub(super) fn from_args<B: Bouncer>(args: impl IntoIterator<Item = String>) -> Result<Self, CliError> {
        let typed = B::INFO.program.parse(args).map_err(CliError::Flags)?;
        // Before the configuration is required, as in the stock bouncer.
        if typed.switch("version") || typed.switch("V") {
            return Ok(Self::Version);
        }
        // The daemon requires `-c`, as the stock bouncer does. Commands are typed by hand, so they have a default.
        let default = typed.command().map(|_| B::INFO.unit.config);
        let config = typed.value("c").or(default).filter(|path| !path.is_empty());
        let config = PathBuf::from(config.ok_or(CliError::NoConfig)?);
        let overrides = Overrides {
            verbose: typed.switch("v") || typed.switch(DEBUG_FLAG.name),
            trace: typed.switch(TRACE_FLAG.name),
            strict: typed.switch("strict"),
        };
        Ok(if typed.command().is_some() {
            Self::Command { config, overrides, typed }
        } else if typed.switch("T") {
            Self::PrintConfig { config }
        } else if typed.switch("t") {
            Self::Test { config, overrides, user: typed.value("user").map(str::to_owned) }
        } else {
            Self::Daemon { config, overrides }
        })
    }
}

/// The four lines of `-version`, with the labels that scripts look for.
pub(super) fn version_text(version: &str) -> String {
    format!(
        "version: {version}-{}\nBuildDate: {}\nGoVersion: none (Rust {})\nPlatform: {}\n",
        option_env!("PALISADE_BUILD_TAG").unwrap_or("dev"),
        option_env!("PALISADE_BUILD_DATE").unwrap_or("unknown"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS,
    )
}

#[expect(clippy::print_stdout, reason = "printing is what -version and -T are for")]
pub(super) fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "usage goes to standard error as it is, not as a log line")]
pub(super) fn print_error(text: &str) {
    eprintln!("{text}");
}

/// `-T`: prints the merged file.
pub(super) fn print_config<B: Bouncer>(config: &Path) -> anyhow::Result<()> {
    print(&Document::load(config)?.text_without_secrets(&known_keys::<B>()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn invocation(line: &str) -> Result<Invocation, CliError> {
        Invocation::from_args::<Sample>(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn secrets_are_hidden_by_the_keys_of_the_program() {
        let text = "api_url: http://u:p@h/ # c\napi_key: a\napikye: b\nmode: a\n";
        let document = Document::from_text(Path::new("x.yaml"), text, None, &|_| None).unwrap();
        assert_eq!(
            document.text_without_secrets(&known_keys::<Sample>()),
            "api_url: http://u:<hidden>@h/ # c\napi_key: <hidden>\napikye: <hidden>\nmode: a\n"
        );
    }

    #[test]
    fn flags_have_the_effect_they_have_in_the_stock_bouncer() {
        let config = PathBuf::from("f.yaml");
        let overrides = Overrides::default();
        for (line, expected) in [
            ("-c f.yaml", Invocation::Daemon { config: config.clone(), overrides }),
            (
                "--c=f.yaml -v --strict",
                Invocation::Daemon {
                    config: config.clone(),
                    overrides: Overrides { verbose: true, trace: false, strict: true },
                },
            ),
            ("-t -c f.yaml", Invocation::Test { config: config.clone(), overrides, user: None }),
            (
                "-t -user web -c f.yaml",
                Invocation::Test { config: config.clone(), overrides, user: Some("web".to_owned()) },
            ),
            ("-c f.yaml -T", Invocation::PrintConfig { config: config.clone() }),
            ("-c f.yaml -t -T", Invocation::PrintConfig { config }),
            ("-version", Invocation::Version),
            ("-V", Invocation::Version),
            (
                "-c f.yaml -debug",
                Invocation::Daemon {
                    config: PathBuf::from("f.yaml"),
                    overrides: Overrides { verbose: true, ..overrides },
                },
            ),
            (
                "-c f.yaml -trace",
                Invocation::Daemon {
                    config: PathBuf::from("f.yaml"),
                    overrides: Overrides { trace: true, ..overrides },
                },
            ),
        ] {
            assert_eq!(invocation(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn commands_read_the_packaged_file_by_default() {
        for (line, file, name, words, json) in [
            ("-c f.yaml lookup 192.0.2.1 -json", "f.yaml", "lookup", &["192.0.2.1"][..], true),
            ("status -c f.yaml", "f.yaml", "status", &[], false),
            ("lookup 192.0.2.1", Sample::INFO.unit.config, "lookup", &["192.0.2.1"], false),
        ] {
            let Ok(Invocation::Command { config, typed, .. }) = invocation(line) else {
                panic!("{line} is no command")
            };
            assert_eq!(config, Path::new(file), "{line}");
            assert_eq!((typed.command(), typed.switch("json")), (Some(name), json), "{line}");
            assert_eq!(typed.words(), words, "{line}");
        }
    }

    #[test]
    fn a_missing_configuration_is_named() {
        for line in ["", "-t", "-T", "-v", "-c=", "-c= lookup 192.0.2.1"] {
            assert_eq!(invocation(line).unwrap_err().to_string(), "configuration file is required", "{line}");
        }
    }

    #[test]
    fn mistakes_exit_2_and_help_exits_0() {
        for (line, code) in [("-x", 2), ("-c f.yaml start", 2), ("-h", 0), ("-help", 0), ("lookup -c f", 2)] {
            let Err(CliError::Flags(error)) = invocation(line) else { panic!("{line} is accepted") };
            assert_eq!(error.exit_code(), code, "{line}");
            assert!(error.text().contains("Usage of palisade-sample:"));
        }
    }

    #[test]
    fn version_has_the_four_lines() {
        let text = version_text("v1.2.3");
        let labels: Vec<_> =
            text.lines().filter_map(|line| line.split_once(": ")).map(|(label, _)| label).collect();
        assert_eq!(labels, ["version", "BuildDate", "GoVersion", "Platform"]);
        assert!(text.starts_with("version: v1.2.3-"));
    }
}
