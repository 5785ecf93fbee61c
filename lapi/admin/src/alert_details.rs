//! `alerts inspect`: one alert in full.

use palisade_wire::{Alert, GoDuration};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{light_table, table};

/// The human-readable form: summary, active decisions, context, and the events if `details` is set.
pub(crate) fn human(fancy: bool, alert: &Alert, details: bool) -> String {
    let source = &alert.source;
    let about = if source.value.is_empty() {
        source.scope.clone()
    } else {
        format!("{}:{}", source.scope, source.value)
    };
    let rule = "#".repeat(96);
    let mut text = format!("\n{rule}\n\n");
    for (name, value) in [
        ("ID", alert.id.to_string()),
        ("Date", alert.created_at.clone()),
        ("Machine", alert.machine_id.clone()),
        ("Simulation", alert.simulated.to_string()),
        ("Remediation", alert.remediation.to_string()),
        ("Kind", alert.kind.clone()),
        ("Reason", alert.scenario.clone()),
        ("Events Count", alert.events_count.to_string()),
        ("Scope:Value", about),
        ("Country", source.cn.clone()),
        ("AS", source.as_name.clone()),
        ("Begin", alert.start_at.clone()),
        ("End", alert.stop_at.clone()),
        ("UUID", alert.uuid.clone()),
    ] {
        text.push_str(&format!(" - {name:<12} : {value}\n"));
    }
    let active = alert
        .decisions
        .iter()
        .filter(|decision| decision.duration.parse::<GoDuration>().is_ok_and(|left| !left.is_negative()));
    let rows: Vec<Vec<String>> = active
        .map(|decision| {
            vec![
                decision.id.to_string(),
                format!("{}:{}", decision.scope, decision.value),
                decision.kind.clone(),
                decision.duration.clone(),
                alert.created_at.clone(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str("\n - Active Decisions  :\n");
        text.push_str(&table(fancy, &["ID", "scope:value", "action", "expiration", "created_at"], rows));
    }
    let context: Vec<Vec<String>> = alert
        .meta
        .iter()
        .flat_map(|item| context_values(&item.value).into_iter().map(|value| vec![item.key.clone(), value]))
        .collect();
    if !context.is_empty() {
        text.push_str("\n - Context  :\n");
        text.push_str(&table(fancy, &["Key", "Value"], context));
    }
    if details {
        text.push_str("\n - Events  :\n");
        for event in &alert.events {
            text.push_str(&format!("\n - Date: {}\n", event.timestamp));
            let mut rows: Vec<Vec<String>> =
                event.meta.iter().map(|item| vec![item.key.clone(), item.value.clone()]).collect();
            rows.sort();
            text.push_str(&light_table("", &["Key", "Value"], rows));
        }
    }
    text
}

/// A context value is a JSON list in a string; anything else is shown unchanged.
fn context_values(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}

/// The field names of Go's YAML encoding of an alert.
#[derive(Serialize)]
struct Yaml<'a> {
    capacity: i32,
    createdat: &'a str,
    decisions: Vec<YamlDecision<'a>>,
    events: Vec<YamlEvent<'a>>,
    eventscount: i32,
    id: i64,
    kind: &'a str,
    labels: &'a [String],
    leakspeed: &'a str,
    machineid: &'a str,
    message: &'a str,
    meta: Vec<YamlMeta<'a>>,
    remediation: bool,
    scenario: &'a str,
    scenariohash: &'a str,
    scenarioversion: &'a str,
    simulated: bool,
    source: YamlSource<'a>,
    startat: &'a str,
    stopat: &'a str,
    uuid: &'a str,
}

#[derive(Serialize)]
struct YamlDecision<'a> {
    duration: &'a str,
    id: i64,
    origin: &'a str,
    scenario: &'a str,
    scope: &'a str,
    simulated: bool,
    #[serde(rename = "type")]
    kind: &'a str,
    until: &'a str,
    uuid: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct YamlEvent<'a> {
    meta: Vec<YamlMeta<'a>>,
    timestamp: &'a str,
}

#[derive(Serialize)]
struct YamlMeta<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct YamlSource<'a> {
    asname: &'a str,
    asnumber: &'a str,
    cn: &'a str,
    ip: &'a str,
    latitude: f32,
    longitude: f32,
    range: &'a str,
    scope: &'a str,
    value: &'a str,
}

