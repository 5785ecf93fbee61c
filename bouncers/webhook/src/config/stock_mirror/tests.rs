use std::path::Path;

use palisade_bouncer::settings::{LAPI_KEYS, LapiFile};
use palisade_daemon::logs::{LOG_KEYS, LogKeys, LogTarget};

use super::*;

/// The file of the stock package, with a key and a URL.
const PACKAGED: &str = "config_version: v1.0
crowdsec_config:
  lapi_key: k3y
  lapi_url: http://127.0.0.1:8080/
  update_frequency: 10s
  include_scenarios_containing: []
  exclude_scenarios_containing: [ssh]
  only_include_decisions_from: [cscli, CAPI]
  insecure_skip_verify: false

blocklists:
  - format: plain_text # Supported formats
    endpoint: /security/blocklist
    authentication:
      type: none
      user:
      password:
      trusted_ips:
        - 127.0.0.1
        - ::1

listen_uri: 127.0.0.1:41412
tls:
  cert_file:
  key_file:

metrics:
  enabled: true
  endpoint: /metrics

log_media: file
log_dir: /var/log/
log_level: info
log_max_age: 30
log_max_backups: 3
compress_logs: true
enable_access_logs: true
";

fn document(text: &str) -> Document {
    let document = Document::from_text(Path::new("m.yaml"), text, None, &|_| None).unwrap();
    assert!(is_stock_mirror(&document));
    let document = translate(document);
    assert!(is_stock_mirror(&document), "also afterwards");
    document
}

fn checked(text: &str) -> Result<(MirrorConfig, Vec<Note>), Vec<String>> {
    let document = document(text);
    let mut problems = Problems::new();
    match check(&document, &mut problems) {
        Some(Checked { config, notes }) if problems.is_empty() => Ok((config, notes)),
        _ => Err(document.locate(problems).iter().map(ToString::to_string).collect()),
    }
}

/// A file with these blocks beside what is required.
fn with(blocks: &str) -> String {
    format!("crowdsec_config: {{lapi_key: k, lapi_url: 'http://h/'}}\n{blocks}")
}

#[test]
fn the_packaged_file_is_read_unchanged() {
    let (config, notes) = checked(PACKAGED).unwrap();
    assert_eq!(notes, []);
    let list = ListConfig {
        path: "/security/blocklist".to_owned(),
        format: ListFormat::PlainText,
        access: ListAccess::Open,
        filter: FilterConfig::default(),
        aggregate: false,
    };
    let expected = MirrorConfig {
        listen: "127.0.0.1:41412".to_owned(),
        tls: None,
        lists: vec![list],
        metrics_path: Some("/metrics".to_owned()),
        access_log: Some("/var/log/crowdsec-blocklist-mirror_access.log".into()),
        empty_is_not_found: true,
    };
    assert_eq!(config, expected);
    let known = [STOCK_MIRROR_KEYS, LAPI_KEYS, LOG_KEYS].concat();
    assert_eq!(document(PACKAGED).unknown_keys(&known), []);
}

#[test]
fn keys_of_the_lapi_and_of_logs_reach_their_readers() {
    let document = document(PACKAGED);
    let lapi: LapiFile = document.parse().unwrap();
    assert_eq!(lapi.api_url.as_deref(), Some("http://127.0.0.1:8080/"));
    assert_eq!(lapi.api_key.unwrap().reveal(), "k3y");
    assert_eq!(lapi.update_frequency.as_deref(), Some("10s"));
    assert_eq!(lapi.origins.unwrap(), ["cscli", "CAPI"]);
    assert_eq!(lapi.scenarios_not_containing.unwrap(), ["ssh"]);
    assert_eq!(lapi.scenarios_containing.unwrap(), [""; 0]);
    let mut wrong = Problems::new();
    let logs = document.parse::<LogKeys>().unwrap().check("x.log", false, &mut wrong);
    let LogTarget::File { path, rotation } = logs.target else { panic!("no file") };
    assert_eq!((path, rotation.max_bytes), ("/var/log/x.log".into(), 40 << 20));
}

