use std::path::Path;

use palisade_client::Secret;
use palisade_daemon::{Document, Problems};

use super::*;
use crate::config::{ConfigFile, Files};

/// 2026-05-01T12:00:00Z.
const NOW: Timestamp = sample::NOW;

fn config(endpoints: &[&str]) -> Config {
    let lines: String = endpoints.iter().map(|keys| format!("  - {{{keys}}}\n")).collect();
    let text = format!("endpoints:\n{lines}");
    let document = Document::from_text(Path::new("/etc/w.yaml"), &text, None, &|_| None).unwrap();
    let mut problems = Problems::new();
    let file: ConfigFile = document.parse_into(&mut problems).unwrap();
    let files = Files {
        secret: &|_| Ok(Secret::new("FILESECRET")),
        text: &|path| Err(format!("cannot read {}", path.display())),
    };
    file.check(files).map_err(|problems| document.locate(problems).to_string()).unwrap()
}

fn decision(scope: &str, value: &str, origin: &str) -> DecisionView {
    DecisionView {
        scope: scope.to_owned(),
        value: value.to_owned(),
        remediation: "ban".to_owned(),
        origin: origin.to_owned(),
        scenario: "crowdsecurity/ssh-bf".to_owned(),
        id: 7,
        until: "2026-05-01T16:00:00Z".to_owned(),
        seconds_left: 14_400,
    }
}

fn shown(keys: &str, decisions: Option<&[DecisionView]>) -> String {
    let config = config(&[&format!("name: e, {keys}")]);
    let text = render_at(&config, "e", decisions, NOW).unwrap();
    assert!(!text.contains("SECRET"), "{text}");
    text
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_request_is_shown_without_secrets() {
    let keys = "url: 'https://soar.example.org/hook?key=SECRET', bearer: SECRET, headers: {X-Key: SECRET}, \
                signing_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw], hmac: {header: X-Sig, secret: SECRET}";
    let text = shown(keys, Some(&[decision("Ip", "192.0.2.7", "cscli")]));
    let (head, body) = text.split_once("\n\n").unwrap();
    assert_has(
        head,
        &[
            "# 1 events of 1 decisions\nPOST https://soar.example.org/hook?key=<hidden>\n",
            "\nhost: soar.example.org\n",
            "\nauthorization: <hidden>\n",
            "\nx-key: <hidden>\n",
            "\ncontent-type: application/json\n",
            "\nwebhook-id: evt_",
            "\nwebhook-timestamp: 1777636800\n",
            "\nwebhook-signature: <signature>",
            "\nx-sig: <signature>",
        ],
    );
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["type"], "decision.added", "{json}");
    assert!(head.ends_with(&format!("content-length: {}", body.trim_end().len())), "{head}");
}

#[test]
fn samples_are_shown_of_every_kind_that_fits_into_a_message() {
    let text = shown("url: 'https://x.example/h'", None);
    assert_has(
        &text,
        &["# sample: an added ban\n", "# sample: an expired ban\n", "# sample: several changes\n"],
    );
    let text = shown("url: 'https://x.example/h', batch: {events: 1}", None);
    assert_has(&text, &["# sample: an added ban\n"]);
    assert!(!text.contains("several changes"), "{text}");
    let text = shown("url: 'https://x.example/h', template: mikrotik", None);
    assert_has(&text, &["# sample: a ban of a country\nNothing is sent.\n"]);
}

#[test]
fn the_filter_and_the_grouping_of_the_endpoint_apply_to_decisions() {
    let decisions = [
        decision("Ip", "192.0.2.7", "cscli"),
        DecisionView { remediation: "captcha".to_owned(), ..decision("Ip", "192.0.2.7", "cscli") },
        decision("Range", "192.0.2.0/24", "CAPI"),
    ];
    let url = "url: 'https://x.example/h', template: ndjson";
    for (keys, lines) in [
        ("", 2),
        (", events: decision", 3),
        (", filter: {origins: [cscli]}", 1),
        (", filter: {scopes: [range]}", 1),
    ] {
        let text = shown(&format!("{url}{keys}"), Some(&decisions));
        assert_eq!(text.matches("decision.added").count(), lines, "{keys}: {text}");
    }
    let none = shown(&format!("{url}, filter: {{origins: [lists]}}"), Some(&decisions));
    assert_eq!(none, "The filter of e takes none of the 3 decisions: nothing is sent.\n");
    assert_eq!(shown(url, Some(&[])), "There are no decisions: nothing is sent.\n");
    let single = shown(&format!("{url}, batch: {{events: 1}}"), Some(&decisions));
    assert_eq!(single.matches("POST https").count(), 2, "{single}");
}

