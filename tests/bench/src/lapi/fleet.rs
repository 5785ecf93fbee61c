//! A thousand of our clients lose their LAPI, which is killed and is back after five seconds: how soon all of them are
//! served again, and how many ask at once. Beside them the same clients with a plain retry once a second.

use std::time::{Duration, Instant};

use palisade_cache::{Ledger, Policy};
use palisade_client::{Auth, Backoff, Client, ClientConfig, RetryPolicy, Secret, StreamQuery, UserAgent};
use palisade_e2e::{Failure, Make, Outcome, World};
use palisade_stream::{Admission, CacheHandle, Cadence, Follower, Freshness, Lapi, channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bed::{Bed, KEY};
use super::{grouped, say, sized};
use crate::report::{Row, Target};

const CLIENTS: usize = 1_000;
/// Active decisions: few, so that what is measured is the coming back.
const BEFORE: usize = 1_000;
const AWAY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// How finely requests are counted.
const SAMPLE: Duration = Duration::from_millis(100);
const PLAIN: &str = "the same with a retry each second, no chance in it";

struct Return {
    /// Seconds from the moment the LAPI listens again.
    median: f64,
    last: f64,
    /// Requests of all clients in the busiest tenth of a second after that.
    peak: f64,
    full_pulls: f64,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<Row>> {
    say("with our back-off");
    let ours = come_back(world, RetryPolicy::for_interval(Duration::from_secs(10)))?;
    say("with a plain retry");
    let second = Duration::from_secs(1);
    let plain = RetryPolicy { first: second, longest: second, factor: 1.0, jitter: 0.0 };
    let theirs = come_back(world, plain)?;
    let who = format!("{} clients after a LAPI was away for {} s", grouped(sized(CLIENTS)), AWAY.as_secs());
    let row = |what: &str, unit, ours, theirs, target| {
        Row::new(format!("{who}: {what}"), unit, ours, Some((theirs, PLAIN)), target)
    };
    Ok(vec![
        row("served again, median", "s", ours.median, theirs.median, Target::None),
        row("served again, last", "s", ours.last, theirs.last, Target::None),
        row("most requests in 0.1 s", "", ours.peak, theirs.peak, Target::WithinTimes(0.5)),
        row("pulls of everything", "", ours.full_pulls, theirs.full_pulls, Target::AtMost(0.0)),
    ])
}

fn come_back(world: &World, policy: RetryPolicy) -> Outcome<Return> {
    let mut bed = Bed::start(world, Make::Ours)?;
    bed.import(sized(BEFORE), PATIENCE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let agent = UserAgent::new("palisade-bench", "v0").map_err(|error| Failure::new(error.to_string()))?;
    let mut handles = Vec::new();
    for n in 0..sized(CLIENTS) {
        let mut config = ClientConfig::new(bed.rig.url(), Auth::Key(Secret::new(KEY)));
        config.instance = Some(format!("bench/{n}"));
        let client = Client::new(&config, &agent).map_err(|error| Failure::new(error.to_string()))?;
        let mut ledger = Ledger::new(Policy::default(), n as u64);
        let (publisher, cache) = channel(ledger.snapshot());
        handles.push(cache);
        let mut follower = Follower {
            source: Lapi::new(client, StreamQuery::default()),
            cadence: Cadence::default(),
            backoff: Backoff::with_seed(policy, n as u64),
            admission: Admission::new(None),
            ledger,
            cursor: String::new(),
            publisher,
            state: Freshness::default(),
        };
        let stop = stop.clone();
        tasks.spawn_on(async move { drop(follower.run(false, stop).await) }, runtime.handle());
    }
    tasks.close();
    let all = |holds: &dyn Fn(&Freshness) -> bool| {
        handles.iter().filter(|handle| holds(&handle.freshness())).count()
    };
    palisade_e2e::eventually_within(PATIENCE, "all wait for news", || {
        Ok(all(&|state| state.push && state.failing.is_none()) == handles.len())
    })?;
    std::thread::sleep(Duration::from_secs(1));
    let full_before = sum(&handles, |state| state.full_pulls);
    bed.rig.kill();
    std::thread::sleep(AWAY);
    let back = Instant::now();
    bed.rig.up(world)?;
    let (mut served, mut peak) = (Vec::new(), 0);
    let mut asked = sum(&handles, |state| state.requests);
    while served.len() < handles.len() {
        std::thread::sleep(SAMPLE);
        let now = all(&|state| state.failing.is_none());
        served.resize(now.max(served.len()), back.elapsed().as_secs_f64());
        let requests = sum(&handles, |state| state.requests);
        peak = peak.max(requests - asked);
        asked = requests;
        if back.elapsed() > PATIENCE {
            return Err(Failure::new(format!("{} of {} are served again", served.len(), handles.len())));
        }
    }
    let full_pulls = sum(&handles, |state| state.full_pulls) - full_before;
    stop.cancel();
    runtime.block_on(tasks.wait());
    let median = served.get(served.len() / 2).copied().unwrap_or_default();
    let last = served.last().copied().unwrap_or_default();
    Ok(Return { median, last, peak: peak as f64, full_pulls: full_pulls as f64 })
}

fn sum(handles: &[CacheHandle], pick: fn(&Freshness) -> u64) -> u64 {
    handles.iter().map(|handle| pick(&handle.freshness())).sum()
}
