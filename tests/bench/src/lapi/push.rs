//! From a ban to the packet that is dropped: a ban is posted to the LAPI, and three hosts that share a key, each behind
//! its own firewall bouncer, stop hearing the one it is about.
//!
//! ```text
//!   sender, 10.66.0.0/16 ── one packet a millisecond to each ──► router (LAPI) ──► host-1, host-2, host-3
//! ```
//!
//! A host's latency runs from the first byte of the post to the first packet sent that it never heard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use palisade_e2e::{
    Access, Caller, Config, Failure, Firewall, Host, Implementation, Make, Outcome, Rig, Setup, World, tools,
};
use serde_json::json;

use super::bed::{KEY, MACHINE, import_body, wanted};
use super::mixed::percentile;
use super::{grouped, say, sized};
use crate::data;
use crate::report::{Row, Target};

const HOSTS: usize = 3;
const BANS: usize = 1_000;
/// Active before it begins.
const BEFORE: usize = 100_000;
/// The stock pair's: more takes its bouncer minutes to load.
const BEFORE_STOCK: usize = 10_000;
/// The stock pair's: each takes up to its interval of ten seconds.
const BANS_STOCK: usize = 15;
/// Between two packets to one host.
const PACE: Duration = Duration::from_millis(1);
/// So many packets in a row that are not heard are no accident.
const SILENCE: u32 = 25;
/// A ban that has no effect by then has none.
const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 9_999;
const STOCK_PAIR: &str = "CrowdSec 1.4.6 LAPI and firewall bouncer 0.0.25, 10,000 active";

/// Milliseconds.
#[derive(Default)]
struct Seen {
    /// Of every ban at every host.
    each: Vec<f64>,
    /// Of every ban at the host where it came last.
    last: Vec<f64>,
    /// From one packet to the next, as they were really sent.
    pace: Vec<f64>,
}

pub(super) fn measure(world: &World) -> Outcome<Vec<Row>> {
    let hosts = (1..=HOSTS)
        .map(|n| {
            let n = n as u8;
            world.host(&format!("host-{n}"), Ipv4Addr::new(10, 77, n, 2), format!("fd77:{n}::2").parse()?)
        })
        .collect::<Outcome<Vec<Host>>>()?;
    // The sender has every address of a network.
    world.visitor.tool(["ip", "route", "add", "local", "10.66.0.0/16", "dev", "lo"])?;
    let visitor = world.visitor.v4().to_string();
    world.router.tool(["ip", "route", "add", "10.66.0.0/16", "via", &visitor])?;
    say("ours");
    let mut ours = pair(world, Make::Ours, &hosts, sized(BANS), sized(BEFORE), Duration::from_millis(40))?;
    say("the stock pair");
    let stock =
        pair(world, Make::Stock, &hosts, sized(BANS_STOCK), sized(BEFORE_STOCK), Duration::from_secs(10));
    let mut stock = stock.map_err(|failure| say(&format!("{STOCK_PAIR}: {failure}"))).ok();
    let mut rows = Vec::new();
    let what = format!("ban to dropped packet, {HOSTS} hosts, {} active", grouped(sized(BEFORE)));
    type Pick = fn(&mut Seen) -> &mut Vec<f64>;
    let kinds: [(&str, Pick); 2] =
        [("any host", |seen| &mut seen.each), ("last host", |seen| &mut seen.last)];
    for (kind, pick) in kinds {
        for (name, at, target) in [
            ("p50", 0.5, Target::AtMost(20.0)),
            ("p99", 0.99, Target::AtMost(100.0)),
            ("max", 1.0, Target::None),
        ] {
            let peer = stock.as_mut().map(|seen| (percentile(pick(seen), at), STOCK_PAIR));
            rows.push(Row::new(
                format!("{what}: {kind} {name}"),
                "ms",
                percentile(pick(&mut ours), at),
                peer,
                target,
            ));
        }
    }
    rows.push(Row::new("bans measured", "", ours.last.len() as f64, None, Target::None));
    let pace = percentile(&mut ours.pace, 0.99);
    rows.push(Row::new("the probe itself: packet to packet p99", "ms", pace, None, Target::None));
    Ok(rows)
}

