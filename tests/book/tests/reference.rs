//! The reference pages are those of the configuration types, and what they say of defaults, bounds, words and examples
//! is what the programs do.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use palisade_book::reference::{Component, Kind, Placed, UPDATE, components};
use palisade_book::{read, root};
use palisade_bouncer::run::{Bouncer, Overrides, check};
use palisade_bouncer::settings::{LapiSettings, ProcessEnv};
use palisade_daemon::Document;
use palisade_daemon::logs::LogConfig;
use palisade_daemon::metrics::Listen;
use palisade_firewall::Firewall;
use palisade_go_compat::GoDuration;
use palisade_proxy::Proxy;
use palisade_webhook::Webhook;
use serde_json::{Value, json};

/// What a program makes of a file.
#[derive(Debug, PartialEq)]
enum Effect {
    Lapi(Box<palisade_lapi_config::Config>),
    Credentials(Box<palisade_lapi_config::Credentials>),
    /// As they are shown: compiled conditions are not compared otherwise.
    Profiles(String),
    Firewall(Box<(palisade_firewall::config::Config, Common)>),
    Proxy(Box<(palisade_proxy::config::Config, Common)>),
    Webhook(Box<(palisade_webhook::config::Config, Common)>),
}

/// What all bouncers make of theirs. The settings of the LAPI are compared as they are shown.
type Common = (LogConfig, Option<Listen>, String);

fn bouncer<B: Bouncer>(text: &str) -> Result<(B::Config, Common), String> {
    let document = Document::from_text(Path::new("/etc/b.yaml"), text, None, &|_| None);
    let document = document.map_err(|error| error.to_string())?;
    let overrides = Overrides { strict: true, ..Overrides::default() };
    let loaded = check::<B>(document, overrides).map_err(|error| error.to_string())?;
    let env = ProcessEnv::of_process("palisade-book");
    let lapi = LapiSettings::of(&loaded.document, &env).map_err(|error| error.to_string())?;
    Ok((
        loaded.config,
        (loaded.logs, loaded.prometheus, format!("{:?}", LapiSettings { warnings: Vec::new(), ..lapi })),
    ))
}

/// Both maps in one; the second one's keys count.
fn joined(mut file: Value, more: Value) -> Value {
    if let (Value::Object(file), Value::Object(more)) = (&mut file, more) {
        file.extend(more);
    }
    file
}

fn effect(program: &str, file: &Value) -> Result<Effect, String> {
    // JSON is YAML.
    let text = file.to_string();
    Ok(match program {
        "firewall" => Effect::Firewall(Box::new(bouncer::<Firewall>(&text)?)),
        "proxy" => Effect::Proxy(Box::new(bouncer::<Proxy>(&text)?)),
        "webhook" => Effect::Webhook(Box::new(bouncer::<Webhook>(&text)?)),
        "profiles" => {
            let profiles = palisade_profiles::Profiles::parse(&text, "/etc/profiles.yaml");
            Effect::Profiles(format!("{:?}", profiles.map_err(|error| error.to_string())?))
        }
        "credentials" => {
            let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            std::fs::write(file.path(), text).map_err(|error| error.to_string())?;
            let read = palisade_lapi_config::Credentials::load(file.path());
            Effect::Credentials(Box::new(read.map_err(|error| error.to_string())?))
        }
        _ => {
            let config = palisade_lapi_config::Config::from_text(Path::new("/etc/config.yaml"), &text);
            let mut config = config.map_err(|error| error.to_string())?;
            config.merged_text.clear();
            config.warnings.clear();
            config.secret_files.clear();
            Effect::Lapi(Box::new(config))
        }
    })
}

