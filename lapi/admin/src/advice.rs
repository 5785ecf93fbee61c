//! Works out what to type instead of a command line that is refused. Pure.

use std::net::IpAddr;

use clap::{Arg, Command};
use ipnet::IpNet;

use crate::command_line::Selected;

/// What is wrong with a line.
#[derive(Debug)]
pub(crate) enum Mistake<'a> {
    /// Words beyond the command's arguments.
    Surplus(Vec<&'a str>),
    /// Arguments that are missing, as the help names them.
    Missing(Vec<String>),
    /// A required flag is missing.
    MissingFlag(&'a Arg),
    /// No such command.
    UnknownCommand(&'a str),
    /// No such flag; as typed, with its dashes.
    UnknownFlag(&'a str),
    /// A flag has a value that cannot be parsed.
    BadValue { flag: &'a str, value: &'a str },
    /// A flag lacks its value.
    NoValue { flag: &'a str },
    /// The command itself refuses its flags.
    Flags,
}

/// Commands that other programs have under other names.
const COMMANDS: &[(&str, &str)] = &[
    ("ls", "list"),
    ("show", "list"),
    ("get", "list"),
    ("view", "inspect"),
    ("info", "inspect"),
    ("rm", "delete"),
    ("del", "delete"),
    ("unban", "delete"),
    ("create", "add"),
    ("new", "add"),
    ("ban", "add"),
    ("block", "add"),
    ("register", "add"),
    ("accept", "validate"),
    ("approve", "validate"),
    ("clean", "prune"),
    ("load", "import"),
];
/// Words that stand for a command of a group.
const SHORTCUTS: &[(&str, &str)] = &[
    ("ban", "decisions add"),
    ("block", "decisions add"),
    ("unban", "decisions delete"),
    ("status", "lapi status"),
    ("register", "lapi register"),
];
/// Flags that other programs have under other names.
const FLAGS: &[(&str, &str)] = &[
    ("--time", "--duration"),
    ("--for", "--duration"),
    ("--expire", "--duration"),
    ("--address", "--ip"),
    ("--cidr", "--range"),
    ("--net", "--range"),
    ("--subnet", "--range"),
    ("--message", "--reason"),
    ("--json", "--output json"),
    ("--raw", "--output raw"),
    ("--format", "--output"),
    ("--file", "--input"),
    ("--user", "--machine"),
    ("--name", "--machine"),
];
/// Examples for commands that accept many combinations of flags.
const EXAMPLES: &[(&str, &str)] = &[
    ("decisions add", "--ip 192.0.2.7 --duration 4h"),
    ("decisions delete", "--ip 192.0.2.7"),
    ("alerts delete", "--ip 192.0.2.7"),
    ("alerts inspect", "ID"),
    ("pki client", "--machine web-1"),
];

/// What to type instead.
pub(crate) fn advice(selected: &Selected<'_>, words: &[String], mistake: &Mistake<'_>) -> String {
    if let Some(advice) = for_dashes(selected, words) {
        return advice;
    }
    match mistake {
        Mistake::Surplus(surplus) => for_surplus(selected, words, surplus),
        Mistake::Missing(names) => format!("type `{} {}`", line(selected, words), names.join(" ")),
        Mistake::MissingFlag(flag) => {
            format!(
                "type `{} --{} {}`",
                line(selected, words),
                flag.get_long().unwrap_or_default(),
                value_of(flag)
            )
        }
        Mistake::UnknownCommand(word) => for_command(selected, words, word),
        Mistake::UnknownFlag(flag) => for_flag(selected, words, flag),
        Mistake::BadValue { flag, value } => for_value(flag, value),
        Mistake::NoValue { flag } => {
            let name = flag.trim_start_matches('-');
            let known = arguments(selected.command).find(|arg| {
                arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name == short.to_string())
            });
            format!("type `{flag} {}`", known.map_or_else(|| "VALUE".to_owned(), value_of))
        }
        Mistake::Flags => {
            let path = selected.path[1..].join(" ");
            match EXAMPLES.iter().find(|(command, _)| *command == path) {
                Some((_, flags)) => format!("type for example `{} {flags}`", selected.path.join(" ")),
                None => see_help(selected),
            }
        }
    }
}

/// What to type instead of a long flag with a single dash: that is read as a row of short flags, which hides what is
/// wrong.
pub(crate) fn for_dashes(selected: &Selected<'_>, words: &[String]) -> Option<String> {
    let (word, flag) = single_dash(selected.command, words)?;
    Some(typed(selected, words, word, &flag))
}

/// What to type instead of an address that is no address, or a prefix that is none.
pub(crate) fn for_address(text: &str) -> String {
    match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
        (Ok(_), _) => format!("it is one address: type `--ip {text}`"),
        (_, Ok(net)) if net.prefix_len() == net.max_prefix_len() => {
            format!("it is one address: type `--ip {}`", net.addr())
        }
        (_, Ok(_)) => format!("it is a range: type `--range {text}`"),
        _ if text.contains('/') => {
            "a range is an address and the length of its prefix: type for example `--range 192.0.2.0/24`"
                .to_owned()
        }
        _ => format!(
            "an address is written like 192.0.2.7 or 2001:db8::7; for anything else type `--scope SCOPE --value {}`",
            shell_word(text)
        ),
    }
}

/// What to write instead of a text that is no duration.
pub(crate) fn for_duration(text: &str) -> String {
    match corrected_duration(text) {
        Some(duration) => format!("write it as {duration}"),
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("add a unit: {text}s, {text}m, {text}h or {text}d")
        }
        None => "write it as in 30m, 4h, 7d or 1d12h".to_owned(),
    }
}

/// `4 hours`, `1 week`, `1.5d`: in the units that are read.
fn corrected_duration(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let count: f64 = number.parse().ok()?;
        let (factor, unit) = match unit.to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => (1, 's'),
            "m" | "min" | "mins" | "minute" | "minutes" => (1, 'm'),
            "h" | "hr" | "hrs" | "hour" | "hours" => (1, 'h'),
            "d" | "day" | "days" if count.fract() != 0.0 => (24, 'h'),
            "d" | "day" | "days" => (1, 'd'),
            "w" | "week" | "weeks" => (7, 'd'),
            "month" | "months" | "mo" => (30, 'd'),
            "y" | "year" | "years" => (365, 'd'),
            _ => return None,
        };
        out.push_str(&format!("{}{unit}", count * f64::from(factor)));
        rest = after.trim_start_matches([' ', ',']);
    }
    (!out.is_empty()).then_some(out)
}

