//! Stops, restarts and reloads, while clients go on.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_e2e::{
    Authority, Host, HttpClient, Lapi, Make, Outcome, Proxy, ProxyConfig, Signal, TlsVisitor, World,
    eventually, story, tools,
};
use rcgen::KeyPair;
use serde_json::json;

/// Clients that send requests one after the other until they are stopped, each on a connection of its own.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn new() -> Self {
        Self { stop: Arc::default(), answered: Arc::default(), clients: Vec::new() }
    }

    /// Adds a client; `request` returns what went wrong.
    fn client(mut self, request: impl Fn() -> Result<(), String> + Send + 'static) -> Self {
        let (stop, answered) = (Arc::clone(&self.stop), Arc::clone(&self.answered));
        self.clients.push(std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match request() {
                    Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(failure) => failures.push(failure),
                }
            }
            failures
        }));
        self
    }

    /// Plain HTTP, from a host.
    fn plain(self, host: &Host, to: SocketAddr) -> Self {
        let host = host.clone();
        self.client(move || {
            let mut client = HttpClient::new(to).with_timeout(Duration::from_secs(60));
            match host.run(|| client.ask("GET", "/", &[("Connection", "close")], None)) {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!("status {}", reply.status)),
                Err(cause) => Err(cause.to_string()),
            }
        })
    }

    fn tls(self, client: &TlsVisitor, version: &'static str) -> Self {
        let client = client.clone();
        self.client(move || match client.curl("shop.test", "/", &[version, "-o", "/dev/null"]) {
            Ok(reply) if reply.statuses == [200] => Ok(()),
            Ok(reply) => Err(format!("{:?} {}", reply.statuses, reply.error)),
            Err(cause) => Err(cause.to_string()),
        })
    }

    /// Waits until some more requests were answered.
    fn goes_on(&self) -> Outcome {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("requests are answered", || self.answered.load(Ordering::Relaxed) > before + 20).map(drop)
    }

    /// The number of requests, none of which failed.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> = self
            .clients
            .into_iter()
            .flat_map(|client| client.join().expect("clients do not panic"))
            .collect();
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), failures.first());
        answered
    }
}

/// A program that passes two listening sockets as systemd does, and starts what it is given again and again.
const SERVICE_MANAGER: &str = r#"
import os, socket, sys
names, sockets = [], []
for argument in sys.argv[1].split(","):
    name, port = argument.split("=")
    listener = socket.create_server(("0.0.0.0", int(port)), backlog=1024)
    names.append(name)
    sockets.append(listener)
while True:
    child = os.fork()
    if child == 0:
        kept = [os.dup(listener.fileno()) for listener in sockets]
        for position, descriptor in enumerate(kept):
            os.dup2(descriptor, 3 + position + 50)
        for position in range(len(kept)):
            os.dup2(3 + position + 50, 3 + position)
        os.closerange(3 + len(kept), 200)
        os.environ["LISTEN_FDS"] = str(len(kept))
        os.environ["LISTEN_FDNAMES"] = ":".join(names)
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.execv(sys.argv[2], sys.argv[2:])
    print("started", child, flush=True)
    os.waitpid(child, 0)
"#;