/// The shortest file in which a key has an effect: the first whose prefix the key has.
fn base(program: &str, key: &str) -> Value {
    let lapi = json!({
        "api": {"server": {"listen_uri": "127.0.0.1:8080", "profiles_path": "/p.yaml"}},
        "db_config": {"type": "sqlite", "db_path": "/c.db"},
    });
    let mut postgres = lapi.clone();
    postgres["db_config"] = json!({"type": "postgresql"});
    let mut registration = lapi.clone();
    registration["api"]["server"]["auto_registration"] = json!({"enabled": true, "token": "fedcba9876543210fedcba9876543210", "allowed_ranges": ["192.0.2.0/24"]});
    let mut lapi_tls = lapi.clone();
    lapi_tls["api"]["server"]["tls"] =
        json!({"cert_file": "/c.pem", "key_file": "/k.pem", "ca_cert_path": "/a.pem"});
    let bouncer = |own: Value| joined(json!({"api_url": "http://127.0.0.1:1/", "api_key": "k"}), own);
    let proxy = |more: Value| {
        let file = bouncer(json!({
            "listen": [{"address": ":8443"}, {"address": ":8080"}],
            "upstreams": [{"name": "app", "servers": [{"url": "http://127.0.0.1:2"}]}],
            "routes": [{"upstream": "app"}],
        }));
        joined(file, more)
    };
    let service = json!({"captcha": {"provider": "turnstile", "site_key": "s", "secret_key": "k"}});
    let endpoint = |more: Value| {
        let one = joined(json!({"name": "e"}), more);
        bouncer(json!({"endpoints": [one], "state_dir": "/s"}))
    };
    let http = json!({"url": "https://e.example.org/"});
    let mut with_hmac = http.clone();
    with_hmac["hmac"] = json!({"secret": "s"});
    let mut with_basic = http.clone();
    with_basic["basic"] = json!({"user": "u", "password": "p"});
    let mut with_history = http.clone();
    with_history["keep_history"] = json!(true);
    let cloudflare = json!({"bearer": "t", "replace": {"cloudflare": {"account": "a", "list": "l"}}});
    let aws = json!({"replace": {"aws_waf": {"ipv4": {"name": "n", "id": "i"}, "region": "us-east-1",
        "access_key_id": "a", "secret_access_key": "s"}}});
    let mut aws_ipv6 = aws.clone();
    aws_ipv6["replace"]["aws_waf"]["ipv6"] = json!({"name": "n", "id": "i"});
    let list = json!({"mirror": {"lists": [{"path": "/l"}]}});
    let table: Vec<(&str, Value)> = match program {
        "lapi" => vec![
            ("db_config.db_path", lapi.clone()),
            ("db_config.use_wal", lapi.clone()),
            ("db_config.type", lapi.clone()),
            ("db_config.flush", lapi.clone()),
            ("db_config.", postgres),
            ("api.server.auto_registration.enabled", {
                let mut absent = registration.clone();
                absent["api"]["server"]["auto_registration"]["enabled"] = Value::Null;
                absent
            }),
            ("api.server.auto_registration", registration),
            ("api.server.tls.", lapi_tls),
            ("prometheus.enabled", lapi.clone()),
            ("prometheus.", {
                let mut on = lapi.clone();
                on["prometheus"] = json!({"enabled": true});
                on
            }),
            ("", lapi),
        ],
        "profiles" => vec![
            ("filters", json!({"decisions": [{"type": "ban"}]})),
            ("", json!({"filters": ["true"], "decisions": [{"type": "ban"}]})),
        ],
        "credentials" => vec![("", json!({"url": "http://127.0.0.1:1/"}))],
        "firewall" => vec![("", bouncer(json!({"mode": "nftables"})))],
        "proxy" => vec![
            ("captcha.provider", proxy(json!({"captcha": {"site_key": "s", "secret_key": "k"}}))),
            ("captcha.script_url", proxy(service.clone())),
            ("captcha.site_key", proxy(service.clone())),
            ("captcha.secret_key", proxy(service.clone())),
            ("captcha.widget_class", proxy(service.clone())),
            ("captcha.response_field", proxy(service.clone())),
            ("captcha.verify_url", proxy(service.clone())),
            ("captcha.ca", proxy(service.clone())),
            ("captcha.send_address", proxy(service)),
            (
                "acme.",
                proxy(json!({
                    "listen": [{"address": ":443", "tls": {"acme": ["a.example.org"]}}, {"address": ":80"}],
                    "state_dir": "/s",
                })),
            ),
            ("listen.tls.acme", proxy(json!({"state_dir": "/s"}))),
            (
                "listen.tls.",
                proxy(json!({
                    "listen": [{"address": ":443", "tls": {"certificates": [{"certificate": "/c.pem", "key": "/k.pem"}]}}],
                })),
            ),
            (
                "upstreams.tls",
                proxy(json!({"upstreams": [{"name": "app", "servers": [{"url": "https://127.0.0.1:2"}]}]})),
            ),
            (
                "upstreams.protocol",
                proxy(json!({"upstreams": [{"name": "app", "servers": [{"url": "https://127.0.0.1:2"}]}]})),
            ),
            ("", proxy(json!({}))),
        ],
        _ => vec![
            ("endpoints.program.", endpoint(json!({"program": {"path": "/bin/true"}}))),
            ("endpoints.replace.cloudflare", endpoint(cloudflare)),
            ("endpoints.replace.aws_waf.ipv6.", endpoint(aws_ipv6)),
            ("endpoints.replace.aws_waf", endpoint(aws)),
            (
                "endpoints.retry.max",
                endpoint(json!({"url": "https://e.example.org/", "retry": {"first": "10ms"}})),
            ),
            ("endpoints.hmac", endpoint(with_hmac)),
            ("endpoints.basic", endpoint(with_basic)),
            ("endpoints.history", endpoint(with_history)),
            ("mirror.metrics_path", bouncer(list.clone())),
            ("mirror.", bouncer(list)),
            ("", endpoint(http)),
        ],
    };
    let found = table.into_iter().find(|(prefix, _)| key.starts_with(prefix));
    found.expect("every key has a file").1
}

