//! The delta pull: a few changes beside a hundred thousand active decisions.

use std::time::Duration;

use palisade_e2e::{Failure, Make, Outcome, World};

use super::bench_server::{BenchServer, import_body};
use super::{STOCK, grouped, say, sized};
use crate::report::{BenchRow, Target, median};

const TIMEOUT: Duration = Duration::from_secs(300);
/// New decisions before each pull.
const CHANGES: usize = 5;

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let count = sized(100_000);
    say("filling and following the stock LAPI");
    let theirs = pulls(world, Make::Stock, count, 15);
    say("filling and following ours");
    let ours = pulls(world, Make::Ours, count, 51);
    let figure = format!("delta pull of {CHANGES} changes beside {}", grouped(count));
    let mut rows = vec![match (ours, &theirs) {
        (Ok(ours), theirs) => {
            let peer = theirs.as_ref().ok().map(|theirs| (*theirs, STOCK));
            BenchRow::new(figure.clone(), "ms", ours, peer, Target::TimesLess(10.0))
        }
        (Err(failure), _) => BenchRow::failed(&figure, &failure.to_string()),
    }];
    if let Err(failure) = theirs {
        rows.push(BenchRow::failed(&format!("{figure}: {STOCK}"), &failure.to_string()));
    }
    Ok(rows)
}

fn pulls(world: &World, make: Make, count: usize, runs: usize) -> Outcome<f64> {
    let server = BenchServer::start(world, make)?;
    server.import(count, TIMEOUT)?;
    let (mut bouncer, mut machine) = (
        server.process.http_client().with_timeout(TIMEOUT),
        server.process.http_client().with_timeout(TIMEOUT),
    );
    BenchServer::pull(&mut bouncer, "?startup=true")?;
    let mut took = Vec::new();
    for run in 0..runs {
        let values = (0..CHANGES).map(|n| format!("2001:db8:{run:x}::{n:x}"));
        let body = import_body(values, "a few changes");
        server.post(&mut machine, body.as_bytes())?;
        let reply = BenchServer::pull(&mut bouncer, "")?;
        let received = reply.text().matches("\"2001:db8:").count();
        if received != CHANGES {
            return Err(Failure::new(format!(
                "{received} changes received instead of {CHANGES}: {}",
                reply.text()
            )));
        }
        took.push(reply.whole.as_secs_f64() * 1e3);
    }
    Ok(median(took))
}
