//! The command line: declares and parses commands and flags, and reports errors as `cscli` does.

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use palisade_go_compat::{GoDuration, parse_bool, quote};

use crate::failure::Failure;

/// The id of the positional arguments.
const PLAIN: &str = "args";

/// A command with an action. `plain` is the placeholder of its positional arguments in the help.
pub(crate) fn leaf(name: &'static str, about: &'static str, plain: &'static str) -> Command {
    let command = base(Command::new(name).about(about));
    // Each command checks the number of arguments itself, for `cscli`'s error texts.
    command.arg(Arg::new(PLAIN).value_name(plain).num_args(0..).hide(plain.is_empty()))
}

/// A command that only has subcommands.
pub(crate) fn group(name: &'static str, about: &'static str) -> Command {
    // Unknown subcommands must be accepted here, to be refused with `cscli`'s error text.
    base(Command::new(name).about(about)).allow_external_subcommands(true)
}

fn base(command: Command) -> Command {
    command.disable_version_flag(true).disable_help_subcommand(true).args_override_self(true)
}

/// A flag with a value. A `short` of `'\0'` means none.
pub(crate) fn value(name: &'static str, short: char, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).help(help).action(ArgAction::Set).allow_hyphen_values(true);
    if short == '\0' { arg } else { arg.short(short) }
}

/// A flag without a value; `--name=false` is accepted.
pub(crate) fn switch(name: &'static str, short: char, help: &'static str) -> Arg {
    value(name, short, help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .allow_hyphen_values(false)
        .hide_possible_values(true)
        .value_name("bool")
}

/// The flags of every command.
pub(crate) fn global_flags() -> [Arg; 8] {
    [
        value("config", 'c', "path to the configuration file (default /etc/crowdsec/config.yaml)")
            .global(true),
        value("output", 'o', "Output format: human, json, raw").global(true),
        value("color", '\0', "Output color: yes, no, auto").global(true),
        switch("debug", '\0', "Set logging to debug").global(true),
        switch("info", '\0', "Set logging to info").global(true),
        switch("warning", '\0', "Set logging to warning").global(true),
        switch("error", '\0', "Set logging to error").global(true),
        switch("trace", '\0', "Set logging to trace").global(true),
    ]
}

/// The parsed arguments of a command.
pub(crate) struct Args<'a> {
    matches: &'a ArgMatches,
    command: &'a Command,
}

impl<'a> Args<'a> {
    pub(crate) fn new(matches: &'a ArgMatches, command: &'a Command) -> Self {
        Self { matches, command }
    }

    /// The value of a flag; `None` if it was not given.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.matches.get_one::<String>(name).map(String::as_str)
    }

    /// Whether a switch is on.
    pub(crate) fn is_set(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name) {
            None => Ok(false),
            Some(text) => parse_bool(text).ok_or_else(|| {
                let reason = format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text));
                self.invalid(name, text, &reason)
            }),
        }
    }

    /// A duration, optionally with leading days.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<GoDuration>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| self.invalid(name, text, &format!("{error}")))
    }

    /// An integer.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let quoted = quote(text);
            self.invalid(name, text, &format!("strconv.ParseInt: parsing {quoted}: invalid syntax"))
        })
    }

    fn invalid(&self, name: &str, text: &str, reason: &str) -> Failure {
        let short = self.command.get_arguments().find(|arg| arg.get_id() == name).and_then(Arg::get_short);
        let flag = match short {
            Some(short) => format!("-{short}, --{name}"),
            None => format!("--{name}"),
        };
        Failure::Command(format!("invalid argument {} for \"{flag}\" flag: {reason}", quote(text)))
    }

    fn plain(&self) -> Vec<&'a str> {
        self.matches.get_many::<String>(PLAIN).into_iter().flatten().map(String::as_str).collect()
    }

    /// Exactly `N` positional arguments.
    pub(crate) fn exactly<const N: usize>(&self) -> Result<[&'a str; N], Failure> {
        let plain = self.plain();
        let received = plain.len();
        plain.try_into().map_err(|_| Failure::Usage(format!("accepts {N} arg(s), received {received}")))
    }

    /// At least `least` positional arguments.
    pub(crate) fn at_least(&self, least: usize) -> Result<Vec<&'a str>, Failure> {
        let plain = self.plain();
        if plain.len() < least {
            let received = plain.len();
            return Err(Failure::Usage(format!(
                "requires at least {least} arg(s), only received {received}"
            )));
        }
        Ok(plain)
    }

    /// At most `most` positional arguments.
    pub(crate) fn at_most(&self, most: usize) -> Result<Vec<&'a str>, Failure> {
        let plain = self.plain();
        if plain.len() > most {
            let received = plain.len();
            return Err(Failure::Usage(format!("accepts at most {most} arg(s), received {received}")));
        }
        Ok(plain)
    }

    /// All positional arguments.
    pub(crate) fn any(&self) -> Vec<&'a str> {
        self.plain()
    }

    /// The value of a required flag.
    pub(crate) fn required(&self, name: &str) -> Result<&'a str, Failure> {
        self.text(name).ok_or_else(|| Failure::Usage(format!("required flag(s) \"{name}\" not set")))
    }
}

