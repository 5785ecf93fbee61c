//! Shows one alert in full, for `alerts inspect`.

use palisade_wire::{Alert, GoDuration};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{self, one_line, table};

/// The human-readable form: summary, active decisions, context, and the events if `details` is set.
pub(super) fn human(fancy: bool, alert: &Alert, details: bool) -> String {
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
        text.push_str(&format!(" - {name:<12} : {}\n", one_line(&value)));
    }
    text.push('\n');
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
        let header = ["ID", "scope:value", "action", "expiration", "created_at"];
        text.push_str(&table(fancy).title("Active Decisions").header(&header).rows(rows).render());
    }
    let context: Vec<Vec<String>> = alert
        .meta
        .iter()
        .flat_map(|item| context_values(&item.value).into_iter().map(|value| vec![item.key.clone(), value]))
        .collect();
    if !context.is_empty() {
        text.push_str("\n - Context  :\n");
        text.push_str(&table(fancy).header(&["Key", "Value"]).rows(context).render());
    }
    if details {
        text.push_str("\n - Events  :\n");
        for event in &alert.events {
            text.push_str(&format!("\n- Date: {}\n", one_line(&event.timestamp)));
            let mut rows: Vec<Vec<String>> =
                event.meta.iter().flatten().map(|item| vec![item.key.clone(), item.value.clone()]).collect();
            // Events repeat their keys in any order.
            rows.sort();
            text.push_str(&table(fancy).header(&["Key", "Value"]).rows(rows).render());
        }
    }
    text
}

/// A context value is a JSON list in a string; anything else is shown unchanged.
fn context_values(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec![text.to_owned()])
}

/// The YAML for `-o raw`: Go's encoding, in which names are lower case and empty fields are present.
pub(super) fn yaml(alert: &Alert) -> Result<String, Failure> {
    // By way of text, because a conversion would print every digit of the coordinates as f64.
    let mut tree: Value = serde_json::from_str(&output::json(alert, 0)).expect("JSON was just written");
    let list =
        |tree: &mut Value, name: &str| tree[name].as_array_mut().map(std::mem::take).unwrap_or_default();
    let decisions =
        list(&mut tree, "decisions").into_iter().map(|it| go_shape(it, json!({"until": "", "uuid": ""})));
    let decisions: Vec<Value> = decisions.collect();
    let events: Vec<Value> =
        list(&mut tree, "events").into_iter().map(|it| go_shape(it, json!({}))).collect();
    let source = json!({
        "asname": "", "asnumber": "", "cn": "", "ip": "", "latitude": 0.0, "longitude": 0.0, "range": "",
    });
    let source = go_shape(tree["source"].take(), source);
    let mut shape = go_shape(tree, json!({"kind": "", "meta": [], "remediation": false, "uuid": ""}));
    (shape["decisions"], shape["events"], shape["source"]) = (decisions.into(), events.into(), source);
    output::yaml(&shape)
}

/// Adds the fields that JSON omits when empty, and renames the others.
fn go_shape(fields: Value, mut shape: Value) -> Value {
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            // Only lists are null.
            shape[name.replace('_', "")] = if value.is_null() { json!([]) } else { value };
        }
    }
    shape
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
            events: vec![Event { timestamp: "t".into(), meta: Some(vec![meta("source_ip", "1.2.3.4")]) }],
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
    fn a_text_of_a_client_cannot_look_like_another_field() {
        let mut alert = sample();
        alert.scenario = "a\n - Machine      : trusted".into();
        alert.events[0].timestamp = "t\nx".into();
        let text = human(false, &alert, true);
        assert!(text.contains(" - Reason       : a\\n - Machine      : trusted\n"), "{text}");
        assert!(text.contains("- Date: t\\nx\n"), "{text}");
    }

    #[test]
    fn raw_is_yaml_with_gos_names() {
        let text = yaml(&sample()).unwrap();
        assert!(text.contains("eventscount: 6\n"), "{text}");
        assert!(text.contains("scenario: a/b\n"), "{text}");
    }
}
