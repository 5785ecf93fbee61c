use super::*;
use crate::Decision;
use crate::request_body::body_text;

fn sound() -> serde_json::Value {
    serde_json::json!({
        "scenario": "a/b", "scenario_hash": "", "scenario_version": "", "message": "m", "events_count": 1,
        "start_at": "2026-07-01T10:00:00Z", "stop_at": "2026-07-01T10:00:00Z", "capacity": 0,
        "leakspeed": "0", "simulated": false, "events": [], "source": {"scope": "ip", "value": "192.0.2.1"},
        "decisions": [{"duration": "4h", "origin": "cscli", "scenario": "s", "scope": "Ip", "type": "ban",
                       "value": "192.0.2.1", "simulated": true, "uuid": "ignored", "id": 9}],
        "meta": [{"key": "k", "value": "[\"v\"]"}, null], "labels": null, "remediation": true,
    })
}

fn validated(alert: &serde_json::Value) -> Result<Alert, String> {
    let body = serde_json::to_string(&[alert]).unwrap();
    let mut alerts = read_alerts(&body).map_err(|error| error.to_string())?;
    let valid = alerts.remove(0).validate(0).map_err(|failure| failure.to_string())?;
    let decisions = valid.decisions.into_iter().map(|decision| Decision {
        duration: decision.duration.into(),
        origin: decision.origin.into(),
        scenario: decision.scenario.into(),
        scope: decision.scope.into(),
        simulated: decision.simulated,
        kind: decision.kind.into(),
        value: decision.value.into(),
        ..Decision::default()
    });
    Ok(Alert { decisions: decisions.collect(), ..valid.alert })
}

#[test]
fn a_sound_alert_is_taken_whole() {
    let alert = validated(&sound()).unwrap();
    assert_eq!(alert.source.value, "192.0.2.1");
    assert_eq!(alert.decisions[0].kind, "ban");
    assert!(alert.decisions[0].simulated && alert.remediation);
    assert_eq!((alert.decisions[0].id, &*alert.decisions[0].uuid), (0, ""));
    assert_eq!(alert.meta.len(), 1);
}

#[test]
fn what_is_posted_is_taken() {
    let events = vec![Event { meta: Some(Vec::new()), timestamp: "t".into() }];
    let alert = Alert { scenario: "a/b".into(), remediation: true, events, ..Alert::default() };
    let body = serde_json::to_string(&[alert.posting()]).unwrap();
    let valid = ValidAlert { alert, decisions: Vec::new() };
    assert_eq!(read_alerts(&body).unwrap().remove(0).validate(0).unwrap(), valid);
}

#[test]
fn the_first_missing_field_is_named() {
    for (pointer, name) in [
        ("", "scenario"),
        ("", "source"),
        ("/source", "source.scope"),
        ("", "events"),
        ("/decisions/0", "decisions.0.type"),
        ("/events/0", "events.0.meta"),
    ] {
        for null in [false, true] {
            let mut alert = sound();
            alert["events"] = serde_json::json!([{"timestamp": "t", "meta": []}]);
            let object = alert.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            let key = name.rsplit('.').next().unwrap();
            if null {
                object[key] = serde_json::Value::Null;
            } else {
                object.remove(key);
            }
            let text = format!("validation failure list:\n0.{name} in body is required");
            assert_eq!(validated(&alert).unwrap_err(), text);
        }
    }
    for list in ["decisions", "events"] {
        let mut alert = sound();
        alert[list] = serde_json::json!([null]);
        assert!(validated(&alert).unwrap_err().ends_with(&format!("\n0.{list}.0 in body is required")));
    }
}

