//! Decisions about clients against a model that is slow and obviously correct.

use std::net::IpAddr;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Reason, Snapshot, Target, Timestamp};
use palisade_stream::{Freshness, channel_with};
use proptest::prelude::*;

use super::geo::{CountryCode, Places, SystemNumber};
use super::rules::{Effect, Rules};
use super::strongest::strongest;
use super::*;
use crate::config::{
    DecisionMode, FailurePolicy, Fallback, RemediationPolicy, Scopes, StartPolicy, ThrottleConfig,
};

pub(crate) fn route() -> RemediationPolicy {
    RemediationPolicy {
        mode: DecisionMode::Stream,
        scopes: Scopes { ip: true, range: true, country: true, autonomous_system: true },
        origins: Vec::new(),
        exempt: std::iter::empty::<ipnet::IpNet>().collect(),
        log_only: false,
        fallback: Fallback::Ban,
        on_failure: FailurePolicy::Keep,
        max_staleness: None,
        on_start: StartPolicy::Closed,
        ban_status: http::StatusCode::FORBIDDEN,
        ban_closes: false,
        captcha_open_on_failure: false,
        throttle: ThrottleConfig { requests: 10, period: Duration::from_secs(1), burst: 10 },
    }
}

/// Addresses below 10.0.0.128 are in France and AS 64500, all others in neither.
struct Halves;

impl Places for Halves {
    fn country(&self, address: IpAddr) -> Option<CountryCode> {
        is_low(address).then(|| CountryCode::new("FR").unwrap())
    }

    fn autonomous_system(&self, address: IpAddr) -> Option<SystemNumber> {
        is_low(address).then_some(SystemNumber(64500))
    }
}

fn is_low(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(ip) if ip.octets()[3] < 128)
}

#[derive(Debug, Clone)]
struct Row {
    scope: &'static str,
    value: String,
    remediation: &'static str,
    origin: &'static str,
    scenario: &'static str,
    until: i64,
}

fn snapshot(rows: &[Row]) -> Snapshot {
    let mut ledger = Ledger::new(policy(), 7);
    let mut batch = Batch::new();
    for (row, id) in rows.iter().zip(1..) {
        let reason = Reason { remediation: row.remediation, origin: row.origin, scenario: row.scenario };
        let until = Timestamp::from_millis(row.until);
        match row.scope {
            "Ip" | "Range" => {
                batch.announce_net(palisade_net::parse_prefix(&row.value).unwrap(), reason, until, id);
            }
            scope => batch.announce_name(scope, &row.value, reason, until, id),
        }
    }
    ledger.apply(Mode::Additions, batch);
    ledger.snapshot()
}

/// Whether a row covers a client, by text and prefix.
fn covers(row: &Row, client: IpAddr) -> bool {
    match row.scope {
        "Ip" | "Range" => palisade_net::parse_prefix(&row.value).unwrap().contains(&client.to_canonical()),
        "Country" => is_low(client) && row.value == "FR",
        _ => is_low(client) && row.value == "64500",
    }
}

/// What the issue says, row by row.
fn expected(
    rows: &[Row],
    policy: &RemediationPolicy,
    can_captcha: bool,
    client: IpAddr,
    now: i64,
) -> Option<u8> {
    let fallback = match policy.fallback {
        Fallback::Ban => Some(1),
        Fallback::Captcha => Some(if can_captcha { 2 } else { 1 }),
        Fallback::Throttle => Some(3),
        Fallback::Ignore => None,
    };
    let counted = rows.iter().filter(|row| {
        let is_host = !row.value.contains('/');
        let scope = match row.scope {
            "Ip" | "Range" if is_host => policy.scopes.ip,
            "Ip" | "Range" => policy.scopes.range,
            "Country" => policy.scopes.country,
            _ => policy.scopes.autonomous_system,
        };
        let source = format!("lists:{}", row.scenario);
        let origin = policy.origins.is_empty()
            || policy.origins.iter().any(|o| o == row.origin || row.origin == "lists" && *o == source);
        scope && origin && row.until > now && covers(row, client)
    });
    let effects = counted.filter_map(|row| match row.remediation {
        "allow" => Some(0),
        "ban" => Some(1),
        "captcha" if can_captcha => Some(2),
        "throttle" => Some(3),
        _ => fallback,
    });
    effects.min()
}

