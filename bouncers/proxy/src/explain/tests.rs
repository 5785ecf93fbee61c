//! Explanations of requests.

use std::net::IpAddr;
use std::path::Path;

use palisade_bouncer::control::{About, DecisionView, LookupAnswer, Source, State, Subject};
use palisade_daemon::{Document, Problems};

use super::arguments::request;
use super::evaluate::evaluate;
use super::report::Report;
use super::sources::Knowledge;
use super::*;
use crate::config::{Config, ConfigFile};
use crate::remediation::geo::{CountryCode, SystemNumber};

const CONFIG: &str = "
listen:
  - {address: ':8080'}
  - {address: ':80', redirect_to_https: true}
trusted_proxies: [10.0.0.0/8]
geo: {country: /var/lib/country.mmdb}
upstreams:
  - name: app
    servers: [{url: 'http://127.0.0.1:9001'}, {url: 'http://127.0.0.1:9002'}]
routes:
  - {name: app, hosts: [example.org], upstream: app, decisions: {scopes: [ip, range, country], exempt: [192.0.2.99]}}
  - {name: logged, hosts: [logged.example.org], upstream: app, decisions: {log_only: true}}
  - {name: filtered, hosts: [filtered.example.org], upstream: app, decisions: {origins: [crowdsec]}}
  - {name: health, hosts: [example.org], path_prefix: /health, upstream: app, decisions: {mode: off}}
";

fn config() -> Config {
    let document = Document::from_text(Path::new("p.yaml"), CONFIG, None, &|_| None).unwrap();
    let mut problems = Problems::new();
    let file: ConfigFile = document.parse_into(&mut problems).unwrap();
    let checked = file.check(&|_| Err("no file".to_owned()));
    checked.map_err(|problems| document.locate(problems).to_string()).unwrap().0
}

/// 192.0.2.7 is banned by its range and has a captcha, and is in France, which has a captcha too.
struct World {
    is_running: bool,
    up: [bool; 2],
}

const RUNNING: World = World { is_running: true, up: [true, true] };

fn view(scope: &str, value: &str, remediation: &str, origin: &str) -> DecisionView {
    DecisionView {
        scope: scope.to_owned(),
        value: value.to_owned(),
        remediation: remediation.to_owned(),
        origin: origin.to_owned(),
        scenario: "why".to_owned(),
        id: 7,
        until: String::new(),
        seconds_left: 3600,
    }
}

impl Knowledge for World {
    fn decisions_on(&mut self, subject: &Subject) -> Result<LookupAnswer, String> {
        let decisions = match subject.to_string().as_str() {
            "192.0.2.7" | "192.0.2.99" => vec![
                view("Range", "192.0.2.0/24", "ban", "lists:tor"),
                view("Ip", "192.0.2.7", "captcha", "crowdsec"),
            ],
            "Country:FR" => vec![view("Country", "FR", "mfa", "cscli")],
            _ => Vec::new(),
        };
        if !self.is_running {
            return Err("no bouncer answers".to_owned());
        }
        let about = About { program: "p".into(), version: "v".into(), lapi: "l".into() };
        let state = State {
            about,
            source: Source::Running,
            decisions: 3,
            last_answer: None,
            seconds_since_last_answer: Some(1),
            last_full: None,
            failing: None,
            current_lapi: String::new(),
            lapi_kind: String::new(),
            push: false,
            fail_overs: 0,
        };
        let (subject, verdict) = (subject.to_string(), None);
        Ok(LookupAnswer { subject, effect: None, verdict, decisions, not_listed: 0, state })
    }

    fn is_up(&mut self, _: &str, url: &str) -> Option<bool> {
        self.is_running.then(|| self.up[usize::from(url.ends_with('2'))])
    }

    fn country(&self, address: IpAddr) -> Option<CountryCode> {
        let is_french = address.to_string().starts_with("192.0.2.");
        is_french.then(|| CountryCode::new("FR").unwrap())
    }

    fn autonomous_system(&self, _: IpAddr) -> Option<SystemNumber> {
        None
    }
}

fn explained(url: &str, client: &str, headers: &[&str], mut world: World) -> Report {
    let request = request(url, None, Some(client), headers).unwrap();
    evaluate(&config(), &request, &mut world).unwrap()
}

fn action(report: &Report) -> (&'static str, Option<u16>) {
    (report.result.action, report.result.status)
}

