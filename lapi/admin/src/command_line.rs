//! Parses command lines as `cscli` does, with Go's pflag syntax and `cscli`'s error texts.
//!
//! ```text
//!   declared commands ──adapt──► clap ──► required arguments ──► typed command
//!                                 └─ error ──► refusal
//! ```

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use palisade_go_compat::{parse_bool, quote};

use crate::advice::{Mistake, advice};
use crate::failure::{Failure, Form};
use crate::output::print;

/// The id of the positional arguments beyond the declared ones.
const SURPLUS: &str = "surplus";
/// The command that prints the help of another one, below every command that has subcommands.
const HELP: &str = "help";

/// A tree of commands, as declared and as clap parses it.
pub(crate) struct CommandLine {
    declared: Command,
    adapted: Command,
}

/// The command that a line names.
pub(crate) struct Selected<'a> {
    /// Canonical names from the root on, such as `cscli bouncers add`.
    pub(crate) path: Vec<&'a str>,
    pub(crate) command: &'a Command,
}

impl Selected<'_> {
    pub(crate) fn print_help(&self) -> Result<(), Failure> {
        print(&self.command.clone().render_help().to_string())
    }
}

impl CommandLine {
    pub(crate) fn new(mut declared: Command) -> Self {
        let mut adapted = adapt(declared.clone());
        // clap passes global flags on, and knows full names for the usage, only after this.
        declared.build();
        adapted.build();
        Self { declared, adapted }
    }

    /// The tree that completion scripts describe.
    pub(crate) fn root(&self) -> &Command {
        &self.adapted
    }

    /// The tree that the help and the manual pages describe.
    pub(crate) fn declared(&self) -> &Command {
        &self.declared
    }

    /// Descends the tree by those words that name commands.
    pub(crate) fn select<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Selected<'_> {
        let mut selected = Selected { path: vec![self.declared.get_name()], command: &self.declared };
        for word in words {
            if let Some(next) = selected.command.find_subcommand(word) {
                selected.path.push(next.get_name());
                selected.command = next;
            }
        }
        selected
    }

    /// Parses a line. `None` means that it asked for help, which has been printed.
    pub(crate) fn parse<T: FromArgMatches>(
        &self,
        words: &[String],
    ) -> (Selected<'_>, Result<Option<T>, Failure>) {
        let line = std::iter::once(self.adapted.get_name()).chain(words.iter().map(String::as_str));
        match self.adapted.clone().try_get_matches_from(line) {
            Ok(mut matches) => {
                let names = names(&matches);
                if names.last() == Some(&HELP) {
                    let (selected, helped) = self.help(names, &matches);
                    return (selected, helped.map(|()| None));
                }
                let selected = self.select(names);
                let parsed = check_required(&selected, words, &matches)
                    .and_then(|()| T::from_arg_matches_mut(&mut matches).map_err(|error| unexpected(&error)));
                (selected, parsed.map(Some))
            }
            Err(error) => {
                // There are no matches to descend by. A flag's value that equals a command's name is mistaken for
                // it, which only affects the path in the error text.
                let selected =
                    self.select(words.iter().map(String::as_str).filter(|word| !word.starts_with('-')));
                let refused = refuse(&error, words, &selected);
                (selected, refused.map(|()| None))
            }
        }
    }

    /// Prints the help of the command that `… help WORDS` names.
    fn help<'m>(
        &self,
        mut names: Vec<&'m str>,
        matches: &'m ArgMatches,
    ) -> (Selected<'_>, Result<(), Failure>) {
        let topic = innermost(matches).get_many::<String>(SURPLUS).unwrap_or_default();
        names.retain(|name| *name != HELP);
        let known = names.len();
        names.extend(topic.map(String::as_str));
        let selected = self.select(names.iter().copied());
        let printed = selected.print_help().and_then(|()| {
            // One name of the path is the program's.
            if selected.path.len() == names.len() + 1 {
                return Ok(());
            }
            Err(Failure::Bare(format!("Unknown help topic [`{}`]", names[known..].join("` `"))))
        });
        (selected, printed)
    }
}

/// The matches of the selected command.
fn innermost(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
}

