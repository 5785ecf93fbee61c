//! Ten thousand parked requests: their cost while idle, for a single ban, and in a storm of bans.

use std::time::{Duration, Instant};

use palisade_e2e::{Doing as _, Failure, Make, Outcome, World, eventually_within};
use palisade_wire::follow::CURSOR_HEADER;

use super::super::bench_server::{BenchServer, KEY, ban_body};
use super::super::mixed::percentile;
use super::super::{grouped, say, sized};
use super::many_clients::{Delivery, ManyClients, RequestMode, address};
use super::processor_seconds;
use crate::data;
use crate::report::{BenchRow, Target, median};

const CLIENTS: usize = 10_000;
const ACTIVE: usize = 100_000;
/// The longest that the LAPI holds a request.
const WAIT: Duration = Duration::from_secs(60);
/// The poll interval of bouncers without push.
const INTERVAL: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(20);
/// Bans that are posted individually, one after another.
const SINGLE: u16 = 7;
const STORM: usize = 500;
const STORM_SPAN: Duration = Duration::from_secs(5);
/// For everything that is waited for.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(in super::super) fn measure(world: &World) -> Outcome<Vec<BenchRow>> {
    let (clients, active) = (sized(CLIENTS), sized(ACTIVE));
    let mut server = BenchServer::start(world, Make::Ours)?;
    server.import_nets(&data::hosts_in("64.0.0.0/3", active, 1), TIMEOUT)?;
    let mut rows = Vec::new();

    say(&format!("{} clients poll", grouped(clients)));
    let cursor = restart(world, &mut server)?;
    let polling = {
        let clients_under_test = ManyClients::gather(
            clients,
            server.process.address(),
            KEY,
            &cursor,
            RequestMode::Poll(INTERVAL),
        )?;
        // The first round opens the connections.
        std::thread::sleep(INTERVAL + Duration::from_secs(2));
        let cost = idle_cost(&mut server, &clients_under_test)?;
        whole(&clients_under_test.delivery())?;
        cost
    };

    say(&format!("{} clients wait", grouped(clients)));
    let cursor = restart(world, &mut server)?;
    let before = server.process.process()?.memory("VmRSS")?;
    let clients_under_test =
        ManyClients::gather(clients, server.process.address(), KEY, &cursor, RequestMode::Wait(WAIT))?;
    eventually_within(TIMEOUT, "all wait", || clients_under_test.asking() == clients)?;
    settle(&mut server)?;
    let after = server.process.process()?.memory("VmRSS")?;
    let kilobytes = |resident: u64| resident.saturating_sub(before) as f64;
    let what = format!("{} clients that wait, {} decisions active", grouped(clients), grouped(active));
    let held = format!("resident memory, {what}");
    rows.push(BenchRow::new(format!("{held}: before"), "MB", before as f64 / 1024.0, None, Target::None));
    rows.push(BenchRow::new(format!("{held}: after"), "MB", after as f64 / 1024.0, None, Target::None));
    let each = kilobytes(after) / clients as f64;
    rows.push(BenchRow::new(format!("{held}: each"), "KB", each, None, Target::None));

    let waiting = idle_cost(&mut server, &clients_under_test)?;
    let peer = Some((polling, "the same clients and LAPI, polled every 10 s"));
    rows.push(BenchRow::new(
        "processor of the LAPI while nothing happens",
        "% of one",
        waiting,
        peer,
        Target::None,
    ));

    say("single bans");
    rows.extend(singles(&mut server, &clients_under_test, clients)?);
    say("a storm of bans");
    rows.extend(storm(&mut server, &clients_under_test, clients)?);
    let most = server.process.process()?.memory("VmHWM")? as f64 / 1024.0;
    rows.push(BenchRow::new(
        "resident memory at most, bans and storm included",
        "MB",
        most,
        None,
        Target::None,
    ));
    let delivery = clients_under_test.delivery();
    if let Some(first) = &delivery.first_failure {
        say(&format!("the first failed request: {first}"));
    }
    rows.push(BenchRow::new("requests that failed", "", delivery.failures as f64, None, Target::AtMost(0.0)));
    Ok(rows)
}

/// Restarts the LAPI, so that its memory contains nothing of earlier runs, and makes one full pull: all clients use its
/// cursor.
fn restart(world: &World, server: &mut BenchServer) -> Outcome<String> {
    server.process.kill();
    server.process.up(world)?;
    let mut caller = server.process.http_client().with_timeout(TIMEOUT);
    let reply = BenchServer::pull(&mut caller, "?startup=true&cursor=")?;
    Ok(reply.header(CURSOR_HEADER).doing("the LAPI keeps no cursors")?.to_owned())
}

/// Percent of one processor that the LAPI uses while nothing happens.
fn idle_cost(server: &mut BenchServer, clients_under_test: &ManyClients) -> Outcome<f64> {
    let process = server.process.process()?;
    let (begin, used) = (Instant::now(), processor_seconds(process)?);
    std::thread::sleep(IDLE);
    let cost = 100.0 * (processor_seconds(process)? - used) / begin.elapsed().as_secs_f64();
    whole(&clients_under_test.delivery())?;
    Ok(cost)
}

