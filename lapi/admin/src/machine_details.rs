//! Details for `machines`: a log processor's metrics, its installed hub items, and the URL of a LAPI.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Write as _};

use palisade_lapi_config::{Output, ServerConfig};
use palisade_store::{Machine, UsageRow};
use palisade_wire::{HubItem, MetricsWindow, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output::{self, csv, json, light_table, line, print, properties};
use crate::session::Session;

/// The reads and parses of a log processor, summed over its reports.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Metrics {
    acquisition: Vec<Acquisition>,
    parsers: Vec<Parser>,
}

#[derive(Debug, Serialize)]
struct Acquisition {
    source: String,
    read: i64,
    parsed: i64,
    unparsed: i64,
}

#[derive(Debug, Serialize)]
struct Parser {
    source: String,
    parser: String,
    stage: String,
    parsed: i64,
    unparsed: i64,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    metrics: Vec<MetricsWindow>,
}

impl Metrics {
    /// Aggregates reports. One that cannot be parsed is ignored.
    pub(crate) fn of(reports: &[UsageRow]) -> Self {
        let mut sources: BTreeMap<String, [i64; 3]> = BTreeMap::new();
        let mut parsers: BTreeMap<(String, String, String), [i64; 2]> = BTreeMap::new();
        let payloads = reports.iter().filter_map(|row| serde_json::from_str::<Payload>(&row.payload).ok());
        for item in payloads.flat_map(|payload| payload.metrics).flat_map(|window| window.items) {
            let label = |name: &str| item.labels.get(name).cloned().unwrap_or_default();
            // Totals are truncated to integers, as in `cscli`.
            let count = item.value.as_i64().or_else(|| item.value.as_f64().map(|value| value as i64));
            let count = count.unwrap_or_default();
            let has_parser = item.labels.contains_key("parser_name");
            let column = match item.name.as_str() {
                "read" => 0,
                "parsed" => 1,
                "unparsed" => 2,
                _ => continue,
            };
            if has_parser {
                let key = (label("source"), label("parser_name"), label("parser_stage"));
                if column > 0 {
                    parsers.entry(key).or_default()[column - 1] += count;
                }
            } else {
                sources.entry(label("source")).or_default()[column] += count;
            }
        }
        Self {
            acquisition: sources
                .into_iter()
                .map(|(source, [read, parsed, unparsed])| Acquisition { source, read, parsed, unparsed })
                .collect(),
            parsers: parsers
                .into_iter()
                .map(|((source, parser, stage), [parsed, unparsed])| Parser {
                    source,
                    parser,
                    stage,
                    parsed,
                    unparsed,
                })
                .collect(),
        }
    }
}

/// The table of `machines inspect`.
pub(crate) fn human(fancy: bool, machine: &Machine, metrics: &Metrics) -> String {
    let shown = crate::machines::MachineView::from(machine);
    let time = |moment: Option<UnixMillis>| moment.map(UnixMillis::rfc3339).unwrap_or_default();
    let mut rows = vec![
        ("IP Address", machine.ip.clone()),
        ("Created At", machine.created_at.rfc3339()),
        ("Last Update", machine.updated_at.rfc3339()),
        ("Last Heartbeat", time(machine.last_heartbeat)),
        ("Validated?", machine.validated.to_string()),
        ("CrowdSec version", machine.version.clone()),
        ("OS", shown.os.clone()),
        ("Auth type", machine.auth_type.clone()),
    ];
    for (source, count) in &shown.datasources {
        rows.push(("Datasources", format!("{source}: {count}")));
    }
    rows.push(("Feature Flags", output::lines(&shown.featureflags)));
    let collections = installed(machine).remove("collections").unwrap_or_default();
    for collection in &collections {
        rows.push(("Collections", collection.name.clone()));
    }
    let mut text = properties(fancy, &format!("Machine: {}", machine.name), rows);
    let acquisition = metrics.acquisition.iter().map(|row| {
        vec![row.source.clone(), row.read.to_string(), row.parsed.to_string(), row.unparsed.to_string()]
    });
    let parsers = metrics.parsers.iter().map(|row| {
        vec![row.source.clone(), row.parser.clone(), row.parsed.to_string(), row.unparsed.to_string()]
    });
    text.push('\n');
    text.push_str(&light_table(
        "Acquisition Metrics",
        &["Source", "Read", "Parsed", "Unparsed"],
        acquisition,
    ));
    text.push('\n');
    text.push_str(&light_table("Parser Metrics", &["Source", "Parser", "Parsed", "Unparsed"], parsers));
    text
}

