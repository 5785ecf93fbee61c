//! What follows from an error response of AWS WAF. Pure.

use std::time::{Duration, SystemTime};

use http::header;
use serde::Deserialize;

use crate::replace::exchange::{Answer, failed, shown};
use crate::sink::{Failure, FailureKind};

/// AWS accepts signatures of the last five minutes.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

#[derive(Default, Deserialize)]
struct Body {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Body {
    fn of(answer: &Answer) -> Self {
        let mut body: Self = serde_json::from_slice(&answer.body).unwrap_or_default();
        if body.kind.is_empty() {
            let kind = answer.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
            body.kind = kind.unwrap_or_default().to_owned();
        }
        // `com.amazonaws.wafv2#Name`, or `Name:http://…` in the header.
        let name = body.kind.rsplit('#').next().unwrap_or_default();
        body.kind = name.split(':').next().unwrap_or_default().to_owned();
        body
    }
}

/// Whether another client has changed the set since it was read.
pub(super) fn is_lock_conflict(answer: &Answer) -> bool {
    !answer.status.is_success() && Body::of(answer).kind == "WAFOptimisticLockException"
}

/// The failure of a response that is no success.
pub(super) fn refused(answer: &Answer) -> Failure {
    let body = Body::of(answer);
    if body.kind.is_empty() {
        return answer.failure("");
    }
    let kind = kind_of(&body.kind, answer);
    let mut reason = format!("{}: {}", shown(&body.kind), shown(&body.message));
    if is_about_time(&body)
        && let Some((seconds, direction)) = skew(answer)
    {
        reason +=
            &format!("; the clock of this machine is {seconds} seconds {direction} that of AWS: correct it");
    }
    failed(kind, reason, answer.retry_after())
}

fn kind_of(name: &str, answer: &Answer) -> FailureKind {
    let is_temporary =
        ["Throttling", "TooManyRequests", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"]
            .iter()
            .any(|word| name.starts_with(word))
            || matches!(
                name,
                "WAFInternalErrorException" | "WAFUnavailableEntityException" | "WAFOptimisticLockException"
            );
    let is_refusal =
        ["InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"]
            .iter()
            .chain(&[
                "AccessDenied",
                "UnrecognizedClient",
                "ExpiredToken",
                "InvalidClientTokenId",
                "RequestExpired",
            ])
            .chain(&["WAFNonexistentItem", "NotAuthorized", "OptInRequired", "InvalidAccessKeyId"])
            .any(|word| name.starts_with(word));
    match () {
        () if is_temporary || answer.status.is_server_error() => FailureKind::Retry,
        () if is_refusal => FailureKind::Refusing,
        () => answer.failure("").kind,
    }
}

/// Whether the signature was refused because of its time.
fn is_about_time(body: &Body) -> bool {
    let text = body.message.to_ascii_lowercase();
    body.kind.starts_with("RequestExpired")
        || ["signature expired", "not yet current", "not yet valid", "clock"]
            .iter()
            .any(|it| text.contains(it))
}

/// How far this machine's clock is from the response's `Date`, when that matters.
fn skew(answer: &Answer) -> Option<(u64, &'static str)> {
    let theirs = httpdate::parse_http_date(answer.headers.get(header::DATE)?.to_str().ok()?).ok()?;
    let now = SystemTime::now();
    let (by, direction) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (by > MAX_SKEW).then_some((by.as_secs(), direction))
}
