use std::path::Path;
use std::time::Duration;

use palisade_daemon::{Document, Problems};

use palisade_client::Secret;

use super::file::PROXY_KEYS;
use super::*;

fn parse(text: &str) -> Result<Config, String> {
    let document = Document::from_text(Path::new("/etc/p.yaml"), text, None, &|_| None).unwrap();
    let mut problems = Problems::new();
    let file: Option<ConfigFile> = document.parse_into(&mut problems);
    if !problems.is_empty() {
        return Err(document.locate(problems).to_string());
    }
    let read = |file: &Path| match file.ends_with("secret") {
        true => Ok(Secret::new("s")),
        false => Err(format!("cannot read {}", file.display())),
    };
    let checked = file.unwrap().check(&read);
    checked.map(|(config, _)| config).map_err(|problems| document.locate(problems).to_string())
}

const SMALL: &str = "listen:\n  - address: \":80\"\nroutes:\n  - upstream: http://127.0.0.1:3000\n";

#[test]
fn a_few_lines_protect_one_application() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.listeners[0].address, ListenAddress::Tcp(":80".to_owned()));
    assert_eq!(
        config.pools[0].servers[0].address,
        UpstreamAddress::Tcp { host: "127.0.0.1".to_owned(), port: 3000 }
    );
    let route = &config.routes[0];
    assert_eq!((route.path_prefix.as_str(), route.pool, route.name.as_str()), ("/", 0, "/"));
    let policy = &route.remediation;
    assert_eq!(
        (policy.mode, policy.on_failure, policy.fallback),
        (DecisionMode::Stream, FailurePolicy::Keep, Fallback::Ban)
    );
    assert!(config.client_address.trusted_proxies.is_empty());
    let captcha = config.captcha.unwrap();
    assert_eq!(captcha.provider, CaptchaProvider::ProofOfWork { difficulty: 20 });
}

