//! `profiles test`: shows the result of the profiles for an alert, without a server and without storing anything.

use std::io;
use std::path::PathBuf;

use palisade_lapi_config::Output;
use palisade_profiles::{NoHistory, Outcome, Profiles, StepResult};
use palisade_wire::{Alert, Source, UnixMillis};
use serde_json::{Value, json};

use super::filters::{SourceFilter, canonical_scope};
use crate::command_line::{given, integer};
use crate::failure::Failure;
use crate::output::{self, line, print, table};
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what the profiles make of an alert
    Test(Test),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// alert as JSON
    #[arg(value_name = "ALERT.json")]
    file: Option<String>,
    /// profiles file (default: api.server.profiles_path)
    #[arg(long)]
    profiles: Option<String>,
    /// alert as JSON, from this file or - for standard input
    #[arg(long, short)]
    alert: Option<String>,
    /// scenario of the alert (default test/scenario)
    #[arg(long, short)]
    scenario: Option<String>,
    #[command(flatten)]
    source: SourceFilter,
    /// scope of the source
    #[arg(long)]
    scope: Option<String>,
    /// whether the scenario asks for a decision
    // Only these values, so that a file name after the bare flag is not taken for one.
    #[arg(
        long,
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true",
        value_parser = ["true", "false", "yes", "no", "1", "0"]
    )]
    remediation: String,
    /// how many events there were
    #[arg(long, value_parser = integer, default_value = "1")]
    events: i64,
    /// mark the alert as simulated
    #[arg(long)]
    simulated: bool,
}

impl Test {
    pub(super) fn run(&self, session: &Session) -> Result<(), Failure> {
        let file = match given(&self.profiles) {
            Some(path) => PathBuf::from(path),
            None => session.server()?.profiles_path.clone().ok_or_else(|| {
                Failure::Command(
                    "empty profiles path; set api.server.profiles_path or use --profiles".to_owned(),
                )
            })?,
        };
        let profiles = Profiles::load(&file).map_err(|error| Failure::Command(error.to_string()))?;
        let alert = match given(&self.file).or(given(&self.alert)) {
            Some(input) => read_alert(input)?,
            None => self.build_alert()?,
        };
        let outcome = profiles
            // Without a database there is no history; a warning is logged below.
            .evaluate(&alert, &NoHistory)
            .map_err(|error| Failure::Command(format!("the LAPI would refuse this alert: {error}")))?;
        if profiles.needs_history() {
            session.log.warn("these profiles query earlier decisions; this test runs without any");
        }
        for decision in outcome.decisions.iter().filter(|decision| decision.duration.nanos() <= 0) {
            session.log.warn(&format!("a decision of '{}' is over before it begins", decision.duration));
        }
        match session.output {
            Output::Json => line(&output::json(&as_json(&outcome), 2)),
            Output::Raw => print(&raw(&outcome)?),
            Output::Human => print(&human(session.fancy, &outcome)),
        }
    }

    /// An alert with the properties that the flags give.
    fn build_alert(&self) -> Result<Alert, Failure> {
        let source = &self.source;
        let (scope, value) = match (given(&source.ip), given(&source.range), given(&source.value)) {
            (Some(ip), ..) => ("Ip".to_owned(), ip),
            (_, Some(range), _) => ("Range".to_owned(), range),
            (_, _, Some(value)) => (canonical_scope(&self.scope).unwrap_or_else(|| "Ip".to_owned()), value),
            _ => {
                return Err(Failure::Usage(
                    "no alert to test: give a JSON file (- for standard input), or --ip, --range or --scope and --value".to_owned(),
                ));
            }
        };
        let moment = UnixMillis::now().rfc3339();
        Ok(Alert {
            scenario: given(&self.scenario).unwrap_or("test/scenario").to_owned(),
            message: "a test".to_owned(),
            events_count: i32::try_from(self.events).unwrap_or(i32::MAX),
            remediation: !matches!(&*self.remediation, "false" | "no" | "0"),
            simulated: self.simulated,
            source: Source {
                ip: if scope == "Ip" { value.to_owned() } else { String::new() },
                range: if scope == "Range" { value.to_owned() } else { String::new() },
                scope,
                value: value.to_owned(),
                ..Source::default()
            },
            start_at: moment.clone(),
            stop_at: moment.clone(),
            created_at: moment,
            ..Alert::default()
        })
    }
}

fn read_alert(input: &str) -> Result<Alert, Failure> {
    let text = if input == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(input) };
    let text = text.map_err(|error| Failure::Command(format!("unable to read {input}: {error}")))?;
    parse(&text).map_err(|reason| Failure::Command(format!("unable to parse {input}: {reason}")))
}