fn any_row() -> impl Strategy<Value = Row> {
    let target = prop_oneof![
        4 => (0u8..16, 0u8..2).prop_map(|(low, half)| ("Ip", format!("10.0.0.{}", low + 128 * half))),
        3 => (0u8..=31).prop_map(|length| {
            let net: ipnet::IpNet = format!("10.0.0.0/{length}").parse().unwrap();
            ("Range", net.trunc().to_string())
        }),
        1 => (0u8..4).prop_map(|low| ("Ip", format!("2001:db8::{low}"))),
        1 => (0u8..=127).prop_map(|length| {
            let net: ipnet::IpNet = format!("2001:db8::/{length}").parse().unwrap();
            ("Range", net.trunc().to_string())
        }),
        1 => prop_oneof![Just("FR"), Just("DE")].prop_map(|value| ("Country", value.to_owned())),
        1 => prop_oneof![Just("64500"), Just("64501")].prop_map(|value| ("AS", value.to_owned())),
    ];
    let remediation = prop_oneof![
        1 => Just("allow"), 4 => Just("ban"), 4 => Just("captcha"), 4 => Just("throttle"), 3 => Just("mfa"),
    ];
    let source = prop_oneof![
        Just(("crowdsec", "ssh-bf")),
        Just(("cscli", "manual")),
        Just(("CAPI", "scan")),
        Just(("lists", "tor")),
        Just(("lists", "spamhaus")),
    ];
    (target, remediation, source, 1i64..20).prop_map(
        |((scope, value), remediation, (origin, scenario), until)| Row {
            scope,
            value,
            remediation,
            origin,
            scenario,
            // Apart by more than the ledger's rounding, so that a repeated announcement counts.
            until: until * 5000,
        },
    )
}

fn any_route() -> impl Strategy<Value = RemediationPolicy> {
    let scopes = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(ip, range, country, autonomous_system)| Scopes { ip, range, country, autonomous_system });
    let origins = prop::collection::vec(
        prop_oneof![Just("crowdsec"), Just("CAPI"), Just("lists"), Just("lists:tor")].prop_map(str::to_owned),
        0..3,
    );
    let fallback = prop_oneof![
        Just(Fallback::Ban),
        Just(Fallback::Captcha),
        Just(Fallback::Throttle),
        Just(Fallback::Ignore)
    ];
    let all = Just(route().scopes);
    (prop_oneof![all, scopes], origins, fallback).prop_map(|(scopes, origins, fallback)| RemediationPolicy {
        scopes,
        origins,
        fallback,
        ..route()
    })
}

fn number(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::Remedy(RemediationKind::Ban) => 1,
        Effect::Remedy(RemediationKind::Captcha) => 2,
        Effect::Remedy(RemediationKind::Throttle) => 3,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_most_severe_decision_that_counts_applies(
        rows in prop::collection::vec(any_row(), 0..24),
        policy in any_route(),
        can_captcha in any::<bool>(),
        now in 0i64..20,
    ) {
        let mut rows = rows;
        // One row for each target, type and source, as a LAPI announces them.
        rows.sort_by_key(|row| -row.until);
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|row| {
            let list = if row.origin == "lists" { row.scenario } else { "" };
            seen.insert((row.value.clone(), row.remediation, row.origin, list))
        });
        let (snapshot, now) = (snapshot(&rows), now * 5000);
        let rules = Rules::new(&policy, can_captcha);
        let clients = ["10.0.0.0", "10.0.0.3", "::ffff:10.0.0.3", "10.0.0.130", "10.1.0.1", "2001:db8::1", "2001::"];
        for client in clients {
            let client: IpAddr = client.parse().unwrap();
            let found = strongest(&snapshot, &rules, client.to_canonical(), &Halves, || Timestamp::from_millis(now));
            let expected = expected(&rows, &policy, can_captcha, client, now);
            prop_assert_eq!(found.map(|(effect, _)| number(effect)), expected, "for {}", client);
            if let Some((effect, decision)) = found {
                // The decision that is named is one that leads to this.
                prop_assert_eq!(rules.effect(&decision, Timestamp::from_millis(now)), Some(effect));
                let target = decision.target.to_string();
                let is_named = rows.iter().any(|row| {
                    row.value == target && row.remediation == decision.remediation && covers(row, client)
                });
                prop_assert!(is_named, "{} is not among the rows", target);
            }
        }
    }
}

