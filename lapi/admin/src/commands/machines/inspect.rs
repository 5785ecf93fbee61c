//! Shows one machine in full, for `machines inspect`.

use std::collections::BTreeMap;

use palisade_lapi_config::Output;
use palisade_store::Machine;
use palisade_wire::{HubItem, UnixMillis};

use super::counters::Counters;
use super::view::MachineView;
use crate::failure::Failure;
use crate::output::{csv, json, line, print, properties};
use crate::session::Session;
use crate::table::{Column, Table};

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
    rows.extend(shown.featureflags.iter().map(|flag| ("Feature Flags", (*flag).to_owned())));
    let collections = installed(machine).remove("collections").unwrap_or_default();
    rows.extend(collections.into_iter().map(|collection| ("Collections", collection.name)));
    let table = || Table::framed(fancy);
    let mut text = properties(table().title(&format!("Machine: {}", machine.name)), rows);
    if !counters.acquisition.is_empty() {
        let rows = counters.acquisition.iter().map(|row| {
            vec![row.source.clone(), row.read.to_string(), row.parsed.to_string(), row.unparsed.to_string()]
        });
        let table = table().title("Acquisition Metrics").header(&["Source", "Read", "Parsed", "Unparsed"]);
        text.push_str(&table.columns(vec![Column::LEFT, Column::RIGHT]).rows(rows).render());
    }
    if !counters.parsers.is_empty() {
        let rows = counters.parsers.iter().map(|row| {
            let parser = format!("{}/{}", row.stage, row.parser);
            vec![row.source.clone(), parser, row.parsed.to_string(), row.unparsed.to_string()]
        });
        let table = table().title("Parser Metrics").header(&["Source", "Parser", "Parsed", "Unparsed"]);
        let source = Column { once: true, ..Column::LEFT };
        text.push_str(&table.columns(vec![source, Column::LEFT, Column::RIGHT]).rows(rows).render());
    }
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
            if installed.is_empty() {
                return line("No hub items found for this machine");
            }
            for (kind, items) in installed.iter().filter(|(_, items)| !items.is_empty()) {
                let table = Table::framed(session.fancy).title(kind).header(&["Name", "Status", "Version"]);
                print(&table.rows(rows(items)).render())?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::machines::counters::{Acquisition, Parser};

    #[test]
    fn a_machine_is_shown_with_its_figures() {
        let machine = Machine {
            name: "web-1".into(),
            version: "v1.7.8".into(),
            validated: true,
            auth_type: "password".into(),
            feature_flags: "a,b".into(),
            datasources: r#"{"file":2}"#.into(),
            hub_state: r#"{"collections":[{"name":"x/linux"},{"name":"x/sshd"}]}"#.into(),
            ..Machine::default()
        };
        let source = || "file:/var/log/auth.log (syslog)".to_owned();
        let parser = |stage: &str, name: &str| Parser {
            source: source(),
            parser: name.into(),
            stage: stage.into(),
            parsed: 20,
            unparsed: 9,
        };
        let counters = Counters {
            acquisition: vec![Acquisition { source: source(), read: 29, parsed: 20, unparsed: 9 }],
            parsers: vec![parser("s00-raw", "x/syslog-logs"), parser("s01-parse", "x/sshd-logs")],
        };
        assert_eq!(
            human(false, &machine, &counters),
            concat!(
                "+-----------------------------------------+\n",
                "| Machine: web-1                          |\n",
                "+------------------+----------------------+\n",
                "| IP Address       |                      |\n",
                "| Created At       | 1970-01-01T00:00:00Z |\n",
                "| Last Update      | 1970-01-01T00:00:00Z |\n",
                "| Last Heartbeat   |                      |\n",
                "| Validated?       | true                 |\n",
                "| CrowdSec version | v1.7.8               |\n",
                "| OS               | ?                    |\n",
                "| Auth type        | password             |\n",
                "| Datasources      | file: 2              |\n",
                "| Feature Flags    | a                    |\n",
                "|                  | b                    |\n",
                "| Collections      | x/linux              |\n",
                "|                  | x/sshd               |\n",
                "+------------------+----------------------+\n",
                "+------------------------------------------------------------+\n",
                "| Acquisition Metrics                                        |\n",
                "+---------------------------------+------+--------+----------+\n",
                "| Source                          | Read | Parsed | Unparsed |\n",
                "+---------------------------------+------+--------+----------+\n",
                "| file:/var/log/auth.log (syslog) |   29 |     20 |        9 |\n",
                "+---------------------------------+------+--------+----------+\n",
                "+-----------------------------------------------------------------------------+\n",
                "| Parser Metrics                                                              |\n",
                "+---------------------------------+-----------------------+--------+----------+\n",
                "| Source                          | Parser                | Parsed | Unparsed |\n",
                "+---------------------------------+-----------------------+--------+----------+\n",
                "| file:/var/log/auth.log (syslog) | s00-raw/x/syslog-logs |     20 |        9 |\n",
                "|                                 | s01-parse/x/sshd-logs |     20 |        9 |\n",
                "+---------------------------------+-----------------------+--------+----------+\n",
            )
        );
        let young = Machine { name: "new".into(), ..Machine::default() };
        let text = human(false, &young, &Counters::default());
        assert!(!text.contains("Feature Flags") && !text.contains("Metrics"), "{text}");
    }
}
