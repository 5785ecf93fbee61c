//! Observes all doors while one command closes or opens them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use palisade_e2e::{Failure, HttpClient, Outcome, eventually_within, pace};

use crate::network::{Network, VISITOR};
use crate::{probe, receiver, screen};

/// A door that has not changed after this time is a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What happens to the doors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Closes,
    Opens,
}

/// What came of one door, and of the command itself.
pub(crate) struct Observed {
    /// A row of the final table.
    pub(crate) door: &'static str,
    /// The time from the start of the command.
    pub(crate) after: Outcome<Duration>,
    /// What was seen.
    seen: String,
}

impl Observed {
    pub(crate) fn has_changed(&self) -> bool {
        self.after.is_ok()
    }
}

/// The doors of the final table, in its order.
pub(crate) const DOORS: [&str; 4] = ["host1  firewall", "host2  firewall", "web    proxy", "hook   webhook"];
/// The row of the command.
pub(crate) const COMMAND: &str = "(the command itself)";

/// Runs `command` while each door is observed, and prints the changes in the order of their times.
pub(crate) fn observe(
    network: &Network,
    messages: &receiver::Receiver,
    change: Change,
    command: impl FnOnce() -> Outcome<String>,
) -> Outcome<Vec<Observed>> {
    type Observation = Outcome<(Instant, String)>;
    let begin = Instant::now();
    let mut observed = std::thread::scope(|scope| {
        // Each with a channel of its own, which ends when the watch does.
        let mut watches: Vec<(&'static str, Receiver<()>, ScopedJoinHandle<'_, Observation>)> = Vec::new();
        for (door, (host, address)) in DOORS.into_iter().zip(network.services()) {
            let (ready, readied) = channel();
            watches.push((
                door,
                readied,
                scope.spawn(move || {
                    let at = probe::watch(&network.world.visitor, address, change, &ready)?;
                    Ok((at, format!("{}: {}", host.name(), connections(change))))
                }),
            ));
        }
        let (ready, readied) = channel();
        watches.push((DOORS[2], readied, scope.spawn(move || proxy(network, change, &ready))));
        let (ready, readied) = channel();
        watches.push((DOORS[3], readied, scope.spawn(move || webhook(messages, change, begin, &ready))));
        for (_, readied, _) in &watches {
            // Fails when the watch has failed, which is reported below.
            let _ = readied.recv();
        }
        let start = Instant::now();
        command()?;
        let mut observed = vec![Observed {
            door: COMMAND,
            after: Ok(start.elapsed()),
            seen: "the command has ended".to_owned(),
        }];
        for (door, _, watch) in watches {
            let watched = watch.join().unwrap_or_else(|_| Err(Failure::new("the observation panicked")));
            let seen = watched.as_ref().map(|(_, seen)| seen.clone()).unwrap_or_default();
            let after = watched.and_then(|(at, _)| {
                let early = || Failure::new("it had changed before the command");
                at.checked_duration_since(start).ok_or_else(early)
            });
            observed.push(Observed { door, after, seen });
        }
        Outcome::Ok(observed)
    })?;
    observed.sort_by_key(|one| one.after.as_ref().ok().copied().unwrap_or(Duration::MAX));
    for one in &observed {
        if let Ok(after) = &one.after {
            screen::observed(*after, &one.seen);
        }
    }
    Ok(observed)
}

fn connections(change: Change) -> &'static str {
    match change {
        Change::Closes => "packets dropped, no connection opens",
        Change::Opens => "connections open",
    }
}

/// Polls the page that a browser of the visitor would get.
fn proxy(network: &Network, change: Change, ready: &Sender<()>) -> Outcome<(Instant, String)> {
    let (before, wanted) = if change == Change::Closes { (200, 403) } else { (403, 200) };
    let begin = Instant::now();
    let mut is_ready = false;
    let mut last = Failure::new("no response");
    while begin.elapsed() < LIMIT {
        pace(probe::INTERVAL);
        let mut client = HttpClient::new(network.proxy()).with_timeout(LIMIT);
        let asked = network.world.visitor.run(|| client.ask("GET", "/", &[("Accept", "text/html")], None));
        let at = Instant::now();
        let page = match asked {
            Ok(page) => page,
            // A ban also ends a connection that a request has just arrived on.
            Err(error) => {
                last = error.into();
                continue;
            }
        };
        last = Failure::new(format!("the status is {}", page.status));
        let text = page.text();
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        if let Some((title, _)) = title.filter(|_| page.status == wanted) {
            return Ok((at, format!("web: {}, page \"{title}\"", page.status)));
        }
        if page.status == before && !is_ready {
            is_ready = ready.send(()).is_ok();
        }
    }
    Err(Failure::new(format!("not within {LIMIT:?}: {last}")))
}

/// Waits for the message about the visitor.
fn webhook(
    messages: &receiver::Receiver,
    change: Change,
    begin: Instant,
    ready: &Sender<()>,
) -> Outcome<(Instant, String)> {
    let kind = if change == Change::Closes { "decision.added" } else { "decision.lifted" };
    // The state before is the absence of this message.
    let _ = ready.send(());
    let mut message = None;
    eventually_within(LIMIT, &format!("{kind} arrives"), || {
        message = messages.received(kind, VISITOR, begin);
        message.is_some()
    })?;
    // The receiver keeps none that is not signed.
    let message = message.ok_or_else(|| Failure::new("no message"))?;
    Ok((message.at, format!("hook: {kind} received, signature verified")))
}
