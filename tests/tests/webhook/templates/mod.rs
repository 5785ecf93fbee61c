//! Ready templates: what each makes of decisions is what the receiver documents, whatever texts decisions have.

mod chat;
mod log;
mod plain;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use palisade_e2e::{
    Ban, Failure, Outcome, ScriptedLapi, ServiceRequest, ServiceResponse, ServiceRules, ServiceStandIn,
    Webhook, World, eventually, story, tools, webhook_file,
};
use serde_json::{Map, Value, json};

/// An entry of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReportedEntry {
    /// `added`, `changed`, `lifted`, `present`; for services that know only the state, `in force` or `lifted`.
    verb: String,
    value: String,
}

/// Entries of a message, and the response of the service.
type Checked = Result<(Vec<ReportedEntry>, ServiceResponse), String>;

/// The documented form of requests to a service.
trait Schema: Send + 'static {
    fn check(&mut self, request: &ServiceRequest) -> Checked;
}

impl<F: FnMut(&ServiceRequest) -> Checked + Send + 'static> Schema for F {
    fn check(&mut self, request: &ServiceRequest) -> Checked {
        self(request)
    }
}

/// A service that takes messages of one schema.
struct Service {
    schema: Box<dyn Schema>,
    in_force: BTreeSet<String>,
    verbs: BTreeSet<String>,
    /// How often a message had an entry of a value.
    reported: BTreeMap<String, usize>,
}

impl Service {
    fn new(schema: Box<dyn Schema>) -> Self {
        Self { schema, in_force: BTreeSet::new(), verbs: BTreeSet::new(), reported: BTreeMap::new() }
    }
}

impl ServiceRules for Service {
    fn respond(&mut self, request: &ServiceRequest) -> Result<ServiceResponse, String> {
        let start: String = request.body.chars().take(3000).collect();
        let (reported, response) =
            self.schema.check(request).map_err(|problem| format!("{problem}: {} {start}", request.target))?;
        for ReportedEntry { verb, value } in reported {
            *self.reported.entry(value.clone()).or_default() += 1;
            if verb == "lifted" {
                self.in_force.remove(&value);
            } else {
                self.in_force.insert(value);
            }
            self.verbs.insert(verb);
        }
        Ok(response)
    }
}

/// A ready template with its check.
struct Case {
    template: &'static str,
    path: &'static str,
    options: Value,
    schema: fn() -> Box<dyn Schema>,
    /// What messages call the kinds of events.
    verbs: &'static [&'static str],
}

const ALL: &[&str] = &["added", "changed", "lifted", "present"];
const STATES: &[&str] = &["in force", "lifted"];

/// Every ready template.
fn cases() -> Vec<Case> {
    let case = |template, path, schema, verbs| Case { template, path, options: json!({}), schema, verbs };
    let with = |case: Case, options| Case { options, ..case };
    vec![
        case("json", "/hook", || Box::new(plain::standard_webhooks), ALL),
        with(case("json", "/hook", || Box::new(plain::standard_webhooks), ALL), json!({ "batch": "always" })),
        case("ndjson", "/lines", || Box::new(plain::ndjson), ALL),
        case("cloudevents", "/events", || Box::<plain::CloudEvents>::default(), ALL),
        with(
            case("cloudevents", "/events", || Box::<plain::CloudEvents>::default(), ALL),
            json!({ "batch": "always", "source": "https://edge.example.org/3" }),
        ),
        case("slack", "/services/T0/B0/x", || Box::new(chat::slack_webhook), ALL),
        with(
            case("slack", "/api/chat.postMessage", || Box::new(chat::slack_api), ALL),
            json!({ "channel": "C024BE91L" }),
        ),
        case("discord", "/api/webhooks/1/x", || Box::new(chat::discord), ALL),
        with(
            case("discord", "/api/webhooks/1/x", || Box::new(chat::discord), ALL),
            json!({ "username": "x".repeat(200) }),
        ),
        case("teams", "/workflows/1", || Box::new(chat::teams), ALL),
        case("alertmanager", "/api/v2/alerts", || Box::<services::Alertmanager>::default(), STATES),
        case("elasticsearch", "/_bulk", || Box::<log::Bulk>::default(), STATES),
        with(
            case("elasticsearch", "/_bulk", || Box::<log::Bulk>::default(), ALL),
            json!({ "mode": "log", "index": "logs-crowdsec-default" }),
        ),
        case("splunk", "/services/collector/event", || Box::new(log::splunk), ALL),
        with(
            case("splunk", "/services/collector/event", || Box::new(log::splunk), ALL),
            json!({ "host": "edge-3", "index": "security", "source": "a \"b\"" }),
        ),
        case("mikrotik", "/rest/execute", || Box::<services::RouterOs>::default(), STATES),
        with(
            case("mikrotik", "/rest/execute", || Box::<services::RouterOs>::default(), STATES),
            json!({ "list": "a \"$b\"; [c]", "list6": "other" }),
        ),
    ]
}

