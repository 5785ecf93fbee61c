//! From a ban posted to the packet dropped on every one of three hosts, while a hundred thousand are active.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use palisade_e2e::{
    Access, Config, Failure, Firewall, Host, Implementation, Make, Outcome, World, eventually_within, tools,
};

use super::super::bench_server::BenchServer;
use super::super::mixed::percentile;
use super::super::{grouped, say, sized};
use super::poster::Poster;
use super::probe::{EnforcedBan, Planned, Probe, Watched};
use crate::data;
use crate::report::{BenchRow, Target};

const HOSTS: u8 = 3;
const ACTIVE: usize = 100_000;
/// What the stock bouncers get instead when they do not bear that many.
const FEWER: usize = 10_000;
const BANS: usize = 1_000;
/// Bans of the stock pair, all within [`SPREAD`]: a poll every 10 s leaves time for few.
const STOCK_BANS: usize = 30;
const SPREAD: Duration = Duration::from_secs(60);
/// How long a bouncer may take to put what is active into the kernel.
const TIMEOUT: Duration = Duration::from_secs(240);
/// How long a ban may take.
const IN_FORCE: Duration = Duration::from_secs(60);
const RHYTHM: Duration = Duration::from_millis(1);
/// Many sources at once need a slower one; the stock pair takes seconds.
const STOCK_RHYTHM: Duration = Duration::from_millis(20);
/// Latencies above this are listed individually.
const SLOW: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(5);
/// An address that is never banned.
const IDLE_SOURCE: u16 = 65_000;
/// All bouncers of ours have this one.
const SHARED_KEY: &str = "key-of-all-three-hosts";

/// What the tables show of a pair.
struct Figures {
    /// Milliseconds, of every ban on every host.
    each: Vec<f64>,
    /// Of every ban, until it is in force everywhere.
    everywhere: Vec<f64>,
    /// Until the LAPI answered.
    answered: Vec<f64>,
    lost: u32,
    gaps: Vec<f64>,
    idle_gaps: Vec<f64>,
}

pub(super) type Measured = Outcome<Vec<BenchRow>>;

pub(in super::super) fn measure(world: &World) -> Measured {
    let active = sized(ACTIVE);
    say("three hosts, the stock LAPI and stock bouncers");
    let mut theirs = stock_pair(world, active, 1).map(|figures| (figures, active));
    if let Err(failure) = &theirs {
        let fewer = sized(FEWER);
        say(&format!(
            "the stock pair with {} active: {failure}; again with {}",
            grouped(active),
            grouped(fewer)
        ));
        theirs = stock_pair(world, fewer, 2).map(|figures| (figures, fewer));
    }
    say("three hosts, our LAPI and our bouncers");
    let ours = our_pair(world, active);
    Ok(rows(ours, theirs, active))
}

fn rows(ours: Outcome<Figures>, theirs: Outcome<(Figures, usize)>, active: usize) -> Vec<BenchRow> {
    let figure = format!("ban posted to packet dropped, {} active", grouped(active));
    let (mut theirs, name) = match theirs {
        Ok((figures, active)) => {
            let name = format!(
                "CrowdSec 1.4.6 LAPI and firewall bouncer 0.0.25, a key for each host, {} active, {} bans",
                grouped(active),
                figures.everywhere.len()
            );
            (Some(figures), name)
        }
        Err(failure) => (None, format!("the stock pair failed: {failure}")),
    };
    let mut rows = Vec::new();
    match ours {
        Ok(mut ours) => {
            type Pick = fn(&mut Figures) -> &mut Vec<f64>;
            let table: [(&str, Pick, [Target; 3]); 3] = [
                (
                    "on all 3 hosts",
                    |figures| &mut figures.everywhere,
                    [Target::AtMost(20.0), Target::AtMost(100.0), Target::None],
                ),
                ("on each host", |figures| &mut figures.each, [Target::None; 3]),
                ("LAPI's answer to it", |figures| &mut figures.answered, [Target::None; 3]),
            ];
            for (what, pick, targets) in table {
                for ((part, at), target) in
                    [("p50", 0.5), ("p99", 0.99), ("max", 1.0)].into_iter().zip(targets)
                {
                    let peer = theirs.as_mut().map(|theirs| (percentile(pick(theirs), at), name.as_str()));
                    let text = format!("{figure}, {what}: {part}");
                    rows.push(BenchRow::new(text, "ms", percentile(pick(&mut ours), at), peer, target));
                }
            }
            let peer =
                |pick: &dyn Fn(&Figures) -> f64| theirs.as_ref().map(|theirs| (pick(theirs), name.as_str()));
            let bans = peer(&|figures| figures.everywhere.len() as f64);
            rows.push(BenchRow::new(
                "bans, one after another",
                "",
                ours.everywhere.len() as f64,
                bans,
                Target::None,
            ));
            let lost = peer(&|figures| figures.lost.into());
            rows.push(BenchRow::new(
                "packets lost before the drop",
                "",
                ours.lost.into(),
                lost,
                Target::None,
            ));
            for (what, gaps) in [("idle", &mut ours.idle_gaps), ("meanwhile", &mut ours.gaps)] {
                for (part, at) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                    let text = format!("between two packets of the probe, {what}: {part}");
                    rows.push(BenchRow::new(text, "ms", percentile(gaps, at), None, Target::None));
                }
            }
        }
        Err(failure) => rows.push(BenchRow::failed(&figure, &failure.to_string())),
    }
    if theirs.is_none() {
        rows.push(BenchRow::failed(&format!("{figure}: stock pair"), &name));
    }
    rows
}