/// The words of the command line that name commands, such as `bouncers add`, and the last of these commands.
pub(crate) fn path_of<'c>(root: &'c Command, words: &[String]) -> (Vec<String>, &'c Command) {
    let (mut path, mut command) = (vec![root.get_name().to_owned()], root);
    for word in words.iter().filter(|word| !word.starts_with('-')) {
        if let Some(next) = command.find_subcommand(word) {
            path.push(next.get_name().to_owned());
            command = next;
        }
    }
    (path, command)
}

/// `cscli`'s error text for a line that clap rejects; `Err` if it was a request for help, which has been printed.
pub(crate) fn complaint(error: &clap::Error, words: &[String]) -> Result<String, ExitCode> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        let _ = error.print();
        return Err(ExitCode::SUCCESS);
    }
    let named = |kind| match error.get(kind) {
        Some(clap::error::ContextValue::String(text)) => Some(text.as_str()),
        Some(clap::error::ContextValue::Strings(list)) => list.first().map(String::as_str),
        _ => None,
    };
    let arg = named(ContextKind::InvalidArg).unwrap_or_default();
    Ok(match error.kind() {
        ErrorKind::UnknownArgument => match arg.strip_prefix("--") {
            Some(_) => format!("unknown flag: {}", arg.split('=').next().unwrap_or(arg)),
            None => {
                let letter = arg.trim_start_matches('-').chars().next().unwrap_or('-');
                let whole = words.iter().find(|word| word.starts_with('-') && word.contains(letter));
                format!("unknown shorthand flag: '{letter}' in {}", whole.map_or(arg, |word| word.as_str()))
            }
        },
        // Only a missing value can be invalid: all flags accept any text.
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::NoEquals => {
            let flag = arg.split([' ', '=']).next().unwrap_or(arg);
            match words.last() {
                Some(last) if last.starts_with('-') && !last.starts_with("--") && last.len() == 2 => {
                    format!("flag needs an argument: '{}' in {last}", &last[1..])
                }
                _ => format!("flag needs an argument: {flag}"),
            }
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        leaf("test", "", "NAME")
            .arg(value("duration", 'd', ""))
            .arg(value("limit", 'l', ""))
            .arg(switch("force", '\0', ""))
            .arg(switch("all", 'a', ""))
            .arg(switch("machine", 'm', ""))
    }

    fn with<T>(words: &[&str], read: impl FnOnce(Args<'_>) -> T) -> T {
        let command = command();
        let matches = command
            .clone()
            .try_get_matches_from(std::iter::once("test").chain(words.iter().copied()))
            .unwrap();
        read(Args::new(&matches, &command))
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        with(&["a", "--force", "-d1d2h", "b", "-d", "4h", "-am"], |args| {
            assert!(args.is_set("force").unwrap());
            assert_eq!(args.duration("duration").unwrap().unwrap().to_string(), "4h0m0s");
            assert_eq!(args.at_least(1).unwrap(), ["a", "b"]);
            assert!(args.is_set("all").unwrap() && args.is_set("machine").unwrap());
        });
        assert!(!with(&["--force=false"], |args| args.is_set("force").unwrap()));
        assert_eq!(with(&["-l", "-1"], |args| args.number("limit").unwrap()), Some(-1));
    }

    #[test]
    fn wrong_values_are_refused_in_the_words_of_cscli() {
        let text = |failure: Failure| failure.to_string();
        assert_eq!(
            with(&["-d", "foobar"], |args| text(args.duration("duration").unwrap_err())),
            r#"invalid argument "foobar" for "-d, --duration" flag: time: invalid duration "foobar""#
        );
        assert_eq!(
            with(&["-l", "x"], |args| text(args.number("limit").unwrap_err())),
            r#"invalid argument "x" for "-l, --limit" flag: strconv.ParseInt: parsing "x": invalid syntax"#
        );
        assert_eq!(
            with(&["--force=x"], |args| text(args.is_set("force").unwrap_err())),
            r#"invalid argument "x" for "--force" flag: strconv.ParseBool: parsing "x": invalid syntax"#
        );
        assert_eq!(
            with(&["a", "b"], |args| text(args.exactly::<1>().unwrap_err())),
            "accepts 1 arg(s), received 2"
        );
        assert_eq!(
            with(&[], |args| text(args.at_least(1).unwrap_err())),
            "requires at least 1 arg(s), only received 0"
        );
        assert_eq!(
            with(&["a", "b"], |args| text(args.at_most(1).unwrap_err())),
            "accepts at most 1 arg(s), received 2"
        );
        assert_eq!(
            with(&[], |args| text(args.required("limit").unwrap_err())),
            r#"required flag(s) "limit" not set"#
        );
    }

    #[test]
    fn unknown_flags_and_missing_values_are_refused_in_the_words_of_cscli() {
        for (words, text) in [
            (&["--nope"][..], "unknown flag: --nope"),
            (&["--nope=3"][..], "unknown flag: --nope"),
            (&["-x"][..], "unknown shorthand flag: 'x' in -x"),
            (&["--limit"][..], "flag needs an argument: --limit"),
            (&["-l"][..], "flag needs an argument: 'l' in -l"),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let line = std::iter::once("test".to_owned()).chain(words.clone());
            let error = command().try_get_matches_from(line).unwrap_err();
            assert_eq!(complaint(&error, &words).as_deref(), Ok(text), "{words:?}");
        }
    }
}
