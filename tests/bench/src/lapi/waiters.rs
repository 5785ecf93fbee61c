//! Ten thousand clients that wait at our LAPI: what they cost while nothing happens, and how soon each has a ban. The same
//! ten thousand polling it are laid beside; a stock LAPI cannot hold a request.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use palisade_e2e::{Make, Outcome, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::bed::{Bed, KEY, import_body};
use super::mixed::percentile;
use super::{grouped, say, sized};
use crate::report::{Row, Target};

const CLIENTS: usize = 10_000;
/// Active before it begins.
const BEFORE: usize = 10_000;
/// How long nothing happens.
const QUIET: Duration = Duration::from_secs(20);
/// Single bans of a storm, and how long it blows.
const STORM: usize = 500;
const STORM_SPAN: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// What the clients ask to be held, and between two requests of those that poll.
const WAIT: u64 = 60;
const INTERVAL: Duration = Duration::from_secs(10);
const POLLING: &str = "the same clients polling it every 10 s";

/// What all clients have done.
#[derive(Default)]
struct Crowd {
    answers: AtomicU64,
    failures: AtomicU64,
    connected: AtomicU64,
    /// By what is looked for: when each client was told.
    told: Mutex<HashMap<String, Vec<Instant>>>,
    polls: AtomicBool,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<Row>> {
    let clients = sized(CLIENTS);
    let mut bed = Bed::start(world, Make::Ours)?;
    bed.import(sized(BEFORE), PATIENCE)?;
    bed.rig.kill();
    bed.rig.up(world)?;
    let cursor = Bed::pull(&mut bed.rig.caller(), "?startup=true&cursor=")?;
    let cursor = cursor.header("x-palisade-cursor").unwrap_or_default().to_owned();
    let before = bed.rig.process()?.memory("VmRSS")? as f64;
    let crowd = Arc::new(Crowd::default());
    let stop = CancellationToken::new();
    let (to, gathered, told_to_stop) = (bed.rig.address(), Arc::clone(&crowd), stop.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let gathering = runtime.spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..clients {
            let (crowd, stop, cursor) = (Arc::clone(&gathered), told_to_stop.clone(), cursor.clone());
            tasks.spawn(async move {
                // Connections come in over some seconds, as those of a fleet do.
                tokio::time::sleep(Duration::from_micros(400) * n as u32).await;
                let _ = stop.run_until_cancelled(client(to, n, cursor, &crowd)).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    let wait_for = |what: &str, holds: &dyn Fn() -> bool| -> Outcome {
        palisade_e2e::eventually_within(PATIENCE, what, || Ok(holds()))?;
        Ok(())
    };
    wait_for("all wait", &|| crowd.connected.load(Ordering::Relaxed) == clients as u64)?;
    std::thread::sleep(Duration::from_secs(2));
    say("all wait");
    let held = bed.rig.process()?.memory("VmRSS")? as f64;
    let idle = busy(&mut bed, QUIET)?;

    let mut caller = bed.rig.caller();
    let one = "10.250.0.1";
    let started = cpu(&mut bed)?;
    let posted = Instant::now();
    bed.post(&mut caller, import_body(std::iter::once(format!("{one}/32")), "one").as_bytes())?;
    let count =
        |value: &str| crowd.told.lock().expect("nobody panics with it").get(value).map_or(0, Vec::len);
    wait_for("all have the ban", &|| count(one) >= clients)?;
    let spent = cpu(&mut bed)? - started;
    let mut times: Vec<f64> = crowd.told.lock().expect("nobody panics with it")[one]
        .iter()
        .map(|at| at.saturating_duration_since(posted).as_secs_f64() * 1e3)
        .collect();

    say("a storm");
    std::thread::sleep(Duration::from_secs(2));
    let answers = crowd.answers.load(Ordering::Relaxed);
    let begin = Instant::now();
    let storm = sized(STORM).max(10);
    for n in 0..storm {
        let due = begin + STORM_SPAN.mul_f64(n as f64 / storm as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let value = format!("10.251.{}.{}/32", n / 250, n % 250);
        bed.post(&mut caller, import_body(std::iter::once(value), "storm").as_bytes())?;
    }
    let last = format!("10.251.{}.{}", (storm - 1) / 250, (storm - 1) % 250);
    let posted = Instant::now();
    wait_for("all are abreast", &|| count(&last) >= clients)?;
    let abreast = posted.elapsed().as_secs_f64();
    let each = (crowd.answers.load(Ordering::Relaxed) - answers) as f64 / clients as f64;

    say("the same clients poll");
    crowd.polls.store(true, Ordering::Relaxed);
    // The next answer sends them all over to polling.
    bed.post(&mut caller, import_body(std::iter::once("10.252.0.1/32".to_owned()), "poll").as_bytes())?;
    std::thread::sleep(INTERVAL);
    let polling = busy(&mut bed, QUIET)?;
    stop.cancel();
    let _ = runtime.block_on(gathering);

    let who = format!("{} clients", grouped(clients));
    let row = |what: &str, unit, ours, peer: Option<f64>, target| {
        Row::new(format!("{who}: {what}"), unit, ours, peer.map(|peer| (peer, POLLING)), target)
    };
    Ok(vec![
        row("resident memory of the LAPI", "MB", held / 1024.0, None, Target::None),
        row("of that for each who waits", "KB", (held - before) / clients as f64, None, Target::None),
        row(
            "processor while nothing happens",
            "%",
            idle * 100.0,
            Some(polling * 100.0),
            Target::WithinTimes(0.5),
        ),
        row("post to the first that has the ban", "ms", percentile(&mut times, 0.0), None, Target::None),
        row("post to the median", "ms", percentile(&mut times, 0.5), None, Target::None),
        row("post to the last", "ms", percentile(&mut times, 1.0), None, Target::None),
        row("processor time for that", "s", spent, None, Target::None),
        row(
            &format!("answers to each in a storm of {storm} bans"),
            "",
            each,
            None,
            Target::AtMost(storm as f64 / 2.0),
        ),
        row("last ban of the storm to all abreast", "s", abreast, None, Target::None),
        row(
            "requests that failed",
            "",
            crowd.failures.load(Ordering::Relaxed) as f64,
            None,
            Target::AtMost(0.0),
        ),
    ])
}

/// Seconds of processor time the LAPI has used.
fn cpu(bed: &mut Bed) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bed.rig.process()?.id()))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |at: usize| after_name.split_whitespace().nth(at).and_then(|text| text.parse::<f64>().ok());
    // User and system time, in hundredths of a second on every Linux of today.
    Ok((ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0)
}

/// The part of one processor it uses over a while.
fn busy(bed: &mut Bed, span: Duration) -> Outcome<f64> {
    let (before, begin) = (cpu(bed)?, Instant::now());
    std::thread::sleep(span);
    Ok((cpu(bed)? - before) / begin.elapsed().as_secs_f64())
}

/// One client: asks, takes over the cursor, asks again, for ever.
async fn client(to: SocketAddr, n: usize, mut cursor: String, crowd: &Crowd) -> io::Result<()> {
    let from = IpAddr::from(Ipv4Addr::from(0x7f02_0000 + (n / 200) as u32 + 1));
    let mut stream = None;
    loop {
        let mut open = match stream.take() {
            Some(open) => open,
            None => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(from, 0))?;
                let open = socket.connect(to).await?;
                open.set_nodelay(true)?;
                crowd.connected.fetch_add(1, Ordering::Relaxed);
                open
            }
        };
        let polls = crowd.polls.load(Ordering::Relaxed);
        let wait = if polls { 0 } else { WAIT };
        let request = format!(
            "GET /v1/decisions/stream?cursor={cursor}&wait={wait} HTTP/1.1\r\nHost: lapi\r\nX-Api-Key: {KEY}\r\n\
             User-Agent: bench/v1\r\nX-Palisade-Instance: bench/{n}\r\n\r\n"
        );
        match exchange(&mut open, &request).await {
            Ok((next, body)) => {
                cursor = next;
                crowd.answers.fetch_add(1, Ordering::Relaxed);
                note(crowd, &body);
                stream = Some(open);
            }
            Err(_) => {
                crowd.failures.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        if polls {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Notes when a client was told of each address that is looked for.
fn note(crowd: &Crowd, body: &str) {
    let now = Instant::now();
    for (at, _) in body.match_indices("\"10.25") {
        let Some(value) = body.get(at + 1..).and_then(|rest| rest.split('"').next()) else { continue };
        crowd.told.lock().expect("nobody panics with it").entry(value.to_owned()).or_default().push(now);
    }
}

/// One request and its whole answer: the cursor, and the body.
async fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<(String, String)> {
    let odd = || io::Error::other("no answer of a LAPI that keeps cursors");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(odd());
        }
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let whole = match field("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => body.len() >= length,
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole {
            return Ok((field("x-palisade-cursor").ok_or_else(odd)?, body.to_owned()));
        }
    }
}