/// Puts a value at the path of a key as it is shown, `listen[].tls.acme`; blocks on the way are made.
fn put(file: &mut Value, shown: &str, value: Option<Value>) {
    let mut at = file;
    let mut parts = shown.split('.').peekable();
    while let Some(part) = parts.next() {
        let (name, is_list) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        if parts.peek().is_none() {
            if let Some(value) = value {
                at[name] = value;
            }
            return;
        }
        if at[name].is_null() {
            at[name] = if is_list { json!([{}]) } else { json!({}) };
        }
        at = if is_list { &mut at[name][0] } else { &mut at[name] };
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The file without the key, and with the blocks around it.
fn without(component: &Component, placed: &Placed) -> Value {
    let known = placed.known.trim_end_matches(".*");
    let mut file = base(component.name, known);
    put(&mut file, &placed.shown, None);
    if let Some(with) = placed.key.doc.literal("with") {
        let beside = yaml(with);
        let (block, _) = placed.shown.rsplit_once('.').unwrap_or(("", ""));
        for (name, value) in beside.as_object().unwrap_or_else(|| panic!("{with} is no map")) {
            let path = if block.is_empty() { name.clone() } else { format!("{block}.{name}") };
            put(&mut file, &path, Some(value.clone()));
        }
    }
    file
}

fn with(component: &Component, placed: &Placed, value: Value) -> Value {
    let mut file = without(component, placed);
    put(&mut file, &placed.shown, Some(value));
    remove_alternatives(&mut file, placed);
    file
}

/// Of keys that exclude each other, those of the base give way to the tried one.
fn remove_alternatives(file: &mut Value, placed: &Placed) {
    let others: &[(&str, &[&str])] = &[
        ("api_key_file", &["api_key"]),
        ("cert_path", &["api_key"]),
        ("key_path", &["api_key"]),
        ("url_file", &["url"]),
        ("bearer_file", &["bearer"]),
        ("secret_file", &["secret"]),
        ("secret_key_file", &["secret_key"]),
        ("password_file", &["password"]),
        ("secret_access_key_file", &["secret_access_key"]),
    ];
    // The other half of a pair.
    let pairs: &[(&str, &str, &str, &str)] = &[
        ("", "cert_path", "key_path", "/k.pem"),
        ("", "key_path", "cert_path", "/c.pem"),
        ("tls", "certificate", "key", "/k.pem"),
        ("tls", "key", "certificate", "/c.pem"),
        ("lists[]", "user", "password", "p"),
        ("lists[]", "password", "user", "u"),
        ("lists[]", "password_file", "user", "u"),
    ];
    let (block, name) = placed.shown.rsplit_once('.').unwrap_or(("", &placed.shown));
    let path = |other: &str| if block.is_empty() { other.to_owned() } else { format!("{block}.{other}") };
    for (_, others) in others.iter().filter(|(key, _)| *key == name) {
        for other in *others {
            let pointer = format!("/{}", path(other).replace("[]", ".0").replace('.', "/"));
            if let Some(value) = file.pointer_mut(&pointer) {
                *value = Value::Null;
            }
        }
    }
    let last = block.rsplit('.').next().unwrap_or(block);
    for (_, _, other, value) in pairs.iter().filter(|(around, key, ..)| *around == last && *key == name) {
        put(file, &path(other), Some(json!(value)));
    }
}

/// Files that examples name, in a folder that stands for `/etc/crowdsec`.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in [
            "bouncers/api.key",
            "bouncers/captcha.key",
            "webhook/url",
            "webhook/token",
            "webhook/hmac",
            "webhook/password",
            "webhook/aws",
            "webhook/session",
            "webhook/list",
            "webhook/signing",
            "webhook/body.j2",
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
            let text = match path.file_name().and_then(|name| name.to_str()) {
                Some("url") => "https://e.example.org/",
                Some("signing") => "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
                Some("body.j2") => "{\"count\": {{ events|length }}}",
                _ => "secret",
            };
            std::fs::write(&path, text).expect("a file can be written");
        }
        Self(folder)
    }

    /// The value with the folder in its place, where it is one of these files.
    fn place(&self, value: Value) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix("/etc/crowdsec/") {
                Some(rest) if self.0.path().join(rest).is_file() => {
                    json!(self.0.path().join(rest).display().to_string())
                }
                _ => Value::String(text),
            },
            Value::Array(values) => values.into_iter().map(|value| self.place(value)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, self.place(value))).collect(),
            value => value,
        }
    }
}

