//! Adds decisions for a list of values from a file or standard input, for `decisions import`.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use palisade_client::MachineClient;
use palisade_wire::{Alert, Decision, DurationError, GoDuration, Scope, UnixMillis};
use serde::Deserialize;

use super::{ends_at_once, lasts};
use crate::command_line::integer;
use crate::commands::input::{
    Rejects, check_address, open_input, optional_text, read_csv, read_text, without_comment,
};
use crate::failure::Failure;
use crate::output::{one_line, print};
use crate::session::Session;

/// Maximum decisions per alert if `--batch` is not given: stock servers refuse bodies beyond 50 MiB.
const MAX_DECISIONS_PER_ALERT: usize = 200_000;
/// The progress bar is shown for more than this many decisions.
const PROGRESS_FROM: usize = 1000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Input file
    #[arg(long, short)]
    input: String,
    #[command(flatten)]
    defaults: Defaults,
    /// Split import in batches of N decisions
    #[arg(long, value_parser = integer, default_value = "0", hide_default_value = true)]
    batch: i64,
    /// Input format: 'json', 'csv' or 'values' (each line is a value, no headers)
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Import nothing if a line cannot be used
    #[arg(long)]
    strict: bool,
}

/// Fields of entries that lack them.
#[derive(Debug, clap::Args)]
struct Defaults {
    /// Decision duration: 1h,4h,30m
    #[arg(long, short, value_parser = duration_text, default_value = "4h")]
    duration: String,
    /// Decision scope: ip,range,username
    #[arg(long, default_value = "Ip")]
    scope: String,
    #[arg(long, short = 'R', default_value = "manual", help = "Decision reason: <scenario-name>")]
    reason: String,
    /// Decision type: ban,captcha,throttle
    #[arg(long = "type", value_name = "TYPE", short = 't', default_value = "ban")]
    kind: String,
}

/// A duration in the form in which it was given, which is what is posted. That an empty one is wrong is reported later.
fn duration_text(text: &str) -> Result<String, DurationError> {
    if !text.is_empty() {
        text.parse::<GoDuration>()?;
    }
    Ok(text.to_owned())
}

/// One entry of the list. Flags supply missing fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Item {
    #[serde(deserialize_with = "optional_text")]
    duration: String,
    #[serde(deserialize_with = "optional_text")]
    reason: String,
    #[serde(deserialize_with = "optional_text")]
    scope: String,
    #[serde(rename = "type", deserialize_with = "optional_text")]
    kind: String,
    #[serde(deserialize_with = "optional_text")]
    value: String,
}

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Values,
}

impl Format {
    fn of(given: &str, input: &str) -> Result<Self, Failure> {
        let wanted = match (given, Path::new(input).extension().and_then(|end| end.to_str())) {
            ("", Some(end @ ("json" | "csv"))) => end,
            ("", _) => {
                return Err(Failure::Command(
                    "unable to guess format from file extension, please provide a format with --format flag"
                        .to_owned(),
                ));
            }
            (given, _) => given,
        };
        match wanted {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "values" => Ok(Self::Values),
            other => Err(Failure::Command(format!(
                "invalid format '{other}', expected one of 'json', 'csv', 'values'"
            ))),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Values => "values",
        }
    }
}

/// Parses a list. An entry that cannot be read is rejected; the others have their places, such as `line 3`.
fn read(format: Format, from: impl Read, rejects: &mut Rejects) -> Result<Vec<(String, Item)>, Failure> {
    let unable = |reason: String| Failure::Command(format!("unable to parse {}: {reason}", format.word()));
    let text = read_text(from, rejects)?;
    match format {
        Format::Json => {
            let list: Vec<serde_json::Value> =
                serde_json::from_str(&text).map_err(|error| unable(error.to_string()))?;
            let mut items = Vec::with_capacity(list.len());
            for (number, value) in list.into_iter().enumerate() {
                let place = format!("item {number}");
                match serde_json::from_value(value) {
                    Ok(item) => items.push((place, item)),
                    Err(error) => rejects.add(place, error),
                }
            }
            Ok(items)
        }
        Format::Csv => read_csv(&text, rejects),
        Format::Values => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let item = |value: &str| Item { value: value.trim().to_owned(), ..Item::default() };
            Ok(lines.map(|(index, line)| (format!("line {}", index + 1), item(line))).collect())
        }
    }
}

