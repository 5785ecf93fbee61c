//! Command-line parsing as in Go's `flag` package, from a table that also generates the help.
//!
//! `-c file`, `-c=file`, `--c file` and `--c=file` are equivalent. A switch is given as `-v` or `-v=true`. The first
//! argument without a dash ends the daemon's flags and names a command; a command has flags and arguments of its own,
//! in any order. `--` ends flags.

use std::fmt::Write as _;

/// A flag, for the parser, the usage text and the manual page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Name of the value in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// One sentence, lower-case.
    pub help: &'static str,
}

impl Flag {
    /// A flag without a value.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, value: None, help }
    }

    /// A flag with a value, called `value` in the help.
    pub const fn valued(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { name, value: Some(value), help }
    }
}

/// A subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Names of its arguments, for the help; `[x]` is optional. The last may be repeated: `x...` is given at least once,
    /// `[x...]` any number of times.
    pub words: &'static [&'static str],
    /// Its flags, besides those of the program.
    pub flags: &'static [Flag],
    /// One sentence, lower-case.
    pub help: &'static str,
}

impl Command {
    /// Whether the last argument may be repeated.
    fn is_repeating(&self) -> bool {
        self.words.last().is_some_and(|word| word.trim_end_matches(']').ends_with("..."))
    }
}

/// The command line of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name in the usage text.
    pub name: &'static str,
    /// One sentence, lower-case.
    pub about: &'static str,
    /// Flags of the daemon, which every command accepts too.
    pub flags: &'static [Flag],
    /// Its subcommands.
    pub commands: &'static [Command],
}

/// A parsed command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    command: Option<&'static str>,
    words: Vec<String>,
    switches: Vec<(&'static str, bool)>,
    values: Vec<(&'static str, String)>,
}

impl Typed {
    /// The command's name, if one was given.
    pub fn command(&self) -> Option<&'static str> {
        self.command
    }

    /// The arguments after the command.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether the switch is on; the last occurrence counts.
    pub fn switch(&self, name: &str) -> bool {
        self.switches.iter().rfind(|(known, _)| *known == name).is_some_and(|(_, on)| *on)
    }

    /// The value of a flag; the last occurrence counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The values of a flag that may be repeated, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Why a command line is not executed. The program prints the text and exits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagError {
    /// `-h` or `-help`: print the usage and exit 0.
    Help(String),
    /// An error: print this, which ends with the usage, and exit 2.
    Wrong(String),
}

impl FlagError {
    /// What to print on stderr.
    pub fn text(&self) -> &str {
        match self {
            Self::Help(text) | Self::Wrong(text) => text,
        }
    }

    /// The exit code: 0 for help, 2 for an error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Help(_) => 0,
            Self::Wrong(_) => 2,
        }
    }
}

impl Program {
    /// Parses the arguments after the program's name.
    pub fn parse<S: Into<String>>(&self, args: impl IntoIterator<Item = S>) -> Result<Typed, FlagError> {
        let mut typed = Typed::default();
        let mut command: Option<&'static Command> = None;
        let mut args = args.into_iter().map(Into::into);
        let mut only_words = false;
        while let Some(arg) = args.next() {
            let body = match arg.strip_prefix('-') {
                Some(rest) if !rest.is_empty() && !only_words => rest.strip_prefix('-').unwrap_or(rest),
                _ => {
                    self.word(arg, &mut command, &mut typed)?;
                    continue;
                }
            };
            if body.is_empty() {
                only_words = true;
                continue;
            }
            if body.starts_with(['-', '=']) {
                return Err(self.wrong(&format!("bad flag syntax: {arg}")));
            }
            let (name, inline) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if matches!(name, "h" | "help") {
                return Err(FlagError::Help(self.usage()));
            }
            let own = command.map_or(&[][..], |command| command.flags);
            let Some(flag) = own.iter().chain(self.flags).find(|flag| flag.name == name) else {
                return Err(self.wrong(&format!("flag provided but not defined: -{name}")));
            };
            match (flag.value, inline) {
                (None, None) => typed.switches.push((flag.name, true)),
                (None, Some(text)) => match palisade_go_compat::parse_bool(&text) {
                    Some(on) => typed.switches.push((flag.name, on)),
                    None => {
                        return Err(
                            self.wrong(&format!("invalid boolean value {text:?} for -{name}: parse error"))
                        );
                    }
                },
                (Some(_), Some(value)) => typed.values.push((flag.name, value)),
                (Some(_), None) => match args.next() {
                    Some(value) => typed.values.push((flag.name, value)),
                    None => return Err(self.wrong(&format!("flag needs an argument: -{name}"))),
                },
            }
        }
        self.check_words(command, &typed)?;
        Ok(typed)
    }

    fn word(
        &self,
        word: String,
        command: &mut Option<&'static Command>,
        typed: &mut Typed,
    ) -> Result<(), FlagError> {
        if command.is_some() {
            typed.words.push(word);
            return Ok(());
        }
        match self.commands.iter().find(|known| known.name == word) {
            Some(known) => {
                *command = Some(known);
                typed.command = Some(known.name);
                Ok(())
            }
            None => Err(self.wrong(&format!("unknown command: {word}"))),
        }
    }