#[test]
fn each_decision_is_judged_and_the_most_severe_applies() {
    let report = explained("http://example.org:8080/x", "192.0.2.7", &[], RUNNING);
    assert_eq!(action(&report), ("ban", Some(403)));
    let judged: Vec<_> = report
        .decisions
        .iter()
        .map(|decision| (decision.scope.as_str(), decision.leads_to, decision.applies, decision.why.as_str()))
        .collect();
    assert_eq!(
        judged,
        [
            ("Range", Some("ban"), true, "the most severe, and of these the one that ends last"),
            ("Ip", Some("captcha"), false, "another decision is more severe"),
            (
                "Country",
                Some("ban"),
                false,
                "the type mfa is treated as ban here; another one of the same severity ends later"
            ),
        ]
    );
    let text = print::text(&report);
    assert!(
        text.starts_with("GET http://example.org:8080/x\nban (403): a ban\n  listener: :8080 (plain)\n"),
        "{text}"
    );
    assert!(text.contains("decision applies: ban on Range 192.0.2.0/24 from lists:tor"), "{text}");
    assert!(serde_json::to_string(&report).unwrap().contains(r#""action":"ban","status":403"#));
}

#[test]
fn policies_of_routes_are_explained() {
    for (url, client, expected, finding) in [
        (
            "http://logged.example.org:8080/",
            "192.0.2.7",
            "forward",
            "log_only: the ban is logged and counted",
        ),
        ("http://filtered.example.org:8080/", "192.0.2.7", "captcha", "in the running proxy"),
        ("http://example.org:8080/health", "192.0.2.7", "forward", "decisions are off on this route"),
        ("http://example.org:8080/", "192.0.2.99", "forward", "192.0.2.99 is exempt"),
        ("http://example.org:8080/", "203.0.113.1", "forward", "no decision that counts"),
        ("http://example.org/", "203.0.113.1", "redirect", ":80 (plain)"),
        ("http://other.example.org:8080/", "203.0.113.1", "refuse", "none: unknown_host"),
        ("https://example.org/", "203.0.113.1", "forward", "none on port 443 (TLS)"),
    ] {
        let report = explained(url, client, &[], RUNNING);
        assert_eq!(report.result.action, expected, "{url} {client}");
        let found = report.steps.iter().any(|step| step.finding.contains(finding));
        assert!(found, "{url} {client}: {:?}", report.steps);
    }
}

#[test]
fn the_client_is_found_as_for_a_real_request() {
    let forwarded = "X-Forwarded-For: 198.51.100.1, 192.0.2.7";
    let trusted = explained("http://example.org:8080/", "10.0.0.1", &[forwarded], RUNNING);
    assert_eq!(trusted.result.action, "ban");
    assert!(
        trusted.steps[1].finding.starts_with("192.0.2.7, named by the header of the trusted proxy 10.0.0.1")
    );
    let spoofed = explained("http://example.org:8080/", "203.0.113.1", &[forwarded], RUNNING);
    assert_eq!(spoofed.result.action, "forward");
    assert!(spoofed.steps[1].finding.contains("no trusted proxy"));
}

#[test]
fn upstreams_that_are_down_are_not_chosen() {
    let some = World { up: [false, true], ..RUNNING };
    let report = explained("http://example.org:8080/", "203.0.113.1", &[], some);
    assert_eq!(report.result.reason, "to http://127.0.0.1:9002");
    let none = World { up: [false, false], ..RUNNING };
    let report = explained("http://example.org:8080/", "203.0.113.1", &[], none);
    assert_eq!(action(&report), ("maintenance", Some(503)));
}

#[test]
fn without_a_proxy_and_its_decisions_nothing_is_claimed() {
    let report =
        explained("http://example.org:8080/", "192.0.2.7", &[], World { is_running: false, ..RUNNING });
    assert_eq!(action(&report), ("unknown", None));
}

#[test]
fn mistyped_requests_are_named() {
    for (url, method, client, headers, expected) in [
        ("example.org", None, None, &[][..], "\"example.org\" is not a URL"),
        ("ftp://x/", None, None, &[], "is not a URL"),
        ("http://x/", Some("G T"), None, &[], "\"G T\" is not a method"),
        ("http://x/", None, Some("192.0.2.0/24"), &[], "is not an address"),
        ("http://x/", None, None, &["User-Agent"], "is not a header field"),
    ] {
        let error = request(url, method, client, headers).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
