//! What the check of decisions adds to a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::{Batch, Ledger, Mode, Reason, Timestamp};
use palisade_proxy::config::{
    DecisionMode, FailurePolicy, Fallback, RemediationPolicy, Scopes, StartPolicy, ThrottleConfig,
};
use palisade_proxy::remediation::{Decider, Outcome};
use palisade_stream::{channel, now};
use serde_json::json;

use super::front::Front;
use super::load::{Job, Run};
use super::shape::{Body, Http, Shape};
use super::{Bench, Report, decision_list, decisions, say};
use crate::cache;
use crate::report::{BenchRow, Target, median};

const SHAPE: Shape = Shape::new(false, Http::KeepAlive, Body::K1);
/// Pairs of runs in each round of the plan: the difference is small, and so must be its noise.
const PAIRS: usize = 5;

pub(super) fn measure(bench: &Bench<'_>) -> palisade_e2e::Outcome<Report> {
    let nets = decision_list();
    let script = decisions::wrk_script(bench.fronts.world, &decisions::clean(&nets))?;
    let on = bench.fronts.ours("on", "stream", decisions::as_json(&nets, 1))?;
    let off = bench.fronts.ours("off", "off", std::iter::empty())?;
    let run = |front: &Front| -> palisade_e2e::Outcome<Run> {
        let job = Job {
            port: front.ports.of(SHAPE),
            pid: front.pid,
            shape: SHAPE,
            seconds: 1,
            script: Some(&script),
        };
        bench.generators.run(job)
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..bench.plan.rounds * PAIRS {
        // Each is the first of a pair as often as the second.
        if pair % 2 == 0 {
            with.push(run(&on.front)?);
            without.push(run(&off.front)?);
        } else {
            without.push(run(&off.front)?);
            with.push(run(&on.front)?);
        }
    }
    let added: Vec<f64> =
        with.iter().zip(&without).map(|(on, off)| on.microseconds() - off.microseconds()).collect();
    let off_us = median(without.iter().map(Run::microseconds).collect());
    let on_us = median(with.iter().map(Run::microseconds).collect());
    say(&format!("processor time of a request: {on_us:.2} us with the check, {off_us:.2} us without"));
    let middle = median(added.clone());
    let what = format!("processor time that the check among {} decisions adds to a request", nets.len());
    let mut rows = vec![
        BenchRow::new(what.clone(), "us", middle, None, Target::AtMost(1.0)),
        BenchRow::new(
            format!("{what}, of its {off_us:.1} us"),
            "%",
            100.0 * middle / off_us,
            None,
            Target::AtMost(1.0),
        ),
    ];
    rows.extend(decide(&nets));
    let figures = json!({ "on": on_us, "off": off_us, "added": added });
    Ok(Report { rows, table: String::new(), figures })
}

/// The decision alone, without HTTP: nanoseconds for clients without a decision, and for banned ones.
fn decide(nets: &[IpNet]) -> Vec<BenchRow> {
    let mut batch = Batch::new();
    let reason = Reason { remediation: "ban", origin: "CAPI", scenario: "http:scan" };
    let until = Timestamp::from_millis(now().as_millis() + 3_600_000);
    for (id, net) in (1..).zip(nets) {
        batch.announce_net(*net, reason, until, id);
    }
    let mut ledger = Ledger::new(palisade_cache::Policy::default(), 42);
    ledger.apply(Mode::Everything, batch);
    let (_publisher, cache) = channel(ledger.snapshot());
    let decider = Decider::new(cache, Arc::default(), true);
    let policy = policy();
    let nanoseconds = |clients: &[IpAddr], pass: bool| {
        let wrong = |client: &&IpAddr| matches!(decider.decide(&policy, **client), Outcome::Pass(_)) != pass;
        assert_eq!(clients.iter().filter(wrong).count(), 0, "the clients are as they should be");
        let many: Vec<_> = clients.iter().cycle().take(1_000_000).copied().collect();
        cache::time(&many, |client| u64::from(matches!(decider.decide(&policy, client), Outcome::Pass(_))))
    };
    let banned: Vec<_> = nets.iter().step_by((nets.len() / 4096).max(1)).map(IpNet::addr).collect();
    let row = |who: &str, ns, target| {
        let figure = format!("decision about a {who} client among {}, without HTTP", nets.len());
        BenchRow::new(figure, "ns", ns, None, target)
    };
    vec![
        row("clean", nanoseconds(&decisions::clean(nets), true), Target::AtMost(1000.0)),
        row("banned", nanoseconds(&banned, false), Target::None),
    ]
}

/// A route's default, with all scopes.
fn policy() -> RemediationPolicy {
    RemediationPolicy {
        mode: DecisionMode::Stream,
        scopes: Scopes { ip: true, range: true, country: true, autonomous_system: true },
        origins: Vec::new(),
        exempt: std::iter::empty::<IpNet>().collect(),
        log_only: false,
        fallback: Fallback::Ban,
        on_failure: FailurePolicy::Keep,
        max_staleness: None,
        on_start: StartPolicy::Open,
        ban_status: http::StatusCode::FORBIDDEN,
        ban_closes: false,
        captcha_open_on_failure: false,
        throttle: ThrottleConfig { requests: 10, period: Duration::from_secs(1), burst: 10 },
    }
}
