//! Understands responses that are a success by their status and tell of a failure in their body.

use serde::Deserialize;

use crate::sink::{Failure, FailureKind, Outcome};
use crate::templates::text;

/// The longest text of a response that is shown.
const MAX_SHOWN: usize = 200;

/// A failure that the receiver reports, which means that it has read the message.
pub(super) fn failure(kind: FailureKind, reason: &str) -> Failure {
    let reason = text::limit(&text::one_line(reason), MAX_SHOWN);
    Failure { kind, perhaps_received: true, reason, retry_after: None }
}

fn failed(kind: FailureKind, reason: &str) -> Outcome {
    Outcome::Failed(failure(kind, reason))
}

/// A success that is none: something else answers at this address.
pub(super) fn not_the_service(service: &str) -> Outcome {
    failed(FailureKind::Retry, &format!("the response is a success, but not one of {service}; check the URL"))
}

/// Slack: `ok` from incoming webhooks, JSON from the Web API, which answers 200 to everything.
pub(in crate::templates) fn check_slack(body: &[u8], _: usize) -> Outcome {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
        #[serde(default)]
        error: String,
    }
    let Ok(Answer { ok: false, error }) = serde_json::from_slice(body) else { return Outcome::Delivered };
    let kind = match error.as_str() {
        "ratelimited"
        | "rate_limited"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => FailureKind::Retry,
        "invalid_blocks"
        | "invalid_blocks_format"
        | "msg_too_long"
        | "msg_blocks_too_long"
        | "no_text"
        | "too_many_attachments"
        | "invalid_arguments"
        | "invalid_json" => FailureKind::Rejected,
        _ => FailureKind::Refusing,
    };
    failed(kind, &format!("Slack answers {error:?}"))
}

/// Teams: connectors of the old kind answer 200 with a sentence about what failed behind them.
pub(in crate::templates) fn check_teams(body: &[u8], _: usize) -> Outcome {
    let text = String::from_utf8_lossy(&body[..body.len().min(1024)]);
    if !text.contains("Webhook message delivery failed") {
        return Outcome::Delivered;
    }
    let kind = if text.contains("HTTP error 413") || text.contains("HTTP error 400") {
        FailureKind::Rejected
    } else {
        FailureKind::Retry
    };
    failed(kind, &format!("Teams answers {text:?}"))
}