/// Calls `test` for each key and collects what it finds wrong.
fn for_each_key(test: impl Fn(&Component, &Placed) -> Result<(), String>) {
    let mut wrong = Vec::new();
    for component in components() {
        for placed in component.keys() {
            if placed.key.kind == Kind::Ignored {
                continue;
            }
            if let Err(text) = test(&component, &placed) {
                wrong.push(format!("{} {}: {text}", component.name, placed.shown));
            }
        }
    }
    assert!(wrong.is_empty(), "{} keys:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_pages_are_up_to_date() {
    for component in components() {
        let path = format!("docs/reference/{}.md", component.name);
        let page = component.page();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(root().join(&path), &page).expect("the page can be written");
        }
        assert!(read(&path) == page, "{path} is not what the types say; run: {UPDATE}");
    }
}

#[test]
fn a_page_has_the_keys_that_its_program_accepts() {
    for component in components() {
        let listed: BTreeSet<String> = component.keys().into_iter().map(|placed| placed.known).collect();
        let known: BTreeSet<String> = component.known.iter().map(|key| (*key).to_owned()).collect();
        let unknown: Vec<&String> = listed.difference(&known).collect();
        assert!(unknown.is_empty(), "{}: read by a type, and not accepted: {unknown:?}", component.name);
        let missing: Vec<&String> = known.difference(&listed).collect();
        let is_unread = !component.unread.is_empty();
        assert!(
            missing.is_empty() || is_unread,
            "{}: accepted, and not on the page: {missing:?}",
            component.name
        );
    }
}

#[test]
fn unknown_keys_are_errors() {
    for component in components() {
        let mut file = base(component.name, "");
        file["no_such_key"] = json!(1);
        assert!(effect(component.name, &file).is_err(), "{}", component.name);
    }
    let profile = json!({"filters": ["true"], "decisions": [{"type": "ban", "no_such_key": 1}]});
    assert!(effect("profiles", &profile).is_err());
}

#[test]
fn every_key_is_explained() {
    for_each_key(|_, placed| {
        let doc = &placed.key.doc;
        match (doc.text.is_empty(), doc.literal("example")) {
            (true, _) => Err("it has no text".to_owned()),
            (_, None) => Err("it has no example".to_owned()),
            _ => Ok(()),
        }
    });
}

#[test]
fn examples_are_accepted() {
    let files = Files::new();
    for_each_key(|component, placed| {
        let example = files.place(yaml(placed.key.doc.literal("example").ok_or("it has no example")?));
        effect(component.name, &with(component, placed, example)).map(|_| ())
    });
}

#[test]
fn a_default_is_what_holds_without_the_key() {
    for_each_key(|component, placed| {
        let Some(default) = placed.key.doc.literal("default") else { return Ok(()) };
        let absent = effect(component.name, &without(component, placed))?;
        let given = effect(component.name, &with(component, placed, yaml(default)))?;
        if absent == given { Ok(()) } else { Err(format!("{default} differs: {absent:?}\n{given:?}")) }
    });
}

