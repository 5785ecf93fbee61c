//! Lists over HTTP beside nginx with the same bytes as files.
//!
//! ```text
//!  core 1                core 0
//!  wrk, 50 clients ───►  the mirror, or nginx with sendfile, open_file_cache and gzip_static
//! ```
//! The measure is requests for each second of the server's processor time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use palisade_cache::{Batch, Ledger, Mode, Policy, Reason, Timestamp};
use palisade_daemon::metrics::Metrics;
use palisade_e2e::{Doing, Failure, Outcome, eventually_within, tools};
use palisade_webhook::config::{FilterConfig, ListAccess, ListConfig, ListFormat, MirrorConfig};
use palisade_webhook::mirror::Mirror;
use tokio_util::sync::CancellationToken;

use crate::proxy::cores::{Cores, processor_seconds};
use crate::proxy::load::read_wrk;
use crate::report::{BenchRow, Target, folder, median};

/// Lines of the lists.
const LINES: [u32; 2] = [50_000, 100];
const SECONDS: u32 = 2;
const ROUNDS: usize = 3;
const CONNECTIONS: u32 = 50;
const START_LIMIT: Duration = Duration::from_secs(20);
const NGINX: &str = include_str!("templates/nginx.conf");

/// A server; killed at the end.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the comparison as a child of this program, which stays on its cores.
pub(crate) fn bench() -> Vec<BenchRow> {
    let program = std::env::current_exe().expect("a running program has a path");
    let output = Command::new(program).args(["child-webhook", "mirror"]).stderr(Stdio::inherit()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let rows = text.lines().find_map(|line| serde_json::from_str(line.strip_prefix("rows: ")?).ok());
    rows.unwrap_or_else(|| vec![BenchRow::failed("webhook-mirror", "the run failed")])
}

/// The children of [`bench()`]; returns whether it succeeded.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn child(words: &[String]) -> bool {
    let done = match words {
        [what] if what == "mirror" => measure().map(|rows| {
            println!("rows: {}", serde_json::to_string(&rows).expect("rows are plain data"));
        }),
        [what, port] if what == "mirror-serve" => serve(port),
        _ => Err(Failure::new("no such child")),
    };
    done.inspect_err(|failure| eprintln!("webhook-mirror: {failure}")).is_ok()
}

fn measure() -> Outcome<Vec<BenchRow>> {
    // Threads inherit the core, so this comes before any is started.
    let Some(cores) = Cores::separate()? else {
        return Ok(vec![BenchRow::skipped("webhook-mirror", "needs two cores")]);
    };
    let folder = folder().join("webhook-mirror");
    std::fs::create_dir_all(&folder)?;
    let ours = cores.on_proxy_core(start_mirror)?;
    wait(&ours)?;
    for lines in LINES {
        let body = fetch(ours.port, lines, false)?;
        std::fs::write(folder.join(lines.to_string()), &body)?;
        std::fs::write(folder.join(format!("{lines}.gz")), fetch(ours.port, lines, true)?)?;
    }
    let nginx = cores.on_proxy_core(|| start_nginx(&folder))?;
    wait(&nginx)?;
    let mut rows = Vec::new();
    for (lines, gzip) in LINES.into_iter().flat_map(|lines| [(lines, false), (lines, true)]) {
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (server, figures) in [&ours, &nginx].into_iter().zip(&mut figures) {
                figures.push(run(server, lines, gzip)?);
            }
        }
        let [ours, nginx] = figures.map(median);
        let figure = format!("list of {lines} lines{}", if gzip { ", gzip" } else { "" });
        rows.push(BenchRow::new(figure, "req/cpu-s", ours, Some((nginx, "nginx")), Target::TimesMore(0.5)));
    }
    Ok(rows)
}

