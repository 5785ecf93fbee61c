use super::*;

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
    let body = serde_json::to_vec(&[alert]).unwrap();
    let mut alerts = read_alerts(&body).map_err(|error| error.to_string())?;
    alerts.remove(0).validate(0).map_err(|failure| failure.to_string())
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
    let events = vec![Event { meta: Vec::new(), timestamp: "t".into() }];
    let alert = Alert { scenario: "a/b".into(), remediation: true, events, ..Alert::default() };
    let body = serde_json::to_vec(&[alert.posting()]).unwrap();
    assert_eq!(read_alerts(&body).unwrap().remove(0).validate(0).unwrap(), alert);
}

#[test]
fn what_is_missing_is_named_in_the_words_of_the_stock_server() {
    let heading = "validation failure list:";
    let without = |names: &[&str]| {
        let mut alert = sound();
        for name in names {
            let (object, name) = name.rsplit_once('/').unwrap_or(("", name));
            alert.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(name);
        }
        validated(&alert).unwrap_err()
    };
    for (names, text) in [
        (
            &["scenario", "source"][..],
            format!("{heading}\n0.scenario in body is required\n0.source in body is required"),
        ),
        (&["/source/scope"][..], format!("{heading}\n{heading}\n0.source.scope in body is required")),
        (
            &["/source/scope", "capacity"][..],
            format!(
                "{heading}\n0.capacity in body is required\n{heading}\n0.source.scope in body is required"
            ),
        ),
        (
            &["/decisions/0/type", "/decisions/0/duration", "events", "stop_at"][..],
            format!(
                "{heading}\n{heading}\n0.decisions.0.duration in body is required\n\
                 0.decisions.0.type in body is required\n0.events in body is required\n\
                 0.stop_at in body is required"
            ),
        ),
    ] {
        assert_eq!(without(names), text, "{names:?}");
    }
    let mut alert = sound();
    alert["decisions"] = serde_json::json!([{"duration": "1h"}, {}, null]);
    alert["events"] = serde_json::json!([{"timestamp": "t", "meta": []}, {}]);
    assert_eq!(
        validated(&alert).unwrap_err(),
        format!(
            "{heading}\n{heading}\n0.decisions.0.origin in body is required\n\
             0.decisions.0.scenario in body is required\n0.decisions.0.scope in body is required\n\
             0.decisions.0.type in body is required\n0.decisions.0.value in body is required\n\
             {heading}\n0.events.1.meta in body is required\n0.events.1.timestamp in body is required"
        )
    );
    alert["decisions"] = serde_json::json!([null]);
    alert["events"] = serde_json::json!([null]);
    assert_eq!(
        validated(&alert).unwrap_err(),
        format!(
            "{heading}\n{heading}\n0.decisions.0 in body is required\n{heading}\n0.events.0 in body is required"
        )
    );
}

#[test]
fn bodies_are_read_as_go_reads_them() {
    for (body, count) in [
        ("[]", 0),
        ("null", 0),
        ("[null]", 1),
        (" [{\"SCENARIO\":\"x\"}] trailing", 1),
        ("[{\"scenario\":\"x\",\"scenario\":null,\"unknown\":[{}]}]", 1),
        (r#"[{"scenario":"a\ud800"}]"#, 1),
    ] {
        assert_eq!(read_alerts(body.as_bytes()).map(|alerts| alerts.len()), Ok(count), "{body}");
    }
    let named = |body: &[u8]| read_alerts(body).unwrap().remove(0).scenario;
    assert_eq!(named(b"[{\"SCENARIO\":\"x\",\"scenario\":null}]").as_deref(), Some("x"));
    assert_eq!(named(b"[{\"scenario\":\"\xff\"}]").as_deref(), Some("\u{fffd}"));
    assert_eq!(named(br#"[{"scenario":"a\ud800"}]"#).as_deref(), Some("a\u{fffd}"));

    for (body, text) in [
        ("", "EOF"),
        ("[", "unexpected EOF"),
        ("{}", "json: cannot unmarshal object into Go value of type models.AddAlertsRequest"),
        ("\"x\"", "json: cannot unmarshal string into Go value of type models.AddAlertsRequest"),
        ("[1]", "json: cannot unmarshal number into Go value of type models.Alert"),
        (
            r#"[{"scenario":5}]"#,
            "json: cannot unmarshal number into Go struct field Alert.scenario of type string",
        ),
        (
            r#"[{"events_count":1.5}]"#,
            "json: cannot unmarshal number 1.5 into Go struct field Alert.events_count of type int32",
        ),
        (
            r#"[{"capacity":3000000000}]"#,
            "json: cannot unmarshal number 3000000000 into Go struct field Alert.capacity of type int32",
        ),
        (
            r#"[{"source":{"latitude":"north"}}]"#,
            "json: cannot unmarshal string into Go struct field Source.source.latitude of type float32",
        ),
        (
            r#"[{"decisions":[{"duration":4}]}]"#,
            "json: cannot unmarshal number into Go struct field Decision.decisions.duration of type string",
        ),
        (
            r#"[{"decisions":{}}]"#,
            "json: cannot unmarshal object into Go struct field Alert.decisions of type []*models.Decision",
        ),
        ("[{'a':1}]", r"invalid character '\'' looking for beginning of object key string"),
    ] {
        assert_eq!(read_alerts(body.as_bytes()).unwrap_err().to_string(), text, "{body}");
    }
}

#[test]
fn an_alert_is_named_by_scenario_and_source() {
    let alerts = read_alerts(br#"[{"scenario":"a/b","source":{"value":"192.0.2.1"}},{}]"#).unwrap();
    assert_eq!(alerts[0].name(), r#""a/b" about "192.0.2.1""#);
    assert_eq!(alerts[1].name(), r#""no scenario" about "nobody""#);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = read_alerts(&bytes);
    }

    #[test]
    fn what_is_taken_was_there(
        text in proptest::prelude::any::<String>(),
        count in proptest::prelude::any::<i32>(),
        upper in proptest::prelude::any::<bool>(),
    ) {
        let mut alert = sound();
        alert["scenario"] = text.clone().into();
        alert["events_count"] = count.into();
        let mut body = serde_json::to_string(&[alert]).unwrap();
        if upper {
            body = body.replace("\"events_count\":", "\"EVENTS_Count\":");
        }
        let read = read_alerts(body.as_bytes()).unwrap().remove(0).validate(0).unwrap();
        proptest::prop_assert_eq!((read.scenario, read.events_count), (text, count));
    }
}