fn row(scope: &'static str, value: &str, remediation: &'static str, origin: &'static str) -> Row {
    let until = palisade_stream::now().as_millis() + 3_600_000;
    Row { scope, value: value.to_owned(), remediation, origin, scenario: "why", until }
}

fn decider(rows: &[Row], freshness: Freshness) -> Decider {
    let (_, cache) = channel_with(snapshot(rows), freshness);
    Decider::new(cache, Default::default(), true)
}

fn current() -> Freshness {
    let now = Some(palisade_stream::now());
    Freshness { last_answer: now, last_full: now, ..Freshness::default() }
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass(_) => "pass",
        Outcome::Remediate(remediation) => remediation.kind.as_str(),
        Outcome::Unavailable(reason) => reason.as_str(),
    }
}

const CLIENT: &str = "192.0.2.7";

fn decide(decider: &Decider, policy: &RemediationPolicy) -> Outcome {
    decider.decide(policy, CLIENT.parse().unwrap())
}

#[test]
fn a_ban_of_the_range_beats_a_captcha_of_the_address() {
    let rows = [row("Ip", CLIENT, "captcha", "cscli"), row("Range", "192.0.2.0/24", "ban", "lists")];
    let Outcome::Remediate(remediation) = decide(&decider(&rows, current()), &route()) else {
        panic!("it passes")
    };
    assert_eq!(remediation.kind, RemediationKind::Ban);
    assert_eq!((&*remediation.decision.scope, &*remediation.decision.value), ("Range", "192.0.2.0/24"));
    assert_eq!(remediation.decision.source(), "lists:why");
}

#[test]
fn a_decision_that_is_filtered_out_hides_no_other() {
    let rows = [row("Ip", CLIENT, "ban", "CAPI"), row("Range", "192.0.2.0/24", "captcha", "cscli")];
    let decider = decider(&rows, current());
    let by_origin = RemediationPolicy { origins: vec!["cscli".to_owned()], ..route() };
    assert_eq!(kind(&decide(&decider, &by_origin)), "captcha");
    let scopes = Scopes { ip: false, ..route().scopes };
    assert_eq!(kind(&decide(&decider, &RemediationPolicy { scopes, ..route() })), "captcha");
}

#[test]
fn an_unknown_type_is_as_strong_as_its_fallback() {
    let rows = [row("Ip", CLIENT, "mfa", "cscli"), row("Range", "192.0.2.0/24", "captcha", "cscli")];
    let decider = decider(&rows, current());
    for (fallback, expected, announced) in [
        (Fallback::Ban, "ban", "mfa"),
        (Fallback::Throttle, "captcha", "captcha"),
        (Fallback::Ignore, "captcha", "captcha"),
    ] {
        let outcome = decide(&decider, &RemediationPolicy { fallback, ..route() });
        let Outcome::Remediate(remediation) = outcome else { panic!("it passes") };
        assert_eq!((remediation.kind.as_str(), &*remediation.decision.remediation), (expected, announced));
    }
}

