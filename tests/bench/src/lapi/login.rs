//! How long a login takes, on an idle and on a busy machine, and what many logins cost other requests.

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_e2e::{HttpClient, Make, Outcome, World};
use serde_json::json;

use super::bench_server::{BenchServer, MACHINE, wanted};
use super::mixed::percentile;
use super::{STOCK, say, sized};
use crate::report::{BenchRow, Target};

/// Clients that log in again and again.
const LOGINS: u8 = 4;
/// How long the others are timed.
const SPAN: Duration = Duration::from_secs(10);
/// Between two requests of the others.
const PERIOD: Duration = Duration::from_millis(10);

/// Machines whose first login is timed, in each of the two situations. A server may remember a password that was right.
const FIRST_LOGINS: usize = 9;

/// Milliseconds at the 99th percentile.
struct Waits {
    alone: f64,
    beside: f64,
    logins_per_second: f64,
}

/// Milliseconds of a first login, medians.
struct FirstLogin {
    idle: f64,
    busy: f64,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let mut rows = first_login_rows(world);
    say("logging in without pause at the stock LAPI");
    let theirs = waits(world, Make::Stock);
    say("logging in without pause at ours");
    let ours = waits(world, Make::Ours);
    match ours {
        Ok(ours) => {
            let peer = theirs.as_ref().ok();
            let alone = peer.map(|peer| (peer.alone, STOCK));
            let beside = peer.map(|peer| (peer.beside, STOCK));
            let logins = peer.map(|peer| (peer.logins_per_second, STOCK));
            rows.push(BenchRow::new("delta pull p99, nobody logs in", "ms", ours.alone, alone, Target::None));
            let what = format!("delta pull p99, {LOGINS} clients log in without pause");
            rows.push(BenchRow::new(what, "ms", ours.beside, beside, Target::AtMost(50.0)));
            // Of a machine that has logged in before, whose password ours knows without hashing.
            rows.push(BenchRow::new("logins meanwhile", "1/s", ours.logins_per_second, logins, Target::None));
        }
        Err(failure) => rows.push(BenchRow::failed("delta pull p99 beside logins", &failure.to_string())),
    }
    if let Err(failure) = theirs {
        rows.push(BenchRow::failed(&format!("delta pull p99 beside logins: {STOCK}"), &failure.to_string()));
    }
    Ok(rows)
}

fn first_login_rows(world: &World) -> Vec<BenchRow> {
    say("first logins at the stock LAPI");
    let theirs = first_login(world, Make::Stock);
    say("first logins at ours");
    match (first_login(world, Make::Ours), theirs) {
        (Ok(ours), Ok(theirs)) => [("idle", ours.idle, theirs.idle), ("busy", ours.busy, theirs.busy)]
            .map(|(state, ours, theirs)| {
                let what = format!("a machine's first login, {state} host");
                BenchRow::new(what, "ms", ours, Some((theirs, STOCK)), Target::WithinTimes(1.2))
            })
            .into(),
        (Err(failure), _) | (_, Err(failure)) => {
            vec![BenchRow::failed("a machine's first login", &failure.to_string())]
        }
    }
}

/// Times the first logins of machines that were added with the server's own tool.
fn first_login(world: &World, make: Make) -> Outcome<FirstLogin> {
    let names: Vec<String> = (0..2 * FIRST_LOGINS).map(|number| format!("first-{number}")).collect();
    let server = BenchServer::start_with(world, make, |process| {
        names.iter().try_for_each(|name| process.add_machine(name, MACHINE.1))
    })?;
    let median = |names: &[String]| -> Outcome<f64> {
        let mut took = Vec::new();
        for name in names {
            let body = json!({ "machine_id": name, "password": MACHINE.1, "scenarios": [] }).to_string();
            let headers = [("User-Agent", "crowdsec/v1.4.6")];
            let mut caller = server.process.http_client();
            let reply = caller.ask("POST", "/v1/watchers/login", &headers, Some(body.as_bytes()))?;
            wanted(&reply, 200)?;
            took.push(reply.whole.as_secs_f64() * 1e3);
        }
        Ok(percentile(&mut took, 0.5))
    };
    let (first, second) = names.split_at(FIRST_LOGINS);
    let idle = median(first)?;
    let _busy = BusyProcessors::start()?;
    Ok(FirstLogin { idle, busy: median(second)? })
}

/// A process for each processor that does nothing but compute; ended when dropped.
struct BusyProcessors(Vec<Child>);

impl BusyProcessors {
    fn start() -> Outcome<Self> {
        let count = std::thread::available_parallelism()?.get();
        let mut busy = Self(Vec::new());
        for _ in 0..count {
            busy.0.push(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?);
        }
        Ok(busy)
    }
}

impl Drop for BusyProcessors {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn waits(world: &World, make: Make) -> Outcome<Waits> {
    let server = BenchServer::start(world, make)?;
    server.import(sized(10_000), SPAN * 30)?;
    BenchServer::pull(&mut server.process.http_client(), "?startup=true")?;
    let alone = timed(&server)?;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let body = json!({ "machine_id": MACHINE.0, "password": MACHINE.1, "scenarios": [] }).to_string();
    let threads: Vec<_> = (0..LOGINS)
        .map(|n| {
            let (stop, done, body) = (Arc::clone(&stop), Arc::clone(&done), body.clone());
            let to = server.process.address();
            std::thread::spawn(move || {
                let mut turn = 0u8;
                while !stop.load(Ordering::Relaxed) {
                    turn = turn.wrapping_add(1);
                    // From ever other addresses: logins may be limited for each.
                    let from = IpAddr::from(Ipv4Addr::new(127, 1 + n, turn, 1));
                    let headers = [("User-Agent", "crowdsec/v1.4.6")];
                    let mut caller = HttpClient::new(to).from(from).with_timeout(Duration::from_secs(30));
                    let asked = caller.ask("POST", "/v1/watchers/login", &headers, Some(body.as_bytes()));
                    if asked.is_ok_and(|reply| reply.status == 200) {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let beside = timed(&server);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("logging in does not panic");
    }
    let logins_per_second = done.load(Ordering::Relaxed) as f64 / SPAN.as_secs_f64();
    Ok(Waits { alone, beside: beside?, logins_per_second })
}

/// The 99th percentile of delta pulls made at a fixed rate, each from the moment it was due.
fn timed(server: &BenchServer) -> Outcome<f64> {
    let mut caller = server.process.http_client();
    let mut took = Vec::new();
    let begin = Instant::now();
    let mut due = begin;
    while begin.elapsed() < SPAN {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        BenchServer::pull(&mut caller, "")?;
        took.push(due.elapsed().as_secs_f64() * 1e3);
        due += PERIOD;
    }
    Ok(percentile(&mut took, 0.99))
}
