//! A thousand clients lose their LAPI in the same instant, and get it back five seconds later.

use std::time::{Duration, Instant};

use palisade_client::RetryPolicy;
use palisade_e2e::{Doing as _, Failure, Make, Outcome, World, eventually_within};

use super::super::bench_server::{BenchServer, KEY};
use super::super::{grouped, say, sized};
use super::many_followers::{Event, ManyFollowers, What};
use super::processor_seconds;
use crate::data;
use crate::report::{BenchRow, Target};

const CLIENTS: usize = 1_000;
const ACTIVE: usize = 1_000;
const AWAY: Duration = Duration::from_secs(5);
/// As bouncers poll where there is no push; waits grow up to it.
const INTERVAL: Duration = Duration::from_secs(10);
/// What the peak is counted in.
const WINDOW: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(120);

/// What every client without chance does.
const IN_STEP: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(1), factor: 1.0, jitter: 0.0 };
const IN_STEP_NAME: &str = "the same clients, each trying again every second";

/// How a fleet came back.
struct Return {
    /// Seconds from the LAPI's return until half of them, and all, had a good answer.
    half: f64,
    all: f64,
    /// Requests per second that reached the LAPI in the busiest window.
    peak: f64,
    /// All that were tried since it went away.
    requests: f64,
    full_pulls: f64,
    errors: f64,
    /// The longest that a client waited for an answer that was not held, in milliseconds.
    slowest: f64,
    processor: f64,
}

pub(in super::super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let clients = sized(CLIENTS);
    say(&format!("{} clients in step", grouped(clients)));
    let theirs = come_back(world, clients, IN_STEP)?;
    say(&format!("{} clients of ours", grouped(clients)));
    let ours = come_back(world, clients, RetryPolicy::for_interval(INTERVAL))?;
    let what = format!("{} clients, LAPI away for {} s", grouped(clients), AWAY.as_secs());
    let row = |text: &str, unit, pick: fn(&Return) -> f64, target| {
        BenchRow::new(
            format!("{what}: {text}"),
            unit,
            pick(&ours),
            Some((pick(&theirs), IN_STEP_NAME)),
            target,
        )
    };
    Ok(vec![
        row("its return to half answered", "s", |found| found.half, Target::None),
        row("its return to all answered", "s", |found| found.all, Target::None),
        row("requests in the busiest 100 ms", "1/s", |found| found.peak, Target::None),
        row("slowest answer to who came back", "ms", |found| found.slowest, Target::None),
        row("requests tried until all were answered", "", |found| found.requests, Target::None),
        row("processor time of the LAPI until then", "s", |found| found.processor, Target::None),
        row("full pulls", "", |found| found.full_pulls, Target::AtMost(0.0)),
        row("failed requests after its return", "", |found| found.errors, Target::AtMost(0.0)),
    ])
}

fn come_back(world: &World, clients: usize, policy: RetryPolicy) -> Outcome<Return> {
    let mut server = BenchServer::start(world, Make::Ours)?;
    server.import_nets(&data::hosts_in("64.0.0.0/3", ACTIVE, 1), TIMEOUT)?;
    let followers = ManyFollowers::gather(clients, &server.process.url(), KEY, INTERVAL, policy)?;
    eventually_within(TIMEOUT, "all clients are held", || followers.held() == clients)?;
    let lost = Instant::now();
    server.process.kill();
    std::thread::sleep(AWAY.saturating_sub(lost.elapsed()));
    server.process.up(world)?;
    let back = Instant::now();
    eventually_within(TIMEOUT, "every client has a good answer again", || {
        followers.answered_since(lost) == clients
    })?;
    let processor = processor_seconds(server.process.process()?)?;
    found(&followers.events(), clients, lost, back, processor)
}

fn found(events: &[Event], clients: usize, lost: Instant, back: Instant, processor: f64) -> Outcome<Return> {
    let mut first = vec![None::<Instant>; clients];
    // Every request since, and whether the LAPI has it; and which of them is each client's last.
    let (mut asked, mut last_of) = (Vec::<(Instant, bool)>::new(), vec![None::<usize>; clients]);
    let (mut full_pulls, mut errors, mut slowest) = (0, 0, Duration::ZERO);
    for event in events.iter().filter(|event| event.at > lost) {
        let last = last_of[event.client].map(|number| asked[number].0);
        match event.what {
            What::Requested { .. } => {
                last_of[event.client] = Some(asked.len());
                asked.push((event.at, true));
            }
            What::Responded { everything } => {
                full_pulls += usize::from(everything);
                if first[event.client].is_none() {
                    first[event.client] = Some(event.at);
                    slowest = slowest.max(last.map_or(Duration::ZERO, |asked| event.at - asked));
                }
            }
            What::Failed => {
                // What was held when the LAPI went away is not among them.
                if let Some(number) = last_of[event.client] {
                    asked[number].1 = false;
                }
                errors += usize::from(last.is_some_and(|asked| asked >= back));
            }
        }
    }
    let mut first: Vec<Instant> = first.into_iter().flatten().collect();
    first.sort_unstable();
    let last = *first.last().doing("nobody came back")?;
    if first.len() < clients {
        return Err(Failure::new(format!("{} of {clients} came back", first.len())));
    }
    asked.retain(|(at, _)| *at <= last);
    // Some are taken before it answers for the first time: they are of the rush too.
    let rush: Vec<Instant> = asked.iter().filter(|(_, has)| *has).map(|(at, _)| *at).collect();
    let seconds = |at: Instant| at.saturating_duration_since(back).as_secs_f64();
    Ok(Return {
        half: seconds(first[clients / 2]),
        all: seconds(last),
        peak: busiest(&rush) as f64 / WINDOW.as_secs_f64(),
        requests: asked.len() as f64,
        full_pulls: full_pulls as f64,
        errors: errors as f64,
        slowest: slowest.as_secs_f64() * 1e3,
        processor,
    })
}

/// The most within one window, wherever it begins.
fn busiest(times: &[Instant]) -> usize {
    let within = |first: &Instant| times.partition_point(|at| at.saturating_duration_since(*first) < WINDOW);
    times.iter().enumerate().map(|(number, first)| within(first) - number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_window_may_begin_anywhere() {
        let begin = Instant::now();
        let times = |millis: &[u64]| -> Vec<Instant> {
            millis.iter().map(|at| begin + Duration::from_millis(*at)).collect()
        };
        for (millis, expected) in
            [(&[][..], 0), (&[5], 1), (&[0, 90, 100, 110, 189, 190], 4), (&[0, 100, 200], 1)]
        {
            assert_eq!(busiest(&times(millis)), expected, "{millis:?}");
        }
    }
}
