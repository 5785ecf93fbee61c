//! The firewall bouncer as a process: 100,000 bans into a real kernel, then one more, beside the stock bouncer
//! and the bare netlink batch, in throw-away namespaces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use palisade_e2e::{
    Access, Config, Failure, Firewall, Implementation, Outcome, World, eventually, many_addresses,
};

use crate::report::{Row, Target, median};

const BANS: u32 = 100_000;
/// How long the stock bouncer may take for them.
const PATIENCE: Duration = Duration::from_secs(240);
const RUNS: usize = 5;
const MORE: usize = 25;

/// Runs the comparison in namespaces of its own (as real root there if we are root here, so that the socket
/// buffer may be raised as it may on a real host).
pub(crate) fn firewall() -> Vec<Row> {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut child = Command::new(program);
    child.arg("child-firewall").env("PALISADE_REAL_ROOT", "1").stderr(Stdio::inherit());
    let output = child.output().expect("this program can run itself");
    let rows = String::from_utf8_lossy(&output.stdout);
    let Some(rows) = rows.lines().find_map(|line| line.strip_prefix("rows: ")) else {
        return vec![Row::failed(
            "100,000 bans through the firewall bouncer",
            "the run in the namespaces failed",
        )];
    };
    serde_json::from_str(rows).expect("the child prints what report writes")
}

/// The child of [`firewall`]; returns only its exit.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child() -> bool {
    let told = palisade_e2e::enter().and_then(|()| measure());
    match told {
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
    /// From its start to all in force; `None` when patience ended first.
    loaded: Option<f64>,
    /// From the last byte of the answer to all in force.
    after_answer: Option<f64>,
    /// From the last byte of an answer with one more ban to its element in the kernel.
    one_more: Vec<f64>,
    resident_kb: u64,
    in_force: usize,
}

fn measure() -> Outcome<Vec<Row>> {
    let world = World::raise()?;
    let ours = (0..RUNS).map(|_| run(&world, &Implementation::under_test()?)).collect::<Outcome<Vec<_>>>()?;
    let bare = (0..RUNS).map(|_| bare_batch(&world)).collect::<Outcome<Vec<_>>>()?;
    let stock = run(&world, &Implementation::stock()?)?;
    let stock_name = "crowdsec-firewall-bouncer 0.0.25";
    let (stock_load, stock_says) = match stock.loaded {
        Some(seconds) => (seconds, stock_name.to_owned()),
        None => (
            PATIENCE.as_secs_f64(),
            format!("{stock_name}: ended after {} s with {} in force", PATIENCE.as_secs(), stock.in_force),
        ),
    };
    let middle = |pick: &dyn Fn(&Run) -> Option<f64>| median(ours.iter().filter_map(pick).collect());
    let one_more: Vec<f64> = ours.iter().flat_map(|run| run.one_more.clone()).collect();
    let one_more_figure = "one more ban, answer arrived to kernel";
    let stock_more = (!stock.one_more.is_empty()).then(|| median(stock.one_more.clone()));
    Ok(vec![
        Row::new(
            "100,000 bans, process start to all in force",
            "s",
            middle(&|run| run.loaded),
            Some((stock_load, &stock_says)),
            Target::None,
        ),
        Row::new(
            "100,000 bans, answer arrived to all in force",
            "s",
            middle(&|run| run.after_answer),
            Some((median(bare), "the bare netlink batch")),
            Target::WithinTimes(2.0),
        ),
        if one_more.is_empty() {
            Row::failed(one_more_figure, "nft's monitor told nothing")
        } else {
            let peer = stock_more.map(|ms| (ms, stock_name));
            Row::new(one_more_figure, "ms", median(one_more), peer, Target::AtMost(10.0))
        },
        Row::new(
            "resident memory with 100,000 bans",
            "MB",
            middle(&|run| Some(run.resident_kb as f64 / 1024.0)),
            Some((stock.resident_kb as f64 / 1024.0, stock_name)),
            Target::AtMost(40.0),
        ),
    ])
}