/// Parses one alert, or the first of a list such as `alerts list -o json` prints.
fn parse(text: &str) -> Result<Alert, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let value = match value {
        // The output of `alerts inspect` is one alert, that of `alerts list` a list.
        Value::Array(list) => list.into_iter().next().ok_or("the list is empty")?,
        one => one,
    };
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn word(result: StepResult) -> &'static str {
    match result {
        StepResult::Matched => "matched",
        StepResult::NotMatched => "not matched",
        StepResult::Skipped => "skipped",
        StepResult::MatchedWithoutDecisions => "matched without decisions",
        _ => "unknown",
    }
}

fn as_json(outcome: &Outcome) -> Value {
    let decisions = outcome.decisions.iter().map(|decision| {
        json!({
            "type": decision.kind, "duration": decision.duration, "scope": decision.scope,
            "value": decision.value, "scenario": decision.scenario, "origin": decision.origin,
            "simulated": decision.simulated,
        })
    });
    let profiles = outcome.trace.iter().map(|step| {
        let filters = step.filters.iter().map(|filter| match &filter.result {
            Ok(result) => json!({"filter": filter.filter, "result": result}),
            Err(error) => json!({"filter": filter.filter, "error": error}),
        });
        json!({
            "name": step.profile, "result": word(step.result), "decisions": step.decisions,
            "stopped": step.stopped, "notes": step.notes, "filters": filters.collect::<Vec<_>>(),
        })
    });
    json!({
        "decisions": decisions.collect::<Vec<_>>(),
        "notifications": outcome.notify,
        "profiles": profiles.collect::<Vec<_>>(),
    })
}

fn raw(outcome: &Outcome) -> Result<String, Failure> {
    let rows = outcome.decisions.iter().map(|decision| {
        vec![
            decision.kind.clone(),
            decision.duration.to_string(),
            decision.scope.clone(),
            decision.value.clone(),
            decision.origin.clone(),
            decision.simulated.to_string(),
        ]
    });
    output::csv("type,duration,scope,value,origin,simulated", rows)
}

fn human(fancy: bool, outcome: &Outcome) -> String {
    let mut text = String::new();
    for step in &outcome.trace {
        let name = if step.profile.is_empty() { "(no name)" } else { &step.profile };
        text.push_str(&format!("Profile {name}: {}\n", word(step.result)));
        for filter in &step.filters {
            let result = match &filter.result {
                Ok(result) => result.to_string(),
                Err(error) => format!("error: {error}"),
            };
            text.push_str(&format!("  - {} => {result}\n", filter.filter.trim()));
        }
        for note in &step.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        if step.stopped {
            text.push_str("  stops here\n");
        }
    }
    text.push('\n');
    if outcome.decisions.is_empty() {
        text.push_str("No decision\n");
    } else {
        let rows = outcome.decisions.iter().map(|decision| {
            let kind =
                if decision.simulated { format!("(simul){}", decision.kind) } else { decision.kind.clone() };
            vec![
                kind,
                decision.duration.to_string(),
                format!("{}:{}", decision.scope, decision.value),
                decision.scenario.clone(),
                decision.origin.clone(),
            ]
        });
        let header = ["Action", "Duration", "Scope:Value", "Reason", "Origin"];
        text.push_str(&table(fancy).header(&header).rows(rows).render());
    }
    if !outcome.notify.is_empty() {
        text.push_str(&format!("Notifications: {}\n", outcome.notify.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_profiles::{FilterResult, ProfileDecision, Step};

    #[test]
    fn an_alert_is_read_alone_or_in_a_list() {
        assert_eq!(parse(r#"{"scenario":"a"}"#).unwrap().scenario, "a");
        assert_eq!(parse(r#"[{"scenario":"a"},{}]"#).unwrap().scenario, "a");
        assert!(parse("[]").is_err() && parse("x").is_err());
    }

    #[test]
    fn the_way_to_a_decision_is_shown() {
        let outcome = Outcome {
            decisions: vec![ProfileDecision {
                duration: "4h".parse().unwrap(),
                scope: "Ip".into(),
                kind: "ban".into(),
                value: "1.2.3.4".into(),
                scenario: "a/b".into(),
                origin: "crowdsec".into(),
                simulated: false,
            }],
            notify: vec!["http".into()],
            trace: vec![Step {
                profile: "default".into(),
                filters: vec![FilterResult { filter: "Alert.Remediation == true".into(), result: Ok(true) }],
                result: StepResult::Matched,
                decisions: 1,
                notes: vec![],
                stopped: true,
            }],
        };
        let text = human(false, &outcome);
        assert!(
            text.starts_with(
                "Profile default: matched\n  - Alert.Remediation == true => true\n  stops here\n"
            ),
            "{text}"
        );
        assert!(text.contains("| ban    | 4h0m0s   | Ip:1.2.3.4  | a/b    | crowdsec |"), "{text}");
        assert_eq!(as_json(&outcome)["decisions"][0]["duration"], "4h0m0s");
    }
}
