//! `profiles.yaml`: a text is profiles or an error that names file and place; profiles judge an alert within their
//! limits, and the same alert twice alike.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_profiles::{NoHistory, Profiles};
use palisade_wire::{Alert, read_alerts};

static ALERTS: LazyLock<Vec<Alert>> = LazyLock::new(|| {
    let text = r#"[
        {"scenario":"crowdsecurity/ssh-bf","scenario_hash":"4441","scenario_version":"0.1","message":"m","events_count":6,
         "start_at":"2026-07-01T10:00:00Z","stop_at":"2026-07-01T10:05:00Z","capacity":5,"leakspeed":"10s","simulated":false,
         "remediation":true,"events":[{"timestamp":"2026-07-01T10:00:00Z","meta":[{"key":"source_ip","value":"192.0.2.1"}]}],
         "source":{"scope":"Ip","value":"192.0.2.1","ip":"192.0.2.1","cn":"FR","as_number":"64500"}},
        {"scenario":"","scenario_hash":"","scenario_version":"","message":"","events_count":0,"start_at":"","stop_at":"",
         "capacity":0,"leakspeed":"","simulated":true,"events":[],"source":{"scope":"Country","value":"FR"}}]"#;
    let posted = read_alerts(text).expect("the alerts are well-formed");
    posted.into_iter().enumerate().map(|(n, alert)| alert.validate(n).expect("and whole").alert).collect()
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Profiles::parse(text, "profiles.yaml") {
        Ok(profiles) => {
            for alert in ALERTS.iter() {
                let evaluation = profiles.evaluate(alert, &NoHistory);
                if let Err(error) = &evaluation {
                    assert!(!error.to_string().is_empty());
                }
                let again = profiles.evaluate(alert, &NoHistory);
                assert_eq!(format!("{evaluation:?}"), format!("{again:?}"));
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("profiles.yaml") && said.len() < 8 * text.len() + 800, "{said}");
        }
    }
});
