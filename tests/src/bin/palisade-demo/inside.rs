//! The run inside the namespaces: the steps that are shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use palisade_e2e::{Doing as _, Failure, Outcome, eventually_within};

use crate::doors::{COMMAND, Change, DOORS, Observed, observe};
use crate::network::{Network, PICTURE, SERVICE, VISITOR};
use crate::outside::FOLDER;
use crate::program::{Program, configure, folder_of, install};
use crate::receiver::Receiver;
use crate::{application, commands, enter, explore, files, lifeline, page, screen};

/// Plays everything. With `keep` it returns only when something fails.
pub(crate) fn run(keep: bool) -> Outcome<ExitCode> {
    let begin = Instant::now();
    let folder = PathBuf::from(std::env::var_os(FOLDER).doing("the run outside names a folder")?);
    let mut lifeline = lifeline::Inner::grasp(&folder)?;
    screen::title("One ban, and every door closes");
    PICTURE.iter().for_each(|row| screen::line(&format!("    {row}")));
    screen::line("");
    screen::line("  A throw-away network of namespaces: nothing outside of it is touched. Each");
    screen::line("  command is shown after the name of the host that it is run on.");
    let mut demonstration = Demonstration::raise(&folder)?;
    demonstration.start_lapi()?;
    let receiver = demonstration.start_bouncers()?;
    demonstration.visit()?;
    let closed = demonstration.ban(&receiver)?;
    let opened =
        if closed.iter().all(Observed::has_changed) { demonstration.lift(&receiver)? } else { Vec::new() };
    table(&closed, &opened)?;
    screen::line(&format!("  {:.1} s in all.\n", begin.elapsed().as_secs_f64()));
    if keep {
        enter::write(&folder, &demonstration.network, &lifeline.own_id)?;
        let network = &demonstration.network;
        let page = page::open_inside(&folder, &network.world.visitor, network.proxy())?;
        explore::print(&folder, &page, &lifeline.outer_id);
        lifeline.explores()?;
        loop {
            std::thread::park();
        }
    }
    screen::line("  make run KEEP=1 leaves the network up, to look around in it.\n");
    Ok(ExitCode::SUCCESS)
}

struct Demonstration {
    folder: PathBuf,
    network: Network,
    programs: Vec<Program>,
}

impl Demonstration {
    fn raise(folder: &Path) -> Outcome<Self> {
        let network = Network::raise(folder).doing("raising the network")?;
        for host in [&network.host1, &network.host2] {
            application::greets(host, SERVICE)?;
        }
        application::start(&network.web)?;
        Ok(Self { folder: folder.to_owned(), network, programs: Vec::new() })
    }

    fn start_lapi(&mut self) -> Outcome {
        screen::step(1, "The LAPI, and a login for the command `palisade`");
        let host = &self.network.lapi;
        for program in ["palisade-lapi", "palisade"] {
            install(&self.folder, host, program, "config.yaml")?;
        }
        for (name, text) in files::lapi(&folder_of(&self.folder, host)) {
            configure(&self.folder, host, name, &text)?;
        }
        self.start(&[("lapi", "palisade-lapi")])?;
        self.admin("palisade machines add lapi --auto").map(drop)
    }

    fn start_bouncers(&mut self) -> Outcome<Receiver> {
        screen::step(2, "One key for both firewalls, one for the proxy, one for the webhooks");
        let key = |name: &str| -> Outcome<String> {
            let printed = self.admin(&format!("palisade bouncers add {name} -o raw"))?;
            Ok(printed.trim().to_owned())
        };
        let (firewalls, proxy, webhook) = (key("firewalls")?, key("proxy")?, key("webhook")?);
        let network = &self.network;
        for (host, program, text) in [
            (&network.host1, "palisade-firewall", files::firewall as fn(&Path, &str, &str) -> String),
            (&network.host2, "palisade-firewall", files::firewall),
            (&network.web, "palisade-proxy", |folder, key, _| files::proxy(folder, key)),
            (&network.hook, "palisade-webhook", |folder, key, _| files::webhook(folder, key)),
        ] {
            let config = format!("{program}.yaml");
            let key = match program {
                "palisade-firewall" => &firewalls,
                "palisade-proxy" => &proxy,
                _ => &webhook,
            };
            install(&self.folder, host, program, &config)?;
            let text = text(&folder_of(&self.folder, host), key, host.name());
            configure(&self.folder, host, &config, &text)?;
        }
        let receiver = Receiver::start(&network.hook, &folder_of(&self.folder, &network.hook))?;
        self.start(&[
            ("host1", "palisade-firewall"),
            ("host2", "palisade-firewall"),
            ("web", "palisade-proxy"),
            ("hook", "palisade-webhook"),
        ])?;
        eventually_within(Duration::from_secs(10), "the receiver gets the first snapshot", || {
            receiver.has_received("snapshot.completed")
        })?;
        let list = "palisade bouncers list | grep 'host[12]' | cut -c -56";
        eventually_within(Duration::from_secs(10), "both firewalls are listed", || {
            let listed = commands::run_quietly(&self.folder, &self.network.lapi, list)?;
            Outcome::Ok(["host1", "host2"].iter().all(|host| listed.contains(host)))
        })?;
        screen::output(&self.admin(list)?);
        screen::output("One key, one address, two bouncers: the LAPI tells them apart.");
        Ok(receiver)
    }

