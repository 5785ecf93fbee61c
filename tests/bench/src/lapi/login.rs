//! Logins cost a bcrypt each; whether anybody else waits for them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_e2e::{HttpClient, Make, Outcome, World};
use serde_json::json;

use super::bench_server::{BenchServer, MACHINE};
use super::mixed::percentile;
use super::{STOCK, say, sized};
use crate::report::{Row, Target};

/// Clients that log in again and again.
const LOGINS: u8 = 4;
/// How long the others are timed.
const SPAN: Duration = Duration::from_secs(10);
/// Between two requests of the others.
const PERIOD: Duration = Duration::from_millis(10);

/// Milliseconds at the 99th percentile.
struct Waits {
    alone: f64,
    beside: f64,
    logins_per_second: f64,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<Row>> {
    say("logging in at the stock LAPI");
    let theirs = waits(world, Make::Stock);
    say("logging in at ours");
    let ours = waits(world, Make::Ours);
    let mut rows = Vec::new();
    match ours {
        Ok(ours) => {
            let peer = theirs.as_ref().ok();
            let alone = peer.map(|peer| (peer.alone, STOCK));
            let beside = peer.map(|peer| (peer.beside, STOCK));
            let logins = peer.map(|peer| (peer.logins_per_second, STOCK));
            rows.push(Row::new("delta pull p99, nobody logs in", "ms", ours.alone, alone, Target::None));
            let what = format!("delta pull p99, {LOGINS} clients log in without pause");
            rows.push(Row::new(what, "ms", ours.beside, beside, Target::AtMost(50.0)));
            rows.push(Row::new("logins meanwhile", "1/s", ours.logins_per_second, logins, Target::None));
        }
        Err(failure) => rows.push(Row::failed("delta pull p99 beside logins", &failure.to_string())),
    }
    if let Err(failure) = theirs {
        rows.push(Row::failed(&format!("delta pull p99 beside logins: {STOCK}"), &failure.to_string()));
    }
    Ok(rows)
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