#[test]
fn errors_have_the_words_of_the_stock_program_and_the_keys_of_the_file() {
    for (text, expected) in [
        (
            "blocklists: []\n".to_owned(),
            vec![
                "one of lapi_key or cert_path is required (crowdsec_config.lapi_key)",
                "lapi_url is required (crowdsec_config.lapi_url)",
            ],
        ),
        (
            with("blocklists:\n- {format: html, endpoint: /a}\n"),
            vec![
                "html format is not supported. Supported formats are 'plain_text,mikrotik,f5,juniper' (blocklists[0].format at m.yaml:3, now \"html\")",
            ],
        ),
        (
            with("blocklists:\n- {format: f5, endpoint: /a}\n- {format: f5, endpoint: /a}\n"),
            vec!["/a endpoint used more than once (blocklists[1].endpoint at m.yaml:4, now \"/a\")"],
        ),
        (
            with("blocklists:\n- {format: f5, endpoint: /a, authentication: {type: token}}\n"),
            vec![
                "token authentication type is not supported. Supported authentication types are 'basic,ip_based,none' (blocklists[0].authentication.type at m.yaml:3, now \"token\")",
            ],
        ),
        (
            with("blocklists:\n- {format: f5, endpoint: a}\ntls: {cert_file: c}\n"),
            vec![
                "must be a path that begins with /, for example /security/blocklist (blocklists[0].endpoint at m.yaml:3, now \"a\")",
                "missing; `cert_file` is given, and the certificate needs its private key (tls.key_file)",
            ],
        ),
        (
            with(
                "blocklists:\n- {format: f5, endpoint: /a, authentication: {type: ip_based, trusted_ips: [x]}}\n",
            ),
            vec![
                "invalid ip address 'x' (blocklists[0].authentication.trusted_ips[0] at m.yaml:3, now \"x\")",
            ],
        ),
        (
            with("blocklists:\n- {format: f5, endpoint: /a, authentication: {type: basic}}\n"),
            vec!["basic authentication needs `user` and `password` (blocklists[0].authentication.user)"],
        ),
    ] {
        assert_eq!(checked(&text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn authentication_defaults_and_places_are_those_of_the_stock_program() {
    let text = with(
        "blocklists:
- {format: f5, endpoint: /a, authentication: {type: BASIC, user: u, password: p}}
- {format: juniper, endpoint: /b, aggregate: true, authentication: {type: IP_based, trusted_ips: [10.0.0.0/8, '::1']}}
- {format: mikrotik, endpoint: /c, authentication: {trusted_ips: [nonsense]}}
metrics: {endpoint: /metrics}
enable_access_logs: true
",
    );
    let (config, notes) = checked(&text).unwrap();
    assert_eq!(
        config.lists[0].access,
        ListAccess::Basic { user: "u".to_owned(), password: Secret::new("p") }
    );
    let ListAccess::Addresses(trusted) = &config.lists[1].access else { panic!("not by address") };
    assert!(trusted.contains("10.1.2.3".parse().unwrap()) && config.lists[1].aggregate);
    assert_eq!(config.lists[2].access, ListAccess::Open, "unused entries do no harm");
    assert_eq!((config.listen.as_str(), config.metrics_path), ("127.0.0.1:41412", None));
    assert_eq!(config.access_log, Some("/dev/stderr".into()));
    let texts: Vec<_> = notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "config version is not provided; assuming v1.0",
            "listen_uri is not provided ; assuming 127.0.0.1:41412"
        ]
    );
}

#[test]
fn keys_of_newer_releases_and_misplaced_ones_are_read() {
    let text = "config_version: v1.0
crowdsec_config:
  cert_path: c
  key_path: k
  lapi_url: http://h/
  listen_uri: 0.0.0.0:1
  supported_decisions_types: [Ban]
blocklists: [{format: plain_text, endpoint: /a}]
";
    let (config, notes) = checked(text).unwrap();
    assert_eq!((config.listen.as_str(), notes.len()), ("0.0.0.0:1", 0));
    assert_eq!(config.lists[0].filter.types, ["ban"]);
}
