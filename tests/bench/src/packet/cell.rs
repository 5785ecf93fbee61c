//! One cell of the matrix: a list of so many origins in force, and what packets and changes then cost.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use palisade_e2e::{
    Config, Doing, Failure, Firewall, Host, Implementation, Outcome, Signal, World, eventually_within, tools,
};
use serde::{Deserialize, Serialize};

use super::frames::{Cost, Receiver, Sender, Sent};
use super::lists::{Contents, List};
use super::origin::Origin;
use super::stock;
use crate::netlink::{Change, Notifications};
use crate::report::median;
use crate::scripted::ScriptedStream;

/// How long a bouncer may take to have a list in force.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// After this long without a change a list that is reported as in force counts as in force: one transaction with 200,000
/// ranges may take the kernel more than a second.
const SILENCE: Duration = Duration::from_millis(2500);
/// Changes of one kind, as many as fit into the time.
const CHANGES: usize = 11;
const CHANGES_LIMIT: Duration = Duration::from_secs(5);
/// How long one change may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(15);

/// What packets pay over no rules.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) bare: Cost,
    pub(crate) ours: Cost,
    pub(crate) stock: Cost,
}

/// Milliseconds from the last byte of the LAPI's answer to the change in the kernel, the middle of several.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) more: Option<f64>,
    pub(crate) less: Option<f64>,
}

/// All figures of one list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) contents: Contents,
    pub(crate) origins: usize,
    pub(crate) clean: Costs,
    /// Clean packets from right beside what is banned; none when nothing is.
    pub(crate) near: Option<Costs>,
    pub(crate) banned: Option<Costs>,
    pub(crate) load_seconds: f64,
    pub(crate) hosts: Changes,
    pub(crate) ranges: Changes,
    pub(crate) kernel_mb: f64,
    pub(crate) stock_kernel_mb: f64,
    pub(crate) resident_mb: f64,
}

/// The hosts that packets are sent through.
pub(crate) struct Bench<'a> {
    pub(crate) world: &'a World,
    pub(crate) sender: Sender,
    pub(crate) bare: Receiver,
    pub(crate) ours: Receiver,
    pub(crate) stock: Receiver,
}

impl Bench<'_> {
    /// Puts a list into force and measures everything about it; leaves no rules behind.
    pub(crate) fn measure(&self, contents: Contents, origins: usize) -> Outcome<Cell> {
        let measured = self.measure_loaded(contents, origins);
        for host in [&self.ours.host, &self.stock.host] {
            host.nft("flush ruleset")?;
        }
        measured
    }

    #[expect(clippy::print_stderr, reason = "a run of minutes shows what is odd")]
    fn measure_loaded(&self, contents: Contents, origins: usize) -> Outcome<Cell> {
        let (host, v6) = (&self.ours.host, contents.v6);
        let mut list = List::new(contents);
        let origins = Origin::several(origins);
        let decisions = list.nets.iter().enumerate();
        let decisions = decisions.map(|(id, net)| origins[id % origins.len()].decision(id + 1, *net));
        let lapi = ScriptedStream::start(host, decisions)?;

        let before = settled_memory()?;
        stock::load(&self.stock.host, v6, &list.nets, &origins)?;
        let loaded = settled_memory()?;
        let stock_kernel_mb = (loaded - before).max(0.0);

        let config = Config::new(self.world, &lapi.access())?.set("update_frequency", "0.02s");
        let path = config.write(self.world)?;
        let command = tools::command(Implementation::under_test()?.program())?;
        let start = Instant::now();
        let mut firewall = Firewall::launch_prepared(self.world, host, command, &path, &config)?;
        eventually_within(LOAD_LIMIT, "the list is in force", || match firewall.process().exited() {
            Some(status) => Err(Failure::new(format!("palisade-firewall ended with {status}"))),
            None => firewall.is_ready(),
        })?;
        // READY promises that all is in force; what comes later counts too, and is worth a line.
        let ready = Instant::now();
        let late = Notifications::start(host)?.until_silent(SILENCE, LOAD_LIMIT);
        if let Some((at, count)) = late {
            eprintln!("  palisade-firewall was ready {:?} before {count} of its elements", at - ready);
        }
        let loaded_at = late.map_or(ready, |(at, _)| at);
        let load_seconds = (loaded_at - start).as_secs_f64();
        let kernel_mb = (settled_memory()? - loaded).max(0.0);
        let resident_mb = firewall.process().memory("VmRSS")? as f64 / 1024.0;

        let length = if v6 { 64 } else { 24 };
        // A stock LAPI gives each decision a higher id than the one before; a lower one would look like another
        // database, which is answered with a full pull.
        let mut first_id = 10_000_000;
        let mut changes = |around: fn(IpAddr, u8) -> Option<IpNet>| {
            let some = list.clean().into_iter().take(CHANGES);
            let nets: Vec<IpNet> = some.filter_map(|address| around(address, length)).collect();
            // A ban that ends late must not look like a wrong one.
            list.exclude(&nets);
            first_id += CHANGES;
            changes(host, &lapi, &origins[0], first_id, &nets)
        };
        let hosts = changes(|address, _| Some(address.into()))?;
        let ranges = changes(|address, length| IpNet::new(address, length).ok().map(|net| net.trunc()))?;

        // Its own work would disturb the measuring; the rules act without it.
        firewall.process().signal(Signal::STOP)?;
        let clean = self.costs(v6, &[list.clean()], true).doing("clean packets")?;
        let banned_list = !list.nets.is_empty();
        let near = banned_list.then(|| self.costs(v6, &[list.neighbours()], true).doing("near packets"));
        let banned = banned_list.then(|| {
            let (all, first) = (list.banned(false), list.banned(true));
            self.costs(v6, &[all, first], false).doing("banned packets")
        });
        let (near, banned) = (near.transpose()?, banned.transpose()?);
        firewall.process().signal(Signal::CONT)?;
        firewall.process().kill()?;
        Ok(Cell {
            contents,
            origins: origins.len(),
            clean,
            near,
            banned,
            load_seconds,
            hosts,
            ranges,
            kernel_mb,
            stock_kernel_mb,
            resident_mb,
        })
    }

    /// Sends the same packets without rules and with each kind of rules; with a second list of sources, those are
    /// for the stock rules. Checks with the sockets' and the rules' counters that `pass` came true.
    fn costs(&self, v6: bool, sources: &[Vec<IpAddr>], pass: bool) -> Outcome<Costs> {
        let counted = Counted::read(&self.ours.host, v6)?;
        let first = &sources[0];
        let (ours, stock) = match sources.get(1) {
            None => {
                let all = self.sender.send(v6, first, &[&self.bare, &self.ours, &self.stock])?;
                let stock = Sent {
                    costs: vec![all.costs[0], all.costs[2]],
                    frames: all.frames,
                    delivered: vec![all.delivered[0], all.delivered[2]],
                };
                (all, stock)
            }
            Some(second) => (
                self.sender.send(v6, first, &[&self.bare, &self.ours])?,
                self.sender.send(v6, second, &[&self.bare, &self.stock])?,
            ),
        };
        for (sent, what) in [(&ours, "palisade-firewall"), (&stock, "the stock rules")] {
            sent.check(0, "no rules", true)?;
            sent.check(1, what, pass)?;
        }
        let now = Counted::read(&self.ours.host, v6)?;
        let denied = now.denied - counted.denied;
        if denied != if pass { 0 } else { ours.frames } {
            return Err(Failure::new(format!("the origins' counters say that {denied} packets were denied")));
        }
        if now.processed - counted.processed < ours.frames {
            return Err(Failure::new(format!("`processed` misses some of {} packets", ours.frames)));
        }
        Ok(Costs {
            bare: ours.costs[0],
            ours: ours.costs[1].over(ours.costs[0]),
            stock: stock.costs[1].over(stock.costs[0]),
        })
    }
}

