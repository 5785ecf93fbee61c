//! Query strings of decisions and alerts: every reader takes or refuses them in a short text, and what the readers of
//! decisions agree on they filter alike.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use palisade_model::{Commit, StoredDecision, Target};
use palisade_replica::Filter;
use palisade_store::AlertQuery;
use palisade_wire::UnixMillis;

static ROWS: LazyLock<Vec<StoredDecision>> = LazyLock::new(|| {
    let row = |id: i64, scope: &str, value: &str, origin: &str, scenario: &str, simulated: bool| StoredDecision {
        id,
        commit: Commit(1),
        until: UnixMillis(4_000_000_000_000),
        alert: 1,
        simulated,
        uuid: None,
        origin: origin.into(),
        scenario: scenario.into(),
        target: Target::stored(scope, value),
        remediation: if id % 2 == 0 { "ban".into() } else { "captcha".into() },
    };
    vec![
        row(1, "Ip", "192.0.2.1", "cscli", "manual 'ban' from 'lp'", false),
        row(2, "Range", "192.0.2.0/24", "lists", "firehol_level1", false),
        row(3, "Ip", "2001:db8::1", "CAPI", "http:scan", false),
        row(4, "Country", "FR", "cscli", "", false),
        row(5, "Ip", "no address", "crowdsec", "crowdsecurity/ssh-bf", true),
    ]
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let pairs: Vec<(String, String)> = text
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let stream = Filter::for_stream(&pairs);
    let query = Filter::for_query(&pairs);
    let deletion = Filter::for_deletion(&pairs);
    for error in [stream.as_ref().err(), query.as_ref().err(), deletion.as_ref().err()].into_iter().flatten()
    {
        assert!(error.to_string().len() < 4 * data.len() + 400, "{error}");
    }
    let has = |name: &str| pairs.iter().any(|(known, _)| known == name);
    for row in ROWS.iter() {
        let _ = deletion.as_ref().map(|filter| filter.matches(row));
        if let (Ok(stream), Ok(query)) = (&stream, &query) {
            // A stream has scopes by default, and that is all.
            let (streamed, queried) = (stream.filter.matches(row), query.matches(row));
            assert!(!streamed || queried, "{row:?} {text:?}");
            assert!(!has("scopes") || streamed == queried, "{row:?} {text:?}");
        }
    }
    for for_deletion in [false, true] {
        match AlertQuery::parse(&pairs, for_deletion) {
            Ok(query) => assert!(query.limit.is_none_or(|limit| limit > 0)),
            Err(error) => assert!(error.to_string().len() < 8 * data.len() + 400, "{error}"),
        }
    }
});