/// Requests for each second of the server's processor time.
fn run(server: &Server, lines: u32, gzip: bool) -> Outcome<f64> {
    let pid = server.process.id();
    let mut command = tools::command(tools::peer("wrk")?)?;
    command.args(["-t1".to_owned(), format!("-c{CONNECTIONS}"), format!("-d{SECONDS}s")]);
    if gzip {
        command.args(["-H", "Accept-Encoding: gzip"]);
    }
    command.arg(format!("http://127.0.0.1:{}/{lines}", server.port));
    let before = processor_seconds(pid)?;
    let output = command.output().doing("running wrk")?;
    let used = processor_seconds(pid)? - before;
    let (requests, _) = read_wrk(&String::from_utf8_lossy(&output.stdout))?;
    Ok(requests / used)
}

fn fetch(port: u16, lines: u32, gzip: bool) -> Outcome<Vec<u8>> {
    let mut command = Command::new("curl");
    command.args(["-sSf", "-o", "-"]);
    if gzip {
        command.args(["-H", "Accept-Encoding: gzip"]);
    }
    let output = command.arg(format!("http://127.0.0.1:{port}/{lines}")).output().doing("running curl")?;
    if !output.status.success() || output.stdout.is_empty() {
        return Err(Failure::new(format!("no list: {}", String::from_utf8_lossy(&output.stderr))));
    }
    Ok(output.stdout)
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn wait(server: &Server) -> Outcome {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    eventually_within(START_LIMIT, "it listens", || TcpStream::connect(address).is_ok())?;
    Ok(())
}

fn start_mirror() -> Outcome<Server> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child-webhook", "mirror-serve", &port.to_string()]).stdout(Stdio::null());
    Ok(Server { process: command.spawn().doing("starting the mirror")?, port })
}

fn start_nginx(folder: &Path) -> Outcome<Server> {
    let port = free_port()?;
    let file: PathBuf = folder.join("nginx.conf");
    let text = NGINX.replace("@FOLDER@", &folder.to_string_lossy()).replace("@PORT@", &port.to_string());
    std::fs::write(&file, text)?;
    let mut command = tools::command(tools::peers_dir()?.join("root/usr/sbin/nginx"))?;
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c"]).arg(&file);
    Ok(Server { process: command.spawn().doing("starting nginx; run tests/peers")?, port })
}

/// Serves the lists until it is killed.
fn serve(port: &str) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let list = |lines: u32| ListConfig {
        path: format!("/{lines}"),
        format: ListFormat::PlainText,
        access: ListAccess::Open,
        filter: FilterConfig {
            not_scenarios: if lines == LINES[1] { vec!["many".to_owned()] } else { Vec::new() },
            ..FilterConfig::default()
        },
        aggregate: false,
    };
    let config = MirrorConfig {
        listen: format!("127.0.0.1:{port}"),
        tls: None,
        lists: LINES.map(list).to_vec(),
        metrics_path: None,
        access_log: None,
        empty_is_not_found: true,
    };
    let (_publisher, cache) = palisade_stream::channel(decisions().snapshot());
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let started = Mirror::start(Arc::new(config), cache, &Metrics::new(), stop).await;
        let (_mirror, task) = started.map_err(|error| Failure::new(format!("{error:#}")))?;
        task.await;
        Ok(())
    })
}

/// As many decisions as the larger list has lines; those of the smaller one have another scenario.
fn decisions() -> Ledger {
    let mut ledger = Ledger::new(Policy::longest_wins(), 0);
    let mut batch = Batch::new();
    for number in 0..LINES[0] {
        let scenario = if number < LINES[1] { "few" } else { "many" };
        let reason = Reason { remediation: "ban", origin: "cscli", scenario };
        let address = Ipv4Addr::from((10 << 24) + number * 300);
        let until = Timestamp::from_millis(4_000_000_000_000);
        batch.announce_net(std::net::IpAddr::from(address).into(), reason, until, i64::from(number) + 1);
    }
    ledger.apply(Mode::Everything, batch);
    ledger
}
