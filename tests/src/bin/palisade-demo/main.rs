//! `make run`: a demonstration of a ban in a real kernel.
//!
//! In temporary namespaces it starts a LAPI, a firewall bouncer and two visitors, bans with the admin tool, lifts the
//! ban, and prints what happens with measured times; then the same with a reverse proxy in front of an application, whose
//! page can be opened in a browser, and with a receiver of webhooks. Everything ends with the program, on Ctrl-C too.
//!
//! `palisade-demo` runs our programs; `--stock-lapi` uses CrowdSec's LAPI and `--stock-firewall` the stock bouncer
//! instead (`tests/peers` fetches both).
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod deliveries;
mod page;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade_e2e::{
    Config, Doing as _, Failure, Firewall, Host, Implementation, Lapi, Make, Outcome, Proxy, ProxyConfig,
    World, enter_with, eventually, inside,
};

/// The bouncer's polling interval; most of each measured time is waiting for the next poll.
const EVERY: &str = "100ms";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, socket, port] = arguments.as_slice()
        && first == page::RELAY
    {
        let relayed = page::relay(Path::new(socket), port.parse().unwrap_or_default());
        return if relayed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let shown = Script::new().and_then(|script| {
        if !inside() && is_interactive() {
            page::open_outside()?;
        }
        enter_with(page::environment())?;
        leave_on_interrupt();
        script.play()
    });
    page::close();
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("\n  {}  {failure}\n", Script::paint("31", "it did not work:"));
            ExitCode::FAILURE
        }
    }
}

/// Whether somebody can open a page and press a key.
fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Ctrl-C ends this program, and with it every process, rule and link of its namespaces.
fn leave_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime for one signal needs nothing that can be missing");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
            let mut hang_up = signal(SignalKind::hangup()).expect("SIGHUP can be handled");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        page::close();
        println!("\n  stopped; the throw-away network is gone\n");
        std::process::exit(130);
    });
}

/// The demonstration's output and its start time.
struct Script {
    start: Instant,
    lapi: Make,
    firewall: Implementation,
}

impl Script {
    /// Checks that all prerequisites exist, before any namespace is created.
    fn new() -> Outcome<Self> {
        let (mut lapi, mut firewall) = (Make::Ours, Implementation::under_test()?);
        for word in std::env::args().skip(1) {
            match word.as_str() {
                "--stock-lapi" => lapi = Make::Stock,
                "--stock-firewall" => firewall = Implementation::stock()?,
                _ => return Err(Failure::new(format!("{word}: not --stock-lapi or --stock-firewall"))),
            }
        }
        let server = lapi.server()?;
        let admin = lapi.admin()?;
        if !firewall.program().is_file() {
            return Err(Failure::new(format!("there is no {}", firewall.program().display())));
        }
        if !inside() {
            let (server, admin) = (name(&server), name(&admin));
            println!("\n  {}\n", Self::paint("1", "A ban closes the door in a real kernel"));
            println!("      visitor   198.51.100.77 ──┐");
            println!(
                "                                ├── router:  {admin}  ──►  {server}  ──►  {}  ──►  nftables",
                firewall.name()
            );
            println!("      neighbour 203.0.113.9  ──┘");
            println!(
                "\n  A throw-away network of namespaces: nothing outside it is touched. The firewall asks the LAPI"
            );
            println!("  every {EVERY}; that wait is part of the times below.\n");
        }
        Ok(Self { start: Instant::now(), lapi, firewall })
    }