#[test]
fn routes_override_the_defaults_key_by_key() {
    let config = parse(
        "listen: [{address: \":80\"}]
upstreams:
  - name: app
    servers: [{url: http://a, weight: 2}, {url: unix:/run/b.sock}]
    balance: least_connections
    forwarded: true
decisions: {exempt: [10.0.0.0/8], log_only: true, max_staleness: 10m, on_failure: closed}
routes:
  - {upstream: app, hosts: [A.example.org], path_prefix: /api/, max_body: 10MB, decisions: {log_only: false}}
  - {upstream: app, decisions: {mode: off}}
",
    )
    .unwrap();
    let [api, all] = &config.routes[..] else { panic!() };
    assert_eq!((api.hosts[0].as_str(), api.path_prefix.as_str()), ("a.example.org", "/api"));
    assert_eq!(api.max_body, Some(10 << 20));
    assert_eq!((api.pool, all.pool), (0, 0));
    assert!(!api.remediation.log_only && all.remediation.log_only);
    assert!(api.remediation.exempt.contains("10.1.1.1".parse().unwrap()));
    assert_eq!(api.remediation.max_staleness, Some(Duration::from_secs(600)));
    assert_eq!(all.remediation.mode, DecisionMode::Off);
    assert_eq!((config.pools[0].balance, config.pools[0].send_forwarded), (Balance::LeastConnections, true));
}

#[test]
fn providers_of_captchas_bring_their_addresses() {
    let text =
        format!("{SMALL}captcha: {{provider: turnstile, site_key: k, secret_key_file: /etc/secret}}\n");
    let CaptchaProvider::Service { verify_url, secret_key, response_field, .. } =
        parse(&text).unwrap().captcha.unwrap().provider.clone()
    else {
        panic!()
    };
    assert_eq!(verify_url, "https://challenges.cloudflare.com/turnstile/v0/siteverify");
    assert_eq!((secret_key.reveal(), response_field.as_str()), ("s", "cf-turnstile-response"));
    assert!(parse(&format!("{SMALL}captcha: {{provider: none}}\n")).unwrap().captcha.is_none());
}

#[test]
fn names_for_acme_are_collected_from_all_listeners() {
    let config = parse(
        "listen:
  - {address: \":80\", redirect_to_https: true}
  - {address: \":443\", tls: {acme: [a.example.org, b.example.org]}}
  - {address: \":8443\", tls: {acme: [a.example.org]}}
routes: [{upstream: \"http://a\"}]
",
    )
    .unwrap();
    let acme = config.acme.unwrap();
    assert_eq!(acme.names, ["a.example.org", "b.example.org"]);
    assert_eq!(acme.challenge, AcmeChallenge::Http01);
}

#[test]
fn mistakes_name_key_line_and_remedy() {
    for (text, expected) in [
        ("{}", "config does not contain 'listen'; for example"),
        ("{}", "config does not contain 'routes'; name the application"),
        (
            "listen: [{address: 80}]",
            "write it as HOST:PORT such as 0.0.0.0:443 or :80, as unix:/PATH, or as systemd:NAME (listen[0].address at /etc/p.yaml:1",
        ),
        ("listen: [{address: \":443\", tls: {}}]", "there is no certificate"),
        ("listen: [{address: \":443\", tls: {acme: [\"*.a.b\"]}}]", "wildcards need a DNS challenge"),
        ("listen: [{address: \":443\", tls: {acme: [a.b]}}]", "http-01 needs a listener without TLS"),
        ("listen: [{address: \":1\"}, {address: \":1\"}]", "another entry of `listen` has this address"),
        ("trusted_proxies: [10.0.0.0/33]", "neither an address nor a prefix"),
        ("client_address_header: \"a b\"", "this is not a header name"),
        ("trusted_hops: 0", "it must be at least 1"),
        ("trusted_hops: 33", "at most 32"),
        ("routes: [{}]", "name the application"),
        (
            "routes: [{upstream: nowhere}]",
            "neither a URL such as http://127.0.0.1:3000 nor the name of a pool: there are no `upstreams`",
        ),
        ("routes: [{upstream: \"http://a\", max_body: big}]", "it must be a size"),
        ("routes: [{upstream: \"http://a\", path_prefix: a}]", "it must begin with /"),
        ("routes: [{upstream: \"http://a\", hosts: [\"a:80\"]}]", "it must be a host name without port"),
        ("routes: [{upstream: \"http://a\"}, {upstream: \"http://b\"}]", "another route is called \"/\""),
        ("routes: [{upstream: \"http://a\", decisions: {mode: strem}}]", "expected one of stream, live, off"),
        ("decisions: {scopes: [country]}", "countries need a database"),
        ("decisions: {on_failure: closed}", "it takes effect only after `max_staleness`"),
        ("decisions: {ban_status: 200}", "it must be a status from 400 to 599"),
        ("captcha: {provider: hcaptcha, site_key: k}", "the provider needs it; it is beside the site key"),
        ("captcha: {provider: hcaptcha, site_key: k, secret_key_file: /x}", "cannot read /x"),
        ("captcha: {signing_keys: [short]}", "it must have at least 32 characters"),
        ("limits: {head_bytes: 1}", "it must be from 8192 to 65536"),
        ("upstreams: [{name: a}]", "name at least one"),
        ("upstreams: [{name: a, servers: [{url: \"http://a/x\"}]}]", "without a path behind the host"),
        (
            "upstreams: [{name: a, servers: [{url: \"http://a\"}], protocol: http2, proxy_protocol: v1}]",
            "set `protocol: http1`",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

const REFERENCE: &str = include_str!("../../../../packaging/config/palisade-proxy.yaml");

fn load_strictly(text: &str) -> palisade_bouncer::run::Loaded<Config> {
    let document =
        Document::from_text(Path::new("/etc/p.yaml"), text, None, &|_| Some("key".to_owned())).unwrap();
    let strict = palisade_bouncer::run::Overrides { strict: true, ..Default::default() };
    palisade_bouncer::run::check::<crate::Proxy>(document, strict).unwrap()
}

#[test]
fn the_reference_file_is_valid_as_shipped() {
    assert_eq!(load_strictly(REFERENCE).config.routes.len(), 1);
}

#[test]
fn the_blocks_of_the_reference_file_are_valid_when_they_are_used() {
    // Blocks that begin in the first column; nested ones name files and hosts that contradict each other.
    let blocks = [
        "trusted_proxies",
        "upstreams",
        "decisions",
        "captcha",
        "pages",
        "geo",
        "live",
        "limits",
        "access_log",
    ];
    let (mut text, mut used) = (String::new(), false);
    for line in REFERENCE.lines() {
        if let Some(rest) = line.strip_prefix("# ").filter(|rest| !rest.starts_with('#')) {
            if !rest.starts_with(' ') {
                used = blocks
                    .iter()
                    .any(|block| rest.strip_prefix(block).is_some_and(|rest| rest.starts_with(':')));
            }
            // `#   # key` stays a comment.
            text.push_str(if used { rest } else { line });
        } else {
            used = used && line.starts_with("#   ##");
            text.push_str(line);
        }
        text.push('\n');
    }
    let config = load_strictly(&text).config;
    assert_eq!((config.pools.len(), config.limits.body_rate), (2, 500), "{text}");
    assert!(config.geo.country.is_some() && config.access_log.is_some());
}

#[test]
fn every_key_is_in_the_reference_file() {
    for key in PROXY_KEYS {
        let last = key.rsplit('.').next().unwrap();
        assert!(REFERENCE.contains(last), "{key} is missing");
    }
}