/// One pair of LAPI and bouncers.
fn pair(
    world: &World,
    make: Make,
    hosts: &[Host],
    bans: usize,
    before: usize,
    apart: Duration,
) -> Outcome<Seen> {
    let port = world.router.free_port()?;
    let config = json!({
        "api": { "server": { "listen_uri": format!("0.0.0.0:{port}"), "log_level": "error" } },
        "common": { "log_level": "error" },
    });
    let mut rig = Rig::prepare(world, make, &Setup { config, ..Setup::default() })?;
    rig.add_machine(MACHINE.0, MACHINE.1)?;
    rig.add_bouncer("fleet", KEY)?;
    rig.up(world)?;
    let token = rig.log_in(MACHINE.0, MACHINE.1)?;
    let mut caller = rig.caller();
    let values = data::v4(before, 1);
    for chunk in values.chunks(50_000) {
        post(&mut caller, &token, &import_body(chunk.iter().map(ToString::to_string), "before"))?;
    }
    let which = if make == Make::Ours { Implementation::under_test()? } else { Implementation::stock()? };
    let mut firewalls = Vec::new();
    for (n, host) in hosts.iter().enumerate() {
        let gateway = Ipv4Addr::new(10, 77, n as u8 + 1, 1);
        let access = Access { url: format!("http://{gateway}:{port}/"), key: KEY.to_owned() };
        let config = Config::new(world, &access)?
            .set("update_frequency", "10s")
            .set("nftables_hooks", json!(["input"]))
            .set("prometheus.enabled", false);
        let path = config.write(world)?;
        firewalls.push(Firewall::launch_prepared(
            world,
            host,
            tools::command(which.program())?,
            &path,
            &config,
        )?);
    }
    // One more ban than what was there before shows that all of it is in force.
    let probe = Probe::start(&world.visitor, hosts)?;
    let first = Ipv4Addr::new(10, 66, 255, 1);
    probe.time(first, Duration::from_secs(300), || post(&mut caller, &token, &ban(first)))?;
    say("all bans are in force");
    let mut seen = Seen::default();
    for n in 0..bans {
        let address = Ipv4Addr::new(10, 66, (n / 250) as u8, (n % 250) as u8 + 1);
        // At no fixed time after the last one.
        std::thread::sleep(apart.mul_f64(fastrand::f64()));
        let times = probe.time(address, PATIENCE, || post(&mut caller, &token, &ban(address)))?;
        seen.last.push(times.iter().copied().fold(0.0, f64::max));
        seen.each.extend(times);
    }
    seen.pace = probe.stop();
    for mut firewall in firewalls {
        let _ = firewall.process().kill();
    }
    for host in hosts {
        host.tool(["nft", "flush", "ruleset"])?;
    }
    Ok(seen)
}

fn post(caller: &mut Caller, token: &str, body: &str) -> Outcome {
    let headers = [("Authorization", token), ("User-Agent", "crowdsec/v1.4.6")];
    wanted(&caller.ask("POST", "/v1/alerts", &headers, Some(body.as_bytes()))?, 201)
}

fn ban(address: Ipv4Addr) -> String {
    import_body(std::iter::once(format!("{address}/32")), "one more")
}

/// What one address has sent and each host has heard.
struct Round {
    address: Ipv4Addr,
    /// The last packet each host has heard, counted from 1.
    heard: Vec<AtomicU32>,
    sent: AtomicU32,
    stop: AtomicBool,
}

/// Sends and listens.
struct Probe {
    rounds: mpsc::Sender<Arc<Round>>,
    times: mpsc::Receiver<Vec<Instant>>,
    current: Arc<std::sync::RwLock<Option<Arc<Round>>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    pace: std::sync::Mutex<Vec<f64>>,
    hosts: usize,
}

