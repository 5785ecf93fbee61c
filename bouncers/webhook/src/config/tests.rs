use std::path::Path;
use std::time::Duration;

use palisade_client::Secret;
use palisade_daemon::{Document, Problems};

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    let document = Document::from_text(Path::new("/etc/w.yaml"), text, None, &|_| None).unwrap();
    let mut problems = Problems::new();
    let file: Option<ConfigFile> = document.parse_into(&mut problems);
    if !problems.is_empty() {
        return Err(document.locate(problems).to_string());
    }
    let files = Files {
        secret: &|path| match path.ends_with("secret") {
            true => Ok(Secret::new("from-file")),
            false => Err(format!("cannot read {}", path.display())),
        },
        text: &|path| match path.ends_with("template") {
            true => Ok("{\"n\": {{ events | length }}}".to_owned()),
            false => Err(format!("cannot read {}", path.display())),
        },
    };
    file.unwrap().check(files).map_err(|problems| document.locate(problems).to_string())
}

fn endpoint(keys: &str) -> Result<Arc<EndpointConfig>, String> {
    let text = format!("endpoints:\n  - {{name: e, {keys}}}\n");
    parse(&text).map(|config| Arc::clone(&config.endpoints[0]))
}

#[test]
fn two_keys_make_an_endpoint() {
    let made = endpoint("url: 'https://soar.example.org/hook'").unwrap();
    assert_eq!((made.batch.events, made.parallel, made.grouping), (100, 4, Grouping::Value));
    assert_eq!((made.initial, made.history, made.replay_at_start), (Initial::Snapshot, None, false));
    assert_eq!(made.retry.max, Duration::from_secs(3600));
    let Receiver::Http(http) = &made.receiver else { panic!("it has a URL") };
    assert_eq!((http.method.as_str(), http.url.as_str()), ("POST", "https://soar.example.org/hook"));
    assert_eq!(http.body.template, TemplateSource::Ready("json".to_owned()));
    assert!(http.allowed_addresses.is_empty());
}

#[test]
fn a_program_and_a_whole_list_are_endpoints_too() {
    let made = endpoint("program: {path: /usr/local/bin/ban, mode: arguments, timeout: 5s}").unwrap();
    assert_eq!((made.grouping, made.parallel, made.replay_at_start), (Grouping::Remediation, 1, true));
    assert_eq!(made.retry.max, Duration::from_secs(30));
    let Receiver::Program(program) = &made.receiver else { panic!("it is a program") };
    assert_eq!(program.mode, ProgramMode::Arguments { timeout: Duration::from_secs(5) });
    let made = endpoint("bearer_file: /run/secret, replace: {cloudflare: {account: a1, list: b2}}").unwrap();
    let Receiver::Replace(replace) = &made.receiver else { panic!("it takes whole lists") };
    let ReplaceService::Cloudflare { account, http, .. } = &replace.service else {
        panic!("it is Cloudflare")
    };
    assert_eq!((account.as_str(), http.url.as_str()), ("a1", "https://api.cloudflare.com/client/v4"));
    let made = endpoint("url: 'https://l.example.org/list', replace: {}").unwrap();
    let Receiver::Replace(replace) = &made.receiver else { panic!("it takes whole lists") };
    assert!(matches!(&replace.service, ReplaceService::Http(http) if http.method == "PUT"));
}

#[test]
fn a_template_has_defaults_and_bounds_of_its_own() {
    let made = endpoint("url: 'https://hooks.example.org/x', template: slack").unwrap();
    assert_eq!(made.initial, Initial::Skip);
    assert!(made.batch.wait > Duration::ZERO);
    let wrong = endpoint("url: 'https://x.example', template: discord, batch: {events: 11}").unwrap_err();
    assert!(wrong.contains("from 1 to 10") && wrong.contains("/etc/w.yaml:2"), "{wrong}");
    endpoint("url: 'https://x.example', template_file: /etc/template").unwrap();
}

