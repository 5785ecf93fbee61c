//! What machines post: alerts, registrations, logins, allowlist checks, usage reports. What is read is well-formed
//! JSON; an alert that passes comes back the same when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_wire::{
    Alert, Decision, UsageSender, ValidAlert, body_text, read_alerts, read_bulk_check, read_certificate_login,
    read_login, read_registration, read_usage_metrics,
};
use serde::de::IgnoredAny;

// The first byte selects what the rest is read as.
fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let refused = match kind % 7 {
        0 => read_registration(body).err().map(|error| error.to_string()),
        1 => read_login(body).err().map(|error| error.to_string()),
        2 => read_certificate_login(body).err().map(|error| error.to_string()),
        3 => read_bulk_check(body).err().map(|error| error.to_string()),
        4 => read_usage_metrics(body, UsageSender::Bouncer).err().map(|error| error.to_string()),
        5 => read_usage_metrics(body, UsageSender::Machine).err().map(|error| error.to_string()),
        _ => alerts(body),
    };
    match refused {
        // Nobody reads an answer of megabytes.
        Some(text) => assert!(!text.is_empty() && text.len() < 16 * LONGEST, "{text}"),
        // Bytes that are not UTF-8 are read as replacement characters.
        None if std::str::from_utf8(body).is_ok() => {
            let first = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>().next();
            assert!(first.is_some_and(|value| value.is_ok()));
        }
        None => {}
    }
});

const LONGEST: usize = 4096;

/// The text of the refusal.
fn alerts(body: &[u8]) -> Option<String> {
    let body = body_text(body);
    let posted = match read_alerts(&body) {
        Ok(posted) => posted,
        Err(error) => return Some(error.to_string()),
    };
    for (index, alert) in posted.into_iter().enumerate() {
        let name = alert.name();
        assert!(name.len() < 4 * LONGEST, "{name}");
        match alert.validate(index) {
            Ok(valid) => comes_back(&whole(valid)),
            Err(failure) => return Some(failure.to_string()),
        }
    }
    None
}

fn comes_back(alert: &Alert) {
    let text = serde_json::to_string(&[alert]).expect("an alert is plain data");
    let mut read = read_alerts(&text).expect("what we write we read");
    let again = read.pop().expect("there is one").validate(0).expect("it was valid before");
    assert_eq!(serde_json::to_string(&[&whole(again)]).expect("plain data"), text);
}

/// The alert with its decisions.
fn whole(valid: ValidAlert<'_>) -> Alert {
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
    Alert { decisions: decisions.collect(), ..valid.alert }
}