/// One more and one less of each, one after the other.
fn changes(
    host: &Host,
    lapi: &ScriptedStream,
    origin: &Origin,
    first_id: usize,
    nets: &[IpNet],
) -> Outcome<Changes> {
    let notifications = Notifications::start(host)?;
    let start = Instant::now();
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for (n, net) in nets.iter().enumerate() {
        let decision = origin.decision(first_id + n, *net);
        notifications.discard();
        let announced = lapi.announce(&decision)?;
        let in_force = notifications.next(Change::Added, CHANGE_LIMIT);
        let deleted = lapi.delete(&decision)?;
        let gone = notifications.next(Change::Removed, CHANGE_LIMIT);
        let milliseconds = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        more.extend(in_force.map(|at| milliseconds(announced, at)));
        less.extend(gone.map(|at| milliseconds(deleted, at)));
        if start.elapsed() > CHANGES_LIMIT {
            break;
        }
    }
    let middle = |figures: Vec<f64>| (!figures.is_empty()).then(|| median(figures));
    Ok(Changes { more: middle(more), less: middle(less) })
}

/// What the rules of one family have counted.
struct Counted {
    processed: u64,
    denied: u64,
}

impl Counted {
    fn read(host: &Host, v6: bool) -> Outcome<Self> {
        let text = host.tool(["nft", "-j", "list", "counters"])?;
        let parsed: serde_json::Value = serde_json::from_str(&text).doing("reading nft's JSON")?;
        let objects = parsed["nftables"].as_array().doing("nft printed no list")?;
        let family = if v6 { "ip6" } else { "ip" };
        let counters = objects.iter().filter_map(|object| object.get("counter"));
        let counters = counters.filter(|counter| counter["family"] == family);
        let mut counted = Self { processed: 0, denied: 0 };
        for counter in counters {
            let packets = counter["packets"].as_u64().unwrap_or(0);
            match counter["name"].as_str() {
                Some("processed") => counted.processed += packets,
                _ => counted.denied += packets,
            }
        }
        Ok(counted)
    }
}

/// Megabytes the kernel of the whole machine holds that it cannot give back on demand, where sets and rules are.
fn kernel_memory() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kilobytes = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let counts = ["SUnreclaim", "VmallocUsed", "Percpu"].contains(&name);
        counts.then(|| rest.trim().trim_end_matches(" kB").parse::<f64>().ok())?
    });
    Ok(kilobytes.sum::<f64>() / 1024.0)
}

/// The same once it no longer changes: sets grow to their load, and are freed, behind what was asked for.
fn settled_memory() -> Outcome<f64> {
    let mut last = kernel_memory()?;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        let now = kernel_memory()?;
        if (now - last).abs() < 0.5 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