/// Waits until the LAPI has nothing left to do but to hold requests.
fn settle(server: &mut BenchServer) -> Outcome {
    const SPAN: Duration = Duration::from_millis(500);
    let process = server.process.process()?;
    let waited = eventually_within(TIMEOUT, "the LAPI comes to rest", || {
        let used = processor_seconds(process)?;
        std::thread::sleep(SPAN);
        Outcome::Ok(processor_seconds(process)? - used < 0.15 * SPAN.as_secs_f64())
    });
    waited.map(drop)
}

fn singles(
    server: &mut BenchServer,
    clients_under_test: &ManyClients,
    clients: usize,
) -> Outcome<Vec<BenchRow>> {
    let (mut first, mut middle, mut last, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut machine = server.process.http_client().with_timeout(TIMEOUT);
    for ban in 0..SINGLE {
        clients_under_test.look_for(ban..ban + 1);
        let used = processor_seconds(server.process.process()?)?;
        let body = ban_body(&address(ban).to_string());
        let posted = Instant::now();
        server.post(&mut machine, body.as_bytes())?;
        everybody(clients_under_test, clients)?;
        let delivery = clients_under_test.delivery();
        whole(&delivery)?;
        let after = |at: usize| (delivery.complete[at] - posted).as_secs_f64() * 1e3;
        first.push(after(0));
        middle.push(after(clients / 2));
        last.push(after(clients - 1));
        // The aftermath: every client sends its next request.
        eventually_within(TIMEOUT, "all wait again", || clients_under_test.asking() == clients)?;
        settle(server)?;
        costs.push(processor_seconds(server.process.process()?)? - used);
    }
    let what = format!("one ban to {} that wait, from the request to the whole answer", grouped(clients));
    Ok(vec![
        BenchRow::new(format!("{what}: the first"), "ms", median(first), None, Target::None),
        BenchRow::new(format!("{what}: half of them"), "ms", median(middle), None, Target::None),
        BenchRow::new(format!("{what}: the last"), "ms", median(last), None, Target::None),
        BenchRow::new("processor time of the LAPI for it", "s", median(costs), None, Target::None),
    ])
}

fn storm(
    server: &mut BenchServer,
    clients_under_test: &ManyClients,
    clients: usize,
) -> Outcome<Vec<BenchRow>> {
    let bans = sized(STORM).max(5) as u16;
    let bans = SINGLE..SINGLE + bans;
    let rhythm = STORM_SPAN / bans.len() as u32;
    clients_under_test.look_for(bans.clone());
    let used = processor_seconds(server.process.process()?)?;
    let mut machine = server.process.http_client().with_timeout(TIMEOUT);
    let begin = Instant::now();
    let mut due = begin;
    for ban in bans.clone() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        server.post(&mut machine, ban_body(&address(ban).to_string()).as_bytes())?;
        due += rhythm;
    }
    let posted = Instant::now();
    everybody(clients_under_test, clients)?;
    let mut delivery = clients_under_test.delivery();
    whole(&delivery)?;
    settle(server)?;
    let cost = processor_seconds(server.process.process()?)? - used;
    let abreast = |at: usize| delivery.complete[at].saturating_duration_since(posted).as_secs_f64() * 1e3;
    let (half, all) = (abreast(clients / 2), abreast(clients - 1));
    let what = format!("{} single bans to {} that wait", bans.len(), grouped(clients));
    let took = (posted - begin).as_secs_f64();
    let most = percentile(&mut delivery.answers, 1.0);
    Ok(vec![
        BenchRow::new(format!("{what}: all posted after"), "s", took, None, Target::None),
        BenchRow::new(format!("{what}: last answered to half abreast"), "ms", half, None, Target::None),
        BenchRow::new(format!("{what}: last answered to all abreast"), "ms", all, None, Target::None),
        BenchRow::new(
            format!("{what}: answers each, median"),
            "",
            median(delivery.answers),
            None,
            Target::None,
        ),
        BenchRow::new(format!("{what}: answers each, most"), "", most, None, Target::None),
        BenchRow::new("processor time of the LAPI for them", "s", cost, None, Target::None),
    ])
}

fn everybody(clients_under_test: &ManyClients, clients: usize) -> Outcome {
    let waited =
        eventually_within(TIMEOUT, "all clients have all bans", || clients_under_test.complete() == clients);
    waited.map_err(|failure| {
        Failure::new(format!("{failure}: {} of {clients}", clients_under_test.complete()))
    })?;
    Ok(())
}

/// Fails if any request failed: the figures would be wrong.
fn whole(delivery: &Delivery) -> Outcome {
    match &delivery.first_failure {
        Some(first) => Err(Failure::new(format!("{} requests failed, first: {first}", delivery.failures))),
        None => Ok(()),
    }
}
