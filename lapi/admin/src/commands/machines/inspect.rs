//! Shows one machine in full, for `machines inspect`.

use std::collections::BTreeMap;

use palisade_lapi_config::Output;
use palisade_store::Machine;
use palisade_wire::{HubItem, UnixMillis};

use super::counters::Counters;
use super::view::MachineView;
use crate::failure::Failure;
use crate::output::{csv, json, light_table, line, print, properties};
use crate::session::Session;

/// The table of `machines inspect`.
pub(super) fn human(fancy: bool, machine: &Machine, counters: &Counters) -> String {
    let shown = MachineView::from(machine);
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
    rows.push(("Feature Flags", shown.featureflags.join("\n")));
    let collections = installed(machine).remove("collections").unwrap_or_default();
    for collection in &collections {
        rows.push(("Collections", collection.name.clone()));
    }
    let mut text = properties(fancy, &format!("Machine: {}", machine.name), rows);
    let acquisition = counters.acquisition.iter().map(|row| {
        vec![row.source.clone(), row.read.to_string(), row.parsed.to_string(), row.unparsed.to_string()]
    });
    let parsers = counters.parsers.iter().map(|row| {
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

pub(super) fn hub(session: &Session, machine: &Machine) -> Result<(), Failure> {
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
            print(&csv("type,name,status,version", all)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_store::{UsageKind, UsageRow};

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
        let counters = Counters::of(&[report(3), broken, report(4)]);
        assert_eq!(
            serde_json::to_string(&counters).unwrap(),
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
        let text = human(false, &machine, &counters);
        assert!(text.contains("| Collections      | a/linux"), "{text}");
        assert!(text.contains(" /var/log/a | sshd   | 0      | 2"), "{text}");
    }
}