impl Defaults {
    fn check(&self) -> Result<(), Failure> {
        let fields = [
            ("duration", &self.duration),
            ("scope", &self.scope),
            ("reason", &self.reason),
            ("type", &self.kind),
        ];
        if let Some((name, _)) = fields.into_iter().find(|(_, text)| text.is_empty()) {
            return Err(Failure::Command(format!("default {name} cannot be empty")));
        }
        if self.duration.parse().is_ok_and(|span| !lasts(span)) {
            return Err(Failure::Command(ends_at_once(&self.duration)));
        }
        Ok(())
    }

    /// The decision of an entry, or why there is none.
    fn decision(&self, item: Item) -> Result<Decision, String> {
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let scope = or(item.scope, &self.scope);
        let scope = Scope::parse(&scope);
        let is_address = matches!(scope, Scope::Ip | Scope::Range);
        let value = without_comment(&item.value, is_address);
        if value.is_empty() {
            return Err("missing 'value'".to_owned());
        }
        if is_address {
            check_address(value)?;
        }
        let duration = or(item.duration, &self.duration);
        let span: GoDuration = duration.parse().map_err(|error| format!("invalid 'duration': {error}"))?;
        if !lasts(span) {
            return Err(format!("invalid 'duration': {}", ends_at_once(&duration)));
        }
        Ok(Decision {
            duration,
            origin: "cscli-import".to_owned(),
            scenario: or(item.reason, &self.reason),
            scope: scope.as_str().to_owned(),
            kind: or(item.kind, &self.kind),
            value: value.to_owned(),
            ..Decision::default()
        })
    }

    /// The decisions of a list, each once, and the number of repeats.
    fn decisions(&self, items: Vec<(String, Item)>, rejects: &mut Rejects) -> (Vec<Decision>, usize) {
        let (mut decisions, mut seen, mut repeats) = (Vec::with_capacity(items.len()), HashSet::new(), 0);
        for (place, item) in items {
            match self.decision(item) {
                Ok(decision) => {
                    // One prefix may be spelled in several ways.
                    let value = palisade_net::parse_prefix(&decision.value)
                        .map_or_else(|_| decision.value.clone(), |net| net.to_string());
                    let Decision { scope, kind, duration, scenario, .. } = decision.clone();
                    if seen.insert((scope, kind, duration, scenario, value)) {
                        decisions.push(decision);
                    } else {
                        repeats += 1;
                    }
                }
                Err(reason) => rejects.add(place, reason),
            }
        }
        (decisions, repeats)
    }
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    args.defaults.check()?;
    let format = Format::of(&args.format, &args.input)?;
    let (client, _) = session.client()?;
    session.report(&format!("Parsing {}", format.word()))?;
    let mut rejects = Rejects::default();
    let items = read(format, open_input(&args.input)?, &mut rejects)?;
    let source = if args.input == "-" { "stdin" } else { &args.input };
    let (decisions, repeats) = args.defaults.decisions(items, &mut rejects);
    rejects.report(session, args.strict)?;
    if decisions.is_empty() {
        return Err(Failure::Command("no decisions found".to_owned()));
    }
    if repeats > 0 {
        session.log.info(&format!("{repeats} repeated entries skipped"));
    }
    if decisions.len() > PROGRESS_FROM {
        session
            .report(&format!("You are about to add {} decisions, this may take a while", decisions.len()))?;
    }
    let size = match usize::try_from(args.batch) {
        Ok(0) | Err(_) => MAX_DECISIONS_PER_ALERT,
        Ok(size) => {
            session.report(&format!("batch size: {size}"))?;
            size
        }
    };
    let wanted = without_allowlisted(session, &client, decisions, size).await?;
    let count = wanted.len();
    post(&client, wanted, size, source).await?;
    let result = format!("Imported {count} decisions");
    // No final newline, as in `cscli`.
    if session.as_cscli { print(&result) } else { session.report(&result) }
}