    fn visit(&self) -> Outcome {
        screen::step(3, "Every door is open");
        for url in self.urls() {
            let printed = self.on("visitor", &format!("curl -s -m 5 {url}"))?;
            screen::output(&printed);
        }
        Ok(())
    }

    fn ban(&self, receiver: &Receiver) -> Outcome<Vec<Observed>> {
        screen::step(4, "One ban");
        let line = format!("palisade decisions add --ip {VISITOR} --duration 1h");
        let observed = observe(&self.network, receiver, Change::Closes, || self.admin(&line))?;
        if !observed.iter().all(Observed::has_changed) {
            return Ok(observed);
        }
        let sets = self.on("host1", "nft list set ip crowdsec crowdsec-blacklists-cscli")?;
        let elements = sets.lines().filter(|row| row.contains(VISITOR));
        elements.for_each(|row| screen::output(row.trim()));
        for url in self.urls() {
            commands::run_quietly(
                &self.folder,
                &self.network.world.neighbour,
                &format!("curl -s -m 5 {url}"),
            )
            .doing("the neighbour, who is not banned")?;
        }
        screen::output("The neighbour, who is not banned, is answered by each.");
        Ok(observed)
    }

    fn lift(&self, receiver: &Receiver) -> Outcome<Vec<Observed>> {
        screen::step(5, "The ban is lifted");
        let line = format!("palisade decisions delete --ip {VISITOR}");
        observe(&self.network, receiver, Change::Opens, || self.admin(&line))
    }

    /// The services behind the doors.
    fn urls(&self) -> [String; 3] {
        let [(_, first), (_, second)] = self.network.services();
        [first, second, self.network.proxy()].map(|address| match address.port() {
            80 => format!("http://{}/", address.ip()),
            _ => format!("http://{address}/"),
        })
    }

    /// Starts programs together and waits until all are ready.
    fn start(&mut self, programs: &[(&str, &str)]) -> Outcome {
        let mut started = Vec::new();
        for (host, name) in programs {
            screen::command(host, name);
            let host = self.host(host)?;
            started.push(Program::start(&self.folder, host, name)?);
        }
        started.iter_mut().try_for_each(Program::ready)?;
        self.programs.extend(started);
        Ok(())
    }

    fn admin(&self, line: &str) -> Outcome<String> {
        self.on("lapi", line)
    }

    fn on(&self, host: &str, line: &str) -> Outcome<String> {
        commands::run(&self.folder, self.host(host)?, line)
    }

    fn host(&self, name: &str) -> Outcome<&palisade_e2e::Host> {
        let found = self.network.hosts().into_iter().find(|host| host.name() == name);
        found.doing(format_args!("no host {name}"))
    }
}

/// Prints the result; fails when a door did not change.
fn table(closed: &[Observed], opened: &[Observed]) -> Outcome {
    screen::title("The result");
    screen::line(&format!("    {:<24} {:>14} {:>18}", "door", "closed after", "open again after"));
    let mut stuck = Vec::new();
    for door in DOORS.into_iter().chain([COMMAND]) {
        let [closed, opened] = [closed, opened].map(|observed| {
            let found = observed.iter().find(|one| one.door == door);
            match found.map(|one| &one.after) {
                Some(Ok(after)) => screen::ms(*after),
                Some(Err(failure)) => {
                    stuck.push(format!("{}: {failure}", door.trim()));
                    "not".to_owned()
                }
                None => "-".to_owned(),
            }
        });
        screen::line(&format!("    {door:<24} {closed:>14} {opened:>18}"));
    }
    screen::line("\n  Counted from the start of the command, which has to start, log in and be");
    screen::line("  answered. One run on this machine, not optimised: make bench measures.");
    if stuck.is_empty() { Ok(()) } else { Err(Failure::new(stuck.join("; "))) }
}