#[test]
fn a_program_is_shown_with_its_arguments_or_its_input() {
    let decisions =
        [DecisionView { scenario: "manual 'ban'".to_owned(), ..decision("Ip", "192.0.2.7", "cscli") }];
    let text = shown("program: {path: /usr/local/bin/ban, mode: arguments}", Some(&decisions));
    assert_has(&text, &[r"/usr/local/bin/ban add 192.0.2.7 14400 'manual '\''ban'\''' '{", r#""id":7}'"#]);
    let text = shown("program: {path: /usr/local/bin/ban, arguments: [-v, 'a b']}", Some(&decisions));
    assert_has(&text, &["/usr/local/bin/ban -v 'a b'\n", r#""value":"192.0.2.7","id":7,"action":"add"}"#]);
    let text = shown("program: {path: /usr/local/bin/ban, mode: arguments}", None);
    assert_has(&text, &["# sample: an expired ban\n/usr/local/bin/ban del 192.0.2.8 "]);
}

#[test]
fn a_list_is_shown_as_it_is_uploaded() {
    let decisions = [
        decision("Ip", "192.0.2.7", "cscli"),
        decision("Ip", "2001:db8::7", "cscli"),
        decision("Country", "FR", "CAPI"),
    ];
    let keys = "url: 'https://l.example.org/list', body: '{% for event in events %}{{ event.value }};{% endfor %}', \
                content_type: text/plain, replace: {}, filter: {origins: [cscli]}";
    let text = shown(keys, Some(&decisions));
    assert_has(
        &text,
        &["# 2 entries of 3 decisions", "PUT https://l.example.org/list\n", "\nwebhook-id: evt_"],
    );
    assert!(text.ends_with("\n\n192.0.2.7;2001:db8::7;\n"), "{text}");
    let cloudflare = "bearer: SECRET, replace: {cloudflare: {account: a1, list: b2}}";
    assert_has(
        &shown(cloudflare, Some(&decisions)),
        &[
            "The items of list b2 of account a1 at https://api.cloudflare.com/",
            "\n  192.0.2.7  (cscli: crowdsecurity/ssh-bf)\n",
            "Left out: 2, because the receiver cannot hold them.",
        ],
    );
    let aws = "replace: {aws_waf: {region: eu-west-1, ipv4: {name: bans, id: i4}, ipv6: {name: six, id: i6}, \
               access_key_id: K, secret_access_key: SECRET}}";
    assert_has(
        &shown(aws, Some(&decisions)),
        &["IP set bans (i4, regional, eu-west-1)", "  192.0.2.7  (", "  2001:db8::7  (", "Left out: 1"],
    );
    assert_has(&shown(aws, None), &["# a list of samples\n", "  198.51.100.0/24  (cscli: "]);
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let keys = ["name: one, url: 'https://x.example'", "name: two, url: 'https://x.example'"];
    let error = |config: &Config| render(config, "three", None).unwrap_err().to_string();
    assert_eq!(error(&config(&keys)), "there is no endpoint \"three\"; there are one, two");
    let none = Config { endpoints: Vec::new(), ..config(&keys) };
    assert!(error(&none).contains("no endpoint is configured"));
}

#[test]
fn foreign_texts_cannot_act_on_a_terminal() {
    let decisions = [DecisionView {
        scenario: "\u{1b}[31m\u{202e}\nx".to_owned(),
        ..decision("Ip", "192.0.2.7", "cscli")
    }];
    for keys in [
        "url: 'https://x.example', content_type: text/plain, body: '{% for event in events %}{{ event.scenario }}{% endfor %}'",
        "program: {path: /bin/ban, mode: arguments}",
        "bearer: t, replace: {cloudflare: {account: a, list: b}}",
    ] {
        let text = shown(keys, Some(&decisions));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert_has(&text, &["\\u{1b}[31m"]);
    }
}

#[test]
fn a_decision_that_cannot_be_read_is_an_error() {
    let config = config(&["name: e, url: 'https://x.example'"]);
    let fails = |decision: DecisionView| render(&config, "e", Some(&[decision])).unwrap_err().to_string();
    assert!(fails(decision("Ip", "x", "cscli")).contains("is no address"));
    assert!(
        fails(DecisionView { until: "soon".to_owned(), ..decision("Ip", "1.2.3.4", "c") })
            .contains("no time")
    );
    let far = DecisionView { until: "253402300800000ms".to_owned(), ..decision("Ip", "1.2.3.4", "c") };
    render(&config, "e", Some(&[far])).unwrap();
}