/// Removes entries that are on an allowlist; checks all of them before any decision is added.
async fn without_allowlisted(
    session: &Session,
    client: &MachineClient,
    decisions: Vec<Decision>,
    size: usize,
) -> Result<Vec<Decision>, Failure> {
    let bar = progress("Checking allowlists", decisions.len());
    let mut wanted = Vec::with_capacity(decisions.len());
    let mut rest = decisions.into_iter().peekable();
    while rest.peek().is_some() {
        let part: Vec<Decision> = rest.by_ref().take(size).collect();
        bar.inc(part.len() as u64);
        let addresses = part.iter().filter(|decision| matches!(&*decision.scope, "Ip" | "Range"));
        let targets: Vec<String> = addresses.map(|decision| decision.value.clone()).collect();
        let listed = match targets.is_empty() {
            true => Vec::new(),
            false => client.check_allowlists(targets).await?.results,
        };
        let listed: std::collections::HashMap<String, String> =
            listed.into_iter().map(|result| (result.target, result.allowlists.join(" "))).collect();
        for decision in part {
            match listed.get(&decision.value).filter(|_| matches!(&*decision.scope, "Ip" | "Range")) {
                Some(reasons) => {
                    let reasons = one_line(reasons);
                    bar.suspend(|| {
                        session.report(&format!("Value {} is allowlisted by [{reasons}]", decision.value))
                    })?
                }
                None => wanted.push(decision),
            }
        }
    }
    bar.finish_and_clear();
    Ok(wanted)
}

