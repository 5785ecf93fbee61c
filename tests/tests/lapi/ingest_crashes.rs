//! `kill -9` while alerts come in: what was acknowledged is kept, what is posted again is not kept twice, and a bouncer
//! that only requests changes ends with the decisions of the database.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_e2e::{Failure, HttpClient, LapiProcess, Make, Outcome, Setup, eventually, story_within};
use serde_json::{Value, json};

/// How often the LAPI is killed.
const KILLS: usize = 200;
/// Log processors that post meanwhile.
const POSTERS: usize = 3;
/// The rounds in which one of them imports more decisions than fit one transaction.
const IMPORTS: [usize; 3] = [110, 140, 170];
const IMPORTED: usize = 10_500;
const KEY: &str = "key-of-the-story";

#[test]
fn what_was_acknowledged_is_there_once_after_two_hundred_kills() -> Outcome {
    story_within(Duration::from_secs(420), |world| {
        let mut random = fastrand::Rng::with_seed(0x5eed);
        let mut lapi = LapiProcess::prepare(world, make(), &Setup::default())?;
        lapi.add_machine("poster", "password")?;
        lapi.add_bouncer("follower", KEY)?;
        lapi.up(world)?;
        let shared = Arc::new(Shared::new(lapi.address(), lapi.log_in("poster", "password")?));
        let posters: Vec<JoinHandle<Outcome<Vec<Acknowledged>>>> = (0..POSTERS)
            .map(|n| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || post(&shared, n))
            })
            .collect();
        let follower = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || follow(&shared))
        };
        for round in 0..KILLS {
            shared.round.store(round, Ordering::Relaxed);
            // The killed moment is part of the story, so this waits on the clock. An import takes its time.
            let importing = IMPORTS.iter().any(|begun| (*begun..begun + 6).contains(&round));
            std::thread::sleep(Duration::from_micros(
                random.u64(0..if importing { 800_000 } else { 80_000 }),
            ));
            lapi.process()?.kill()?;
            if random.u8(0..8) == 0 {
                // Once more, while it starts.
                let mut young = world.start(&world.router, "palisade-lapi", lapi.command()?)?;
                std::thread::sleep(Duration::from_micros(random.u64(0..40_000)));
                young.kill()?;
            }
            lapi.up(world)?;
        }
        shared.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for poster in posters {
            acknowledged.extend(poster.join().expect("posting does not panic")?);
        }
        shared.done.store(true, Ordering::Relaxed);
        let acknowledged_after_repeats = acknowledged.iter().filter(|known| known.repeated).count();
        let told = follower.join().expect("following does not panic")?;
        check(&shared, &acknowledged, &told)?;
        if acknowledged_after_repeats < KILLS / 10 {
            let text =
                format!("only {acknowledged_after_repeats} batches were posted again: the kills missed");
            return Err(Failure::new(text));
        }
        Ok(())
    })
}

/// Ours; `PALISADE_LAPI=stock` shows what becomes of CrowdSec's.
fn make() -> Make {
    if std::env::var_os("PALISADE_LAPI").is_some_and(|make| make == "stock") {
        Make::Stock
    } else {
        Make::Ours
    }
}

struct Shared {
    to: SocketAddr,
    token: String,
    round: AtomicUsize,
    /// No more alerts.
    stop: AtomicBool,
    /// Every alert is acknowledged.
    done: AtomicBool,
    /// Addresses are given out once.
    next: AtomicU32,
}

impl Shared {
    fn new(to: SocketAddr, token: String) -> Self {
        Self {
            to,
            token,
            round: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            next: AtomicU32::new(0),
        }
    }

    fn address(&self) -> String {
        Ipv4Addr::from(0x0b00_0000 + self.next.fetch_add(1, Ordering::Relaxed)).to_string()
    }

    fn http_client(&self) -> HttpClient {
        HttpClient::new(self.to).with_timeout(Duration::from_secs(60))
    }

    fn as_machine(&self) -> [(&str, &str); 2] {
        [("Authorization", &self.token), ("User-Agent", "crowdsec/v1.4.6")]
    }
}