#[test]
fn mistakes_name_the_key_and_the_remedy() {
    for (keys, parts) in [
        ("x: 1", &["endpoints[0].url", "name the receiver"][..]),
        ("url: 'ftp://x'", &["must begin with http"]),
        ("url: 'https://u:p@x'", &["use `basic`"]),
        ("url: 'https://x', method: HEAD", &["endpoints[0].method"]),
        ("url: 'https://x', template: slak", &["endpoints[0].template", "slack"]),
        ("url: 'https://x', template: json, body: '{}'", &["give one of"]),
        ("url: 'https://x', body: '{{ events'", &["endpoints[0].body"]),
        ("url: 'https://x', headers: {Host: y}", &["endpoints[0].headers.Host", "sets this header itself"]),
        ("url: 'https://x', signing_secrets: [abc]", &["endpoints[0].signing_secrets", "whsec_"]),
        ("url: 'https://x', bearer_file: /no", &["endpoints[0].bearer_file", "cannot read /no"]),
        ("url_file: /no", &["endpoints[0].url_file", "cannot read /no"]),
        ("url: 'https://x', url_file: /no", &["endpoints[0].url_file", "remove one"]),
        ("url: 'https://x', allow_addresses: [ten]", &["allow_addresses[0]"]),
        ("url: 'https://x', filter: {expression: 'Decision.Orgin == 1'}", &["filter.expression", "Origin"]),
        ("url: 'https://x', history: {max_age: 1h}", &["keep_history"]),
        ("url: 'https://x', retry: {first: 2h}", &["endpoints[0].retry.first"]),
        ("url: 'https://x', tls: {certificate: /c}", &["endpoints[0].tls.key"]),
        ("program: {path: ban}", &["absolute"]),
        ("program: {path: /b}, url: 'https://x'", &["endpoints[0].url", "remove the key"]),
        (
            "bearer: t, hmac: {secret: s}, replace: {cloudflare: {account: a, list: b}}",
            &["endpoints[0].hmac", "remove the key"],
        ),
        ("replace: {aws_waf: {region: eu-west-1}}", &["name an IP set", "secret_access_key"]),
    ] {
        let wrong = endpoint(keys).unwrap_err();
        for part in parts {
            assert!(wrong.contains(part), "{keys}: {part} is not in {wrong}");
        }
    }
    let twice = "endpoints: [{name: a, url: 'https://x'}, {name: A, url: 'https://x'}]";
    assert!(parse(twice).unwrap_err().contains("endpoints[1].name"));
    assert!(parse("{}").unwrap_err().contains("endpoints"));
}

#[test]
fn secrets_are_not_in_errors_or_debug_output() {
    let keys = "url: 'https://x/?token=hush', bearer: hush, headers: {X-Key: hush}, method: HEAD";
    assert!(!endpoint(keys).unwrap_err().contains("hush"));
    let made = endpoint("url: 'https://x/?token=hush', bearer: hush, headers: {X-Key: hush}").unwrap();
    assert!(!format!("{made:?}").contains("hush"));
}

#[test]
fn lists_have_paths_and_readers_of_their_own() {
    let config = parse(
        "mirror:\n  lists:\n    - {path: /a}\n    - {path: /b, format: f5, user: u, password_file: /secret}\n    \
         - {path: /c, allow_from: [192.0.2.0/24], aggregate: true}\n",
    )
    .unwrap();
    let mirror = config.mirror.unwrap();
    assert_eq!((mirror.listen.as_str(), mirror.empty_is_not_found), ("127.0.0.1:41412", false));
    assert_eq!(mirror.lists[0].access, ListAccess::Open);
    assert!(matches!(mirror.lists[1].access, ListAccess::Basic { .. }));
    assert!(matches!(mirror.lists[2].access, ListAccess::Addresses(_)));
    for (lists, part) in [
        ("[]", "at least one list"),
        ("[{path: a}]", "begins with /"),
        ("[{path: /a}, {path: /a}]", "another list has this path"),
        ("[{path: /a, user: u}]", "both `user` and `password`"),
        ("[{path: /a, format: xml}]", "mirror.lists"),
    ] {
        let wrong = parse(&format!("mirror: {{lists: {lists}}}")).unwrap_err();
        assert!(wrong.contains(part), "{lists}: {wrong}");
    }
}

#[test]
fn scopes_that_only_a_filter_names_are_found() {
    let asked = |filter: &str| {
        parse(&format!("endpoints: [{{name: a, url: 'https://x'{filter}}}]")).unwrap().scopes_to_ask_for()
    };
    assert!(asked("").is_empty() && asked(", filter: {scopes: [Ip, range]}").is_empty());
    assert_eq!(asked(", filter: {scopes: [Country, ip]}").into_iter().collect::<Vec<_>>(), ["country"]);
}