#[test]
fn bodies_are_read_leniently() {
    for (body, count) in [
        ("[]", 0),
        ("null", 0),
        ("[null]", 1),
        (" [{\"scenario\":\"x\"}] trailing", 1),
        ("[{\"scenario\":null,\"unknown\":[{}]}]", 1),
    ] {
        assert_eq!(read_alerts(body).map(|alerts| alerts.len()), Ok(count), "{body}");
    }
    let named = |body: &[u8]| read_alerts(&body_text(body)).unwrap().remove(0).scenario;
    assert_eq!(named(b"[{\"scenario\":\"\xff\"}]").as_deref(), Some("\u{fffd}"));

    for (body, beginning) in [
        ("", "EOF"),
        ("[", "EOF"),
        ("{}", "invalid type: map"),
        ("[1]", "0: invalid type: integer `1`"),
        (r#"[{"scenario":5}]"#, "0.scenario: invalid type: integer `5`, expected a string"),
        (r#"[{"events_count":1.5}]"#, "0.events_count: invalid type: floating point `1.5`, expected i32"),
        (r#"[{"capacity":3000000000}]"#, "0.capacity: invalid value: integer `3000000000`, expected i32"),
        (r#"[{"source":{"latitude":"north"}}]"#, "0.source.latitude: invalid type: string \"north\""),
        (r#"[{"decisions":[{"duration":4}]}]"#, "0.decisions.0.duration: invalid type"),
        ("[{'a':1}]", "0: key must be a string"),
    ] {
        let error = read_alerts(body).unwrap_err();
        assert!(matches!(&error, BodyError::Malformed(text) if text.starts_with(beginning)), "{error}");
    }
}

/// A response does not repeat megabytes of what was sent, and deep nesting is an error.
#[test]
fn complaints_are_short() {
    let long = "x".repeat(1 << 20);
    for body in [format!(r#"[{{"capacity":"{long}"}}]"#), "[".repeat(1 << 20)] {
        assert!(read_alerts(&body).unwrap_err().to_string().len() < 1000);
    }
}

#[test]
fn an_alert_is_named_by_scenario_and_source() {
    let alerts = read_alerts(r#"[{"scenario":"a/b","source":{"value":"192.0.2.1"}},{}]"#).unwrap();
    assert_eq!(alerts[0].name(), r#""a/b" about "192.0.2.1""#);
    assert_eq!(alerts[1].name(), r#""no scenario" about "nobody""#);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = read_alerts(&body_text(&bytes));
    }

    #[test]
    fn what_is_taken_was_there(
        text in proptest::prelude::any::<String>(),
        count in proptest::prelude::any::<i32>(),
    ) {
        let mut alert = sound();
        alert["scenario"] = text.clone().into();
        alert["events_count"] = count.into();
        let body = serde_json::to_string(&[alert]).unwrap();
        let read = read_alerts(&body).unwrap().remove(0).validate(0).unwrap();
        proptest::prop_assert_eq!((read.alert.scenario, read.alert.events_count), (text, count));
    }
}

#[test]
fn memory_is_in_proportion_to_the_body() {
    // Hundreds of times its length, if each became an alert, a decision, an event.
    let empty = |before: &str, after: &str| format!("{before}{}{after}", vec!["{}"; 100_000].join(","));
    for (body, at) in [
        (empty("[", "]"), "more elements"),
        (empty(r#"[{"decisions":["#, "]}]"), "0.decisions"),
        (empty(r#"[{"events":["#, "]}]"), "0.events"),
        (empty(r#"[{"events":[{"meta":["#, "]}]}]"), "0.events.0.meta"),
    ] {
        let error = read_alerts(&body).unwrap_err();
        assert!(error.to_string().contains(at) && error.to_string().contains("more elements"), "{error}");
    }
    // Full ones are no problem, however many.
    let decision =
        r#"{"duration":"4h","origin":"cscli","scenario":"s","scope":"Ip","type":"ban","value":"192.0.2.1"}"#;
    let body = format!(r#"[{{"decisions":[{}]}}]"#, vec![decision; 50_000].join(","));
    assert_eq!(read_alerts(&body).unwrap()[0].decisions.as_ref().unwrap().len(), 50_000);
}

#[test]
fn numbers_that_would_become_infinite_are_refused() {
    for number in ["1e39", "-1e39", "1e400"] {
        for field in ["latitude", "longitude"] {
            let body = format!(r#"[{{"source":{{"{field}":{number}}}}}]"#);
            let error = read_alerts(&body).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("out of range"), "{error}");
        }
    }
    assert!(read_alerts(r#"[{"source":{"latitude":3.4e38,"longitude":null}}]"#).is_ok());
}

#[test]
fn texts_have_a_longest_length() {
    let long = "x".repeat(1025);
    for (field, body) in [
        ("0.scenario", format!(r#"[{{"scenario":"{long}"}}]"#)),
        ("0.message", format!(r#"[{{"message":"{}"}}]"#, "x".repeat((256 << 10) + 1))),
        ("0.labels", format!(r#"[{{"labels":["{long}"]}}]"#)),
    ] {
        let posted = read_alerts(&body).unwrap().remove(0);
        let error = posted.validate(0).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("at most"), "{error}");
    }
}

#[test]
fn texts_of_decisions_are_those_of_the_body() {
    let body = r#"[{"decisions":[{"scenario":"a \"b\"","scope":"Ip","value":"192.0.2.1"}]}]"#;
    let alerts = read_alerts(body).unwrap();
    let decision = alerts[0].decisions.as_ref().unwrap()[0].as_ref().unwrap();
    assert!(matches!(&decision.value, Some(BorrowedText(Cow::Borrowed("192.0.2.1")))));
    assert_eq!(decision.scenario, Some(BorrowedText("a \"b\"".into())), "escapes need a copy");
}
