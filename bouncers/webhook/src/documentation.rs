//! Checks the pages of `docs/`, the manual page and the packaged configuration against the program.

use std::collections::BTreeSet;
use std::path::Path;

use http::StatusCode;
use palisade_bouncer::run::Bouncer as _;
use palisade_bouncer::settings::LAPI_KEYS;
use palisade_client::Secret;
use palisade_daemon::logs::LOG_KEYS;
use palisade_daemon::metrics::PROMETHEUS_KEYS;
use palisade_daemon::{Document, Problems};

use crate::Webhook;
use crate::config::{Config, ConfigFile, Files, Initial, WEBHOOK_KEYS};
use crate::endpoints::metrics::METRICS;
use crate::event::{EventKind, Value};
use crate::sink::{FailureKind, MessageKind};
use crate::templates::{READY, Template, VARIABLES, sample};

const GUIDE: &str = include_str!("../../../docs/webhook.md");
const TEMPLATES: &str = include_str!("../../../docs/webhook-templates.md");
const PROGRAMS: &str = include_str!("../../../docs/webhook-programs.md");
const FILTERS: &str = include_str!("templates/filters.rs");
const MANUAL: &str = include_str!("../../../docs/man/palisade-webhook.8");
const REFERENCE: &str = include_str!("../../../packaging/config/palisade-webhook.yaml");

/// Stands for every secret of the examples.
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The fenced blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

fn load(text: &str) -> Result<Config, String> {
    let variable = |name: &str| match name.ends_with("_URL") {
        true => Some("https://hooks.example.org/services/1".to_owned()),
        false => Some(SECRET.to_owned()),
    };
    let document = Document::from_text(Path::new("/etc/w.yaml"), text, None, &variable).unwrap();
    let known = [WEBHOOK_KEYS, LAPI_KEYS, LOG_KEYS, PROMETHEUS_KEYS].concat();
    let unknown: Vec<String> = document.unknown_keys(&known).into_iter().map(|unknown| unknown.key).collect();
    assert!(unknown.is_empty(), "unknown keys {unknown:?} in {text}");
    let mut problems = Problems::new();
    let file: Option<ConfigFile> = document.parse_into(&mut problems);
    assert!(problems.is_empty(), "{}", document.locate(problems));
    let files = Files {
        secret: &|_| Ok(Secret::new(SECRET)),
        text: &|_| Ok("{\"values\": {{ events|length }}}".to_owned()),
    };
    file.unwrap().check(files).map_err(|problems| document.locate(problems).to_string())
}

fn assert_valid(page: &str, name: &str) {
    let examples: Vec<&str> = blocks(page, "yaml");
    assert!(!examples.is_empty(), "{name}");
    for example in examples {
        load(example).unwrap_or_else(|error| panic!("{name}: {error}\n{example}"));
    }
}

#[test]
fn the_examples_of_the_guide_are_valid() {
    assert_valid(GUIDE, "webhook.md");
}

#[test]
fn the_examples_and_keys_of_programs_are_those_of_the_program() {
    assert_valid(PROGRAMS, "webhook-programs.md");
    for key in WEBHOOK_KEYS.iter().filter_map(|key| key.strip_prefix("endpoints.program.")) {
        assert!(PROGRAMS.contains(&format!("\n| `{key}` | ")), "{key} is missing");
    }
}

/// What a link to a heading of a page ends with.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let anchor = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_ascii_lowercase().replace(' ', "-");
        words.chars().filter(kept).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for name in ["webhook.md", "webhook-templates.md", "webhook-programs.md", "webhook-mirror.md"] {
        let page = std::fs::read_to_string(docs.join(name)).unwrap();
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = docs.join(if file.is_empty() { name } else { file });
            assert!(target.exists(), "{name}: {link}");
            let is_there =
                anchor.is_empty() || anchors(&std::fs::read_to_string(target).unwrap()).contains(anchor);
            assert!(is_there, "{name}: {link}");
        }
    }
}

#[test]
fn every_key_of_http_endpoints_lists_and_the_mirror_is_in_the_guide() {
    // A row may name several keys, of which all but the first are shortened to their last part.
    let named: BTreeSet<&str> =
        GUIDE.split('`').skip(1).step_by(2).flat_map(|code| code.split(", ")).collect();
    for key in WEBHOOK_KEYS.iter().filter(|key| !key.contains(".program.")) {
        let whole = key.strip_prefix("endpoints.").unwrap_or(key);
        let whole = whole.strip_suffix(".*").unwrap_or(whole);
        let last = whole.rsplit('.').next().unwrap_or(whole);
        // Keys of `filter`, and of an IP set, are explained in sentences and examples.
        let is_plain = whole.contains("filter.") || whole.starts_with("replace.aws_waf.ipv");
        let is_named = named.contains(whole)
            || named.contains(&*format!(".{last}"))
            || (is_plain && (named.contains(last) || GUIDE.contains(&format!("{last}:"))));
        assert!(is_named, "{key} is missing");
    }
}

