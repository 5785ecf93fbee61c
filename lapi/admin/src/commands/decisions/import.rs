//! Adds decisions for a list of values from a file or standard input, for `decisions import`.

use std::io::{self, BufRead, BufReader, IsTerminal as _, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use palisade_client::MachineClient;
use palisade_wire::{Alert, Decision, DurationError, GoDuration, Scope, UnixMillis};
use serde::Deserialize;

use crate::command_line::integer;
use crate::commands::input::open_input;
use crate::failure::Failure;
use crate::output::{line, print};
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
    #[serde(deserialize_with = "text")]
    duration: String,
    #[serde(deserialize_with = "text")]
    reason: String,
    #[serde(deserialize_with = "text")]
    scope: String,
    #[serde(rename = "type", deserialize_with = "text")]
    kind: String,
    #[serde(deserialize_with = "text")]
    value: String,
}

fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
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

/// Parses a list, line by line if the format has lines.
fn read(format: Format, from: impl Read) -> Result<Vec<Item>, Failure> {
    let unable = |reason: String| Failure::Command(format!("unable to parse {}: {reason}", format.word()));
    match format {
        Format::Json => {
            serde_json::from_reader(BufReader::new(from)).map_err(|error| unable(error.to_string()))
        }
        Format::Csv => {
            // Rows may end before the optional columns.
            let mut rows = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(from);
            rows.deserialize().collect::<Result<_, _>>().map_err(|error| unable(error.to_string()))
        }
        Format::Values => {
            let lines = BufReader::new(from).lines();
            let item = |line: String| Item { value: line.trim().to_owned(), ..Item::default() };
            lines
                .map(|line| line.map(item))
                .collect::<io::Result<_>>()
                .map_err(|error| unable(error.to_string()))
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
        match fields.into_iter().find(|(_, text)| text.is_empty()) {
            Some((name, _)) => Err(Failure::Command(format!("default {name} cannot be empty"))),
            None => Ok(()),
        }
    }

    fn decision(&self, number: usize, item: Item) -> Result<Decision, Failure> {
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        if item.value.is_empty() {
            return Err(Failure::Command(format!("item {number}: missing 'value'")));
        }
        let duration = or(item.duration, &self.duration);
        duration
            .parse::<GoDuration>()
            .map_err(|error| Failure::Command(format!("item {number}: invalid 'duration': {error}")))?;
        let scope = or(item.scope, &self.scope);
        Ok(Decision {
            duration,
            origin: "cscli-import".to_owned(),
            scenario: or(item.reason, &self.reason),
            scope: Scope::parse(&scope).as_str().to_owned(),
            kind: or(item.kind, &self.kind),
            value: item.value,
            ..Decision::default()
        })
    }
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    args.defaults.check()?;
    let format = Format::of(&args.format, &args.input)?;
    let (client, _) = session.client()?;
    line(&format!("Parsing {}", format.word()))?;
    let items = read(format, open_input(&args.input)?)?;
    let source = if args.input == "-" { "stdin" } else { &args.input };
    if items.is_empty() {
        return Err(Failure::Command("no decisions found".to_owned()));
    }
    let items = items.into_iter().enumerate();
    let decisions: Vec<Decision> =
        items.map(|(number, item)| args.defaults.decision(number, item)).collect::<Result<_, _>>()?;
    if decisions.len() > PROGRESS_FROM {
        line(&format!("You are about to add {} decisions, this may take a while", decisions.len()))?;
    }
    let size = match usize::try_from(args.batch) {
        Ok(0) | Err(_) => MAX_DECISIONS_PER_ALERT,
        Ok(size) => {
            line(&format!("batch size: {size}"))?;
            size
        }
    };
    let wanted = without_allowlisted(&client, decisions, size).await?;
    post(&client, &wanted, size, source).await?;
    // No final newline, as in `cscli`.
    print(&format!("Imported {} decisions", wanted.len()))
}

/// Removes entries that are on an allowlist; checks all of them before any decision is added.
async fn without_allowlisted(
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
                    bar.suspend(|| line(&format!("Value {} is allowlisted by [{reasons}]", decision.value)))?
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
    decisions: &[Decision],
    size: usize,
    source: &str,
) -> Result<(), Failure> {
    let bar = progress("Importing", decisions.len());
    for part in decisions.chunks(size) {
        let moment = UnixMillis::now().rfc3339();
        let alert = Alert {
            decisions: part.to_vec(),
            events_count: i32::try_from(part.len()).unwrap_or(i32::MAX),
            kind: "cscli".to_owned(),
            scenario: format!("import {source}: {} IPs", part.len()),
            start_at: moment.clone(),
            stop_at: moment.clone(),
            created_at: moment,
            ..Alert::default()
        };
        client.post_alerts(&[alert]).await?;
        bar.inc(part.len() as u64);
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
        let csv = "value,scope,duration\n1.2.3.4,,\n10.0.0.0/8,range,1d\n";
        assert_eq!(read(Format::Csv, csv.as_bytes()).unwrap(), wanted);
        let json =
            r#"[{"value":"1.2.3.4","reason":null},{"value":"10.0.0.0/8","scope":"range","duration":"1d"}]"#;
        assert_eq!(read(Format::Json, json.as_bytes()).unwrap(), wanted);
        assert_eq!(read(Format::Values, " 1.2.3.4 \r\n\n".as_bytes()).unwrap().len(), 2);
        assert!(
            read(Format::Json, "{".as_bytes()).unwrap_err().to_string().starts_with("unable to parse json: ")
        );

        let decision = defaults().decision(0, wanted[1].clone()).unwrap();
        assert_eq!(
            (&*decision.scope, &*decision.duration, &*decision.scenario, &*decision.kind, &*decision.origin),
            ("Range", "1d", "manual", "ban", "cscli-import")
        );
        assert_eq!(
            defaults().decision(1, Item::default()).unwrap_err().to_string(),
            "item 1: missing 'value'"
        );
        let bad = Item { value: "1.2.3.4".into(), duration: "soon".into(), ..Item::default() };
        assert_eq!(
            defaults().decision(7, bad).unwrap_err().to_string(),
            "item 7: invalid 'duration': time: invalid duration \"soon\""
        );
    }
}