/// An alert the LAPI has taken.
struct Acknowledged {
    id: i64,
    message: String,
    /// The addresses it bans.
    values: Vec<String>,
    /// Whether it had to be posted more than once.
    repeated: bool,
}

/// Posts batches until stopped; the same one again after an interrupted response, as log processors do.
fn post(shared: &Shared, poster: usize) -> Outcome<Vec<Acknowledged>> {
    let mut random = fastrand::Rng::with_seed(poster as u64);
    let mut imports = IMPORTS.iter().filter(|_| poster == 0).peekable();
    let mut taken = Vec::new();
    let mut caller = shared.http_client();
    for batch in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let due = imports.next_if(|round| **round <= shared.round.load(Ordering::Relaxed)).is_some();
        let sizes: Vec<usize> = match random.u8(0..100) {
            _ if due => vec![IMPORTED],
            0..70 => vec![0; random.usize(1..4)],
            70..95 => vec![random.usize(1..20)],
            _ => vec![300, 0],
        };
        let mut alerts = Vec::new();
        let mut posted = Vec::new();
        for (n, size) in sizes.into_iter().enumerate() {
            let message = format!("poster {poster}, batch {batch}, alert {n}");
            let values: Vec<String> = (0..size.max(1)).map(|_| shared.address()).collect();
            alerts.push(alert(&message, &values, size > 0));
            posted.push((message, values));
        }
        let body = serde_json::to_vec(&alerts)?;
        let mut tries = 0;
        let ids: Vec<String> = loop {
            tries += 1;
            match caller.ask("POST", "/v1/alerts", &shared.as_machine(), Some(&body)) {
                Ok(reply) if reply.status == 201 => break serde_json::from_slice(&reply.body)?,
                Ok(reply) => {
                    return Err(Failure::new(format!("status {}: {}", reply.status, reply.text())));
                }
                // It is being killed, or is away.
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
            if tries > 20_000 {
                return Err(Failure::new("the LAPI does not come back"));
            }
        };
        if ids.len() != posted.len() {
            return Err(Failure::new(format!("{} ids for {} alerts", ids.len(), posted.len())));
        }
        for (id, (message, values)) in ids.iter().zip(posted) {
            taken.push(Acknowledged { id: id.parse()?, message, values, repeated: tries > 1 });
        }
    }
    Ok(taken)
}

fn alert(message: &str, values: &[String], with_decisions: bool) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let mut alert = json!({
        "capacity": 5, "events": [], "events_count": 6, "leakspeed": "10s", "message": message, "remediation": true,
        "scenario": "crowdsecurity/ssh-bf", "scenario_hash": "", "scenario_version": "", "simulated": false,
        "source": { "scope": "Ip", "value": values[0], "ip": values[0] }, "start_at": now, "stop_at": now,
    });
    if with_decisions {
        let decisions = values.iter().map(|value| {
            json!({
                "duration": "4h", "origin": "cscli", "scenario": message, "scope": "Ip", "type": "ban", "value": value,
            })
        });
        alert["decisions"] = decisions.collect();
    }
    alert
}

