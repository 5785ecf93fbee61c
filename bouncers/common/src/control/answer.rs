//! Defines the responses of the control socket, and builds them from a snapshot and its freshness. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;
use palisade_cache::{Decision, Snapshot, Target, Timestamp};
use palisade_stream::Freshness;
use serde::{Deserialize, Serialize};

use super::Subject;

/// Start of the refusal of a request that is not understood. Daemons and commands of different versions meet during an
/// upgrade, so the text is part of the protocol.
pub(super) const NOT_UNDERSTOOD: &str = "not a question: ";
/// Maximum number of decisions in a response.
// A lookup of a short prefix may match the whole table.
const MAX_LISTED: usize = 100;

/// A response: one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// To a lookup.
    Lookup(LookupAnswer),
    /// To a request for the status.
    Status(StatusAnswer),
    /// To an action that was carried out.
    Action {
        /// Its result; its form is the program's.
        result: serde_json::Value,
    },
    /// The request was not understood, or the action was not carried out.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Which bouncer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The LAPI, for display.
    pub lapi: String,
}

/// Where decisions are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The memory of a running bouncer: they are in force.
    Running,
    /// The file in the state directory; no bouncer is running.
    Remembered,
}

/// How current the decisions are. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which bouncer answers.
    #[serde(flatten)]
    pub about: About,
    /// Where the decisions are from.
    pub source: Source,
    /// Number of decisions, including those hidden by stronger ones.
    pub decisions: usize,
    /// The time of the LAPI's last usable response (remembered: when the file was written).
    pub last_answer: Option<String>,
    /// The time since then, in seconds.
    pub seconds_since_last_answer: Option<u64>,
    /// The time of the last full response.
    pub last_full: Option<String>,
    /// The LAPI's current failure.
    pub failing: Option<String>,
    // With defaults from here on: during an upgrade, the running daemon may be older than the command that reads this.
    /// The LAPI in use; empty before the first response.
    #[serde(default)]
    pub current_lapi: String,
    /// The kind of LAPI: `cursors`, `stock`, or `unknown`.
    #[serde(default)]
    pub lapi_kind: String,
    /// Whether the LAPI parks requests until there are changes; otherwise it is polled at the interval.
    #[serde(default)]
    pub push: bool,
    /// Number of switches to another LAPI.
    #[serde(default)]
    pub fail_overs: u64,
}

/// A decision in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionView {
    /// `Ip`, `Range`, …
    pub scope: String,
    /// Its target.
    pub value: String,
    /// The remediation.
    pub remediation: String,
    /// Its origin.
    pub origin: String,
    /// The scenario, the list's name, or a reason.
    pub scenario: String,
    /// Its id at the LAPI.
    pub id: i64,
    /// When it ends.
    pub until: String,
    /// The time left, in seconds.
    pub seconds_left: u64,
}

/// The effect of the running bouncer on a packet from a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Whether it is denied; `None` when rules decide that are not the bouncer's.
    pub denied: Option<bool>,
    /// How it is denied, or why it is not.
    pub reason: String,
}

/// The decisions on a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// The subject as it was parsed.
    pub subject: String,
    /// The effect on a packet from it; `None` when no bouncer is running.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// The decision that applies to all of it.
    pub verdict: Option<DecisionView>,
    /// All decisions that cover it, strongest first; for a range also those that overlap it.
    pub decisions: Vec<DecisionView>,
    /// Number of decisions that are not listed.
    pub not_listed: usize,
    /// How fresh the decisions are.
    pub state: State,
}

/// Number of decisions of an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountLine {
    /// The origin; `lists:<name>` for lists.
    pub origin: String,
    /// What is done.
    pub remediation: String,
    /// On IPv4 addresses and ranges.
    pub ipv4: u64,
    /// On IPv6 addresses and ranges.
    pub ipv6: u64,
    /// On anything else.
    pub other: u64,
}

/// The response to `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// How fresh the decisions are.
    pub state: State,
    /// Number of decisions by origin.
    pub counts: Vec<CountLine>,
    /// Refused decisions by reason.
    pub refused: BTreeMap<String, u64>,
    /// Requests for decisions since the start.
    pub requests: u64,
    /// Requests without a usable response.
    pub failed_requests: u64,
    /// Decisions that only a full pull contained: a sign that another bouncer uses the same key.
    pub missed: u64,
    /// Status of the bouncer itself, such as the number of elements in the kernel.
    pub enforcer: BTreeMap<String, String>,
    /// The same for programs: [`EnforcementStatus::report`](crate::run::EnforcementStatus::report). Not in every
    /// version, and not of every bouncer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<serde_json::Value>,
}

