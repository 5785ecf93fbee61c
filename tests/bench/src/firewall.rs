//! The firewall bouncer as a process: 100,000 bans into a real kernel, then one more, beside the stock bouncer
//! and the bare netlink batch, in throw-away namespaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_e2e::{Config, Failure, Firewall, Implementation, Outcome, World, eventually, many_addresses};

use crate::netlink::{Batches, Change, Notifications};
use crate::report::{BenchRow, Target, median};
use crate::scripted::ScriptedStream;

const BANS: u32 = 100_000;
/// How long the stock bouncer may take for them.
const TIMEOUT: Duration = Duration::from_secs(240);
const RUNS: usize = 5;
const MORE: usize = 25;
/// How long one more ban may take, and how long all that are tried.
const ONE_MORE_LIMIT: Duration = Duration::from_secs(20);
const MORE_LIMIT: Duration = Duration::from_secs(60);

/// Runs the comparison in namespaces of its own (as real root there if we are root here, so that the socket
/// buffer may be raised as it may on a real host).
pub(crate) fn firewall() -> Vec<BenchRow> {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(program);
    child.arg("child-firewall").env("PALISADE_REAL_ROOT", "1").stderr(Stdio::inherit());
    let output = child.output().expect("this program can run itself");
    let rows = String::from_utf8_lossy(&output.stdout);
    let Some(rows) = rows.lines().find_map(|line| line.strip_prefix("rows: ")) else {
        return vec![BenchRow::failed(
            "100,000 bans through the firewall bouncer",
            "the run in the namespaces failed",
        )];
    };
    serde_json::from_str(rows).expect("the child prints what report writes")
}

/// The child of [`firewall`]; returns only its exit.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child() -> bool {
    let result = palisade_e2e::enter().and_then(|()| measure());
    match result {
        Ok(rows) => {
            println!("rows: {}", serde_json::to_string(&rows).expect("rows are plain data"));
            true
        }
        Err(failure) => {
            eprintln!("firewall: {failure}");
            false
        }
    }
}

/// What one bouncer did.
struct Run {
    /// From its start to all in force; `None` after [`TIMEOUT`].
    loaded: Option<f64>,
    /// From the last byte of the answer to all in force.
    after_answer: Option<f64>,
    /// From the last byte of an answer with one more ban to its element in the kernel.
    one_more: Vec<f64>,
    resident_kb: u64,
    in_force: usize,
}

fn measure() -> Outcome<Vec<BenchRow>> {
    let world = World::raise()?;
    let ours = (0..RUNS).map(|_| run(&world, &Implementation::under_test()?)).collect::<Outcome<Vec<_>>>()?;
    let bare = (0..RUNS).map(|_| bare_batch(&world, true)).collect::<Outcome<Vec<_>>>()?;
    let growing = (0..RUNS).map(|_| bare_batch(&world, false)).collect::<Outcome<Vec<_>>>()?;
    let stock = run(&world, &Implementation::stock()?)?;
    let stock_name = "crowdsec-firewall-bouncer 0.0.25";
    let (stock_load, stock_says) = match stock.loaded {
        Some(seconds) => (seconds, stock_name.to_owned()),
        None => (
            TIMEOUT.as_secs_f64(),
            format!("{stock_name}: ended after {} s with {} in force", TIMEOUT.as_secs(), stock.in_force),
        ),
    };
    let middle = |pick: &dyn Fn(&Run) -> Option<f64>| median(ours.iter().filter_map(pick).collect());
    let one_more: Vec<f64> = ours.iter().flat_map(|run| run.one_more.clone()).collect();
    let one_more_figure = "one more ban, answer arrived to kernel";
    let stock_more = (!stock.one_more.is_empty()).then(|| median(stock.one_more.clone()));
    Ok(vec![
        BenchRow::new(
            "100,000 bans, process start to all in force",
            "s",
            middle(&|run| run.loaded),
            Some((stock_load, &stock_says)),
            Target::None,
        ),
        BenchRow::new(
            "100,000 bans, answer arrived to all in force",
            "s",
            middle(&|run| run.after_answer),
            Some((median(bare), "the bare netlink batch")),
            Target::WithinTimes(2.0),
        ),
        BenchRow::new(
            "the same",
            "s",
            middle(&|run| run.after_answer),
            Some((median(growing), "the bare netlink batch into sets that grow")),
            Target::None,
        ),
        if one_more.is_empty() {
            BenchRow::failed(one_more_figure, "no notification of a change")
        } else {
            let peer = stock_more.map(|ms| (ms, stock_name));
            BenchRow::new(one_more_figure, "ms", median(one_more), peer, Target::AtMost(10.0))
        },
        BenchRow::new(
            "resident memory with 100,000 bans",
            "MB",
            middle(&|run| Some(run.resident_kb as f64 / 1024.0)),
            Some((stock.resident_kb as f64 / 1024.0, stock_name)),
            Target::AtMost(40.0),
        ),
    ])
}