/// Checks the number of arguments and the required flags of the selected command.
fn check_required(selected: &Selected<'_>, words: &[String], matches: &ArgMatches) -> Result<(), Failure> {
    let (declared, matches) = (selected.command, innermost(matches));
    let given = |id: &str| matches.try_get_raw(id).ok().flatten().map_or(0, Iterator::count);
    let positionals = || declared.get_positionals();
    let surplus = matches.try_get_many::<String>(SURPLUS).ok().flatten().unwrap_or_default();
    let surplus: Vec<&str> = surplus.map(String::as_str).collect();
    let received = positionals().map(|arg| given(arg.get_id().as_str())).sum::<usize>() + surplus.len();
    let least = positionals().filter(|arg| arg.is_required_set()).count();
    let most = positionals().count();
    let usage = |text, mistake: &Mistake<'_>| {
        let advice = advice(selected, words, mistake);
        Err(Failure::Advised { text, advice, form: Form::Usage })
    };
    let missing = || Mistake::Missing(positionals().skip(received).map(shown_name).collect());
    let wrong = || if received < most { missing() } else { Mistake::Surplus(surplus.clone()) };
    if positionals().any(is_list) {
        if received < least {
            let text = format!("requires at least {least} arg(s), only received {received}");
            return usage(text, &missing());
        }
    } else if least == most && received != most {
        return usage(format!("accepts {most} arg(s), received {received}"), &wrong());
    } else if received > most {
        return usage(format!("accepts at most {most} arg(s), received {received}"), &wrong());
    }
    let missing = declared
        .get_arguments()
        .find(|arg| !arg.is_positional() && arg.is_required_set() && given(arg.get_id().as_str()) == 0);
    match missing {
        Some(flag) => {
            let text = format!("required flag(s) \"{}\" not set", flag.get_long().unwrap_or_default());
            usage(text, &Mistake::MissingFlag(flag))
        }
        None => Ok(()),
    }
}

/// The name of an argument as the help shows it.
fn shown_name(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(<[_]>::first).map(|name| name.to_string());
    name.unwrap_or_else(|| arg.get_id().to_string()).to_ascii_uppercase()
}

/// The names of the subcommands that were parsed.
fn names(matches: &ArgMatches) -> Vec<&str> {
    std::iter::successors(matches.subcommand(), |(_, inner)| inner.subcommand())
        .map(|(name, _)| name)
        .collect()
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Makes clap read flags as pflag does. What is required is checked afterwards, because clap's errors lack the counts
/// that `cscli` prints.
fn adapt(command: Command) -> Command {
    let bounded = !command.has_subcommands() && !command.get_positionals().any(is_list);
    let nested = command.has_subcommands();
    let command = command.mut_args(adapt_argument).mut_subcommands(adapt).disable_help_subcommand(true);
    if nested {
        let help = Command::new(HELP).about("Help about any command").arg(surplus());
        command.subcommand(help)
    } else if bounded {
        command.arg(surplus())
    } else {
        command
    }
}

fn surplus() -> Arg {
    Arg::new(SURPLUS).num_args(0..).hide(true)
}

fn adapt_argument(arg: Arg) -> Arg {
    let arg = arg.required(false);
    if arg.is_positional() {
        return arg;
    }
    match arg.get_action() {
        // `--force` and `--force=false`.
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .value_name("bool")
            .value_parser(switch),
        // `-d -1s`: the next word is the value, whatever it begins with.
        _ => arg.allow_hyphen_values(true),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    parse_bool(text).ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text)))
}

pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)))
}

/// The value of a text flag; an empty one counts as not given.
pub(crate) fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Reports a line that clap rejects; `Ok` if it asked for help.
fn refuse(error: &clap::Error, words: &[String], selected: &Selected<'_>) -> Result<(), Failure> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(list)) => list.first().map_or("", String::as_str),
        _ => "",
    };
    let arg = context(ContextKind::InvalidArg);
    let flag = arg.split([' ', '=', '[']).next().unwrap_or(arg);
    let (text, mistake) = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => return selected.print_help(),
        ErrorKind::InvalidSubcommand => {
            let (name, path) = (context(ContextKind::InvalidSubcommand), selected.path.join(" "));
            return Err(Failure::Advised {
                text: format!("unknown command \"{name}\" for \"{path}\""),
                advice: advice(selected, words, &Mistake::UnknownCommand(name)),
                form: Form::Unknown,
            });
        }
        ErrorKind::UnknownArgument if arg.starts_with("--") => {
            (format!("unknown flag: {flag}"), Mistake::UnknownFlag(flag))
        }
        ErrorKind::UnknownArgument => {
            let letter = arg.trim_start_matches('-').chars().next().unwrap_or('-');
            let whole = words.iter().find(|word| word.starts_with('-') && word.contains(letter));
            let whole = whole.map_or(arg, String::as_str);
            (format!("unknown shorthand flag: '{letter}' in {whole}"), Mistake::UnknownFlag(whole))
        }
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let long = flag.trim_start_matches('-');
            let known = selected.command.get_arguments().find(|arg| arg.get_long() == Some(long));
            let both = match known.and_then(Arg::get_short) {
                Some(short) => format!("-{short}, {flag}"),
                None => flag.to_owned(),
            };
            let value = context(ContextKind::InvalidValue);
            let text = format!("invalid argument {} for \"{both}\" flag: {reason}", quote(value));
            (text, Mistake::BadValue { flag, value })
        }
        // No flag has a fixed set of values, so the value is missing.
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::NoEquals => {
            let text = match words.last() {
                Some(last) if last.starts_with('-') && !last.starts_with("--") && last.len() == 2 => {
                    format!("flag needs an argument: '{}' in {last}", &last[1..])
                }
                _ => format!("flag needs an argument: {flag}"),
            };
            (text, Mistake::NoValue { flag })
        }
        _ => return Err(unexpected(error)),
    };
    Err(Failure::advised(text, advice(selected, words, &mistake)))
}