fn run(world: &World, which: &Implementation) -> Outcome<Run> {
    let lapi = Lapi::start(world)?;
    let access = Access { url: format!("http://{}/", lapi.address), key: "key".to_owned() };
    let config = Config::new(world, &access)?.set("update_frequency", "0.05s");
    // Watching the kernel costs time too; ours says itself when all is in force, and is then checked.
    let counting = if which.is_ours() { None } else { Some(Monitor::start(world)?) };
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
            world.router.ruleset().is_ok_and(|rules| rules.banned().len() == BANS as usize)
        })?;
        run.in_force = BANS as usize;
    } else if let Some(monitor) = &counting {
        // It says READY before anything is in force, so its elements are counted as the kernel reports them.
        while begin.elapsed() < PATIENCE && run.in_force < BANS as usize {
            run.in_force += monitor.wait_for_elements(Duration::from_secs(1));
        }
        run.loaded = (run.in_force >= BANS as usize).then(|| begin.elapsed().as_secs_f64());
    }
    drop(counting);
    let monitor = Monitor::start(world)?;
    let late = monitor.wait_for_elements(Duration::from_secs(1));
    if which.is_ours() && late > 0 {
        return Err(Failure::new(format!("it said READY with {late} elements still to come")));
    }
    run.resident_kb = firewall.process().memory("VmRSS")?;
    if run.loaded.is_some() {
        for n in 0..MORE {
            let sent = lapi.answer_with(&format!("198.51.100.{n}"))?;
            let Some(seen) = monitor.first_element(Duration::from_secs(20)) else {
                // Once nft's monitor has ended it tells no more; the bans so far count.
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

/// The physical limit: the same elements in one hand-built batch, from send to acknowledgement.
fn bare_batch(world: &World) -> Outcome<f64> {
    world
        .router
        .nft("add table ip bare\nadd set ip bare hosts { type ipv4_addr; flags timeout; size 1000000; }")?;
    let addresses: Vec<std::net::Ipv4Addr> =
        many_addresses(BANS).filter_map(|address| address.parse().ok()).collect();
    let took = world.router.run(|| palisade_firewall::bare_load("bare", "hosts", &addresses));
    world.router.nft("delete table ip bare")?;
    took.map(|took| took.as_secs_f64()).map_err(|error| Failure::new(error.to_string()))
}

/// A LAPI that answers from prepared bytes and knows when the last of them left.
struct Lapi {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    startup_sent: Option<Instant>,
    more: Option<String>,
    more_sent: Option<Instant>,
}

impl Lapi {
    fn start(world: &World) -> Outcome<Self> {
        let listener = world.router.run(|| TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let lines: Vec<String> = many_addresses(BANS).map(|address| decision(&address)).collect();
        let body = format!(r#"{{"new":[{}],"deleted":[]}}"#, lines.join(","));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (shared, body) = (Arc::clone(&ours), body.clone());
                std::thread::spawn(move || serve(connection, &shared, &body));
            }
        });
        Ok(Self { address, shared })
    }

    fn startup_sent(&self) -> Option<Instant> {
        self.shared.state.lock().expect("no holder panics").startup_sent
    }

    /// Puts one ban into the next answer; tells when that answer's last byte left.
    fn answer_with(&self, value: &str) -> Outcome<Instant> {
        let mut state = self.shared.state.lock().expect("no holder panics");
        (state.more, state.more_sent) = (Some(decision(value)), None);
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, Duration::from_secs(120), |state| state.more_sent.is_none())
            .expect("no holder panics");
        match state.more_sent {
            Some(sent) if !waited.timed_out() => Ok(sent),
            _ => Err(Failure::new("the bouncer stopped asking")),
        }
    }
}

fn decision(value: &str) -> String {
    format!(
        r#"{{"duration":"23h59m58s","id":1,"origin":"CAPI","scenario":"http:scan","scope":"Ip","type":"ban","value":"{value}"}}"#
    )
}

fn serve(mut connection: TcpStream, shared: &Shared, startup: &str) {
    let mut request = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        while !request.windows(4).any(|four| four == b"\r\n\r\n") {
            match connection.read(&mut part) {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&part[..read]),
            }
        }
        let full = request.windows(12).any(|text| text == b"startup=true");
        request.clear();
        let more = if full { None } else { shared.state.lock().expect("no holder panics").more.take() };
        let delta = format!(r#"{{"new":[{}],"deleted":[]}}"#, more.clone().unwrap_or_default());
        let body = if full { startup } else { &delta };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes())).is_err()
        {
            return;
        }
        let mut state = shared.state.lock().expect("no holder panics");
        if full {
            state.startup_sent = Some(Instant::now());
        } else if more.is_some() {
            state.more_sent = Some(Instant::now());
        }
        shared.changed.notify_all();
    }
}

/// The kernel's own word on when an element came, through `nft monitor`.
struct Monitor {
    elements: mpsc::Receiver<(Instant, usize)>,
    child: std::process::Child,
}

impl Monitor {
    fn start(world: &World) -> Outcome<Self> {
        let mut child = world.router.run(|| {
            Command::new("nft").args(["monitor", "new", "elements"]).stdout(Stdio::piped()).spawn()
        })?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("nft monitor has no output"))?;
        let (sender, elements) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let count = line.matches("timeout").count();
                if line.starts_with("add element") && sender.send((Instant::now(), count.max(1))).is_err() {
                    return;
                }
            }
        });
        Ok(Self { elements, child })
    }

    fn wait_for_elements(&self, within: Duration) -> usize {
        self.elements.recv_timeout(within).map_or(0, |(_, count)| count)
    }

    fn first_element(&self, within: Duration) -> Option<Instant> {
        self.elements.recv_timeout(within).ok().map(|(at, _)| at)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