fn run(world: &World, which: &Implementation) -> Outcome<Run> {
    let lapi = ScriptedStream::start(&world.router, many_addresses(BANS).map(|address| decision(&address)))?;
    let config = Config::new(world, &lapi.access())?.set("update_frequency", "0.05s");
    // Watching the kernel costs time too; ours reports itself when all is in force, and is then checked.
    let counting = if which.is_ours() { None } else { Some(Notifications::start(&world.router)?) };
    let begin = Instant::now();
    let mut firewall = Firewall::launch(world, which, &config)?;
    let mut run = Run { loaded: None, after_answer: None, one_more: Vec::new(), resident_kb: 0, in_force: 0 };
    if which.is_ours() {
        firewall.ready()?;
        let ready = Instant::now();
        run.loaded = Some((ready - begin).as_secs_f64());
        run.after_answer = lapi.startup_sent().map(|sent| (ready - sent).as_secs_f64());
        // A dump may skip elements while the kernel still rehashes the set behind the load.
        eventually("all bans show in a dump", || {
            let banned = world.router.ruleset()?.banned();
            Outcome::Ok(many_addresses(BANS).all(|address| banned.contains_key(&address)))
        })?;
        run.in_force = BANS as usize;
    } else if let Some(notifications) = &counting {
        // It reports READY before anything is in force, so its elements are counted as the kernel reports them.
        while begin.elapsed() < TIMEOUT && run.in_force < BANS as usize {
            run.in_force += notifications.elements(Duration::from_millis(100));
        }
        run.loaded = (run.in_force >= BANS as usize).then(|| begin.elapsed().as_secs_f64());
    }
    drop(counting);
    let notifications = Notifications::start(&world.router)?;
    let late = notifications.elements(Duration::from_secs(1));
    if which.is_ours() && late > 0 {
        return Err(Failure::new(format!("it said READY with {late} elements still to come")));
    }
    run.resident_kb = firewall.process().memory("VmRSS")?;
    if run.loaded.is_some() {
        let begin = Instant::now();
        for n in (0..MORE).take_while(|_| begin.elapsed() < MORE_LIMIT) {
            notifications.discard();
            let sent = lapi.announce(&decision(&format!("198.51.100.{n}")))?;
            let Some(seen) = notifications.next(Change::Added, ONE_MORE_LIMIT) else {
                // The bans so far count.
                break;
            };
            run.one_more.push((seen - sent).as_secs_f64() * 1e3);
        }
    }
    let _ = firewall.process().kill();
    for (family, table) in world.router.ruleset()?.tables() {
        world.router.nft(&format!("delete table {family} {table}"))?;
    }
    Ok(run)
}

/// The physical limit: the same elements in one hand-built batch, from send to acknowledgement. Beside the hosts it
/// holds the /22s they lie in, which packets are looked up in first. Sets of a declared size are as large from the
/// start as they will ever be; others, as a bouncer has them, grow behind the batch.
fn bare_batch(world: &World, sized: bool) -> Outcome<f64> {
    let size = if sized { "size 1000000;" } else { "" };
    world.router.nft(&format!(
        "add table ip bare\nadd set ip bare hosts {{ type ipv4_addr; flags timeout; {size} }}\n\
         add set ip bare cells {{ type ipv4_addr; {size} }}",
    ))?;
    let hosts: Vec<IpAddr> = many_addresses(BANS).filter_map(|address| address.parse().ok()).collect();
    let cells = hosts.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(IpAddr::from(Ipv4Addr::from_bits(address.to_bits() >> 10 << 10))),
        IpAddr::V6(_) => None,
    });
    let cells: Vec<IpAddr> = cells.collect::<BTreeSet<_>>().into_iter().collect();
    let mut batches = Batches::new(false);
    batches.add("bare", "cells", &cells, None);
    batches.add("bare", "hosts", &hosts, Some(Duration::from_secs(86_400)));
    let took = batches.commit(&world.router);
    world.router.nft("delete table ip bare")?;
    took.map(|took| took.as_secs_f64())
}

fn decision(value: &str) -> String {
    format!(
        r#"{{"duration":"23h59m58s","id":1,"origin":"CAPI","scenario":"http:scan","scope":"Ip","type":"ban","value":"{value}"}}"#
    )
}
