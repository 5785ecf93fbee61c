//! Resident memory of the whole server with a hundred thousand active decisions, after serving them to bouncers.

use std::time::Duration;

use palisade_e2e::{Make, Outcome, World};

use super::bench_server::BenchServer;
use super::{STOCK, grouped, say, sized};
use crate::report::{BenchRow, Target};

const TIMEOUT: Duration = Duration::from_secs(300);

/// MB after the import and the pulls, and after a restart and the pulls.
struct MemoryUse {
    after_import: f64,
    after_restart: f64,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let count = sized(100_000);
    say("filling the stock LAPI");
    let theirs = measure_memory(world, Make::Stock, count);
    say("filling ours");
    let ours = measure_memory(world, Make::Ours, count);
    let figure = format!("resident memory with {} decisions", grouped(count));
    let mut rows = Vec::new();
    match ours {
        Ok(ours) => {
            let peer = theirs.as_ref().ok();
            for (when, ours, theirs) in [
                ("after the import", ours.after_import, peer.map(|peer| peer.after_import)),
                ("after a restart", ours.after_restart, peer.map(|peer| peer.after_restart)),
            ] {
                let what = format!("{figure}, {when}");
                let peer = theirs.map(|theirs| (theirs, STOCK));
                rows.push(BenchRow::new(what, "MB", ours, peer, Target::TimesLess(2.0)));
            }
        }
        Err(failure) => rows.push(BenchRow::failed(&figure, &failure.to_string())),
    }
    if let Err(failure) = theirs {
        rows.push(BenchRow::failed(&format!("{figure}: {STOCK}"), &failure.to_string()));
    }
    Ok(rows)
}

fn measure_memory(world: &World, make: Make, count: usize) -> Outcome<MemoryUse> {
    let mut server = BenchServer::start(world, make)?;
    server.import(count, TIMEOUT)?;
    let after_import = pulled(&mut server)?;
    server.process.kill();
    server.process.up(world)?;
    let after_restart = pulled(&mut server)?;
    Ok(MemoryUse { after_import, after_restart })
}

/// MB after three start-up pulls.
fn pulled(server: &mut BenchServer) -> Outcome<f64> {
    let mut caller = server.process.http_client().with_timeout(TIMEOUT);
    for _ in 0..3 {
        BenchServer::pull(&mut caller, "?startup=true")?;
    }
    Ok(server.process.process()?.memory("VmRSS")? as f64 / 1024.0)
}