/// The YAML for `-o raw`.
pub(crate) fn yaml(alert: &Alert) -> Result<String, Failure> {
    fn shown(list: &[palisade_wire::MetaItem]) -> Vec<YamlMeta<'_>> {
        list.iter().map(|item| YamlMeta { key: &item.key, value: &item.value }).collect()
    }
    let source = &alert.source;
    let shape = Yaml {
        capacity: alert.capacity,
        createdat: &alert.created_at,
        decisions: alert
            .decisions
            .iter()
            .map(|decision| YamlDecision {
                duration: &decision.duration,
                id: decision.id,
                origin: &decision.origin,
                scenario: &decision.scenario,
                scope: &decision.scope,
                simulated: decision.simulated,
                kind: &decision.kind,
                until: "",
                uuid: &decision.uuid,
                value: &decision.value,
            })
            .collect(),
        events: alert
            .events
            .iter()
            .map(|event| YamlEvent { meta: shown(&event.meta), timestamp: &event.timestamp })
            .collect(),
        eventscount: alert.events_count,
        id: alert.id,
        kind: &alert.kind,
        labels: &alert.labels,
        leakspeed: &alert.leakspeed,
        machineid: &alert.machine_id,
        message: &alert.message,
        meta: shown(&alert.meta),
        remediation: alert.remediation,
        scenario: &alert.scenario,
        scenariohash: &alert.scenario_hash,
        scenarioversion: &alert.scenario_version,
        simulated: alert.simulated,
        source: YamlSource {
            asname: &source.as_name,
            asnumber: &source.as_number,
            cn: &source.cn,
            ip: &source.ip,
            latitude: source.latitude,
            longitude: source.longitude,
            range: &source.range,
            scope: &source.scope,
            value: &source.value,
        },
        startat: &alert.start_at,
        stopat: &alert.stop_at,
        uuid: &alert.uuid,
    };
    serde_saphyr::to_string(&shape).map_err(|error| Failure::Command(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_wire::{Decision, Event, MetaItem, Source};

    fn sample() -> Alert {
        let meta = |key: &str, value: &str| MetaItem { key: key.into(), value: value.into() };
        Alert {
            id: 7,
            events_count: 6,
            scenario: "a/b".into(),
            source: Source { scope: "Ip".into(), value: "1.2.3.4".into(), ..Source::default() },
            decisions: vec![
                Decision {
                    id: 1,
                    duration: "-5s".into(),
                    scope: "Ip".into(),
                    value: "gone".into(),
                    ..Decision::default()
                },
                Decision {
                    id: 2,
                    duration: "3h".into(),
                    scope: "Ip".into(),
                    value: "1.2.3.4".into(),
                    kind: "ban".into(),
                    ..Decision::default()
                },
            ],
            meta: vec![meta("target_user", r#"["root","admin"]"#), meta("odd", "plain")],
            events: vec![Event { timestamp: "t".into(), meta: vec![meta("source_ip", "1.2.3.4")] }],
            ..Alert::default()
        }
    }

    #[test]
    fn only_what_holds_is_listed_and_context_is_taken_apart() {
        let text = human(false, &sample(), true);
        assert!(text.contains(" - Scope:Value  : Ip:1.2.3.4\n"), "{text}");
        assert!(text.contains("| 2  | Ip:1.2.3.4  | ban    | 3h "), "{text}");
        assert!(!text.contains("gone"), "{text}");
        assert!(
            text.contains("| target_user | root  |\n| target_user | admin |\n| odd         | plain |"),
            "{text}"
        );
        assert!(text.contains(" source_ip | 1.2.3.4"), "{text}");
    }

    #[test]
    fn raw_is_yaml_with_gos_names() {
        let text = yaml(&sample()).unwrap();
        assert!(text.contains("eventscount: 6\n"), "{text}");
        assert!(text.contains("scenario: a/b\n"), "{text}");
    }
}