fn for_surplus(selected: &Selected<'_>, words: &[String], surplus: &[&str]) -> String {
    let has = |flag: &str| arguments(selected.command).any(|arg| arg.get_long() == Some(flag));
    let Some(word) = surplus.first() else { return see_help(selected) };
    let shown = shell_word(word);
    let flag = match (word.parse::<IpAddr>(), word.parse::<IpNet>()) {
        (Ok(_), _) if has("ip") => Some(format!("--ip {shown}")),
        (_, Ok(net)) if has("ip") && net.prefix_len() == net.max_prefix_len() => {
            Some(format!("--ip {}", net.addr()))
        }
        (_, Ok(_)) if has("range") => Some(format!("--range {shown}")),
        _ if has("input") => Some(format!("--input {shown}")),
        _ if has("id") && word.parse::<u64>().is_ok() => Some(format!("--id {shown}")),
        _ if has("scope") && is_country(word) => Some(format!("--scope country --value {shown}")),
        _ if has("scope") => Some(format!("--scope SCOPE --value {shown}")),
        _ => None,
    };
    match flag {
        Some(flag) => typed(selected, words, word, &flag),
        None if selected.command.get_positionals().next().is_some() => {
            "put a name with blanks in quotes, and give one at a time".to_owned()
        }
        None => format!("it takes no arguments: type `{}`", line(selected, &without(words, surplus))),
    }
}

