//! Takes the steps of a request with what is known, without sending it. Pure.

use std::net::IpAddr;

use http::StatusCode;
use palisade_bouncer::control::{DecisionView, LookupAnswer, Source, Subject};
use palisade_stream::now;

use super::arguments::ExplainedRequest;
use super::decisions::judge;
use super::report::{JudgedDecision, Outcome, Report, Step, UpstreamState};
use super::sources::Knowledge;
use crate::client_address::{ClientAddress, client_address};
use crate::config::{
    Balance, Config, DecisionMode, FailurePolicy, ListenAddress, PoolConfig, RemediationPolicy, RouteConfig,
    StartPolicy,
};
use crate::remediation::{Effect, RemediationKind, Rules};
use crate::request_rules::{RequestLimits, check};
use crate::routing::Router;

/// What is found on the way.
#[derive(Default)]
struct Findings {
    steps: Vec<Step>,
    decisions: Vec<JudgedDecision>,
    upstreams: Vec<UpstreamState>,
}

impl Findings {
    fn add(&mut self, name: &'static str, finding: impl Into<String>) {
        self.steps.push(Step { name, finding: finding.into() });
    }
}

/// What would happen to the request.
///
/// # Errors
/// Routes of the configuration contradict each other.
pub(super) fn evaluate(
    config: &Config,
    request: &ExplainedRequest,
    knowledge: &mut dyn Knowledge,
) -> anyhow::Result<Report> {
    let mut findings = Findings::default();
    let router = Router::new(&config.routes)?;
    let result = steps(config, &router, request, knowledge, &mut findings);
    let Findings { steps, decisions, upstreams } = findings;
    let method = request.parts.method.to_string();
    Ok(Report { url: request.url.clone(), method, result, steps, decisions, upstreams })
}

fn steps(
    config: &Config,
    router: &Router,
    request: &ExplainedRequest,
    knowledge: &mut dyn Knowledge,
    findings: &mut Findings,
) -> Outcome {
    let redirects = listener(config, request, findings);
    let client = client_address(&config.client_address, Some(request.peer), &request.parts.headers);
    findings.add("client", client_finding(request.peer, &client));
    let limits = RequestLimits::new(&config.limits, &config.client_address.source);
    let checked = match check(&request.parts, &limits) {
        Ok(checked) => checked,
        Err(refusal) => return refused(refusal.status, refusal.reason),
    };
    findings.add("rules", format!("host {}, path {}", checked.host, checked.path));
    let route = match router.route_request(&checked) {
        Ok(index) => &config.routes[index],
        Err(no_route) => {
            let refusal = no_route.refusal();
            findings.add("route", format!("none: {}", refusal.reason));
            return refused(refusal.status, refusal.reason);
        }
    };
    findings.add("route", route_finding(route));
    if redirects {
        let reason = "the listener redirects to https".to_owned();
        return own("redirect", StatusCode::PERMANENT_REDIRECT, reason);
    }
    if let Some(client) = client.client
        && let Some(outcome) = decide(config, &route.remediation, client, knowledge, findings)
    {
        return outcome;
    }
    upstream(&config.pools[route.pool], knowledge, findings)
}

/// Returns whether the listener redirects to https.
fn listener(config: &Config, request: &ExplainedRequest, findings: &mut Findings) -> bool {
    let kind = if request.tls { "TLS" } else { "plain" };
    let port = format!(":{}", request.port);
    let found = config.listeners.iter().find(|listener| {
        let is_on_port = matches!(&listener.address, ListenAddress::Tcp(text) if text.ends_with(&port));
        is_on_port && listener.tls.is_some() == request.tls
    });
    match found {
        Some(listener) => {
            let ListenAddress::Tcp(address) = &listener.address else { return false };
            findings.add("listener", format!("{address} ({kind})"));
            listener.redirect_to_https && !request.tls
        }
        None => {
            // Another program may listen there and pass requests on.
            let note = format!("none on port {} ({kind}); as if there were one", request.port);
            findings.add("listener", note);
            false
        }
    }
}