    fn check_words(&self, command: Option<&'static Command>, typed: &Typed) -> Result<(), FlagError> {
        let Some(command) = command else { return Ok(()) };
        let needed = command.words.iter().filter(|word| !word.starts_with('[')).count();
        if typed.words.len() < needed {
            let missing = command.words[typed.words.len()];
            return Err(self.wrong(&format!("{}: {missing} is missing", command.name)));
        }
        match typed.words.get(command.words.len()) {
            Some(extra) if !command.is_repeating() => {
                Err(self.wrong(&format!("{}: {extra:?} is one word too many", command.name)))
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, what: &str) -> FlagError {
        FlagError::Wrong(format!("{what}\n{}", self.usage()))
    }

    /// The usage text, ending in a newline.
    pub fn usage(&self) -> String {
        let mut text = format!("Usage of {}:\n{}\n", self.name, self.about);
        list(&mut text, self.flags, 1);
        if !self.commands.is_empty() {
            text.push_str("\nCommands:\n");
        }
        for command in self.commands {
            let words: String = command.words.iter().map(|word| format!(" {word}")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}{words}\n        {}", command.name, command.help);
            list(&mut text, command.flags, 2);
        }
        text
    }
}

fn list(text: &mut String, flags: &[Flag], depth: usize) {
    let indent = "  ".repeat(depth);
    for flag in flags {
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let _ = writeln!(text, "{indent}-{}{value}\n        {}", flag.name, flag.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "sample",
        about: "does nothing",
        flags: &[
            Flag::valued("c", "file", "configuration file"),
            Flag::switch("v", "debug log"),
            Flag::switch("version", "show the version"),
        ],
        commands: &[
            Command {
                name: "lookup",
                words: &["address"],
                flags: &[Flag::switch("json", "print JSON")],
                help: "what holds",
            },
            Command { name: "status", words: &[], flags: &[], help: "how it is" },
            Command {
                name: "replay",
                words: &["endpoint", "[number...]"],
                flags: &[Flag::switch("json", "print JSON")],
                help: "send again",
            },
            Command { name: "forget", words: &["number..."], flags: &[], help: "remove" },
        ],
    };

    fn parse(line: &str) -> Result<Typed, FlagError> {
        PROGRAM.parse(line.split_whitespace())
    }

    #[test]
    fn single_and_double_dashes_are_the_same() {
        for line in [
            "-c x.yaml -v",
            "--c x.yaml --v",
            "-c=x.yaml -v=true",
            "--c=x.yaml -v=1",
            "-c a -v=false -c x.yaml -v",
        ] {
            let typed = parse(line).unwrap();
            assert_eq!(
                (typed.value("c"), typed.switch("v"), typed.switch("version")),
                (Some("x.yaml"), true, false),
                "{line}"
            );
        }
        assert_eq!(parse("-c=").unwrap().value("c"), Some(""));
        assert_eq!(parse("-c a=b").unwrap().value("c"), Some("a=b"));
        assert_eq!(parse("-c -v").unwrap().value("c"), Some("-v"));
        assert_eq!(parse("").unwrap(), Typed::default());
    }

    #[test]
    fn commands_take_words_and_flags_in_any_order() {
        for line in
            ["-c x lookup 192.0.2.1 -json", "lookup -c x -json 192.0.2.1", "-c=x lookup --json -- 192.0.2.1"]
        {
            let typed = parse(line).unwrap();
            assert_eq!(typed.command(), Some("lookup"));
            assert_eq!(
                (typed.words(), typed.value("c"), typed.switch("json")),
                (&["192.0.2.1".to_owned()][..], Some("x"), true)
            );
        }
    }

    #[test]
    fn the_last_word_may_be_repeated() {
        for (line, words) in [
            ("replay a", &["a"][..]),
            ("replay a 1", &["a", "1"]),
            ("replay a 1 -json 2 -c x 3", &["a", "1", "2", "3"]),
            ("forget 1", &["1"]),
            ("forget 1 -- -2 3", &["1", "-2", "3"]),
        ] {
            assert_eq!(parse(line).unwrap().words(), words, "{line}");
        }
    }

    #[test]
    fn mistakes_exit_2_with_usage_and_help_exits_0() {
        for (line, first) in [
            ("-x", "flag provided but not defined: -x"),
            ("--long=3", "flag provided but not defined: -long"),
            ("-json", "flag provided but not defined: -json"),
            ("-c", "flag needs an argument: -c"),
            ("-v=maybe", "invalid boolean value \"maybe\" for -v: parse error"),
            ("---c", "bad flag syntax: ---c"),
            ("-=x", "bad flag syntax: -=x"),
            ("run", "unknown command: run"),
            ("lookup", "lookup: address is missing"),
            ("status now", "status: \"now\" is one word too many"),
            ("lookup a b", "lookup: \"b\" is one word too many"),
            ("replay", "replay: endpoint is missing"),
            ("forget", "forget: number... is missing"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.text().lines().next(), error.exit_code()), (Some(first), 2), "{line}");
            assert!(error.text().contains("Usage of sample:"));
        }
        for line in ["-h", "-help", "--help", "-c x -h", "lookup -h"] {
            assert_eq!(parse(line).unwrap_err(), FlagError::Help(PROGRAM.usage()), "{line}");
        }
    }

    #[test]
    fn usage_lists_everything() {
        assert_eq!(
            PROGRAM.usage(),
            "Usage of sample:\ndoes nothing\n  -c file\n        configuration file\n  -v\n        debug log\n  -version\n        \
             show the version\n\nCommands:\n  lookup address\n        what holds\n    -json\n        print JSON\n  status\n        how it is\n  \
             replay endpoint [number...]\n        send again\n    -json\n        print JSON\n  \
             forget number...\n        remove\n"
        );
    }
}
