//! `make run`, both ways: what it shows, that the network can be explored, and that nothing is left.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use palisade_e2e::{Doing as _, Failure, HttpClient, Outcome, Signal, World, eventually, story, tools};
use rustix::process::{Pid, kill_process};

/// A demonstration under way.
struct Demonstration {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it has printed.
    printed: String,
    /// Where its folder is, and nothing else.
    temporary: PathBuf,
}

impl Demonstration {
    fn start(world: &World, arguments: &[&str]) -> Outcome<Self> {
        let mut command = tools::command(tools::ours("palisade-demo")?)?;
        command.args(arguments);
        Self::spawn(world, command)
    }

    fn spawn(world: &World, mut command: Command) -> Outcome<Self> {
        let temporary = world.fresh_path("temporary");
        fs::create_dir(&temporary)?;
        let log = fs::File::create(temporary.with_extension("err"))?;
        command.env("TMPDIR", &temporary).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().doing("starting the demonstration")?;
        let output = BufReader::new(child.stdout.take().doing("its output is piped")?);
        Ok(Self { child, output, printed: String::new(), temporary })
    }

    /// Reads its output until a line contains this text, or to its end.
    fn read_until(&mut self, text: &str) -> Outcome {
        let mut line = String::new();
        while self.output.read_line(&mut line)? > 0 {
            self.printed.push_str(&line);
            if line.contains(text) {
                return Ok(());
            }
            line.clear();
        }
        Err(self.failure(&format!("it ended without printing {text:?}")))
    }

    /// Reads its output to the end; returns its exit code, -1 when a signal ended it.
    fn end(&mut self) -> Outcome<i32> {
        self.output.read_to_string(&mut self.printed)?;
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }

    fn failure(&self, why: &str) -> Failure {
        let errors = fs::read_to_string(self.temporary.with_extension("err")).unwrap_or_default();
        Failure::new(format!("{why}; it printed:\n{}{errors}", self.printed))
    }

    fn folder(&self) -> Outcome<PathBuf> {
        Ok(fs::read_dir(&self.temporary)?.next().doing("there is no folder")??.path())
    }

    fn signal(&self, signal: Signal) -> Outcome {
        signal_to(self.child.id(), signal)
    }

    /// Waits until neither a process nor a file of it is left. Its namespaces go with its processes.
    fn leaves_nothing(&self) -> Outcome {
        eventually("nothing is left of the demonstration", || {
            let processes = processes_with(&self.temporary.display().to_string())?;
            let files: Vec<_> = fs::read_dir(&self.temporary)?.flatten().map(|entry| entry.path()).collect();
            if processes.is_empty() && files.is_empty() {
                return Ok(true);
            }
            Err(Failure::new(format!("there are still {processes:?} and {files:?}")))
        })
        .map(drop)
    }

    /// The rows of the final table: each door's times.
    fn rows(&self) -> Vec<Vec<&str>> {
        let table = self.printed.split("open again after").nth(1).unwrap_or_default();
        let rows = table.lines().skip(1).take_while(|row| !row.is_empty());
        rows.map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect()
    }
}

fn signal_to(process: u32, signal: Signal) -> Outcome {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw).doing("a process has a positive id")?;
    kill_process(id, signal).doing(format_args!("sending {signal:?} to {process}"))
}

/// The processes here with this text in their command line or environment.
fn processes_with(text: &str) -> Outcome<Vec<(u32, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile has neither.
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        if command.contains(text) || String::from_utf8_lossy(&read("environ")).contains(text) {
            found.push((id, command));
        }
    }
    Ok(found)
}

/// The rules and addresses of the network that the demonstration is started in.
fn network(world: &World) -> Outcome<[String; 2]> {
    let addresses = world.router.tool(["ip", "-4", "-oneline", "address"])?;
    Ok([world.router.tool(["nft", "list", "ruleset"])?, addresses])
}

fn assert_fits(printed: &str) {
    for row in printed.lines() {
        assert!(row.chars().count() <= 80, "more than 80 columns: {row}");
        assert!(!row.contains('\x1b'), "colours though it is no terminal: {row}");
    }
}

#[test]
fn every_door_closes_and_opens_again() -> Outcome {
    story(|world| {
        let before = network(world)?;
        let mut demonstration = Demonstration::start(world, &[])?;
        let code = demonstration.end()?;
        if code != 0 {
            return Err(demonstration.failure(&format!("exit code {code}")));
        }
        assert_fits(&demonstration.printed);
        let rows = demonstration.rows();
        let doors: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        assert_eq!(doors, ["host1", "host2", "web", "hook", "(the command itself)"], "{rows:?}");
        for row in &rows {
            let times = row.iter().filter(|cell| cell.ends_with(" ms")).count();
            assert_eq!(times, 2, "{row:?}");
        }
        for shown in [
            "$ palisade decisions add --ip 198.51.100.77",
            "403, page \"Access denied\"",
            "signature verified",
        ] {
            assert!(demonstration.printed.contains(shown), "{shown}: {}", demonstration.printed);
        }
        demonstration.leaves_nothing()?;
        assert_eq!(network(world)?, before, "it touches no rule and no link outside its network");
        Ok(())
    })
}