impl State {
    /// The state of a running bouncer.
    pub(super) fn running(about: About, snapshot: &Snapshot, freshness: &Freshness, now: Timestamp) -> Self {
        Self {
            source: Source::Running,
            decisions: snapshot.len(),
            last_answer: freshness.last_answer.map(rfc3339),
            seconds_since_last_answer: freshness
                .last_answer
                .map(|at| now.saturating_duration_since(at).as_secs()),
            last_full: freshness.last_full.map(rfc3339),
            failing: freshness.failing.clone(),
            current_lapi: freshness.lapi.clone(),
            lapi_kind: freshness.peer.as_str().to_owned(),
            push: freshness.push,
            fail_overs: freshness.fail_overs,
            about,
        }
    }

    /// The state from the persisted file.
    pub(super) fn remembered(about: About, snapshot: &Snapshot, written: Timestamp, now: Timestamp) -> Self {
        Self {
            source: Source::Remembered,
            decisions: snapshot.len(),
            last_answer: Some(rfc3339(written)),
            seconds_since_last_answer: Some(now.saturating_duration_since(written).as_secs()),
            last_full: None,
            failing: None,
            current_lapi: String::new(),
            lapi_kind: String::new(),
            push: false,
            fail_overs: 0,
            about,
        }
    }
}

impl LookupAnswer {
    pub(super) fn of(
        subject: &Subject,
        snapshot: &Snapshot,
        effect: Option<Effect>,
        state: State,
        now: Timestamp,
    ) -> Self {
        let (verdict, found) = match subject {
            Subject::Address(address) => (snapshot.verdict(*address), snapshot.covering(*address)),
            Subject::Range(range) => {
                let first = snapshot.verdict(range.network());
                let covers = |decision: &Decision<'_>| matches!(decision.target, Target::Net(net) if net.contains(range));
                let touching = |decision: &Decision<'_>| matches!(decision.target, Target::Net(net) if overlap(&net, range));
                let mut found: Vec<_> = snapshot.decisions().filter(touching).collect();
                // Decisions that cover all of the range first, then the widest.
                found.sort_by_key(|decision| match decision.target {
                    Target::Net(net) => (!covers(decision), net.prefix_len()),
                    Target::Name(_) => (true, u8::MAX),
                });
                // The verdict on the first address may be a decision on a part of the range. Then the strongest is
                // unknown, and the widest that covers all of it is shown.
                let strongest = first.filter(covers).or_else(|| found.iter().copied().find(covers));
                (strongest, found)
            }
            Subject::Named { scope, value } => {
                let verdict = snapshot.verdict_of(scope, value);
                let mut found: Vec<_> = snapshot.decisions_of(scope, value).collect();
                // The verdict first; of the others nothing is stronger.
                found.sort_by_key(|decision| Some(*decision) != verdict);
                (verdict, found)
            }
        };
        Self {
            subject: subject.to_string(),
            effect,
            verdict: verdict.map(|decision| DecisionView::of(&decision, now)),
            not_listed: found.len().saturating_sub(MAX_LISTED),
            decisions: found
                .iter()
                .take(MAX_LISTED)
                .map(|decision| DecisionView::of(decision, now))
                .collect(),
            state,
        }
    }
}

impl StatusAnswer {
    pub(super) fn of(
        snapshot: &Snapshot,
        freshness: &Freshness,
        state: State,
        enforcer: BTreeMap<String, String>,
    ) -> Self {
        let mut sums: BTreeMap<(String, String), CountLine> = BTreeMap::new();
        for count in snapshot.counts() {
            let (origin, remediation) = (count.source(), count.remediation.to_owned());
            let line = sums.entry((origin.clone(), remediation.clone())).or_insert(CountLine {
                origin,
                remediation,
                ipv4: 0,
                ipv6: 0,
                other: 0,
            });
            line.ipv4 += u64::from(count.v4);
            line.ipv6 += u64::from(count.v6);
            line.other += u64::from(count.named);
        }
        Self {
            state,
            counts: sums.into_values().collect(),
            refused: freshness.refused.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            requests: freshness.requests,
            failed_requests: freshness.failed_requests,
            missed: freshness.missed,
            enforcer,
            enforcement: None,
        }
    }
}

