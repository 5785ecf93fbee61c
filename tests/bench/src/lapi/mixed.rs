//! A busy day at once: a thousand bouncers that poll every ten seconds, and two hundred alerts a second.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use palisade_e2e::{HttpClient, Make, Outcome, World};

use super::bench_server::{BenchServer, alert_body};
use super::{STOCK, grouped, say, sized};
use crate::report::{BenchRow, Target};

const BOUNCERS: usize = 1_000;
/// Between two polls of one bouncer.
const INTERVAL: Duration = Duration::from_secs(10);
const ALERTS_PER_SECOND: usize = 200;
/// Log processors they come from.
const MACHINES: usize = 8;
/// The duration of the mixed load.
const SPAN: Duration = Duration::from_secs(30);
/// An answer later than this counts as none.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Active decisions before it begins.
const BEFORE: usize = 10_000;

/// Milliseconds of every answer, and how many were none.
#[derive(Default)]
struct Latencies {
    polls: Vec<f64>,
    alerts: Vec<f64>,
    errors: usize,
    first_error: Option<String>,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    say("the stock LAPI's busy day");
    let theirs = day(world, Make::Stock);
    say("our busy day");
    let ours = day(world, Make::Ours);
    let figure = format!(
        "{} bouncers polling every {} s, {} alerts/s for {} s",
        grouped(sized(BOUNCERS)),
        INTERVAL.as_secs(),
        sized(ALERTS_PER_SECOND),
        SPAN.as_secs()
    );
    let mut ours = match ours {
        Ok(ours) => ours,
        Err(failure) => return Ok(vec![BenchRow::failed(&figure, &failure.to_string())]),
    };
    let mut theirs = theirs.map_err(|failure| say(&format!("{STOCK}: {failure}"))).ok();
    let mut rows = vec![];
    type Pick = fn(&mut Latencies) -> &mut Vec<f64>;
    let kinds: [(&str, Pick); 2] = [("poll", |seen| &mut seen.polls), ("alert", |seen| &mut seen.alerts)];
    for (kind, pick) in kinds {
        for (name, at) in [("p50", 0.5), ("p99", 0.99)] {
            let peer = theirs.as_mut().map(|seen| (percentile(pick(seen), at), STOCK));
            let what = format!("{kind} {name}, {figure}");
            rows.push(BenchRow::new(what, "ms", percentile(pick(&mut ours), at), peer, Target::None));
        }
        let peer = theirs.as_mut().map(|seen| (pick(seen).len() as f64, STOCK));
        let what = format!("{kind}s answered");
        rows.push(BenchRow::new(what, "", pick(&mut ours).len() as f64, peer, Target::None));
    }
    let says = theirs.as_ref().and_then(|seen| seen.first_error.as_deref());
    let says = says.map_or(STOCK.to_owned(), |error| format!("{STOCK}, first: {error}"));
    let peer = theirs.as_ref().map(|seen| (seen.errors as f64, says.as_str()));
    rows.push(BenchRow::new("errors", "", ours.errors as f64, peer, Target::AtMost(0.0)));
    if let Some(error) = &ours.first_error {
        say(&format!("our first error: {error}"));
    }
    Ok(rows)
}

fn day(world: &World, make: Make) -> Outcome<Latencies> {
    let bouncers = sized(BOUNCERS);
    let server = BenchServer::start_with(world, make, |process| {
        // The tool is a process each; four of them at a time.
        std::thread::scope(|scope| {
            let adders: Vec<_> = (0..4)
                .map(|part| {
                    scope.spawn(move || {
                        (0..bouncers).filter(|n| n % 4 == part).try_for_each(|n| {
                            process.add_bouncer(&format!("bouncer-{n}"), &format!("key-of-bouncer-{n}"))
                        })
                    })
                })
                .collect();
            adders.into_iter().try_for_each(|adder| adder.join().expect("adding does not panic"))
        })
    })?;
    server.import(sized(BEFORE), Duration::from_secs(120))?;
    let begin = Instant::now() + Duration::from_millis(200);
    let to = server.process.address();
    let next = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    for n in 0..bouncers {
        let small = std::thread::Builder::new().stack_size(256 * 1024);
        threads.push(small.spawn(move || bouncer(to, n, bouncers, begin))?);
    }
    for _ in 0..MACHINES {
        let (next, token) = (Arc::clone(&next), server.token.clone());
        threads.push(std::thread::Builder::new().spawn(move || machine(to, &token, &next, begin))?);
    }
    let mut all = Latencies::default();
    for thread in threads {
        let seen = thread.join().expect("clients do not panic");
        all.polls.extend(seen.polls);
        all.alerts.extend(seen.alerts);
        all.errors += seen.errors;
        all.first_error = all.first_error.or(seen.first_error);
    }
    Ok(all)
}

/// One bouncer: everything first, then changes, each at its fixed time, timed from when it was due.
fn bouncer(to: SocketAddr, n: usize, of: usize, begin: Instant) -> Latencies {
    let mut seen = Latencies::default();
    let key = format!("key-of-bouncer-{n}");
    let from = Ipv4Addr::from(0x7f01_0000 + n as u32 + 1);
    let mut caller = HttpClient::new(to).from(IpAddr::from(from)).with_timeout(TIMEOUT);
    let mut due = begin + INTERVAL.mul_f64(n as f64 / of as f64);
    let mut query = "?startup=true";
    while due < begin + SPAN {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = format!("/v1/decisions/stream{query}");
        match caller.ask("GET", &path, &[("X-Api-Key", &key), ("User-Agent", "bench/v1")], None) {
            Ok(reply) if reply.status == 200 => {
                seen.polls.push(due.elapsed().as_secs_f64() * 1e3);
                query = "";
            }
            Ok(reply) => seen.fault(format!("poll: status {}: {}", reply.status, reply.text())),
            Err(error) => seen.fault(format!("poll: {error}")),
        }
        due += INTERVAL;
    }
    seen
}

/// One of several log processors that share the load: each takes the next alert that is due.
fn machine(to: SocketAddr, token: &str, next: &AtomicUsize, begin: Instant) -> Latencies {
    let mut seen = Latencies::default();
    let mut caller = HttpClient::new(to).with_timeout(TIMEOUT);
    let rate = sized(ALERTS_PER_SECOND);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let due = begin + Duration::from_secs(1).mul_f64(n as f64 / rate as f64);
        if due >= begin + SPAN || Instant::now() > begin + SPAN + TIMEOUT {
            return seen;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let body = alert_body(&Ipv4Addr::from(0x0b00_0000 + n as u32).to_string());
        let headers = [("Authorization", token), ("User-Agent", "crowdsec/v1.4.6")];
        match caller.ask("POST", "/v1/alerts", &headers, Some(body.as_bytes())) {
            Ok(reply) if reply.status == 201 => seen.alerts.push(due.elapsed().as_secs_f64() * 1e3),
            Ok(reply) => seen.fault(format!("alert: status {}: {}", reply.status, reply.text())),
            Err(error) => seen.fault(format!("alert: {error}")),
        }
    }
}

impl Latencies {
    fn fault(&mut self, text: String) {
        self.errors += 1;
        self.first_error.get_or_insert(text);
    }
}

/// The value below which this part of all lies; infinite when there are none.
pub(super) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::INFINITY)
}