/// Texts that a receiver may read as markup, as a mention, as an end of a line or of a text, or as too much.
fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "\"double\" 'single' \\back \\\" \\\\",
        "line\nfeed\r\n\ttab",
        "@everyone @here <@U024BE7LH> <@&1234> <!channel> <!here|here> <#C1> <https://evil.example|click>",
        "*bold* _it_ ~s~ `code` ```block``` ||spoiler|| [link](https://evil.example) > quote &amp; # head",
        "\u{0}\u{1}\u{7f}\u{1b}[31m\u{85}\u{202e}\u{2028}\u{2029}\u{feff}\u{200b}end",
        "$(id) `id` ; } ] /system reboot \" comment=x disabled=yes $[/system/shutdown] :put \"done 1\"",
        "{{ 7 * 7 }} {% raw %} ${jndi:ldap://evil.example} %s %n",
        "\n{\"delete\":{\"_index\":\"x\",\"_id\":\"1\"}}\n",
    ]
    .map(str::to_owned)
    .into();
    for long in ["x", "&", "<", "@", "`", "\"", "\n", "\u{1}", "é", "😀", "<!channel> "] {
        texts.push(long.repeat(10_000usize.div_ceil(long.chars().count())));
    }
    texts
}

/// A decision with texts of others.
fn hostile(value: &str, text: &str) -> Ban {
    let mut ban = Ban::of(value);
    ban.scenario = text.to_owned();
    ban
}

/// The names of all ready templates, as the program lists them.
fn ready_templates(world: &World) -> Outcome<BTreeSet<String>> {
    let path = world.fresh_path("webhook.yaml");
    let endpoint = json!({ "name": "none", "url": "https://soar.example.org/", "template": "there-is-no-such-template" });
    let lapi = palisade_e2e::Access { url: "http://127.0.0.1:1/".to_owned(), key: "key".to_owned() };
    std::fs::write(&path, webhook_file(&lapi, &[endpoint]))?;
    let mut command = tools::command(tools::ours("palisade-webhook")?)?;
    command.arg("-t").arg("-c").arg(&path).env("STATE_DIRECTORY", world.fresh_path("state"));
    let mut process = world.start(&world.router, "palisade-webhook", command)?;
    process.end()?;
    let log = process.log();
    let (_, names) = log.split_once("; there are ").ok_or_else(|| Failure::new(log.clone()))?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || ", -_".contains(c);
    let end = names.find(|c| !is_name(c)).unwrap_or(names.len());
    Ok(names[..end].split(',').map(|name| name.trim().to_owned()).collect())
}

#[test]
fn templates_have_a_check_each() -> Outcome {
    story(|world| {
        let checked = cases().iter().map(|case| case.template.to_owned()).collect();
        assert_eq!(ready_templates(world)?, checked);
        Ok(())
    })
}

/// A running program with an endpoint for a case.
struct Run {
    lapi: ScriptedLapi,
    service: ServiceStandIn<Service>,
    webhook: Webhook,
}

impl Run {
    fn start(world: &World, case: &Case, schema: Box<dyn Schema>, decided: Vec<Ban>) -> Outcome<Self> {
        let lapi = ScriptedLapi::start(&world.router)?;
        lapi.ban_all(decided);
        let service = ServiceStandIn::start(&world.router, Service::new(schema))?;
        let endpoint = json!({
            "name": "soar", "url": service.url(case.path), "allow_addresses": ["127.0.0.1"],
            "template": case.template, "options": case.options, "initial": "snapshot",
            "batch": { "wait": "100ms" }, "retry": { "first": "50ms", "max": "400ms", "refused": "1s" },
        });
        // Names of other scopes have hostile texts, too.
        let config = webhook_file(&lapi.access(), &[endpoint]).replacen(
            '{',
            "{\"scopes\":[\"ip\",\"range\",\"username\"],",
            1,
        );
        let webhook = Webhook::start(world, &config, &world.fresh_path("state"))?;
        Ok(Self { lapi, service, webhook })
    }

    /// Waits until the service knows exactly these addresses and ranges as being in force. Names are beside the point.
    fn holds(&self, expected: &BTreeSet<String>) -> Outcome {
        eventually("the service knows what is in force", || {
            self.service.is_content()?;
            let mut held = self.service.with(|service| service.in_force.clone());
            held.retain(|value| is_net(value));
            match held == *expected {
                true => Ok(true),
                false => Err(Failure::new(format!(
                    "not {:?}; log: {}",
                    held.symmetric_difference(expected).collect::<Vec<_>>(),
                    self.webhook.log()
                ))),
            }
        })
        .map(drop)
    }

    fn dead_letters(&self, world: &World) -> Outcome<String> {
        self.webhook.tool(world, &["deadletter", "list", "soar"])?.into_stdout()
    }
}

fn is_net(value: &str) -> bool {
    let address = value.split('/').next().unwrap_or_default();
    address.parse::<std::net::IpAddr>().is_ok()
}