#[test]
fn words_are_accepted_and_others_are_not() {
    for_each_key(|component, placed| {
        let mut words: Vec<&str> = placed.key.doc.literals("words");
        if let Kind::Words(known) = &placed.key.kind {
            words = known.iter().map(|(word, _)| word.as_str()).collect();
        }
        if words.is_empty() {
            return Ok(());
        }
        for word in words {
            // It needs more keys.
            if placed.known == "captcha.provider" && word == "custom" {
                continue;
            }
            if placed.known == "db_config.type" && word != "sqlite" {
                effect("lapi", &json!({"db_config": {"type": word}}))?;
                continue;
            }
            effect(component.name, &with(component, placed, json!(word)))?;
        }
        match effect(component.name, &with(component, placed, json!("no-such-word"))) {
            Ok(_) => Err("other words are accepted".to_owned()),
            Err(_) => Ok(()),
        }
    });
}

/// The next value outside of a bound.
fn outside(bound: &str, is_least: bool) -> Option<Value> {
    if let Ok(number) = bound.parse::<i64>() {
        let next = if is_least { number - 1 } else { number + 1 };
        // Below zero the type refuses.
        return Some(json!(next));
    }
    if let Ok(duration) = bound.parse::<GoDuration>() {
        let duration = duration.to_std()?;
        let step = Duration::from_micros(1);
        let next = if is_least { duration.checked_sub(step)? } else { duration + step };
        return Some(json!(format!("{}us", next.as_micros())));
    }
    // A size.
    let digits = bound.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &bound[digits.len()..] {
        "KB" => 1_u64 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()? * unit;
    Some(json!(format!("{}B", if is_least { bytes - 1 } else { bytes + 1 })))
}

#[test]
fn bounds_are_accepted_and_what_lies_outside_is_not() {
    for_each_key(|component, placed| {
        for (name, is_least) in [("at least", true), ("at most", false)] {
            let Some(bound) = placed.key.doc.literal(name) else { continue };
            let at = effect(component.name, &with(component, placed, yaml(bound)));
            at.map_err(|error| format!("{name} {bound} is refused: {error}"))?;
            let beyond = outside(bound, is_least).ok_or(format!("{bound} is no bound"))?;
            if effect(component.name, &with(component, placed, beyond.clone())).is_ok() {
                return Err(format!("{beyond} is accepted, beyond {name} {bound}"));
            }
        }
        Ok(())
    });
}

#[test]
fn the_smallest_files_are_accepted() {
    for component in components() {
        let page = component.page();
        let blocks = palisade_book::page::blocks(&page);
        let smallest =
            blocks.iter().find(|block| block.language == "yaml").expect("a page begins with a file");
        effect(component.name, &yaml(&smallest.text))
            .unwrap_or_else(|error| panic!("{}: {error}", component.name));
    }
}

#[test]
fn the_keys_of_the_table_for_plugins_exist() {
    let page = read("docs/moving-over.md");
    let (_, table) = page.split_once("| `palisade-proxy` | nginx").expect("the page has the table");
    let components = components();
    let proxy = components.iter().find(|component| component.name == "proxy").expect("a component");
    let known: BTreeSet<String> = proxy.keys().into_iter().map(|placed| placed.shown.clone()).collect();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut named = 0;
    for row in rows {
        let ours = row.split('|').nth(1).unwrap_or_default();
        // The odd pieces are in backticks; what is in braces is a value.
        for key in ours.split('`').skip(1).step_by(2).filter(|key| !key.contains('{')) {
            assert!(known.contains(key), "{key} is no key: {known:?}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn the_manual_page_of_the_firewall_has_the_same_keys_and_defaults() {
    let manual = read("docs/man/palisade-firewall.yaml.5").replace("\\-", "-");
    let components = components();
    let firewall = components.iter().find(|component| component.name == "firewall").expect("a component");
    for placed in firewall.keys() {
        assert!(
            manual.contains(&format!("\\fB{}\\fR", placed.known)),
            "{} is not in the manual",
            placed.known
        );
        let Some(default) = placed.key.doc.literal("default") else { continue };
        let line = manual.lines().find(|line| line.contains(&format!("\\fB{}\\fR", placed.known)));
        let Some((_, facts)) = line.and_then(|line| line.split_once("; default ")) else { continue };
        let default = default.trim_matches('"');
        assert!(
            facts.replace("\\(dq", "").contains(default),
            "the manual has another default of {} than {default}: {facts}",
            placed.known
        );
    }
}