/// clap's own text, for errors that have no counterpart.
fn unexpected(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Failure::Command(line.strip_prefix("error: ").unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use palisade_wire::GoDuration;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "test", args_override_self = true)]
    enum Test {
        /// At least two.
        Many(Many),
        /// Exactly one.
        One { name: String },
        /// At most one.
        Maybe { name: Option<String> },
        /// None, and a required flag.
        Required {
            #[arg(long)]
            input: String,
        },
    }

    #[derive(Debug, clap::Args)]
    struct Many {
        #[arg(long, short)]
        duration: Option<GoDuration>,
        #[arg(long, short, value_parser = integer)]
        limit: Option<i64>,
        #[arg(long)]
        force: bool,
        #[arg(long, short)]
        all: bool,
        #[arg(long, short)]
        machine: bool,
        first: String,
        #[arg(required = true)]
        rest: Vec<String>,
    }

    fn parse(line: &str) -> Result<Test, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let commands = CommandLine::new(Test::command());
        let (_, parsed) = commands.parse(&words);
        parsed.map(|parsed| parsed.expect("no help was wanted")).map_err(|failure| failure.to_string())
    }

    fn many(line: &str) -> Many {
        match parse(&format!("many {line}")) {
            Ok(Test::Many(many)) => many,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        let args = many("a --force -d1d2h b -d 4h -am");
        assert!(args.force && args.all && args.machine);
        assert_eq!(args.duration.unwrap().to_string(), "4h0m0s");
        assert_eq!((args.first.as_str(), args.rest), ("a", vec!["b".to_owned()]));
        let args = many("a b --force=false -l -1");
        assert_eq!((args.force, args.limit), (false, Some(-1)));
        assert!(matches!(parse("one a"), Ok(Test::One { name }) if name == "a"));
        assert!(matches!(parse("maybe"), Ok(Test::Maybe { name: None })));
        assert!(matches!(parse("required --input x"), Ok(Test::Required { input }) if input == "x"));
    }

    #[test]
    fn wrong_lines_are_refused_with_the_texts_of_cscli() {
        for (line, text) in [
            (
                "many -d foobar",
                r#"invalid argument "foobar" for "-d, --duration" flag: time: invalid duration "foobar""#,
            ),
            (
                "many -l x",
                r#"invalid argument "x" for "-l, --limit" flag: strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            (
                "many --force=x",
                r#"invalid argument "x" for "--force" flag: strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
            ("one a b", "accepts 1 arg(s), received 2"),
            ("required a b", "accepts 0 arg(s), received 2"),
            ("maybe a b", "accepts at most 1 arg(s), received 2"),
            ("many a", "requires at least 2 arg(s), only received 1"),
            ("required", r#"required flag(s) "input" not set"#),
            ("nope", r#"unknown command "nope" for "test""#),
            ("many --nope", "unknown flag: --nope"),
            ("many --nope=3", "unknown flag: --nope"),
            ("many -x", "unknown shorthand flag: 'x' in -x"),
            ("many --limit", "flag needs an argument: --limit"),
            ("many -l", "flag needs an argument: 'l' in -l"),
        ] {
            assert_eq!(parse(line).map(|_| ()), Err(text.to_owned()), "{line}");
        }
    }
}