fn is_country(word: &str) -> bool {
    word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn for_command(selected: &Selected<'_>, words: &[String], word: &str) -> String {
    let command = selected.command;
    let has = |name: &str| command.find_subcommand(name).is_some();
    let synonym = |list: &[(&'static str, &'static str)]| {
        list.iter().find(|(other, _)| *other == word).map(|(_, name)| *name)
    };
    let is_top = selected.path.len() == 1;
    let better = match synonym(SHORTCUTS).filter(|_| is_top) {
        Some(name) => Some(name.to_owned()),
        None => synonym(COMMANDS).filter(|name| has(name)).map(str::to_owned),
    };
    let names = || command.get_subcommands().filter(|known| !known.is_hide_set());
    let near = || {
        let all = names().flat_map(|known| known.get_name_and_visible_aliases());
        nearest(word, all).map(str::to_owned)
    };
    if word.parse::<IpNet>().is_ok() || word.parse::<IpAddr>().is_ok() {
        let flag = if word.contains('/') { "range" } else { "ip" };
        if has("list") {
            return typed(selected, words, word, &format!("list --{flag} {word}"));
        }
    }
    match better.or_else(near) {
        Some(name) => typed(selected, words, word, &name),
        None => {
            let known: Vec<&str> = names().map(Command::get_name).collect();
            format!("the commands of `{}` are {}", selected.path.join(" "), known.join(", "))
        }
    }
}

fn for_flag(selected: &Selected<'_>, words: &[String], flag: &str) -> String {
    let longs = || arguments(selected.command).filter_map(Arg::get_long);
    let known = |name: &str| longs().any(|long| name.trim_start_matches('-').split(' ').next() == Some(long));
    let synonym =
        FLAGS.iter().find(|(other, name)| *other == flag && known(name)).map(|(_, name)| (*name).to_owned());
    let near = || nearest(flag.trim_start_matches('-'), longs()).map(|name| format!("--{name}"));
    let near = || if flag.starts_with("--") { near() } else { None };
    match synonym.or_else(near) {
        Some(better) => {
            // `--durations=4h`: the value stays.
            let word =
                words.iter().find(|word| word.split('=').next() == Some(flag)).map_or(flag, String::as_str);
            typed(selected, words, word, &word.replacen(flag, &better, 1))
        }
        None => see_help(selected),
    }
}

fn for_value(flag: &str, value: &str) -> String {
    match flag.trim_start_matches('-') {
        "limit" | "batch" | "max-items" | "length" => "give a whole number".to_owned(),
        "duration" | "expiration" | "since" | "until" | "max-age" => for_duration(value),
        _ => format!("type `{flag}` or `{flag}=false`"),
    }
}

/// The first word with one dash that is the name of a long flag, and the same with two.
fn single_dash<'w>(command: &Command, words: &'w [String]) -> Option<(&'w str, String)> {
    words.iter().find_map(|word| {
        let name = word.strip_prefix('-').filter(|name| !name.starts_with('-') && name.len() > 1)?;
        let long = name.split('=').next().unwrap_or(name);
        let is_long = arguments(command).any(|arg| arg.get_long() == Some(long));
        is_long.then(|| (word.as_str(), format!("--{name}")))
    })
}

/// The line with one word replaced.
fn typed(selected: &Selected<'_>, words: &[String], word: &str, instead: &str) -> String {
    let mut replaced = false;
    let shown = words.iter().map(|known| {
        if known == word && !std::mem::replace(&mut replaced, true) {
            instead.to_owned()
        } else {
            shell_word(known)
        }
    });
    let shown: Vec<String> = shown.collect();
    format!("type `{} {}`", selected.path[0], shown.join(" "))
}

fn line(selected: &Selected<'_>, words: &[String]) -> String {
    let shown: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    format!("{} {}", selected.path[0], shown.join(" ")).trim_end().to_owned()
}

fn without(words: &[String], surplus: &[&str]) -> Vec<String> {
    words.iter().filter(|word| !surplus.contains(&word.as_str())).cloned().collect()
}

fn see_help(selected: &Selected<'_>) -> String {
    format!("see `{} --help`", selected.path.join(" "))
}

/// The declared flags and the global ones.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional())
}

/// A name for a flag's value: an example where there is a usual one.
fn value_of(flag: &Arg) -> String {
    match flag.get_long() {
        Some("ip") => "192.0.2.7".to_owned(),
        Some("range") => "192.0.2.0/24".to_owned(),
        Some("duration" | "expiration" | "since" | "until" | "max-age") => "4h".to_owned(),
        Some("input" | "file" | "config") => "FILE".to_owned(),
        Some(name) => name.to_ascii_uppercase().replace('-', "_"),
        None => "VALUE".to_owned(),
    }
}

/// The most similar of the names, if one is similar.
fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let rated = names.map(|name| (strsim::jaro_winkler(word, name), name));
    let best = rated.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(score, _)| *score > 0.8).map(|(_, name)| name)
}

/// A word as a shell reads it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_corrected() {
        for (text, advice) in [
            ("4hours", "write it as 4h"),
            ("4 hours", "write it as 4h"),
            ("1 day, 12 hours", "write it as 1d12h"),
            ("30min", "write it as 30m"),
            ("1week", "write it as 7d"),
            ("2 Months", "write it as 60d"),
            ("1.5d", "write it as 36h"),
            ("90", "add a unit: 90s, 90m, 90h or 90d"),
            ("soon", "write it as in 30m, 4h, 7d or 1d12h"),
            ("", "write it as in 30m, 4h, 7d or 1d12h"),
        ] {
            assert_eq!(for_duration(text), advice, "{text}");
        }
    }

    #[test]
    fn addresses_and_ranges_are_told_apart() {
        for (text, advice) in [
            ("192.0.2.0/24", "it is a range: type `--range 192.0.2.0/24`"),
            ("192.0.2.7/32", "it is one address: type `--ip 192.0.2.7`"),
            ("2001:db8::7", "it is one address: type `--ip 2001:db8::7`"),
        ] {
            assert_eq!(for_address(text), advice);
        }
        assert!(for_address("192.0.2.0/99").contains("`--range 192.0.2.0/24`"));
        assert!(for_address("o'hara").ends_with(r"`--scope SCOPE --value 'o'\''hara'`"));
    }
}