fn client_finding(peer: IpAddr, found: &ClientAddress) -> String {
    let cut = found
        .cut
        .map_or_else(String::new, |cut| format!("; the header was read only in part ({})", cut.label()));
    match found.client {
        Some(client) if client == peer && !found.peer_is_trusted => {
            format!("{client}, the peer; it is no trusted proxy, so forwarded headers are ignored")
        }
        Some(client) if client == peer => {
            format!("{client}, the peer: a trusted proxy that names no other client{cut}")
        }
        Some(client) => format!("{client}, named by the header of the trusted proxy {peer}{cut}"),
        None => "unknown".to_owned(),
    }
}

fn route_finding(route: &RouteConfig) -> String {
    let hosts = if route.hosts.is_empty() { "any host".to_owned() } else { route.hosts.join(", ") };
    format!("{} ({hosts}, {})", route.name, route.path_prefix)
}

/// What decisions do; `None` when the request is forwarded.
fn decide(
    config: &Config,
    policy: &RemediationPolicy,
    client: IpAddr,
    knowledge: &mut dyn Knowledge,
    findings: &mut Findings,
) -> Option<Outcome> {
    match policy.mode {
        DecisionMode::Off => {
            findings.add("policy", "decisions are off on this route");
            return None;
        }
        DecisionMode::Live => findings.add(
            "policy",
            "live: the LAPI is queried for each request unless its answer is remembered; what follows is by the decisions \
             in memory",
        ),
        DecisionMode::Stream => {}
    }
    if policy.exempt.contains(client) {
        findings.add("policy", format!("{client} is exempt: no decision applies"));
        return None;
    }
    let answer = match knowledge.decisions_on(&Subject::Address(client)) {
        Ok(answer) => answer,
        Err(reason) => {
            findings.add("decisions", format!("not known: {reason}"));
            let reason = "it depends on decisions, which are not known".to_owned();
            return Some(Outcome { action: "unknown", status: None, reason });
        }
    };
    findings.add("decisions", source_finding(&answer));
    if let Some(lack) = lack(policy, &answer) {
        return lack.map_or_else(
            |reason| {
                findings.add("policy", reason);
                None
            },
            Some,
        );
    }
    let mut found = answer.decisions;
    add_places(&mut found, policy, client, knowledge, findings);
    let rules = Rules::new(policy, config.captcha.is_some());
    let (judged, effect) = judge(&found, &rules, now());
    findings.decisions = judged;
    let Some(effect) = effect else {
        findings.add("policy", "no decision that counts on this route covers the client");
        return None;
    };
    let kind = match effect {
        Effect::Allow => {
            findings.add("policy", "a decision of type allow covers the client");
            return None;
        }
        Effect::Remedy(kind) => kind,
    };
    if policy.log_only {
        findings
            .add("policy", format!("log_only: the {} is logged and counted, and not applied", kind.as_str()));
        return None;
    }
    Some(remedy(config, policy, kind))
}

fn remedy(config: &Config, policy: &RemediationPolicy, kind: RemediationKind) -> Outcome {
    match kind {
        RemediationKind::Ban if policy.ban_closes => Outcome {
            action: "ban",
            status: None,
            reason: "a ban; the connection is closed without a response".to_owned(),
        },
        RemediationKind::Ban => own("ban", policy.ban_status, "a ban".to_owned()),
        RemediationKind::Captcha => {
            let status = config.captcha.as_ref().map_or(policy.ban_status, |captcha| captcha.status);
            own("captcha", status, "a captcha, unless the client has a valid proof".to_owned())
        }
        RemediationKind::Throttle => {
            let limit = &policy.throttle;
            let reason = format!(
                "a throttle: beyond {} requests in {} s (burst {})",
                limit.requests,
                limit.period.as_secs_f64(),
                limit.burst
            );
            own("throttle", StatusCode::TOO_MANY_REQUESTS, reason)
        }
    }
}