#[test]
fn a_kept_network_can_be_explored_by_the_printed_commands() -> Outcome {
    story(|world| {
        let before = network(world)?;
        let mut demonstration = Demonstration::start(world, &["--keep"])?;
        demonstration.read_until("./enter HOST is a shell")?;
        assert_fits(&demonstration.printed);
        let printed = demonstration.printed.clone();
        let commands: Vec<&str> = printed
            .lines()
            .filter_map(|row| row.strip_prefix("    "))
            .skip_while(|row| !row.starts_with("cd "))
            .filter(|row| !row.starts_with('#'))
            .collect();
        let (folder, commands) = commands.split_first().doing("there are commands")?;
        assert_eq!(Path::new(folder.trim_start_matches("cd ")), demonstration.folder()?);
        let run = |command: &str| -> Outcome<String> {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{folder} && {command}")]);
            tools::run(&mut shell, "")?.into_stdout().doing(command)
        };
        // What each of them has to print, in their order.
        let expected = [
            ("bouncers list", "host2"),
            ("curl", "host1 answers"),
            ("decisions add", ""),
            ("decisions list", "198.51.100.77"),
            ("curl", "dropped"),
            ("explain", "denied by the kernel"),
            ("nft list ruleset", "198.51.100.77"),
            ("lookup", "ban on every route"),
            ("status", "endpoint receiver"),
            ("tail", "signature verified"),
            ("/metrics", "cs_lapi_route_requests_total"),
            ("decisions delete", ""),
        ];
        assert_eq!(commands.len(), expected.len(), "{commands:?}");
        for (command, (words, output)) in commands.iter().zip(expected) {
            assert!(command.contains(words), "{command}: {words}");
            eventually(command, || {
                let printed = run(command)?;
                if printed.contains(output) { Ok(true) } else { Err(Failure::new(printed)) }
            })?;
        }
        let page = printed.split("browser of this machine: http://").nth(1).doing("there is a page")?;
        let address = page.split('/').next().unwrap_or_default().parse()?;
        let ask = || HttpClient::new(address).ask("GET", "/", &[("Accept", "text/html")], None);
        eventually("the page is the application's", || Ok(ask()?.status == 200))?;
        run("./enter lapi palisade decisions add --ip 198.51.100.77 --duration 1h")?;
        eventually("the page is the ban's", || Ok(ask()?.text().contains("Access denied")))?;
        let mut mistyped = Command::new("sh");
        mistyped.args(["-c", &format!("{folder} && ./enter nowhere true")]);
        let mistyped = tools::run(&mut mistyped, "")?;
        assert!(mistyped.code == 64 && mistyped.has("neighbour"), "{mistyped:?}");

        demonstration.signal(Signal::TERM)?;
        assert_eq!(demonstration.end()?, 0, "{}", demonstration.printed);
        demonstration.leaves_nothing()?;
        assert_eq!(network(world)?, before, "it touches no rule and no link outside its network");
        Ok(())
    })
}

#[test]
fn nothing_is_left_however_it_ends() -> Outcome {
    story(|world| {
        for signal in [Signal::INT, Signal::KILL] {
            let mut demonstration = Demonstration::start(world, &["--keep"])?;
            demonstration.read_until("2. One key")?;
            demonstration.signal(signal)?;
            let code = demonstration.end()?;
            assert_eq!(code, if signal == Signal::INT { 130 } else { -1 }, "{}", demonstration.printed);
            demonstration.leaves_nothing()?;
        }
        // Without what started it.
        let mut shell = Command::new("sh");
        let program = tools::ours("palisade-demo")?;
        shell.args(["-c", &format!("{} --keep & wait", program.display())]);
        let mut demonstration = Demonstration::spawn(world, shell)?;
        demonstration.read_until("2. One key")?;
        demonstration.signal(Signal::KILL)?;
        demonstration.end()?;
        demonstration.leaves_nothing()
    })
}

#[test]
fn a_door_that_stays_as_it_is_fails_the_demonstration() -> Outcome {
    story(|world| {
        let mut demonstration = Demonstration::start(world, &[])?;
        demonstration.read_until("3. Every door is open")?;
        let folder = demonstration.folder()?;
        let file = folder.join("host1/palisade-firewall.yaml").display().to_string();
        let (firewall, _) = processes_with(&file)?.pop().doing("the firewall of host1 runs")?;
        signal_to(firewall, Signal::KILL)?;
        let code = demonstration.end()?;
        assert_eq!(code, 1, "{}", demonstration.printed);
        let rows = demonstration.rows();
        if rows.is_empty() {
            return Err(demonstration.failure("there is no table"));
        }
        let stuck: Vec<&str> = rows.iter().filter(|row| row.contains(&"not")).map(|row| row[0]).collect();
        assert_eq!(stuck, ["host1"], "{}", demonstration.failure("another door"));
        assert!(demonstration.printed.contains(&format!("{}/*/", folder.display())));
        assert!(folder.join("host1/palisade-firewall.log").is_file(), "the logs are kept");
        fs::remove_dir_all(&folder)?;
        demonstration.leaves_nothing()
    })
}