/// Decisions with hostile texts: in force, added, changed and lifted.
fn is_sent_as_documented(world: &World, case: &Case) -> Outcome {
    let texts = hostile_texts();
    let address = |net: &str, index: usize| format!("{net}.{index}");
    let mut decided = vec![
        hostile("198.51.100.0/24", "a range"),
        hostile("2001:db8::7", "an address"),
        hostile("2001:db8:5::/48", "a range"),
    ];
    let mut expected: BTreeSet<String> = decided.iter().map(|ban| ban.value.clone()).collect();
    for (index, text) in texts.iter().enumerate() {
        decided.push(hostile(&address("192.0.2", index), text).kind("captcha"));
        expected.insert(address("192.0.2", index));
        if !text.is_empty() {
            let mut name = hostile(&text.chars().take(200).collect::<String>(), text);
            name.scope = "username".to_owned();
            decided.push(name);
        }
    }
    let run = Run::start(world, case, (case.schema)(), decided)?;
    run.holds(&expected)?;
    for (index, text) in texts.iter().enumerate() {
        // Stronger than what is there: a change. With the texts in another order.
        run.lapi.ban(hostile(&address("192.0.2", texts.len() - 1 - index), text));
        run.lapi.ban(hostile(&address("203.0.113", index), text));
        expected.insert(address("203.0.113", index));
    }
    run.holds(&expected)?;
    run.lapi.pulled(2)?;
    for index in 0..texts.len() {
        run.lapi.lift(&address("192.0.2", index));
        expected.remove(&address("192.0.2", index));
    }
    run.lapi.lift("2001:db8:5::/48");
    expected.remove("2001:db8:5::/48");
    run.holds(&expected)?;
    let verbs = case.verbs.iter().map(|verb| (*verb).to_owned()).collect();
    eventually("each kind of event arrives", || run.service.with(|service| service.verbs == verbs))?;
    let dead = run.dead_letters(world)?;
    assert!(!dead.contains("192.0.2") && !dead.contains("203.0.113"), "{dead}");
    run.service.is_content()
}

macro_rules! each_is_sent_as_documented {
    ($($test:ident => $template:literal,)*) => {$(
        #[test]
        fn $test() -> Outcome {
            story(|world| {
                for case in cases().iter().filter(|case| case.template == $template) {
                    is_sent_as_documented(world, case)?;
                }
                Ok(())
            })
        }
    )*};
}

each_is_sent_as_documented! {
    json_has_the_form_of_standard_webhooks => "json",
    ndjson_has_an_event_on_each_line => "ndjson",
    cloudevents_have_the_attributes_of_version_1_0 => "cloudevents",
    slack_messages_keep_to_the_limits_of_block_kit => "slack",
    discord_messages_keep_to_the_limits_of_embeds => "discord",
    teams_messages_are_adaptive_cards => "teams",
    alertmanager_takes_the_alerts => "alertmanager",
    elasticsearch_takes_the_bulk_requests => "elasticsearch",
    splunk_takes_the_events => "splunk",
    routeros_runs_the_scripts => "mikrotik",
}

// What the checks have in common.

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// The fields of an object, of which there are no others than these.
fn fields<'a>(value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or_else(|| format!("no object: {value}"))?;
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(object),
        Some(unknown) => Err(format!("an unknown field {unknown}")),
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| format!("{key} is no text"))
}

/// A text with 1 to `max` UTF-16 units, which is what the strictest service counts.
fn bounded<'a>(object: &'a Map<String, Value>, key: &str, max: usize) -> Result<&'a str, String> {
    let text = text(object, key)?;
    match text.encode_utf16().count() {
        length if (1..=max).contains(&length) => Ok(text),
        length => Err(format!("{key} has {length} characters")),
    }
}

fn list<'a>(object: &'a Map<String, Value>, key: &str, max: usize) -> Result<&'a [Value], String> {
    let list = object.get(key).and_then(Value::as_array).ok_or_else(|| format!("{key} is no list"))?;
    if list.is_empty() || list.len() > max {
        return Err(format!("{key} has {} elements", list.len()));
    }
    Ok(list)
}

/// RFC 3339.
fn time(object: &Map<String, Value>, key: &str) -> Result<jiff::Timestamp, String> {
    let text = text(object, key)?;
    match (text.parse(), text.as_bytes().get(10)) {
        (Ok(time), Some(b'T')) => Ok(time),
        _ => Err(format!("{key} is no time: {text}")),
    }
}

fn posted(request: &ServiceRequest, types: &[&str]) -> Result<(), String> {
    let (essence, parameters) = match request.header("content-type").split_once(';') {
        None => (request.header("content-type"), "charset=utf-8"),
        Some((essence, parameters)) => (essence, parameters),
    };
    if request.method != "POST"
        || !types.contains(&essence)
        || !parameters.trim().eq_ignore_ascii_case("charset=utf-8")
    {
        return Err(format!("{} of {}", request.method, request.header("content-type")));
    }
    Ok(())
}

/// `decision.added` and its like.
fn verb(kind: &str) -> Result<String, String> {
    match kind.strip_prefix("decision.") {
        Some(verb) if ALL.contains(&verb) => Ok(verb.to_owned()),
        _ => Err(format!("an unknown event {kind}")),
    }
}