/// Adds the decisions on country and autonomous system.
fn add_places(
    found: &mut Vec<DecisionView>,
    policy: &RemediationPolicy,
    client: IpAddr,
    knowledge: &mut dyn Knowledge,
    findings: &mut Findings,
) {
    let country = policy.scopes.country.then(|| knowledge.country(client)).flatten();
    let system = policy.scopes.autonomous_system.then(|| knowledge.autonomous_system(client)).flatten();
    let named = [
        ("Country", country.map(|country| country.to_string())),
        ("AS", system.map(|system| system.to_string())),
    ];
    for (scope, value) in named {
        let Some(value) = value else { continue };
        findings.add("client", format!("{client} is in {scope} {value}"));
        let subject = Subject::Named { scope: scope.to_owned(), value };
        // The daemon answered a moment ago; if it ends meanwhile, these are missing and the step above shows it.
        if let Ok(answer) = knowledge.decisions_on(&subject) {
            found.extend(answer.decisions);
        }
    }
}

fn source_finding(answer: &LookupAnswer) -> String {
    let age = match answer.state.seconds_since_last_answer {
        Some(age) => format!("{age} s ago"),
        None => "not yet".to_owned(),
    };
    match answer.state.source {
        Source::Running => {
            format!("{} in the running proxy; the LAPI answered {age}", answer.state.decisions)
        }
        Source::Remembered => {
            format!(
                "{} in the state file; no proxy is running, and it was written {age}",
                answer.state.decisions
            )
        }
    }
}

/// The consequence of a lack of decisions: an outcome, or (as an error) why the request passes.
fn lack(policy: &RemediationPolicy, answer: &LookupAnswer) -> Option<Result<Outcome, String>> {
    let closed = |what: &str| {
        if policy.log_only {
            Err(format!("{what}; the route only logs, so requests pass"))
        } else {
            Ok(own("unavailable", StatusCode::SERVICE_UNAVAILABLE, what.to_owned()))
        }
    };
    let age = answer.state.seconds_since_last_answer;
    if age.is_none() && answer.state.decisions == 0 {
        return Some(match policy.on_start {
            StartPolicy::Open => Err("no decisions are known yet, and `on_start` is open".to_owned()),
            StartPolicy::Wait | StartPolicy::Closed => closed("no decisions are known yet (`on_start`)"),
        });
    }
    let max = policy.max_staleness.filter(|_| policy.mode != DecisionMode::Live)?;
    if age.is_some_and(|age| age <= max.as_secs()) {
        return None;
    }
    match policy.on_failure {
        FailurePolicy::Keep => None,
        FailurePolicy::Open => Some(Err("decisions are too old, and `on_failure` is open".to_owned())),
        FailurePolicy::Closed => Some(closed("decisions are too old (`max_staleness`, `on_failure`)")),
    }
}

fn upstream(pool: &PoolConfig, knowledge: &mut dyn Knowledge, findings: &mut Findings) -> Outcome {
    let state = |server: &crate::config::ServerConfig, knowledge: &mut dyn Knowledge| UpstreamState {
        url: server.url.clone(),
        up: knowledge.is_up(&pool.name, &server.url),
    };
    findings.upstreams = pool.servers.iter().map(|server| state(server, knowledge)).collect();
    let usable: Vec<&str> = findings
        .upstreams
        .iter()
        .filter(|server| server.up != Some(false))
        .map(|server| server.url.as_str())
        .collect();
    if usable.is_empty() {
        findings.add("upstream", format!("pool {}: none is up", pool.name));
        let reason = format!("no upstream of the pool {} is up", pool.name);
        return own("maintenance", StatusCode::SERVICE_UNAVAILABLE, reason);
    }
    let how = match pool.balance {
        Balance::RoundRobin => "in turn, by weight",
        Balance::LeastConnections => "the one with the fewest requests",
        Balance::ClientAddress => "the same one for a client",
    };
    let one_of = usable.join(", ");
    let choice = if usable.len() == 1 { one_of.clone() } else { format!("one of {one_of} ({how})") };
    findings.add("upstream", format!("pool {}: {choice}", pool.name));
    Outcome { action: "forward", status: None, reason: format!("to {choice}") }
}

fn refused(status: StatusCode, reason: &str) -> Outcome {
    own("refuse", status, format!("{reason}; see docs/proxy-strictness.md"))
}

fn own(action: &'static str, status: StatusCode, reason: String) -> Outcome {
    Outcome { action, status: Some(status.as_u16()), reason }
}
