//! Resident memory of the webhook bouncer while an endpoint is away and changes wait for it.

use std::time::Duration;

use palisade_e2e::{Failure, Outcome, eventually_within};

use super::http_receiver::HttpReceiver;
use super::sender::{Program, Sender, decisions, http_file};
use crate::data;
use crate::proxy::cores::{processor_seconds_with_children, status_mb};
use crate::report::{BenchRow, Target};
use crate::scripted::ScriptedStream;

const MILLION: usize = 1_000_000;
/// How often decisions change that change repeatedly: a million changes in all.
const CHANGES_OF_EACH: usize = 10;
const LIMIT: Duration = Duration::from_secs(300);
const UPDATE_FREQUENCY: Duration = Duration::from_millis(200);
const TARGET_MB: f64 = 60.0;
/// What the process uses in a second when it has nothing to do but to ask the LAPI.
const IDLE_SECONDS: f64 = 0.05;

/// Resident megabytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    now: f64,
    peak: f64,
}

#[expect(clippy::print_stderr, reason = "a command talks to its user")]
pub(crate) fn bench() -> Vec<BenchRow> {
    measure().unwrap_or_else(|failure| {
        eprintln!("webhook-memory: {failure}");
        vec![BenchRow::failed("webhook-memory", "the run failed")]
    })
}

fn measure() -> Outcome<Vec<BenchRow>> {
    let nets = [data::v4(MILLION / 2, 1), data::v6(MILLION / 2, 2)].concat();
    let full = ScriptedStream::start_here(decisions(&nets))?;
    let delta = decisions(&nets).collect::<Vec<_>>().join(",");
    let cache = at_start(&full, false)?;
    let start = at_start(&full, true)?;
    let changes = changes(&delta, true)?;
    let changes_alone = self::changes(&delta, false)?;
    let few = decisions(&nets[..MILLION / CHANGES_OF_EACH]).collect::<Vec<_>>().join(",");
    let repeated = repeated_changes(&few, false)?;
    let history = repeated_changes(&few, true)?;
    let row = |figure: &str, mb, peer, target| {
        let peer = Some((peer, "the same without endpoints: the cache"));
        BenchRow::new(figure, "MB", mb, peer, target)
    };
    let alone = |figure: &str, mb, target| BenchRow::new(figure, "MB", mb, None, target);
    let at_most = Target::AtMost(TARGET_MB);
    Ok(vec![
        row("a million to be sent at the start, endpoint away", start.now, cache.now, at_most),
        row("the same: highest", start.peak, cache.peak, Target::None),
        row("a million changes while the endpoint is away", changes.now, changes_alone.now, at_most),
        row("the same: highest", changes.peak, changes_alone.peak, Target::None),
        alone("of this for the changes that wait", changes.now - changes_alone.now, at_most),
        alone("a million changes of 100,000 decisions, endpoint away", repeated.now, at_most),
        alone("the same: highest", repeated.peak, Target::None),
        alone("the same with keep_history: all of them wait", history.now, at_most),
        alone("the same: highest", history.peak, Target::None),
    ])
}

/// The endpoint has never been there.
fn at_start(lapi: &ScriptedStream, has_endpoint: bool) -> Outcome<Memory> {
    let receiver = HttpReceiver::start(0)?;
    let config = config(lapi, has_endpoint.then(|| receiver.url()).as_deref(), "");
    drop(receiver);
    let sender = Sender::start(Program::Ours, &config)?;
    settled(&sender, || sender.response_sent(lapi).is_some())
}

/// The endpoint has received an empty snapshot, and is gone when decisions arrive.
fn changes(delta: &str, has_endpoint: bool) -> Outcome<Memory> {
    let (lapi, sender) = with_nothing(has_endpoint, "")?;
    lapi.announce(delta)?;
    settled(&sender, || true)
}

/// Decisions come and go.
fn repeated_changes(decisions: &str, has_history: bool) -> Outcome<Memory> {
    let more = if has_history { "    keep_history: true\n    history: {max_size: 1GB}\n" } else { "" };
    let (lapi, sender) = with_nothing(true, more)?;
    for change in 0..CHANGES_OF_EACH {
        if change % 2 == 0 {
            lapi.announce(decisions)?
        } else {
            lapi.delete(decisions)?
        };
        // Each is noted before the next one.
        settled(&sender, || true)?;
    }
    let waiting = sender.waiting()?;
    // Without the history the changes cancel out, one after the other.
    if has_history && waiting < MILLION as u64 {
        return Err(Failure::new(format!("{waiting} events wait")));
    }
    settled(&sender, || true)
}

/// There are no decisions. The endpoint, if there is to be one, has received an empty snapshot and is gone.
fn with_nothing(has_endpoint: bool, more: &str) -> Outcome<(ScriptedStream, Sender)> {
    let lapi = ScriptedStream::start_here(std::iter::empty())?;
    let receiver = HttpReceiver::start(0)?;
    let config = config(&lapi, has_endpoint.then(|| receiver.url()).as_deref(), more);
    let sender = Sender::start(Program::Ours, &config)?;
    if has_endpoint {
        let complete = receiver.wait_for_text("snapshot.completed", LIMIT);
        complete.map_err(|failure| sender.failed(&failure))?;
    }
    Ok((lapi, sender))
}

fn config(lapi: &ScriptedStream, url: Option<&str>, more: &str) -> String {
    let file = http_file(&lapi.access(), url.unwrap_or("none"), more, UPDATE_FREQUENCY);
    match (url, file.split_once("endpoints:")) {
        (None, Some((before, _))) => {
            format!("{before}mirror: {{listen: '127.0.0.1:0', lists: [{{path: /list}}]}}\n")
        }
        _ => file,
    }
}

/// Its memory once it has processed everything and does nothing more.
fn settled(sender: &Sender, has_begun: impl Fn() -> bool) -> Outcome<Memory> {
    let (mut last, mut idle) = (0.0, 0);
    let waited = eventually_within(LIMIT, "it has nothing more to do", || {
        std::thread::sleep(Duration::from_secs(1));
        let Ok(used) = processor_seconds_with_children(sender.id()) else { return false };
        idle = if has_begun() && used - last < IDLE_SECONDS { idle + 1 } else { 0 };
        last = used;
        idle >= 3
    });
    waited.map_err(|failure| sender.failed(&failure))?;
    Ok(Memory { now: status_mb(sender.id(), "VmRSS:")?, peak: status_mb(sender.id(), "VmHWM:")? })
}
