//! Load in a closed loop: wrk for HTTP/1.1, h2load for HTTP/2, as much as a proxy takes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use palisade_e2e::{Doing, Failure, Outcome, World, eventually_within, tools};

use super::cores::{children_seconds, processor_seconds};
use super::shape::{Http, Shape};

/// Connections at once, and on each of HTTP/2 so many streams.
const CONNECTIONS: usize = 50;
const STREAMS: usize = 10;

/// A generator may take this long beside the run itself; h2load now and then misses its own end.
const END_LIMIT: Duration = Duration::from_secs(8);

/// The same cipher and group for all, by the configuration of the generators' OpenSSL.
const OPENSSL: &str = "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = same\n[same]\nMinProtocol = \
                       TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n";

/// Starts load generators on the load's core, where this program runs.
pub(super) struct Generators<'a> {
    world: &'a World,
    openssl: PathBuf,
    origin: u32,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// Seconds of the proxy's processor time.
    pub(super) proxy: f64,
    /// The share of a core that the generator and the origin used.
    pub(super) load_busy: f64,
}

impl Run {
    /// Requests for each second of the proxy's processor time.
    pub(super) fn per_processor_second(&self) -> f64 {
        self.requests / self.proxy
    }

    /// Microseconds of the proxy's processor time for each request.
    pub(super) fn microseconds(&self) -> f64 {
        self.proxy * 1e6 / self.requests
    }
}

/// Whom and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) port: u16,
    /// The proxy.
    pub(super) pid: u32,
    pub(super) shape: Shape,
    pub(super) seconds: u64,
    /// Of wrk, for varying requests.
    pub(super) script: Option<&'a Path>,
}

impl<'a> Generators<'a> {
    /// `origin` is the process whose time counts as load.
    pub(super) fn new(world: &'a World, origin: u32) -> Outcome<Self> {
        let openssl = world.fresh_path("openssl.cnf");
        std::fs::write(&openssl, OPENSSL)?;
        Ok(Self { world, openssl, origin })
    }

    /// Runs a generator to its end.
    ///
    /// # Errors
    /// When a request failed or had another status than 2xx.
    pub(super) fn run(&self, job: Job<'_>) -> Outcome<Run> {
        let (tool, command) = match job.shape.http {
            Http::Two => ("h2load", self.h2load(job)?),
            Http::KeepAlive | Http::Close => ("wrk", self.wrk(job)?),
        };
        let load = || Outcome::Ok(children_seconds()? + processor_seconds(self.origin)?);
        let (proxy, busy) = (processor_seconds(job.pid)?, load()?);
        let text = self.finish(tool, command, job.seconds)?;
        let (proxy, busy) = (processor_seconds(job.pid)? - proxy, load()? - busy);
        let counted = if tool == "wrk" { read_wrk(&text) } else { read_h2load(&text) };
        let (requests, per_second) = counted.doing(format_args!("{}: {tool}", job.shape))?;
        Ok(Run { requests, per_second, proxy, load_busy: busy / (requests / per_second) })
    }

    /// Runs a generator to its end and returns what it printed.
    fn finish(&self, tool: &str, command: Command, seconds: u64) -> Outcome<String> {
        let mut process = self.world.start(&self.world.router, tool, command)?;
        let limit = Duration::from_secs(seconds) + END_LIMIT;
        eventually_within(limit, &format!("{tool} ends"), || process.exited().is_some())?;
        Ok(process.log())
    }

    fn wrk(&self, job: Job<'_>) -> Outcome<Command> {
        let mut command = tools::command(tools::peer("wrk")?)?;
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", job.seconds)]);
        if job.shape.http == Http::Close {
            command.args(["-H", "Connection: close"]);
        }
        if let Some(script) = job.script {
            command.arg("-s").arg(script);
        }
        command.arg(url(job)).env("OPENSSL_CONF", &self.openssl);
        Ok(command)
    }