#[test]
fn exempt_networks_and_decisions_of_type_allow_come_before_any_ban() {
    let rows = [row("Range", "192.0.2.0/24", "ban", "lists")];
    let exempt = ["192.0.2.0/29".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
    let policy = RemediationPolicy { exempt, ..route() };
    let banned = decider(&rows, current());
    assert_eq!(decide(&banned, &policy), Outcome::Pass(PassReason::Exempt));
    assert_eq!(
        banned.decide(&policy, "::ffff:192.0.2.7".parse().unwrap()),
        Outcome::Pass(PassReason::Exempt)
    );
    assert_eq!(kind(&banned.decide(&policy, "192.0.2.77".parse().unwrap())), "ban");

    let allowed = decider(&[rows[0].clone(), row("Ip", CLIENT, "allow", "cscli")], current());
    assert_eq!(decide(&allowed, &route()), Outcome::Pass(PassReason::Allowed));
    let others = RemediationPolicy { origins: vec!["lists".to_owned()], ..route() };
    assert_eq!(kind(&decide(&allowed, &others)), "ban", "of an origin that does not count here");
}

#[test]
fn decisions_end_while_the_lapi_is_away() {
    let until = palisade_stream::now().as_millis() - 1;
    let ended = Row { until, ..row("Ip", CLIENT, "ban", "cscli") };
    // Still in the snapshot, which nobody has replaced.
    let decider = decider(&[ended, row("Range", "192.0.2.0/24", "captcha", "cscli")], Freshness::default());
    assert!(decider.cache().read().len() == 2);
    assert_eq!(kind(&decide(&decider, &route())), "captcha", "an ended ban hides nothing");
}

#[test]
fn the_start_and_stale_decisions_follow_the_policy() {
    let nothing = decider(&[], Freshness::default());
    for (on_start, expected) in [
        (StartPolicy::Open, Outcome::Pass(PassReason::Open(Unavailable::NotStarted))),
        (StartPolicy::Closed, Outcome::Unavailable(Unavailable::NotStarted)),
        (StartPolicy::Wait, Outcome::Unavailable(Unavailable::NotStarted)),
    ] {
        assert_eq!(decide(&nothing, &RemediationPolicy { on_start, ..route() }), expected);
    }
    assert_eq!(kind(&decide(&decider(&[], current()), &route())), "pass", "an empty list is known");

    let ban = row("Ip", CLIENT, "ban", "cscli");
    let old = Some(Timestamp::from_millis(palisade_stream::now().as_millis() - 120_000));
    let ages = [
        Freshness { last_answer: old, ..Freshness::default() },
        // Of an earlier process.
        Freshness { remembered: old, ..Freshness::default() },
    ];
    for freshness in ages {
        let decider = decider(std::slice::from_ref(&ban), freshness);
        for (minutes, on_failure, expected) in [
            (1, FailurePolicy::Keep, "ban"),
            (1, FailurePolicy::Open, "pass"),
            (1, FailurePolicy::Closed, "decisions_stale"),
            (5, FailurePolicy::Open, "ban"),
        ] {
            let max_staleness = Some(Duration::from_secs(60 * minutes));
            let policy = RemediationPolicy { on_failure, max_staleness, ..route() };
            assert_eq!(kind(&decide(&decider, &policy)), expected, "{minutes} {on_failure:?}");
        }
    }
}

#[test]
fn a_route_that_only_logs_refuses_nobody() {
    let policy = RemediationPolicy {
        log_only: true,
        on_failure: FailurePolicy::Closed,
        max_staleness: Some(Duration::from_secs(60)),
        ..route()
    };
    assert_eq!(kind(&decide(&decider(&[], Freshness::default()), &policy)), "pass");
    let banned = decider(&[row("Ip", CLIENT, "ban", "cscli")], current());
    let Outcome::Remediate(remediation) = decide(&banned, &policy) else { panic!("not logged") };
    assert!(remediation.log_only);
}

#[test]
fn countries_and_systems_are_compared_with_addresses() {
    let mut rows = vec![row("Country", "FR", "captcha", "cscli"), row("AS", "64500", "ban", "cscli")];
    let now = palisade_stream::now;
    let snapshot = snapshot(&rows);
    let route = route();
    let rules = Rules::new(&route, true);
    let client = "10.0.0.3".parse().unwrap();
    let (_, decision) = strongest(&snapshot, &rules, client, &Halves, now).unwrap();
    assert_eq!((decision.scope, decision.target), ("AS", Target::Name("64500")));
    rows.truncate(1);
    rows.push(row("Ip", "10.0.0.3", "throttle", "cscli"));
    let snapshot = super::tests::snapshot(&rows);
    let (_, decision) = strongest(&snapshot, &rules, client, &Halves, now).unwrap();
    assert_eq!(decision.scope, "Country");
}