fn installed(machine: &Machine) -> BTreeMap<String, Vec<HubItem>> {
    serde_json::from_str(&machine.hub_state).unwrap_or_default()
}

/// `machines inspect --hub`.
pub(crate) fn hub(session: &Session, machine: &Machine) -> Result<(), Failure> {
    let installed = installed(machine);
    let rows = |items: &[HubItem]| -> Vec<Vec<String>> {
        items.iter().map(|item| vec![item.name.clone(), item.status.clone(), item.version.clone()]).collect()
    };
    match session.output {
        Output::Json => line(&json(&installed, 2)),
        Output::Raw => {
            let all = installed.iter().flat_map(|(kind, items)| {
                rows(items).into_iter().map(|row| [vec![kind.clone()], row].concat()).collect::<Vec<_>>()
            });
            print(&csv(&["type", "name", "status", "version"], all)?)
        }
        Output::Human => {
            for (kind, items) in installed.iter().filter(|(_, items)| !items.is_empty()) {
                let title = kind.to_uppercase();
                print(&light_table(&title, &["Name", "Status", "Version"], rows(items)))?;
            }
            Ok(())
        }
    }
}

/// The URL of this host's LAPI: its socket, or the address it listens on.
pub(crate) fn own_url(server: &ServerConfig) -> Option<String> {
    if let Some(socket) = &server.listen_socket {
        return Some(socket.display().to_string());
    }
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    server.listen_uri.as_ref().map(|listen| format!("{scheme}://{}/", reachable(listen)))
}

/// A wildcard address is replaced by loopback.
fn reachable(listen: &str) -> String {
    let Some((host, port)) = listen.rsplit_once(':') else { return listen.to_owned() };
    match host {
        "" | "0.0.0.0" => format!("127.0.0.1:{port}"),
        "[::]" => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

/// Prompts for a password, without echo on a terminal.
pub(crate) fn ask_password() -> Result<String, Failure> {
    let _ = write!(io::stderr(), "? Please provide a password for the machine: ");
    let _ = io::stderr().flush();
    let mut password = String::new();
    let hidden = EchoOff::begin();
    io::stdin().lock().read_line(&mut password)?;
    if hidden.0.is_some() {
        // The newline was not echoed either.
        output::note("");
    }
    drop(hidden);
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::Command("please specify a password with --password or use --auto".to_owned()));
    }
    Ok(password)
}

/// Disables the terminal's echo until dropped; `None` if there is no terminal.
struct EchoOff(Option<rustix::termios::Termios>);

impl EchoOff {
    fn begin() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &quiet);
        }
        Self(before)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Flush, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::UsageKind;

    #[test]
    fn the_lapi_is_reached_where_it_listens() {
        for (listen, url) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("lapi.example:1", "lapi.example:1"),
        ] {
            assert_eq!(reachable(listen), url);
        }
    }

    #[test]
    fn reports_are_summed_by_source_and_parser() {
        let report = |read: i64| UsageRow {
            kind: UsageKind::LogProcessor,
            producer: "m".into(),
            received_at: UnixMillis(0),
            payload: format!(
                r#"{{"metrics":[{{"meta":{{"window_size_seconds":1,"utc_now_timestamp":1}},"items":[
                    {{"name":"read","unit":"line","value":{read},"labels":{{"source":"/var/log/a"}}}},
                    {{"name":"parsed","unit":"line","value":2.9,"labels":{{"source":"/var/log/a"}}}},
                    {{"name":"unparsed","unit":"line","value":1,"labels":
                        {{"source":"/var/log/a","parser_name":"sshd","parser_stage":"s01"}}}}]}}]}}"#
            ),
        };
        let broken = UsageRow { payload: "{".into(), ..report(0) };
        let metrics = Metrics::of(&[report(3), broken, report(4)]);
        assert_eq!(
            serde_json::to_string(&metrics).unwrap(),
            concat!(
                r#"{"acquisition":[{"source":"/var/log/a","read":7,"parsed":4,"unparsed":0}],"#,
                r#""parsers":[{"source":"/var/log/a","parser":"sshd","stage":"s01","parsed":0,"unparsed":2}]}"#
            )
        );
        let machine = Machine {
            name: "m".into(),
            hub_state: r#"{"collections":[{"name":"a/linux","status":"official","version":"1"}]}"#.into(),
            ..Machine::default()
        };
        let text = human(false, &machine, &metrics);
        assert!(text.contains("| Collections      | a/linux"), "{text}");
        assert!(text.contains(" /var/log/a | sshd   | 0      | 2"), "{text}");
    }
}