impl Probe {
    fn start(sender: &Host, hosts: &[Host]) -> Outcome<Self> {
        let current = Arc::new(std::sync::RwLock::new(None::<Arc<Round>>));
        let ended = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (n, host) in hosts.iter().enumerate() {
            let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            let (current, ended) = (Arc::clone(&current), Arc::clone(&ended));
            threads.push(std::thread::spawn(move || listen(&socket, n, &current, &ended)));
        }
        let targets: Vec<SocketAddr> = hosts.iter().map(|host| SocketAddr::new(host.v4(), PORT)).collect();
        let (rounds, due) = mpsc::channel::<Arc<Round>>();
        let (told, times) = mpsc::channel();
        let sender = sender.clone();
        threads.push(std::thread::spawn(move || {
            for round in due {
                let sent = sender.run(|| send(&round, &targets));
                if told.send(sent.unwrap_or_default()).is_err() {
                    return;
                }
            }
        }));
        let pace = std::sync::Mutex::default();
        Ok(Self { rounds, times, current, ended, threads, pace, hosts: hosts.len() })
    }

    /// Milliseconds from the post to the first packet each host did not hear.
    fn time(
        &self,
        address: Ipv4Addr,
        patience: Duration,
        post: impl FnOnce() -> Outcome,
    ) -> Outcome<Vec<f64>> {
        let round = Arc::new(Round {
            address,
            heard: (0..self.hosts).map(|_| AtomicU32::new(0)).collect(),
            sent: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        *self.current.write().expect("nobody panics with it") = Some(Arc::clone(&round));
        let gone = || Failure::new("the sender has ended");
        self.rounds.send(Arc::clone(&round)).map_err(|_| gone())?;
        let wait = |what: &str, limit: Duration, holds: &dyn Fn(u32, u32) -> bool| {
            let begin = Instant::now();
            loop {
                let sent = round.sent.load(Ordering::Acquire);
                if round.heard.iter().all(|heard| holds(sent, heard.load(Ordering::Acquire))) {
                    return Ok(());
                }
                if begin.elapsed() > limit {
                    round.stop.store(true, Ordering::Release);
                    return Err(Failure::new(format!("{what}: not within {limit:?} for {address}")));
                }
                std::thread::sleep(PACE * 5);
            }
        };
        wait("packets arrive", Duration::from_secs(10), &|_, heard| heard > 10)?;
        let posted = Instant::now();
        post()?;
        let silent = wait("packets stop", patience, &|sent, heard| sent > heard + SILENCE);
        round.stop.store(true, Ordering::Release);
        let sent = self.times.recv().map_err(|_| gone())?;
        silent?;
        let gaps = sent.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3);
        self.pace.lock().expect("nobody panics with it").extend(gaps);
        let first_lost = |heard: &AtomicU32| sent.get(heard.load(Ordering::Acquire) as usize);
        let lost = round.heard.iter().map(|heard| {
            let lost =
                first_lost(heard).ok_or_else(|| Failure::new("a packet was heard that was not sent"))?;
            Ok(lost.saturating_duration_since(posted).as_secs_f64() * 1e3)
        });
        lost.collect()
    }

    fn stop(self) -> Vec<f64> {
        self.ended.store(true, Ordering::Release);
        drop(self.rounds);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.pace.into_inner().expect("nobody panics with it")
    }
}

/// Sends numbered packets to each host until told to stop; when each number was sent.
fn send(round: &Round, targets: &[SocketAddr]) -> std::io::Result<Vec<Instant>> {
    let socket = UdpSocket::bind((IpAddr::from(round.address), 0))?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while !round.stop.load(Ordering::Acquire) {
        let number = times.len() as u32 + 1;
        let mut packet = [0; 8];
        packet[..4].copy_from_slice(&round.address.octets());
        packet[4..].copy_from_slice(&number.to_be_bytes());
        times.push(Instant::now());
        for target in targets {
            // A full queue is a packet that is not heard, which the next one makes good.
            let _ = socket.send_to(&packet, target);
        }
        round.sent.store(number, Ordering::Release);
        std::thread::sleep((begin + PACE * number).saturating_duration_since(Instant::now()));
    }
    Ok(times)
}

fn listen(
    socket: &UdpSocket,
    host: usize,
    current: &std::sync::RwLock<Option<Arc<Round>>>,
    ended: &AtomicBool,
) {
    let mut packet = [0; 8];
    while !ended.load(Ordering::Acquire) {
        let Ok((8, _)) = socket.recv_from(&mut packet) else { continue };
        let number = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        if let Some(round) = current.read().expect("nobody panics with it").as_ref()
            && round.address.octets() == packet[..4]
        {
            round.heard[host].fetch_max(number, Ordering::AcqRel);
        }
    }
}