impl DecisionView {
    fn of(decision: &Decision<'_>, now: Timestamp) -> Self {
        Self {
            scope: decision.scope.to_owned(),
            value: decision.target.to_string(),
            remediation: decision.remediation.to_owned(),
            origin: decision.origin.to_owned(),
            scenario: decision.scenario.to_owned(),
            id: decision.id,
            until: rfc3339(decision.until),
            seconds_left: decision.until.saturating_duration_since(now).as_secs(),
        }
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// With a precision of seconds; times beyond the calendar are given in milliseconds.
fn rfc3339(at: Timestamp) -> String {
    // A LAPI may send any duration, and the end may lie beyond the year 9999.
    match jiff::Timestamp::from_second(at.as_millis().div_euclid(1000)) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{}ms", at.as_millis()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use palisade_cache::{Batch, Ledger, Mode, Policy, Reason};

    use super::*;

    pub(in crate::control) const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    pub(in crate::control) fn about() -> About {
        About {
            program: "palisade-test".into(),
            version: "v0.1.0".into(),
            lapi: "http://127.0.0.1:8080/".into(),
        }
    }

    pub(in crate::control) fn snapshot() -> Snapshot {
        let mut ledger = Ledger::new(Policy::default(), 0);
        let mut batch = Batch::new();
        for (net, remediation, origin, hours) in [
            ("192.0.2.0/24", "ban", "cscli", 4),
            ("192.0.2.7/32", "captcha", "crowdsec", 400),
            ("192.0.2.8/32", "ban", "lists", 1),
            ("2001:db8::/32", "ban", "CAPI", 1),
        ] {
            let until = Timestamp::from_millis(NOW.as_millis() + hours * 3_600_000);
            batch.announce_net(
                net.parse().unwrap(),
                Reason { remediation, origin, scenario: "why" },
                until,
                hours,
            );
        }
        ledger.apply(Mode::Everything, batch);
        ledger.snapshot()
    }

    pub(in crate::control) fn looked_up(subject: &str) -> LookupAnswer {
        let snapshot = snapshot();
        let freshness = Freshness { last_answer: Some(NOW), ..Freshness::default() };
        let state = State::running(about(), &snapshot, &freshness, NOW);
        let effect = Effect { denied: Some(true), reason: "drop".into() };
        LookupAnswer::of(&subject.parse().unwrap(), &snapshot, Some(effect), state, NOW)
    }

    fn values(decisions: &[DecisionView]) -> Vec<&str> {
        decisions.iter().map(|held| held.value.as_str()).collect()
    }

    #[test]
    fn a_lookup_of_an_address_lists_its_verdict_and_all_covering_decisions() {
        let answer = looked_up("192.0.2.7");
        let verdict = answer.verdict.unwrap();
        assert_eq!((verdict.value.as_str(), verdict.remediation.as_str()), ("192.0.2.0/24", "ban"));
        assert_eq!((verdict.until.as_str(), verdict.seconds_left), ("2025-10-09T12:53:20Z", 4 * 3600));
        assert_eq!(values(&answer.decisions), ["192.0.2.0/24", "192.0.2.7"]);
        assert_eq!(looked_up("203.0.113.1").verdict, None);
    }

    #[test]
    fn a_lookup_of_a_range_lists_overlapping_decisions() {
        let answer = looked_up("192.0.2.0/28");
        assert_eq!(answer.verdict.as_ref().unwrap().value, "192.0.2.0/24");
        assert_eq!(values(&answer.decisions), ["192.0.2.0/24", "192.0.2.7", "192.0.2.8"]);
        let answer = looked_up("192.0.0.0/16");
        assert_eq!(answer.verdict, None);
        assert_eq!(values(&answer.decisions), ["192.0.2.0/24", "192.0.2.7", "192.0.2.8"]);
    }

    #[test]
    fn an_answer_survives_the_wire() {
        let answer = Answer::Lookup(looked_up("192.0.2.7"));
        let text = serde_json::to_string(&answer).unwrap();
        assert!(
            text.starts_with(
                r#"{"answer":"lookup","subject":"192.0.2.7","effect":{"denied":true,"reason":"drop"},"verdict":{"#
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
        // Earlier versions do not send the effect.
        let without = text.replace(r#""effect":{"denied":true,"reason":"drop"},"#, "");
        let Answer::Lookup(read) = serde_json::from_str(&without).unwrap() else { panic!("{without}") };
        assert_eq!(read.effect, None);
    }

    #[test]
    fn a_status_has_a_report_only_if_the_bouncer_has_one() {
        let snapshot = snapshot();
        let freshness = Freshness::default();
        let state = State::running(about(), &snapshot, &freshness, NOW);
        let without = StatusAnswer::of(&snapshot, &freshness, state, BTreeMap::new());
        let text = serde_json::to_string(&without).unwrap();
        assert!(!text.contains("enforcement"), "{text}");
        assert_eq!(serde_json::from_str::<StatusAnswer>(&text).unwrap(), without);

        let report = serde_json::json!({"endpoints": {"a": {"waiting": u64::MAX}}});
        let with = Answer::Status(StatusAnswer { enforcement: Some(report), ..without });
        let text = serde_json::to_string(&with).unwrap();
        assert!(
            text.ends_with(r#""enforcement":{"endpoints":{"a":{"waiting":18446744073709551615}}}}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), with);
    }

    #[test]
    fn times_beyond_the_calendar_do_not_panic() {
        assert_eq!(rfc3339(Timestamp::from_millis(i64::MAX)), format!("{}ms", i64::MAX));
        assert_eq!(rfc3339(Timestamp::from_millis(0)), "1970-01-01T00:00:00Z");
    }
}
