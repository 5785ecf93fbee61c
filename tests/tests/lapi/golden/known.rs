//! What ours answers otherwise than the recorded server at every step of a kind, with the reason.

use serde_json::{Value, json};

use super::chapter::{Answer, Step};

/// A change that holds for many steps.
pub(crate) struct Known {
    #[expect(dead_code, reason = "for the reader")]
    pub(crate) why: &'static str,
    /// Makes of the recorded answer what ours has to be; sees ours for what only ours keeps.
    pub(crate) apply: fn(&Step, &mut Answer, &Answer),
}

pub(crate) const KNOWN: &[Known] = &[
    Known {
        why: "empty lists of a stream are arrays, since 1.7.8",
        apply: |step, answer, _| {
            if !is_stream(step) {
                return;
            }
            for list in ["new", "deleted"] {
                if let Some(list @ Value::Null) = answer.json.as_mut().and_then(|json| json.get_mut(list)) {
                    *list = json!([]);
                }
            }
        },
    },
    Known {
        why: "a stream's type names no character set, since 1.7.8",
        apply: |step, answer, _| {
            if is_stream(step) && answer.status == 200 && step.method == "GET" {
                answer.r#type = Some("application/json".to_owned());
            }
        },
    },
    Known {
        why: "decisions of a stream carry their UUID, since 1.5.0",
        apply: |step, answer, _| {
            if !is_stream(step) {
                return;
            }
            for list in ["new", "deleted"] {
                let list = answer.json.as_mut().and_then(|json| json.get_mut(list));
                for decision in list.and_then(Value::as_array_mut).into_iter().flatten() {
                    decision["uuid"] = json!("<uuid>");
                }
            }
        },
    },
    Known {
        why: "an alert's times are RFC 3339, since 1.7.0",
        apply: |step, answer, _| {
            if step.path.starts_with("/v1/alerts") {
                answer.json.iter_mut().for_each(modern_times);
            }
        },
    },
    Known {
        why: "an alert has a UUID, and tells whether remediation was asked for",
        apply: |step, answer, ours| {
            if let (true, Some(json), Some(ours)) =
                (step.path.starts_with("/v1/alerts"), &mut answer.json, &ours.json)
            {
                kept_by_ours(json, ours);
            }
        },
    },
    Known {
        why: "bad durations are described in the words of 1.7.8",
        apply: |_, answer, ours| {
            let ours = ours.json.as_ref().and_then(|json| json["message"].as_str()).unwrap_or_default();
            if let Some(Value::String(text)) = answer.json.as_mut().and_then(|json| json.get_mut("message")) {
                *text = modern_words(text, ours);
            }
        },
    },
];

/// The text of 1.7.8; the UUID of an alert is that in `ours`.
fn modern_words(stock: &str, ours: &str) -> String {
    if let Some(rest) = stock.strip_prefix("unable to create alerts: decision duration ") {
        let head = ours.split("creating alert decisions: ").next().unwrap_or_default();
        return format!(
            "{head}creating alert decisions: decision duration {}",
            rest.replacen("' : ", "': ", 1).replacen(
                "time: invalid duration \"\"",
                "empty duration string",
                1
            )
        );
    }
    stock.to_owned()
}

fn kept_by_ours(alerts: &mut Value, ours: &Value) {
    match (alerts, ours) {
        (Value::Array(alerts), Value::Array(ours)) => {
            alerts.iter_mut().zip(ours).for_each(|(alert, ours)| kept_by_ours(alert, ours));
        }
        (Value::Object(alert), Value::Object(ours)) if alert.contains_key("scenario_hash") => {
            alert.insert("uuid".to_owned(), json!("<uuid>"));
            if ours.get("remediation") == Some(&json!(true)) {
                alert.insert("remediation".to_owned(), json!(true));
            }
        }
        _ => {}
    }
}

/// What is wrong with a body is described in the JSON library's words, and of missing fields the first is named.
pub(crate) fn body_errors(answer: &mut Answer, ours: &Answer) {
    let ours = ours.json.as_ref().and_then(|json| json["message"].as_str()).unwrap_or_default();
    if let Some(Value::String(text)) = answer.json.as_mut().and_then(|json| json.get_mut("message")) {
        *text = body_error(text, ours);
    }
}

fn body_error(stock: &str, ours: &str) -> String {
    const HEADING: &str = "validation failure list:\n";
    const MALFORMED: [&str; 4] = ["json: cannot unmarshal", "invalid character", "EOF", "unexpected EOF"];
    let plain = stock.strip_prefix("missing: ").unwrap_or(stock);
    if MALFORMED.iter().any(|beginning| plain.starts_with(beginning)) {
        return ours.to_owned();
    }
    match stock.rsplit_once(HEADING) {
        Some((_, fields)) => format!("{HEADING}{}", fields.lines().next().unwrap_or_default()),
        None => stock.to_owned(),
    }
}

fn is_stream(step: &Step) -> bool {
    step.path.starts_with("/v1/decisions/stream")
}

fn modern_times(value: &mut Value) {
    match value {
        Value::Array(alerts) => alerts.iter_mut().for_each(modern_times),
        Value::Object(alert) => {
            for name in ["start_at", "stop_at"] {
                if let Some(Value::String(text)) = alert.get_mut(name) {
                    if text == "<now, Go's form>" {
                        "<now, RFC 3339>".clone_into(text);
                    } else if let Some((time, "+0000 UTC")) = text.split_at_checked(20) {
                        *text = format!("{}Z", time.trim_end().replace(' ', "T"));
                    }
                }
            }
        }
        _ => {}
    }
}