#[test]
fn the_packaged_file_is_valid_as_shipped_and_when_its_parts_are_used() {
    assert_eq!(load(REFERENCE).unwrap().endpoints.len(), 1);
    // `# key` is a line to be used, `## text` is text. What is commented out twice contradicts something else.
    let used: String = REFERENCE
        .lines()
        .map(|line| {
            let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
            match rest.strip_prefix("# ") {
                Some(rest) if rest.trim_start().starts_with('#') => String::new(),
                Some(rest) if is_yaml(rest) => format!("{indent}{rest}\n"),
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let config = load(&used).unwrap_or_else(|error| panic!("{error}\n{used}"));
    assert_eq!(config.endpoints.len(), 7, "{used}");
    assert_eq!(config.mirror.map(|mirror| mirror.lists.len()), Some(3), "{used}");
}

/// Whether a commented line is a key or a list entry, and no sentence.
fn is_yaml(text: &str) -> bool {
    let text = text.trim_start();
    let text = text.strip_prefix("- ").unwrap_or(text);
    text.starts_with('{')
        || text.split_once(':').is_some_and(|(key, rest)| {
            (rest.is_empty() || rest.starts_with(' '))
                && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        })
}

#[test]
fn every_key_is_in_the_packaged_file() {
    for key in WEBHOOK_KEYS {
        let whole = key.strip_suffix(".*").unwrap_or(key);
        let last = whole.rsplit('.').next().unwrap_or(whole);
        assert!(REFERENCE.contains(&format!("{last}:")), "{key} is missing");
    }
}

#[test]
fn every_flag_and_command_is_in_the_manual() {
    let program = Webhook::INFO.program;
    let of_commands = program.commands.iter().flat_map(|command| command.flags);
    for flag in program.flags.iter().chain(of_commands) {
        assert!(MANUAL.contains(&format!("\\-{}", flag.name)), "-{} is missing", flag.name);
    }
    for command in program.commands {
        assert!(MANUAL.contains(command.name), "{} is missing", command.name);
    }
}

#[test]
fn every_metric_is_in_the_guide() {
    for metric in METRICS {
        let suffix = if metric.is_counter { "_total" } else { "" };
        assert!(GUIDE.contains(&format!("`{}{suffix}`", metric.name)), "{} is missing", metric.name);
    }
}

#[test]
fn the_table_of_statuses_is_what_is_done() {
    let rows = [
        ("**repeated**", FailureKind::Retry),
        ("**rejected**", FailureKind::Rejected),
        ("**refused**", FailureKind::Refusing),
        ("**stopped**", FailureKind::Gone),
    ];
    for (word, kind) in rows {
        let row = GUIDE.lines().find(|line| line.starts_with('|') && line.contains(word)).unwrap();
        let statuses: Vec<u16> = row
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter_map(|word| word.parse().ok())
            .filter(|status| (400..600).contains(status))
            .collect();
        assert!(!statuses.is_empty(), "{row}");
        for status in statuses {
            assert_eq!(crate::http::kind(StatusCode::from_u16(status).unwrap(), b""), kind, "{status}");
        }
    }
    // All that the row of refusals has, no more and no less.
    let refused = (400..500).filter(|status| {
        crate::http::kind(StatusCode::from_u16(*status).unwrap(), b"") == FailureKind::Refusing
    });
    let refused: Vec<String> = refused.map(|status| status.to_string()).collect();
    assert!(GUIDE.contains(&format!("| {} | **refused**", refused.join(", "))), "{refused:?}");
}

#[test]
fn the_body_that_the_guide_shows_is_what_is_sent() {
    let config = load("endpoints: [{name: e, url: \"https://e.example.org\"}]").unwrap();
    let crate::config::Receiver::Http(http) = &config.endpoints[0].receiver else { panic!("it has a URL") };
    let template = Template::load(&http.body, config.endpoints[0].grouping).unwrap();
    let entry = sample::entry("ban", "crowdsec", "crowdsecurity/ssh-bf", 4);
    let value = Value::Net("192.0.2.7/32".parse().unwrap());
    let event = sample::event(EventKind::Added, value, entry);
    let message = sample::message(MessageKind::Changes, vec![event]);
    let body = template.render_at(&message, sample::NOW).unwrap().unwrap().body;
    assert_eq!(blocks(GUIDE, "json"), [format!("{}\n", String::from_utf8_lossy(&body))]);
}

#[test]
fn the_examples_of_the_templates_are_valid() {
    assert_valid(TEMPLATES, "webhook-templates.md");
}

#[test]
fn ready_templates_are_listed_with_their_defaults_and_options() {
    for ready in READY {
        let name = ready.name;
        let row = TEMPLATES.lines().find(|line| line.starts_with(&format!("| `{name}` | ")));
        let cells: Vec<&str> = row.unwrap_or_else(|| panic!("{name} is missing")).split(" | ").collect();
        let most = if ready.max_events.is_some() { " (most)" } else { "" };
        let initial = if ready.initial == Initial::Snapshot { "a snapshot" } else { "nothing" };
        assert_eq!(cells[2], format!("{}{most}", ready.events), "{name}");
        assert_eq!((cells[3], cells[4]), (&*format!("{}s", ready.wait.as_secs()), initial), "{name}");
        let (_, section) = TEMPLATES.split_once(&format!("\n## {name}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for option in ready.options {
            let row = match option.default {
                "" => format!("\n| `{}` | ", option.name),
                default => format!("\n| `{}` | `{default}` | ", option.name),
            };
            assert!(section.contains(&row), "{name}: {row}");
        }
    }
}

#[test]
fn every_filter_and_variable_of_templates_is_listed() {
    for filter in FILTERS.split("add_filter(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let listed = |end: &str| TEMPLATES.contains(&format!("\n| `{filter}{end}"));
        assert!(listed("` | ") || listed("(n)` | "), "{filter}");
    }
    for variable in VARIABLES {
        assert!(TEMPLATES.contains(&format!("\n| `{variable}` | ")), "{variable}");
    }
}