    fn h2load(&self, job: Job<'_>) -> Outcome<Command> {
        let mut command = tools::command(tools::peer("h2load")?)?;
        command.args([format!("-c{CONNECTIONS}"), format!("-m{STREAMS}"), format!("-D{}", job.seconds)]);
        command.args(["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]);
        command.arg(url(job)).env("OPENSSL_CONF", &self.openssl);
        Ok(command)
    }

    /// The response times of requests over TLS at a fixed rate, in microseconds.
    pub(super) fn at_rate(&self, job: Job<'_>, rate: f64) -> Outcome<Vec<f64>> {
        let mut command = tools::command(tools::peer("h2load")?)?;
        // h2load's timers have a resolution of 10 ms: a client with more than 100 requests a second sends several at once.
        let clients = (rate / 100.0).ceil();
        let log = self.world.fresh_path("h2load.log");
        command.args([format!("-c{clients}"), format!("--rps={}", rate / clients)]);
        command.args([format!("-D{}", job.seconds), "--warm-up-time=1".to_owned()]);
        command.args(if job.shape.http == Http::Two { ["-m10"].as_slice() } else { &["-m1", "--h1"] });
        command.args(["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]);
        command.arg(format!("--log-file={}", log.display())).arg(url(job)).env("OPENSSL_CONF", &self.openssl);
        let text = self.finish("h2load", command, job.seconds)?;
        read_h2load(&text).doing(format_args!("{} at {rate:.0}/s", job.shape))?;
        let text = std::fs::read_to_string(&log)?;
        std::fs::remove_file(&log)?;
        let times = text.lines().filter_map(|line| line.rsplit('\t').next()?.parse::<f64>().ok());
        let times: Vec<f64> = times.collect();
        let wanted = rate * job.seconds as f64;
        if (times.len() as f64) < 0.95 * wanted {
            return Err(Failure::new(format!("{} of {wanted:.0} requests were made", times.len())));
        }
        Ok(times)
    }
}

fn url(job: Job<'_>) -> String {
    let scheme = if job.shape.tls { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{}{}", job.port, job.shape.body.path())
}

/// Requests, and requests per second.
pub(crate) fn read_wrk(text: &str) -> Outcome<(f64, f64)> {
    if text.contains("Socket errors:") || text.contains("Non-2xx") {
        let line = text.lines().find(|line| line.contains("Socket errors:") || line.contains("Non-2xx"));
        return Err(Failure::new(line.unwrap_or_default().trim()));
    }
    let number = |found: Option<&str>| found.and_then(|text| text.trim().parse().ok());
    let requests = text.lines().find_map(|line| Some(line.split_once(" requests in ")?.0));
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    read_figures(text, number(requests), number(rate))
}

fn read_h2load(text: &str) -> Outcome<(f64, f64)> {
    let word = |start: &str, before: &str| {
        let line = text.lines().find(|line| line.starts_with(start))?;
        let (head, _) = line.split_once(before)?;
        head.rsplit([' ', ':']).next()?.parse().ok()
    };
    let done: Option<f64> = word("requests:", " done");
    let failed = [" failed", " errored", " timeout"].map(|kind| word("requests:", kind).unwrap_or(1.0));
    // A response counts here with its head, among those done with its last byte.
    let others = [" 3xx", " 4xx", " 5xx"].map(|kind| word("status codes:", kind).unwrap_or(1.0));
    if failed.iter().chain(&others).sum::<f64>() > 0.0 {
        let lines = text.lines().filter(|line| line.starts_with("requests:") || line.starts_with("status"));
        return Err(Failure::new(lines.collect::<Vec<_>>().join("; ")));
    }
    read_figures(text, done, word("finished in", " req/s"))
}

fn read_figures(text: &str, requests: Option<f64>, rate: Option<f64>) -> Outcome<(f64, f64)> {
    match (requests, rate) {
        (Some(requests), Some(rate)) if requests > 0.0 && rate > 0.0 => Ok((requests, rate)),
        _ => Err(Failure::new(format!("no figures in: {}", text.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_both_generators() {
        let wrk = "Running 2s test @ http://127.0.0.1:7000/1k\n  126754 requests in 2.00s, 152.79MB \
                   read\nRequests/sec:  63306.73\nTransfer/sec:     76.31MB\n";
        assert_eq!(read_wrk(wrk).unwrap(), (126_754.0, 63_306.73));
        let h2load = "finished in 2.00s, 26572.50 req/s, 29.45MB/s\nrequests: 53145 total, 53645 started, 53145 done, \
                      53145 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 53145 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(read_h2load(h2load).unwrap(), (53_145.0, 26_572.5));
    }

    #[test]
    fn a_run_with_errors_is_rejected() {
        let wrk = "  10 requests in 2.00s, 1MB read\n  Non-2xx or 3xx responses: 10\nRequests/sec:  5.00\n";
        assert_eq!(read_wrk(wrk).unwrap_err().to_string(), "Non-2xx or 3xx responses: 10");
        let h2load = "finished in 2.00s, 5.00 req/s, 1MB/s\nrequests: 10 total, 10 started, 10 done, 0 succeeded, 10 \
                      failed, 0 errored, 0 timeout\nstatus codes: 0 2xx, 0 3xx, 10 4xx, 0 5xx\n";
        assert!(read_h2load(h2load).is_err());
    }
}
