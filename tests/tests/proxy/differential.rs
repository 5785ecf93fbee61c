//! The same bytes through nginx, HAProxy, Caddy and ours: what each upstream sees is compared.
//!
//! Each case stands with what comes of it and, where another proxy does something else, with the reason
//! ([`Case::unlike`]). A difference without a reason fails, and so does a reason without a difference.

mod chunks;
mod exchange;
mod fields;
mod framing;
mod host;
mod lines;
mod request_line;
mod target;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use palisade_e2e::FrontKind::{self, Caddy, Haproxy, Nginx};
use palisade_e2e::{Host, Lapi, Make, Outcome, PeerFront, Proxy, ProxyConfig, RawUpstream, World, story};

use self::exchange::{Seen, exchange};

/// Bytes of a client.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Requests in them, for a strict reader that drops what it does not know.
    sent: usize,
    bytes: &'static [u8],
    /// What comes of them here, if some other proxy does something else.
    ours: Option<&'static str>,
    others: &'static [FrontKind],
    /// Why the others do something else.
    reason: &'static str,
}

impl Case {
    const fn new(name: &'static str, sent: usize, bytes: &'static [u8]) -> Self {
        Self { name, sent, bytes, ours: None, others: &[], reason: "" }
    }

    /// With ours, this comes of it, and something else with each of the others; the reason is for the reader.
    const fn unlike(self, ours: &'static str, others: &'static [FrontKind], reason: &'static str) -> Self {
        Self { ours: Some(ours), others, reason, ..self }
    }
}

/// All cases.
fn cases() -> Vec<Case> {
    let long = |name, text: String| Case::new(name, 1, text.into_bytes().leak());
    let many: String = (0..100).map(|number| format!("X-{number}: 1\r\n")).collect();
    let mut all = [
        request_line::CASES,
        host::CASES,
        framing::CASES,
        lines::CASES,
        chunks::CASES,
        target::CASES,
        fields::CASES,
    ]
    .concat();
    all.extend([
        long("long target", format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(20_000))).unlike(
            "414",
            &[Haproxy, Caddy],
            "longer than the limit; HAProxy has another status, Caddy a higher limit",
        ),
        long("101 fields", format!("GET /a HTTP/1.1\r\nHost: h\r\n{many}\r\n")).unlike(
            "431",
            &[Nginx, Haproxy, Caddy],
            "more than the limit; HAProxy has another status, the others have no such limit",
        ),
        long("large field", format!("GET /a HTTP/1.1\r\nHost: h\r\nX-A: {}\r\n\r\n", "a".repeat(40_000)))
            .unlike(
                "431",
                &[Nginx, Haproxy, Caddy],
                "more than the limit; nginx and HAProxy have another status, Caddy a higher limit",
            ),
    ]);
    all
}

/// What came of each case, by name.
type Results = BTreeMap<&'static str, Seen>;

fn run(host: &Host, front: SocketAddr, upstream: &RawUpstream) -> Outcome<Results> {
    host.run(|| cases().iter().map(|case| Ok((case.name, exchange(front, upstream, case.bytes)?))).collect())
}

/// The cases through another maker's proxy.
fn through(world: &World, kind: FrontKind) -> Outcome<Results> {
    let upstream = world.raw_upstream(&world.router)?;
    let front = PeerFront::start(world, &world.router, kind, upstream.address())?;
    run(&world.router, front.address(), &upstream)
}

/// The cases through ours.
fn through_ours(world: &World) -> Outcome<Results> {
    let lapi = Lapi::start(world, Make::Ours)?;
    let upstream = world.raw_upstream(&world.router)?;
    let url = format!("http://{}", upstream.address());
    let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &url)?)?;
    run(&world.router, (Ipv4Addr::LOCALHOST, proxy.address().port()).into(), &upstream)
}

#[test]
fn each_difference_from_nginx_haproxy_and_caddy_has_a_reason() -> Outcome {
    story(|world| {
        let peers = [Nginx, Haproxy, Caddy];
        let (ours, theirs) = std::thread::scope(|scope| {
            let theirs = peers.map(|kind| scope.spawn(move || through(world, kind)));
            let ours = through_ours(world);
            (ours, theirs.map(|thread| thread.join().expect("no panic")))
        });
        let ours = ours?;
        let theirs: Vec<Results> = theirs.into_iter().collect::<Outcome<_>>()?;
        let mut wrong = String::new();
        for case in cases() {
            let seen = &ours[case.name];
            let outcome = seen.to_string();
            let unlike: Vec<FrontKind> = peers
                .into_iter()
                .zip(&theirs)
                .filter(|(_, results)| results[case.name].to_string() != outcome)
                .map(|(kind, _)| kind)
                .collect();
            if unlike != case.others || case.ours.is_some_and(|expected| expected != outcome) {
                wrong += &format!(
                    "{} (expected {:?} and {:?})\n  Ours: {outcome}\n",
                    case.name, case.ours, case.others
                );
                for (kind, results) in peers.iter().zip(&theirs) {
                    wrong += &format!("  {kind:?}: {}\n", results[case.name]);
                }
            }
            if let Some(problem) = unsafe_for_upstreams(case, seen) {
                wrong += &format!("{}: {problem}\n", case.name);
            }
            assert_eq!(case.reason.is_empty(), case.others.is_empty(), "{}", case.name);
        }
        assert!(wrong.is_empty(), "\n{wrong}");
        Ok(())
    })
}

/// What must not happen with ours, whatever the others do.
fn unsafe_for_upstreams(case: Case, seen: &Seen) -> Option<&'static str> {
    if seen.complete().count() > case.sent {
        return Some("the upstream saw more requests than were sent");
    }
    if seen.stuck {
        return Some("proxy and client disagree on where the request ends");
    }
    let framings = |name| seen.requests.iter().map(move |request| request.values(name).len());
    if framings("content-length").zip(framings("transfer-encoding")).any(|(one, other)| one + other > 1) {
        return Some("the upstream got more than one framing");
    }
    if seen.requests.iter().any(|request| request.values("host").len() != 1) {
        return Some("the upstream got no host, or several");
    }
    if seen
        .requests
        .iter()
        .any(|request| request.fields.iter().any(|(_, value)| value.contains("192.0.2.66")))
    {
        return Some("a forged address reached the upstream");
    }
    None
}
