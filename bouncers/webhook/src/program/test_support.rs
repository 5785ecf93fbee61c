//! Events, programs and configurations for tests.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_cache::Timestamp;

use crate::config::{ProgramConfig, ProgramMode};
use crate::event::{Entry, Event, EventId, EventKind, Value};
use crate::sink::{Message, MessageKind};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A manual decision that ends in four hours.
pub(super) fn entry(remediation: &str) -> Entry {
    Entry {
        remediation: remediation.into(),
        origin: "cscli".into(),
        scenario: "manual 'ban' from 'localhost'".into(),
        until: Timestamp::from_millis(NOW.as_millis() + 4 * 3_600_000),
        id: 7,
    }
}

/// An event about a ban of a network.
pub(super) fn event(net: &str, kind: EventKind) -> Event {
    let (value, entry) = (Value::Net(net.parse().unwrap()), entry("ban"));
    Event { id: EventId::of("e", 1, &kind, &value, &entry), kind, value, entry, at: NOW }
}

/// Addresses that were added.
pub(super) fn added(addresses: impl IntoIterator<Item = u32>) -> Message {
    let added = |address| event(&format!("{}/32", std::net::Ipv4Addr::from(address)), EventKind::Added);
    let events: Vec<Event> = addresses.into_iter().map(added).collect();
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    Message { id: EventId::of_message(&ids), kind: MessageKind::Changes, events, at: NOW }
}

/// A program that is a shell script.
pub(super) fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The configuration of a program.
pub(super) fn config(path: PathBuf, mode: ProgramMode) -> ProgramConfig {
    ProgramConfig { path, arguments: Vec::new(), mode, inherit_environment: true }
}
