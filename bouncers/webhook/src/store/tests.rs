//! Tests of the store as a whole.

mod basics;
mod crash;
mod damage;
mod full;
mod kill;
pub(crate) mod memory;
mod model;
mod workload;

use std::time::Duration;

use palisade_cache::Timestamp;

use super::*;
use crate::config::HistoryConfig;
use crate::event::{Entry, EventId, EventKind, LiftCause};

fn value(number: u32) -> Value {
    Value::Net(ipnet::IpNet::from(std::net::IpAddr::from(number.to_be_bytes())))
}

fn entry(scenario: &str, until: i64) -> Entry {
    Entry {
        remediation: "ban".into(),
        origin: "crowdsec".into(),
        scenario: scenario.into(),
        until: Timestamp::from_millis(until),
        id: until / 7,
    }
}

fn record(scenario: &str, until: i64) -> ValueRecord {
    ValueRecord { entries: vec![entry(scenario, until)], attempted: None }
}

fn attempt(scenario: &str, until: i64, sequence: u64) -> ValueRecord {
    let (entries, maybe) = (vec![entry(scenario, until)], vec![entry("crowdsecurity/earlier", until - 1)]);
    ValueRecord { entries: Vec::new(), attempted: Some(Attempt { entries, maybe, sequence }) }
}

fn event(number: u32, at: i64) -> Event {
    let kind = match number % 4 {
        0 => EventKind::Added,
        1 => EventKind::Changed(entry("crowdsecurity/old", 5)),
        2 => EventKind::Lifted(LiftCause::Deleted),
        _ => EventKind::Present,
    };
    let (value, entry) = (value(number), entry("crowdsecurity/ssh-bf", 1_700_000_000_000));
    let id = EventId::of("siem", number.into(), &kind, &value, &entry);
    Event { id, kind, value, entry, at: Timestamp::from_millis(at) }
}

fn history(max_age: u64, max_bytes: u64) -> StoreLimits {
    let history = Some(HistoryConfig { max_age: Duration::from_millis(max_age), max_bytes });
    StoreLimits { history, max_dead_letters: 3, ..StoreLimits::default() }
}

const NOW: Timestamp = Timestamp::from_millis(1_000);