/// Follows the stream as stock bouncers do: everything once, then changes for ever; an answer that breaks off is
/// forgotten. Returns the addresses it holds in the end.
fn follow(shared: &Shared) -> Outcome<HashSet<String>> {
    let mut held = HashSet::new();
    let (mut caller, mut query) = (shared.http_client(), "?startup=true");
    loop {
        // Asked before the pull: the last one must come after the last alert.
        let last = shared.done.load(Ordering::Relaxed) && query.is_empty();
        match pull(&mut caller, query) {
            Ok(answer) => {
                for decision in answer["deleted"].as_array().into_iter().flatten() {
                    held.remove(decision["value"].as_str().unwrap_or_default());
                }
                for decision in answer["new"].as_array().into_iter().flatten() {
                    held.insert(decision["value"].as_str().unwrap_or_default().to_owned());
                }
                query = "";
                if last {
                    return Ok(held);
                }
            }
            Err(_) if !last => {}
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pull(caller: &mut HttpClient, query: &str) -> Outcome<Value> {
    let path = format!("/v1/decisions/stream{query}");
    let reply = caller.ask("GET", &path, &[("X-Api-Key", KEY)], None)?;
    if reply.status != 200 {
        return Err(Failure::new(format!("stream: status {}: {}", reply.status, reply.text())));
    }
    Ok(serde_json::from_slice(&reply.body)?)
}

/// Lays what was acknowledged, the database, the stream and the follower side by side.
fn check(shared: &Shared, acknowledged: &[Acknowledged], followed: &HashSet<String>) -> Outcome {
    let mut caller = shared.http_client();
    let reply = caller.ask("GET", "/v1/alerts?limit=0", &shared.as_machine(), None)?;
    let alerts: Vec<Value> = serde_json::from_slice(&reply.body)?;
    let mut kept: HashMap<i64, (&str, HashSet<&str>)> = HashMap::new();
    let mut messages = HashSet::new();
    let mut in_database = HashSet::new();
    for alert in &alerts {
        let message = alert["message"].as_str().unwrap_or_default();
        if !messages.insert(message) {
            return Err(Failure::new(format!("kept twice: {message}")));
        }
        let mut values = HashSet::new();
        for decision in alert["decisions"].as_array().into_iter().flatten() {
            let value = decision["value"].as_str().unwrap_or_default();
            if !values.insert(value) || !in_database.insert(value.to_owned()) {
                return Err(Failure::new(format!("banned twice: {value} by {message}")));
            }
        }
        kept.insert(alert["id"].as_i64().unwrap_or_default(), (message, values));
    }
    for known in acknowledged {
        let Some((message, values)) = kept.remove(&known.id) else {
            return Err(Failure::new(format!("lost: {} (id {})", known.message, known.id)));
        };
        if message != known.message {
            return Err(Failure::new(format!("id {} is {message} and not {}", known.id, known.message)));
        }
        if values != known.values.iter().map(String::as_str).collect() {
            return Err(Failure::new(format!(
                "{message}: {} decisions instead of {}",
                values.len(),
                known.values.len()
            )));
        }
    }
    if let Some((message, _)) = kept.values().next() {
        return Err(Failure::new(format!("{} alerts nobody was told of, such as {message}", kept.len())));
    }
    let answer = pull(&mut caller, "?startup=true")?;
    let told: Vec<&str> =
        answer["new"].as_array().into_iter().flatten().filter_map(|one| one["value"].as_str()).collect();
    let streamed: HashSet<String> = told.iter().map(|value| (*value).to_owned()).collect();
    same("the stream tells", &streamed, &in_database)?;
    if told.len() != streamed.len() {
        return Err(Failure::new(format!("{} decisions told for {} addresses", told.len(), streamed.len())));
    }
    same("the follower holds", followed, &in_database)
}

fn same(who: &str, held: &HashSet<String>, in_database: &HashSet<String>) -> Outcome {
    let (missing, more): (Vec<_>, Vec<_>) =
        (in_database.difference(held).collect(), held.difference(in_database).collect());
    match (missing.first(), more.first()) {
        (None, None) => Ok(()),
        _ => Err(Failure::new(format!(
            "{who} {} of {}: {} are missing, such as {:?}; {} are too many, such as {:?}",
            held.len(),
            in_database.len(),
            missing.len(),
            missing.first(),
            more.len(),
            more.first()
        ))),
    }
}

/// A young database survives a kill in its first moments: the next start completes it.
#[test]
fn a_kill_while_the_database_is_made_leaves_one_that_opens() -> Outcome {
    story_within(Duration::from_secs(180), |world| {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..12 {
            let mut lapi = LapiProcess::prepare(world, make(), &Setup::default())?;
            for _ in 0..3 {
                let mut young = world.start(&world.router, "palisade-lapi", lapi.command()?)?;
                std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
                young.kill()?;
            }
            lapi.up(world)?;
            eventually("it is healthy", || {
                Ok(lapi.http_client().ask("GET", "/health", &[], None)?.status == 200)
            })?;
        }
        Ok(())
    })
}
