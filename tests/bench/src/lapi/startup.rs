//! The start-up pull: every active decision of a full database, from the request to the last byte, and to the first.

use std::time::Duration;

use palisade_e2e::{Make, Outcome, World};

use super::bench_server::BenchServer;
use super::{STOCK, grouped, say, sized};
use crate::report::{BenchRow, Target, median};

const TIMEOUT: Duration = Duration::from_secs(300);

/// Seconds to the end, milliseconds to the first byte of the body.
struct Pulls {
    whole: f64,
    first_byte: f64,
    megabytes: f64,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let count = sized(100_000);
    say("filling and pulling the stock LAPI");
    let theirs = pulls(world, Make::Stock, count, 3);
    say("filling and pulling ours");
    let ours = pulls(world, Make::Ours, count, 11);
    let figure = format!("start-up pull of {}", grouped(count));
    let mut rows = Vec::new();
    match ours {
        Ok(ours) => {
            let peer = theirs.as_ref().ok();
            let whole = peer.map(|peer| (peer.whole, STOCK));
            let first = peer.map(|peer| (peer.first_byte, STOCK));
            let what = format!("{figure} ({:.1} MB), whole", ours.megabytes);
            rows.push(BenchRow::new(what, "s", ours.whole, whole, Target::TimesLess(20.0)));
            let what = format!("{figure}, first byte");
            rows.push(BenchRow::new(what, "ms", ours.first_byte, first, Target::AtMost(10.0)));
        }
        Err(failure) => rows.push(BenchRow::failed(&figure, &failure.to_string())),
    }
    if let Err(failure) = &theirs {
        rows.push(BenchRow::failed(&format!("{figure}: {STOCK}"), &failure.to_string()));
    }
    let million = sized(1_000_000);
    say("filling and pulling ours with a million");
    match memory(world, million) {
        Ok(found) => rows.extend(found),
        Err(failure) => {
            let figure = format!("start-up pull of {}", grouped(million));
            rows.push(BenchRow::failed(&figure, &failure.to_string()));
        }
    }
    Ok(rows)
}

fn pulls(world: &World, make: Make, count: usize, runs: usize) -> Outcome<Pulls> {
    let server = BenchServer::start(world, make)?;
    server.import(count, TIMEOUT)?;
    let mut caller = server.process.http_client().with_timeout(TIMEOUT);
    let (mut whole, mut first_byte, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let reply = BenchServer::pull(&mut caller, "?startup=true")?;
        let received = reply.body.windows(8).filter(|word| word == b"\"value\":").count();
        if received != count {
            return Err(palisade_e2e::Failure::new(format!(
                "{received} decisions received instead of {count}"
            )));
        }
        bytes = reply.body.len();
        whole.push(reply.whole.as_secs_f64());
        first_byte.push(reply.first_byte.as_secs_f64() * 1e3);
    }
    Ok(Pulls { whole: median(whole), first_byte: median(first_byte), megabytes: bytes as f64 / 1e6 })
}

/// The growth of the server's memory while it sends that many, to one and to ten clients at once.
fn memory(world: &World, count: usize) -> Outcome<Vec<BenchRow>> {
    let mut server = BenchServer::start(world, Make::Ours)?;
    server.import(count, TIMEOUT)?;
    // What the import left behind would hide the growth.
    server.process.kill();
    server.process.up(world)?;
    let held = server.process.process()?.memory("VmRSS")?;
    let mut rows = vec![BenchRow::new(
        format!("resident memory with {} decisions, after a restart", grouped(count)),
        "MB",
        held as f64 / 1024.0,
        None,
        Target::None,
    )];
    for clients in [1, 10] {
        let process = server.process.process()?;
        // Makes the peak begin at what is held now.
        std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5")?;
        let before = process.memory("VmRSS")?;
        let address = server.process.address();
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut caller = palisade_e2e::HttpClient::new(address).with_timeout(TIMEOUT);
                    BenchServer::pull(&mut caller, "?startup=true").map(|reply| reply.whole.as_secs_f64())
                })
            })
            .collect();
        let mut took = Vec::new();
        for thread in threads {
            took.push(thread.join().expect("a pull does not panic")?);
        }
        let grown = server.process.process()?.memory("VmHWM")?.saturating_sub(before);
        let what = format!("start-up pull of {}, {clients} at once", grouped(count));
        rows.push(BenchRow::new(format!("{what}: median"), "s", median(took), None, Target::None));
        let grown = grown as f64 / 1024.0;
        rows.push(BenchRow::new(format!("{what}: memory grows by"), "MB", grown, None, Target::AtMost(64.0)));
    }
    Ok(rows)
}