#[test]
fn inherited_sockets_survive_restarts_under_load_without_a_failed_request() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let app = world.application(&world.router)?;
        let site = authority.site("site", &["shop.test"], &KeyPair::generate()?)?;
        let (http, https) = (world.router.free_port()?, world.router.free_port()?);
        let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
            .set("listen.0.address", "systemd:http")
            .push(
                "listen",
                json!({
                    "address": "systemd:https",
                    "tls": { "certificates": [{ "certificate": site.cert, "key": site.key }] },
                }),
            );
        let path = config.write(world)?;
        let mut command = tools::command("python3")?;
        command.arg("-c").arg(SERVICE_MANAGER).arg(format!("http={http},https={https}"));
        command.arg(tools::ours("palisade-proxy")?).arg("-c").arg(&path);
        let mut manager = world.start(&world.router, "service-manager", command)?;
        manager.wait_for_log("started")?;

        let address = |port| SocketAddr::new(world.router.v4(), port);
        let client = TlsVisitor::new(&world.visitor, address(https), &authority.path());
        let load = Load::new()
            .plain(&world.visitor, address(http))
            .plain(&world.neighbour, address(http))
            .tls(&client, "--http1.1")
            .tls(&client, "--http2");
        load.goes_on()?;
        for restarts in 1..=3 {
            let log = manager.log();
            let started = log.lines().filter_map(|line| line.strip_prefix("started ")).next_back();
            let child: i32 = started.expect("it says so").trim().parse()?;
            let pid = rustix::process::Pid::from_raw(child).expect("a process id");
            rustix::process::kill_process(pid, Signal::TERM)?;
            eventually("it is started again", || manager.log().matches("started ").count() > restarts)?;
            load.goes_on()?;
        }
        assert!(load.end() > 100);
        Ok(())
    })
}

/// An application whose answers take until they are released.
struct Slow {
    address: SocketAddr,
    release: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Slow {
    fn start(world: &World) -> Outcome<Self> {
        let listener = world.router.run(|| TcpListener::bind("127.0.0.1:0"))?;
        let slow = Self { address: listener.local_addr()?, release: Arc::default(), waiting: Arc::default() };
        let (release, waiting) = (Arc::clone(&slow.release), Arc::clone(&slow.waiting));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (release, waiting) = (Arc::clone(&release), Arc::clone(&waiting));
                std::thread::spawn(move || {
                    // One request for each connection is enough here.
                    let _ = stream.read(&mut [0; 4096]);
                    waiting.fetch_add(1, Ordering::Relaxed);
                    while !release.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
                });
            }
        });
        Ok(slow)
    }
}

/// Reads the frames of an HTTP/2 connection until it ends: types and flags.
fn frames(stream: &mut TcpStream) -> std::io::Result<Vec<(u8, u8)>> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    loop {
        match stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(frames),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        // Settings and pings are to be acknowledged.
        if (kind == 4 || kind == 6) && flags & 1 == 0 {
            let length = if kind == 6 { 8 } else { 0 };
            let mut answer = vec![0, 0, length, kind, 1, 0, 0, 0, 0];
            answer.extend(&payload[..usize::from(length)]);
            stream.write_all(&answer)?;
        }
        frames.push((kind, flags));
    }
}

#[test]
fn a_stop_answers_requests_in_flight_and_takes_no_more() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let slow = Slow::start(world)?;
        let config = ProxyConfig::new(world, &lapi.access(), &format!("http://{}", slow.address))?;
        let mut proxy = Proxy::start(world, &config)?;
        let to = proxy.address();
        let visitor = world.visitor.clone();
        let first = std::thread::spawn({
            let visitor = visitor.clone();
            move || {
                let mut client = HttpClient::new(to).with_timeout(Duration::from_secs(120));
                visitor.run(|| client.ask("GET", "/", &[], None))
            }
        });
        // HTTP/2 by prior knowledge: preface, SETTINGS, and HEADERS of `GET / HTTP/2` with `:authority: a`.
        let mut second = visitor.run(|| TcpStream::connect(to))?;
        second.set_read_timeout(Some(Duration::from_secs(120)))?;
        second.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        second.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a")?;
        eventually("both requests are at the application", || slow.waiting.load(Ordering::Relaxed) == 2)?;

        proxy.process().signal(Signal::TERM)?;
        eventually("no more connections are taken", || visitor.run(|| TcpStream::connect(to)).is_err())?;
        assert!(proxy.process().exited().is_none(), "it waits for the requests");
        slow.release.store(true, Ordering::Relaxed);
        let reply = first.join().expect("the client does not panic")?;
        assert_eq!((reply.status, reply.text().as_str()), (200, "done"));
        assert_eq!(reply.header("connection"), Some("close"));
        let frames = frames(&mut second)?;
        let headers = frames.iter().position(|(kind, _)| *kind == 1);
        let goaway = frames.iter().position(|(kind, _)| *kind == 7);
        assert!(goaway.is_some() && goaway < headers, "{frames:?}");
        assert!(frames.iter().any(|(kind, flags)| *kind == 0 && flags & 1 == 1), "{frames:?}");
        assert!(proxy.process().end()?.success());
        Ok(())
    })
}