    fn play(&self) -> Outcome {
        let world = World::raise()?;
        let (router, visitor, neighbour) = (&world.router, &world.visitor, &world.neighbour);
        let _web = router.echoes_on(80)?;
        self.explain("network", "two visitors and a router are up, each with IPv4 and IPv6");

        let lapi = Lapi::start(&world, self.lapi)?;
        self.explain(
            "LAPI",
            &format!("{} is up at {}, no decision yet", self.lapi.name(), lapi.access().url),
        );

        let config = Config::new(&world, &lapi.access())?.set("update_frequency", EVERY);
        let mut firewall = Firewall::launch(&world, &self.firewall, &config)?;
        let took = firewall.ready()?;
        let tables = router.ruleset()?.tables();
        let tables: Vec<_> = tables.iter().map(|(family, name)| format!("{family} {name}")).collect();
        self.explain("firewall", &format!("ready after {}; tables: {}", ms(took), tables.join(", ")));

        self.reachable("visitor", visitor, router)?;
        self.reachable("neighbour", neighbour, router)?;

        println!();
        let banned = self.admin(&lapi, "decisions add --ip 198.51.100.77 --duration 1h")?;
        self.dropped("the visitor's packets", banned, || visitor.reaches(router, 80))?;
        self.show_sets(router)?;
        self.explain("counters", &format!("{} packets denied so far", router.ruleset()?.denied_packets()));
        self.reachable("neighbour", neighbour, router)?;

        println!();
        let banned = self.admin(&lapi, "decisions add --range 2001:db8:a::/64 --duration 1h")?;
        self.dropped("the visitor over IPv6", banned, || visitor.reaches_v6(router, 80))?;
        let banned = self.admin(&lapi, "decisions add --range 203.0.113.0/24 --duration 1h")?;
        self.dropped("the neighbour's packets", banned, || neighbour.reaches(router, 80))?;

        println!();
        router.nft("flush ruleset")?;
        self.explain("flush", "another program ran `nft flush ruleset`: every rule on the router is gone");
        let flushed = Instant::now();
        self.dropped("the visitor again", flushed, || visitor.reaches(router, 80))?;
        self.dropped("the neighbour again", flushed, || neighbour.reaches(router, 80))?;

        println!();
        self.admin(&lapi, "decisions delete --all")?;
        let took = eventually("the visitors are let back in", || {
            visitor.reaches(router, 80) && visitor.reaches_v6(router, 80) && neighbour.reaches(router, 80)
        })?;
        self.good("reachable", &format!("for everybody again, {} later", ms(took)));

        let status = firewall.stop()?;
        let left = router.ruleset()?.tables().len();
        self.explain("stop", &format!("the firewall ended with {status}; tables left behind: {left}"));
        self.play_proxy(&world, &lapi)?;
        self.play_webhook(&world, &lapi)?;
        println!(
            "\n  {:.1} s in all. make test proves it, make bench measures it.\n",
            self.start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// The reverse proxy in front of an application.
    fn play_proxy(&self, world: &World, lapi: &Lapi) -> Outcome {
        println!(
            "\n  {}\n",
            Self::paint("1", "The same for a web application, with a page instead of silence")
        );
        let (visitor, neighbour) = (&world.visitor, &world.neighbour);
        let application = world.application(&world.router)?;
        let config =
            ProxyConfig::new(world, &lapi.access(), &application.url())?.set("update_frequency", EVERY);
        let proxy = Proxy::start(world, &config)?;
        self.explain("proxy", &format!("{} in front of {}", proxy.address(), application.url()));
        self.answered(&proxy, "visitor", visitor, 200)?;
        let banned = self.admin(lapi, "decisions add --ip 198.51.100.77 --duration 1h")?;
        self.answers(&proxy, "visitor", visitor, banned, "banned", |status, _| status == 403)?;
        let asked = self.admin(lapi, "decisions add --ip 203.0.113.9 --type captcha --duration 1h")?;
        self.answers(&proxy, "neighbour", neighbour, asked, "captcha", |_, body| body.contains("captcha"))?;
        let lifted = self.admin(lapi, "decisions delete --all")?;
        self.answers(&proxy, "visitor", visitor, lifted, "let in", |status, _| status == 200)?;
        if let Some(url) = page::open_inside(visitor, proxy.address())? {
            self.let_visit(lapi, &url)?;
        }
        let status = proxy.stop()?;
        self.explain("stop", &format!("the proxy ended with {status}"));
        Ok(())
    }

    /// Bans and lifts on the Enter key, until the end of the input.
    fn let_visit(&self, lapi: &Lapi, url: &str) -> Outcome {
        println!("\n  Open {} in a browser: you are the visitor 198.51.100.77.", Self::paint("1", url));
        println!(
            "  Enter bans you for a minute, then asks you for a captcha, then lets you in; Ctrl-D ends.\n"
        );
        let steps = [
            "decisions add --ip 198.51.100.77 --duration 1m",
            "decisions delete --all",
            "decisions add --ip 198.51.100.77 --type captcha --duration 10m",
            "decisions delete --all",
        ];
        for (_, step) in std::io::stdin().lock().lines().zip(steps.iter().cycle()) {
            self.admin(lapi, step)?;
        }
        Ok(())
    }

    /// Prints one response as a browser asks for it.
    fn answered(&self, proxy: &Proxy, name: &str, host: &Host, status: u16) -> Outcome {
        let reply = proxy.get(host, "/", &[("Accept", "text/html")])?;
        if reply.status != status {
            return Err(Failure::new(format!("{name} got {}: {}", reply.status, reply.text())));
        }
        self.good("answered", &format!("{name} → {status}: the application"));
        Ok(())
    }

    /// Waits until responses are as expected and prints how long that took, and the page's title.
    fn answers(
        &self,
        proxy: &Proxy,
        name: &str,
        host: &Host,
        since: Instant,
        what: &str,
        expected: impl Fn(u16, &str) -> bool,
    ) -> Outcome {
        let mut shown = String::new();
        eventually(&format!("{name} is {what}"), || {
            let reply = proxy.get(host, "/", &[("Accept", "text/html")])?;
            let text = reply.text();
            let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
            shown = format!("{}: {}", reply.status, title.map_or("the application", |(title, _)| title));
            Ok(expected(reply.status, &text))
        })?;
        self.good(what, &format!("{name} → {shown}, {} later", ms(since.elapsed())));
        Ok(())
    }

    /// Prints a command of the admin tool, runs it, and returns when it was done.
    fn admin(&self, lapi: &Lapi, words: &str) -> Outcome<Instant> {
        self.explain("admin", &format!("$ {} {words}", name(&self.lapi.admin()?)));
        let words: Vec<&str> = words.split(' ').collect();
        lapi.admin(&words)?;
        Ok(Instant::now())
    }

    fn explain(&self, what: &str, text: &str) {
        self.line("36", what, text);
    }

    fn good(&self, what: &str, text: &str) {
        self.line("32", what, text);
    }

    fn line(&self, colour: &str, what: &str, text: &str) {
        let at = self.start.elapsed().as_secs_f64();
        println!("  {at:7.3} s  {}  {text}", Self::paint(colour, &format!("{what:<10}")));
    }

    fn paint(colour: &str, text: &str) -> String {
        if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Checks both families, and prints the round-trip time.
    fn reachable(&self, name: &str, host: &Host, router: &Host) -> Outcome {
        let mut times = Vec::new();
        for (family, address) in [("IPv4", router.v4()), ("IPv6", router.v6())] {
            let took = host.connects(None, (address, 80).into(), Duration::from_secs(2));
            times.push(format!(
                "{} over {family}",
                ms(took.doing(format_args!("{name} connecting to {address}"))?)
            ));
        }
        self.good("reachable", &format!("{name} → router port 80: {}", times.join(", ")));
        Ok(())
    }

    /// Waits until packets are dropped and prints how long that took; a guarantee that the stock bouncer does not give
    /// is shown as not met.
    fn dropped(&self, whose: &str, since: Instant, reaches: impl FnMut() -> bool) -> Outcome {
        let limit = Duration::from_secs(if self.firewall.is_ours() { 20 } else { 2 });
        match closes(since, limit, reaches) {
            Some(took) => self.line("32", "dropped", &format!("{whose}, {} later", ms(took))),
            None if self.firewall.is_ours() => {
                return Err(Failure::new(format!("after {limit:?} not dropped: {whose}")));
            }
            None => self.line("31", "NOT dropped", &format!("{whose}; waited {limit:?}")),
        }
        Ok(())
    }

    /// Prints the kernel's sets.
    fn show_sets(&self, router: &Host) -> Outcome {
        for set in router.ruleset()?.sets().into_iter().filter(|set| set.bans()) {
            for element in &set.elements {
                let left = element.expires.map_or("no end".to_owned(), |seconds| format!("{seconds} s left"));
                self.explain(
                    "kernel",
                    &format!("{} {} {}: {} ({left})", set.family, set.table, set.name, element.value),
                );
            }
        }
        Ok(())
    }
}

/// Probes continuously until no response arrives; returns the time from `since` to the start of that last probe.
fn closes(since: Instant, limit: Duration, mut reaches: impl FnMut() -> bool) -> Option<Duration> {
    loop {
        let asked = Instant::now();
        if !reaches() {
            return Some(asked.duration_since(since));
        }
        if since.elapsed() > limit {
            return None;
        }
    }
}

/// The last part of a path.
fn name(program: &Path) -> String {
    program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn ms(span: Duration) -> String {
    let ms = span.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
