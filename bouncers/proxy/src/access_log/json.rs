//! Formats entries as JSON, one object a line. Absent values are left out. Pure.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;

use super::text::{MAX_FIELD_BYTES, MAX_TARGET_BYTES, push_json};
use super::{AccessEntry, UpstreamEntry};
use crate::remediation::Remediation;

pub(super) fn push(entry: &AccessEntry, text: &mut String) {
    let at = Timestamp::try_from(entry.at).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(text, "{{\"time\":\"{}\"", at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
    if let Some(client) = entry.client {
        push_plain(text, "client", client);
    }
    if let Some(peer) = entry.peer {
        push_plain(text, "peer", peer);
    }
    push_text(text, "method", entry.method.as_str().as_bytes(), MAX_FIELD_BYTES);
    push_header(text, "host", entry.host.as_ref());
    push_text(text, "target", entry.path_and_query().as_bytes(), MAX_TARGET_BYTES);
    push_plain(text, "version", entry.version_text());
    push_number(text, "status", entry.status.as_u16());
    push_number(text, "bytes_in", entry.bytes_in);
    push_number(text, "bytes_out", entry.bytes_out);
    push_seconds(text, "duration", entry.took);
    if let Some(route) = &entry.route {
        push_text(text, "route", route.as_bytes(), MAX_FIELD_BYTES);
    }
    if let Some(upstream) = &entry.upstream {
        push_upstream(text, upstream);
    }
    push_header(text, "request_id", entry.request_id.as_ref());
    push_header(text, "user_agent", entry.user_agent.as_ref());
    push_header(text, "referer", entry.referer.as_ref());
    if let Some(remediation) = &entry.remediation {
        push_remediation(text, remediation);
    }
    // Always there, so that a filter of a log processor needs no case for its absence.
    let _ = write!(text, ",\"blocked\":{}", entry.blocked);
    if let Some(refusal) = entry.refusal {
        push_plain(text, "refusal", refusal);
    }
    text.push_str("}\n");
}

fn push_upstream(text: &mut String, upstream: &UpstreamEntry) {
    push_text(text, "upstream", upstream.server.as_bytes(), MAX_FIELD_BYTES);
    push_number(text, "attempts", upstream.attempts);
    if let Some(connect) = upstream.connect {
        push_seconds(text, "upstream_connect", connect);
    }
    if let Some(head) = upstream.head {
        push_seconds(text, "upstream_head", head);
    }
}

fn push_remediation(text: &mut String, remediation: &Remediation) {
    let decision = &remediation.decision;
    push_plain(text, "remediation", remediation.kind.as_str());
    // These are from log processors and published lists, by way of the LAPI.
    push_text(text, "origin", decision.source().as_bytes(), MAX_FIELD_BYTES);
    push_text(text, "scenario", decision.scenario.as_bytes(), MAX_FIELD_BYTES);
    push_text(text, "decision_scope", decision.scope.as_bytes(), MAX_FIELD_BYTES);
    push_text(text, "decision_value", decision.value.as_bytes(), MAX_FIELD_BYTES);
    push_number(text, "decision_id", decision.id);
    let _ = write!(text, ",\"log_only\":{}", remediation.log_only);
}

fn push_header(text: &mut String, name: &str, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        push_text(text, name, value.as_bytes(), MAX_FIELD_BYTES);
    }
}

fn push_text(text: &mut String, name: &str, value: &[u8], max: usize) {
    let _ = write!(text, ",\"{name}\":\"");
    push_json(text, value, max);
    text.push('"');
}

/// A value that needs no escapes.
fn push_plain(text: &mut String, name: &str, value: impl Display) {
    let _ = write!(text, ",\"{name}\":\"{value}\"");
}

fn push_number(text: &mut String, name: &str, value: impl Display) {
    let _ = write!(text, ",\"{name}\":{value}");
}

fn push_seconds(text: &mut String, name: &str, value: Duration) {
    let _ = write!(text, ",\"{name}\":{}.{:06}", value.as_secs(), value.subsec_micros());
}