#[test]
fn a_stop_does_not_wait_longer_than_the_drain_timeout() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let slow = Slow::start(world)?;
        let config = ProxyConfig::new(world, &lapi.access(), &format!("http://{}", slow.address))?
            .set("limits.drain", "1s");
        let mut proxy = Proxy::start(world, &config)?;
        let to = proxy.address();
        let visitor = world.visitor.clone();
        let client = std::thread::spawn(move || {
            let mut client = HttpClient::new(to).with_timeout(Duration::from_secs(120));
            visitor.run(|| client.ask("GET", "/", &[], None))
        });
        eventually("the request is at the application", || slow.waiting.load(Ordering::Relaxed) == 1)?;
        proxy.process().signal(Signal::TERM)?;
        assert!(proxy.process().end()?.success());
        assert!(client.join().expect("the client does not panic").is_err(), "there was no answer");
        Ok(())
    })
}

#[test]
fn a_reload_of_everything_under_load_fails_no_request() -> Outcome {
    story(|world| {
        let (lapi, authority) = (Lapi::start(world, Make::Ours)?, Authority::new(world)?);
        let (one, two) = (world.application(&world.router)?, world.application(&world.router)?);
        let port = world.router.free_port()?;
        let mut config = ProxyConfig::new(world, &lapi.access(), &one.url())?;
        let tls = |certificate: &palisade_e2e::Certificate| json!({ "certificates": [{ "certificate": certificate.cert, "key": certificate.key }] });
        let site = authority.site("site-0", &["shop.test"], &KeyPair::generate()?)?;
        config = config.push("listen", json!({ "address": format!(":{port}"), "tls": tls(&site) }));
        let mut proxy = Proxy::start(world, &config)?;
        let https = SocketAddr::new(world.router.v4(), port);
        let client = TlsVisitor::new(&world.visitor, https, &authority.path());
        let load = Load::new()
            .plain(&world.visitor, proxy.address())
            .plain(&world.neighbour, proxy.address())
            .tls(&client, "--http1.1")
            .tls(&client, "--http2");
        let kept = std::thread::spawn({
            let client = client.clone();
            move || client.curl("shop.test", "/[1-200]", &["--http2", "--rate", "20/s", "-o", "/dev/null"])
        });
        load.goes_on()?;
        for round in 1..=4 {
            let site = authority.site(&format!("site-{round}"), &["shop.test"], &KeyPair::generate()?)?;
            let upstream = if round % 2 == 1 { two.url() } else { one.url() };
            config = config
                .set("routes", json!([
                    { "upstream": upstream },
                    { "name": format!("round-{round}"), "path_prefix": format!("/round-{round}"), "upstream": one.url() },
                ]))
                .set("listen.1.tls", tls(&site));
            config.write_to(proxy.config_file())?;
            proxy.reload()?;
            load.goes_on()?;
        }
        assert!(!one.requests().is_empty() && !two.requests().is_empty());
        assert!(load.end() > 100);
        let kept = kept.join().expect("curl ran")?;
        assert_eq!((kept.statuses.len(), kept.connections), (200, 1), "{}", kept.error);
        assert!(kept.statuses.iter().all(|status| *status == 200), "{kept:?}");
        assert!(proxy.stop()?.success());
        Ok(())
    })
}
