//! Import: one alert that carries a hundred thousand decisions, from the request's first byte to the answer.

use std::time::Duration;

use palisade_e2e::{Make, Outcome, World};

use super::bench_server::BenchServer;
use super::{STOCK, grouped, say, sized};
use crate::report::{BenchRow, Target, median};

const RUNS: usize = 3;
/// How long the stock server may take.
const TIMEOUT: Duration = Duration::from_secs(300);

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let count = sized(100_000);
    say("importing into the stock LAPI");
    let theirs = once(world, Make::Stock, count);
    say("importing into ours");
    let ours = (0..RUNS).map(|_| once(world, Make::Ours, count)).collect::<Outcome<Vec<_>>>();
    let figure = format!("import of {} decisions in one alert", grouped(count));
    Ok(vec![match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            BenchRow::new(figure, "s", median(ours), Some((theirs, STOCK)), Target::TimesLess(5.0))
        }
        (Ok(ours), Err(failure)) => {
            let says = format!("{STOCK}, given up: {failure}");
            let limit = TIMEOUT.as_secs_f64();
            BenchRow::new(figure, "s", median(ours), Some((limit, &says)), Target::TimesLess(5.0))
        }
        (Err(failure), _) => BenchRow::failed(&figure, &failure.to_string()),
    }])
}

fn once(world: &World, make: Make, count: usize) -> Outcome<f64> {
    let server = BenchServer::start(world, make)?;
    Ok(server.import(count, TIMEOUT)?.as_secs_f64())
}