/// One key for all three.
fn our_pair(world: &World, active: usize) -> Outcome<Figures> {
    let server = BenchServer::start_for_hosts(world, Make::Ours, |process| {
        process.add_bouncer("all three hosts", SHARED_KEY)
    })?;
    fill(&server, active)?;
    let hosts = hosts(world, "ours", 0)?;
    let keys = vec![SHARED_KEY.to_owned(); hosts.len()];
    let mut firewalls = bouncers(world, &server, &hosts, &Implementation::under_test()?, &keys)?;
    for firewall in &mut firewalls {
        eventually_within(TIMEOUT, "the firewall bouncer is ready", || firewall.is_ready())?;
    }
    in_force(&hosts, active)?;
    let probe = Probe::new(world, &hosts, RHYTHM)?;
    let idle_gaps = probe.idle(IDLE_SOURCE, IDLE)?;
    let poster = Poster::start(&server);
    let mut random = fastrand::Rng::with_seed(11);
    let mut all = Watched::default();
    let (bans, begin) = (sized(BANS), Instant::now());
    for ban in 0..bans {
        // At any moment of whatever the bouncers do in turn.
        let after = Duration::from_micros(random.u64(15_000..150_000));
        let planned = Planned { source: 1 + ban as u16, after };
        let watched = probe.watch(&poster, &[planned], IN_FORCE)?;
        for seen in watched.seen.iter().filter(|seen| seen.dropped.iter().any(|took| *took > SLOW)) {
            let after = begin.elapsed().as_secs_f64();
            say(&format!("ban {} took long, {after:.1} s after the first: {:?}", ban + 1, seen.dropped));
        }
        all.seen.extend(watched.seen);
        all.gaps.extend(watched.gaps);
        if (ban + 1) % 250 == 0 {
            say(&format!("{} of {bans} bans, {:.0} s", ban + 1, begin.elapsed().as_secs_f64()));
        }
    }
    Ok(figures(all, idle_gaps))
}

/// With a key for each host: of hosts that share one, each gets only a part of the changes.
fn stock_pair(world: &World, active: usize, turn: u8) -> Outcome<Figures> {
    let keys: Vec<String> = (0..HOSTS).map(|host| format!("key-of-host-{host}")).collect();
    let server = BenchServer::start_for_hosts(world, Make::Stock, |process| {
        keys.iter().enumerate().try_for_each(|(host, key)| process.add_bouncer(&format!("host-{host}"), key))
    })?;
    fill(&server, active)?;
    let hosts = hosts(world, &format!("stock{turn}"), 10 * turn)?;
    let _firewalls = bouncers(world, &server, &hosts, &Implementation::stock()?, &keys)?;
    in_force(&hosts, active)?;
    let probe = Probe::new(world, &hosts, STOCK_RHYTHM)?;
    let idle_gaps = probe.idle(IDLE_SOURCE, IDLE)?;
    let mut random = fastrand::Rng::with_seed(12);
    let plan: Vec<Planned> = (0..sized(STOCK_BANS).max(3) as u16)
        .map(|ban| Planned {
            source: 20_000 + 1_000 * u16::from(turn) + ban,
            after: Duration::from_secs(1) + SPREAD.mul_f64(random.f64()),
        })
        .collect();
    let watched = probe.watch(&Poster::start(&server), &plan, IN_FORCE)?;
    Ok(figures(watched, idle_gaps))
}

fn fill(server: &BenchServer, active: usize) -> Outcome {
    // Addresses only, which every bouncer accepts, outside of this world's networks.
    server.import_nets(&data::hosts_in("64.0.0.0/3", active, 1), TIMEOUT).map(drop)
}

fn hosts(world: &World, name: &str, first: u8) -> Outcome<Vec<Host>> {
    (0..HOSTS)
        .map(|n| {
            let v6 = Ipv6Addr::from_bits(0x2001_0db8_00f0_0000 << 64 | u128::from(first + n) << 64 | 0x10);
            world.host(&format!("{name}-{n}"), Ipv4Addr::new(198, 18, first + n, 10), v6)
        })
        .collect()
}

/// A bouncer on each host, with the configuration that is shipped.
fn bouncers(
    world: &World,
    server: &BenchServer,
    hosts: &[Host],
    which: &Implementation,
    keys: &[String],
) -> Outcome<Vec<Firewall>> {
    let mut started = Vec::new();
    for (host, key) in hosts.iter().zip(keys) {
        let access = Access { url: server.process.url_from_afar(), key: key.clone() };
        let config = Config::new(world, &access)?.set("update_frequency", "10s");
        let command = tools::command(which.program())?;
        started.push(Firewall::launch_prepared(world, host, command, &config.write(world)?, &config)?);
    }
    Ok(started)
}

/// Waits until the kernels of all hosts hold what is active.
fn in_force(hosts: &[Host], active: usize) -> Outcome {
    for host in hosts {
        let mut held = 0;
        let waited = eventually_within(TIMEOUT, "all that is active is in the kernel", || {
            // Reading so large a set slows down the writers.
            std::thread::sleep(Duration::from_secs(1));
            held = host.ruleset()?.banned().len();
            Outcome::Ok(held >= active)
        });
        waited
            .map_err(|failure| Failure::new(format!("{failure} ({held} of {active} on {})", host.name())))?;
    }
    Ok(())
}

fn figures(watched: Watched, idle_gaps: Vec<f64>) -> Figures {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let everywhere = |seen: &EnforcedBan| seen.dropped.iter().max().copied().map(millis);
    Figures {
        each: watched.seen.iter().flat_map(|seen| &seen.dropped).copied().map(millis).collect(),
        everywhere: watched.seen.iter().filter_map(everywhere).collect(),
        answered: watched.seen.iter().map(|seen| millis(seen.posted.answered)).collect(),
        lost: watched.seen.iter().map(|seen| seen.lost).sum(),
        gaps: watched.gaps,
        idle_gaps,
    }
}