async fn post(
    client: &MachineClient,
    decisions: Vec<Decision>,
    size: usize,
    source: &str,
) -> Result<(), Failure> {
    let bar = progress("Importing", decisions.len());
    let mut rest = decisions.into_iter();
    while rest.len() > 0 {
        let part: Vec<Decision> = rest.by_ref().take(size).collect();
        let count = part.len();
        let moment = UnixMillis::now().rfc3339();
        let alert = Alert {
            decisions: part,
            events_count: i32::try_from(count).unwrap_or(i32::MAX),
            kind: "cscli".to_owned(),
            scenario: format!("import {source}: {count} IPs"),
            start_at: moment.clone(),
            stop_at: moment.clone(),
            created_at: moment,
            ..Alert::default()
        };
        client.post_alerts(&[alert]).await?;
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A progress bar on a terminal; hidden in a pipe or a log.
fn progress(what: &'static str, count: usize) -> ProgressBar {
    if count <= PROGRESS_FROM || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults { duration: "4h".into(), scope: "Ip".into(), reason: "manual".into(), kind: "ban".into() }
    }

    #[test]
    fn the_format_is_guessed_or_given() {
        for (given, input, format) in [
            ("", "a.json", Ok(Format::Json)),
            ("", "dir.json/a.csv", Ok(Format::Csv)),
            ("values", "-", Ok(Format::Values)),
            ("csv", "a.json", Ok(Format::Csv)),
            (
                "",
                "-",
                Err("unable to guess format from file extension, please provide a format with --format flag"),
            ),
            (
                "",
                "a.txt",
                Err("unable to guess format from file extension, please provide a format with --format flag"),
            ),
            ("xml", "a", Err("invalid format 'xml', expected one of 'json', 'csv', 'values'")),
        ] {
            let got = Format::of(given, input).map_err(|failure| failure.to_string());
            assert_eq!(got, format.map_err(str::to_owned), "{given} {input}");
        }
    }

    #[test]
    fn three_formats_say_the_same() {
        let wanted = [
            Item { value: "1.2.3.4".into(), ..Item::default() },
            Item {
                value: "10.0.0.0/8".into(),
                scope: "range".into(),
                duration: "1d".into(),
                ..Item::default()
            },
        ];
        let entries = |format, text: &str| {
            let mut rejects = Rejects::default();
            let items = read(format, text.as_bytes(), &mut rejects).unwrap();
            assert_eq!(rejects.count(), 0);
            items.into_iter().map(|(_, item)| item).collect::<Vec<_>>()
        };
        let csv = "value,scope,duration\n1.2.3.4,,\n10.0.0.0/8,range,1d\n";
        assert_eq!(entries(Format::Csv, csv), wanted);
        let json =
            r#"[{"value":"1.2.3.4","reason":null},{"value":"10.0.0.0/8","scope":"range","duration":"1d"}]"#;
        assert_eq!(entries(Format::Json, json), wanted);
        assert_eq!(entries(Format::Values, " 1.2.3.4 \r\n\n").len(), 1);
        let mut none = Rejects::default();
        for (format, text, error) in [
            (Format::Json, "{", "unable to parse json: "),
            (
                Format::Csv,
                "1.2.3.4\n5.6.7.8\n",
                "unable to parse csv: its first line does not name a column 'value'",
            ),
        ] {
            let failure = read(format, text.as_bytes(), &mut none).unwrap_err().to_string();
            assert!(failure.starts_with(error), "{failure}");
        }

        let decision = defaults().decision(wanted[1].clone()).unwrap();
        assert_eq!(
            (&*decision.scope, &*decision.duration, &*decision.scenario, &*decision.kind, &*decision.origin),
            ("Range", "1d", "manual", "ban", "cscli-import")
        );
        let item = |value: &str, duration: &str| Item {
            value: value.into(),
            duration: duration.into(),
            ..Item::default()
        };
        for (bad, reason) in [
            (Item::default(), "missing 'value'"),
            (item("# only a comment", ""), "missing 'value'"),
            (item("1.2.3.4", "soon"), "invalid 'duration': time: invalid duration \"soon\""),
            (
                item("1.2.3.4", "-1h"),
                "invalid 'duration': a decision of '-1h' is over before it begins; give a positive duration",
            ),
            (item("1.2.3.4/33", ""), "\"1.2.3.4/33\" is neither an address nor a range"),
        ] {
            assert_eq!(defaults().decision(bad).unwrap_err(), reason);
        }
    }

    #[test]
    fn comments_are_cut_repeats_dropped_and_bad_lines_named() {
        let list = "\u{feff}# list\r\n192.0.2.1\r\n192.0.2.1/32 # again\n\n::ffff:192.0.2.1\nnonsense\n\
                    2001:DB8::1 ; x\n2001:db8:0::1\n192.0.2.0/24//net\n";
        let csv =
            "; list\nvalue,duration\n192.0.2.1,\n# no\n\"192.0.2.1\",4h\n,1h\n192.0.2.2,0s\n192.0.2.3\n";
        let json = "// list\n[{\"value\":\"192.0.2.1\"},\n3,\n{\"value\":7},{\"value\":\"192.0.2.2\"}]\n";
        for (format, text, values, repeats, bad) in [
            (Format::Values, list, &["192.0.2.1", "2001:DB8::1", "192.0.2.0/24"][..], 3, 1),
            (Format::Csv, csv, &["192.0.2.1", "192.0.2.3"], 1, 2),
            (Format::Json, json, &["192.0.2.1", "192.0.2.2"], 0, 2),
        ] {
            let mut rejects = Rejects::default();
            let items = read(format, text.as_bytes(), &mut rejects).unwrap();
            let (decisions, repeated) = defaults().decisions(items, &mut rejects);
            let got: Vec<&str> = decisions.iter().map(|decision| &*decision.value).collect();
            assert_eq!((&got[..], repeated, rejects.count()), (values, repeats, bad), "{text}");
        }
    }
}
