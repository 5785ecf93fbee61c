//! Plays a chapter to a fresh LAPI.

use std::collections::HashSet;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use palisade_e2e::{Doing as _, LapiProcess, Make, Outcome, Setup, World};
use serde_json::Value;

use super::chapter::{Answer, Chapter, Step};
use super::normal::normal;

const MACHINE: (&str, &str) = ("lp", "pw-of-lp");
const BOUNCER: (&str, &str) = ("bouncer", "key-of-bouncer");
const OTHER: (&str, &str) = ("other", "key-of-other");
const MACHINE_AGENT: &str = "crowdsec/v1.4.6-linux";
const BOUNCER_AGENT: &str = "crowdsec-firewall-bouncer/v0.0.25";

/// The answers to its steps, in order.
pub(crate) fn play(world: &World, make: Make, chapter: &Chapter) -> Outcome<Vec<Answer>> {
    let mut setup = Setup::default();
    if let Some(config) = &chapter.config {
        setup.config = config.clone();
    }
    if let Some(profiles) = &chapter.profiles {
        setup.profiles.clone_from(profiles);
    }
    let mut lapi = LapiProcess::prepare(world, make, &setup)?;
    lapi.add_machine(MACHINE.0, MACHINE.1)?;
    lapi.add_bouncer(BOUNCER.0, BOUNCER.1)?;
    lapi.add_bouncer(OTHER.0, OTHER.1)?;
    for words in chapter.admin.iter().flatten() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        lapi.admin(&words)?;
    }
    lapi.up(world)?;
    let token = lapi.log_in(MACHINE.0, MACHINE.1)?;
    let mut lifted = HashSet::new();
    let mut answers = Vec::new();
    for step in &chapter.steps {
        let answer = send(&lapi, step, &token);
        let mut answer = answer.doing(format_args!("{} / {}", chapter.name, step.name))?;
        forget_repeated(step, &mut answer, &mut lifted, make);
        answers.push(answer);
    }
    Ok(answers)
}

/// Whether an end is repeated within two seconds depends on this machine's speed; so it is kept once.
fn forget_repeated(step: &Step, answer: &mut Answer, reported: &mut HashSet<(String, i64)>, make: Make) {
    let bouncer = step.r#as.clone().unwrap_or_default();
    let delta = step.path.starts_with("/v1/decisions/stream") && !step.path.contains("startup=true");
    let Some(list) = answer.json.as_mut().and_then(|json| json.get_mut("deleted")) else { return };
    let Some(decisions) = list.as_array_mut() else { return };
    decisions.retain(|decision| {
        let new = reported.insert((bouncer.clone(), decision["id"].as_i64().unwrap_or_default()));
        new || !delta
    });
    if decisions.is_empty() && make == Make::Stock {
        *list = Value::Null;
    }
}

fn send(lapi: &LapiProcess, step: &Step, token: &str) -> Outcome<Answer> {
    let mut headers: Vec<(&str, &str)> = Vec::new();
    match step.r#as.as_deref() {
        Some("machine") => headers.extend([("Authorization", token), ("User-Agent", MACHINE_AGENT)]),
        Some("bouncer") => headers.extend([("X-Api-Key", BOUNCER.1), ("User-Agent", BOUNCER_AGENT)]),
        Some("other") => headers.extend([("X-Api-Key", OTHER.1), ("User-Agent", BOUNCER_AGENT)]),
        Some("unknown") => headers.push(("X-Api-Key", "no such key")),
        Some("garbage") => headers.push(("Authorization", "Bearer garbage")),
        _ => {}
    }
    for (name, value) in step.headers.iter().flatten() {
        headers.push((name, value.as_str().doing("a header is a text")?));
    }
    let mut body = match (&step.body, &step.text) {
        (Some(json), _) => Some(dated(&json.to_string()).into_bytes()),
        (None, Some(text)) => Some(dated(text).into_bytes()),
        (None, None) => None,
    };
    if let (Some(true), Some(plain)) = (step.gzip, &body) {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(plain)?;
        body = Some(packed.finish()?);
        if step.headers.as_ref().is_none_or(|given| !given.contains_key("Content-Encoding")) {
            headers.push(("Content-Encoding", "gzip"));
        }
    }
    let reply = lapi.http_client().ask(&step.method, &step.path, &headers, body.as_deref())?;
    Ok(normal(step, &reply))
}

/// With the time of this moment in it, to the second.
fn dated(text: &str) -> String {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    text.replace("{now}", &now)
}
