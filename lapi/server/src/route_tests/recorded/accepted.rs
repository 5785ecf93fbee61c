//! The differences that are intended. `docs/compatibility.md` lists them.

use super::compare::Mismatch;
use super::exchange::Answer;

/// A difference that occurs in some responses of these groups.
pub(super) struct Accepted {
    pub(super) reason: &'static str,
    pub(super) groups: &'static [&'static str],
    /// Whether this is the difference.
    pub(super) holds: fn(&Mismatch<'_>) -> bool,
}

/// What stands above the fields that validation refuses.
const HEADING: &str = "validation failure list:\n";

pub(super) const ACCEPTED: &[Accepted] = &[
    Accepted {
        reason: "a body that cannot be read is described in other words",
        groups: &["watchers", "allow", "usage", "post"],
        holds: |mismatch| {
            const GO: [&str; 4] = ["json: cannot unmarshal ", "invalid character ", "EOF", "unexpected EOF"];
            let recorded = message(mismatch.recorded()).unwrap_or_default();
            let plain = recorded.strip_prefix("missing: ").unwrap_or(&recorded);
            mismatch.is_body_alone()
                && GO.iter().any(|words| plain.starts_with(words))
                && message(mismatch.ours).is_some_and(|text| !text.is_empty())
        },
    },
    Accepted {
        reason: "of several invalid fields the first is named",
        groups: &["watchers", "usage", "post"],
        holds: |mismatch| {
            let (recorded, ours) = (message(mismatch.recorded()), message(mismatch.ours));
            let (Some(recorded), Some(ours)) = (recorded, ours) else { return false };
            let named = ours.strip_prefix(HEADING);
            mismatch.is_body_alone()
                && recorded.starts_with(HEADING)
                && named.is_some_and(|named| recorded.lines().any(|line| line == named))
        },
    },
    Accepted {
        reason: "names in JSON match exactly",
        groups: &["watchers", "allow", "post"],
        holds: |mismatch| {
            let body = mismatch.exchange.body();
            let capital = ["\"Machine_ID\"", "\"Targets\"", "\"Scenario\""];
            is_refused(mismatch) && capital.iter().any(|name| body.contains(name))
        },
    },
    Accepted {
        reason: "two equal names are malformed",
        groups: &["watchers", "post"],
        holds: |mismatch| {
            mismatch.ours.status == 400
                && message(mismatch.ours).is_some_and(|text| text.contains("duplicate field"))
        },
    },
    Accepted {
        reason: "names and texts have a longest length",
        groups: &["watchers", "post"],
        holds: |mismatch| is_refused(mismatch) && explains(mismatch, "should be at most"),
    },
    Accepted {
        reason: "a machine's name has no control characters",
        groups: &["watchers"],
        holds: |mismatch| is_refused(mismatch) && explains(mismatch, "must not contain control characters"),
    },
    Accepted {
        reason: "NUL in an alert is a replacement character",
        groups: &["post"],
        holds: |mismatch| {
            mismatch.is_body_alone()
                && mismatch.recorded().body.contains("\\u0000")
                && mismatch.ours.body.contains('\u{fffd}')
        },
    },
    Accepted {
        reason: "null where an entry has to be is refused with a reason, and does not end the handler",
        groups: &["usage", "post"],
        holds: |mismatch| {
            mismatch.recorded().status == 500
                && mismatch.recorded().body.is_empty()
                && mismatch.ours.status < 600
        },
    },
    Accepted {
        reason: "the valid alerts of a batch are stored",
        groups: &["post"],
        holds: |mismatch| {
            mismatch.recorded().status == 500
                && mismatch.ours.status == 201
                && mismatch.exchange.body().matches("\"capacity\"").count() > 1
        },
    },
    Accepted {
        reason: "null among the details of an event is left out",
        groups: &["post"],
        holds: |mismatch| {
            let mended = mismatch.ours.body.replacen("\"meta\":[]", "\"meta\":[null]", 1);
            mismatch.is_body_alone() && mismatch.is_body_equal_to(&mended)
        },
    },
    Accepted {
        reason: "a long text is cut between characters",
        groups: &["post"],
        holds: |mismatch| {
            let mended = mismatch.ours.body.replacen("é\"", "é\\ufffd\"", 1);
            mismatch.is_body_alone() && mismatch.is_body_equal_to(&mended)
        },
    },
    Accepted {
        reason: "times are in UTC",
        groups: &["post"],
        holds: |mismatch| mismatch.is_body_alone() && mismatch.recorded().body.contains("+02"),
    },
    Accepted {
        reason: "a decision's own `simulated` is kept",
        groups: &["post"],
        holds: |mismatch| {
            let mended = mismatch.ours.body.replacen("\"simulated\":true", "\"simulated\":false", 1);
            mismatch.is_body_alone() && mismatch.is_body_equal_to(&mended)
        },
    },
    Accepted {
        reason: "a decision that ends after the year 9999 has not ended",
        groups: &["post"],
        holds: |mismatch| {
            let (min, max) = ("-2562047h47m16.854775808s", "2562047h47m16.854775807s");
            mismatch.is_body_alone() && mismatch.is_body_equal_to(&mismatch.ours.body.replacen(max, min, 1))
        },
    },
];

/// Whether this server refuses what the recorded one accepted.
fn is_refused(mismatch: &Mismatch<'_>) -> bool {
    (200..300).contains(&mismatch.recorded().status) && (400..=500).contains(&mismatch.ours.status)
}

fn explains(mismatch: &Mismatch<'_>, words: &str) -> bool {
    message(mismatch.ours).is_some_and(|text| text.starts_with(HEADING) && text.contains(words))
}

/// The text of an error response: `{"message":"text"}`, with the status as `code` where tokens are concerned.
fn message(answer: &Answer) -> Option<String> {
    let body: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&answer.body).ok()?;
    let expected = if body.contains_key("code") { 2 } else { 1 };
    body.get("message").filter(|_| body.len() == expected)?.as_str().map(str::to_owned)
}
