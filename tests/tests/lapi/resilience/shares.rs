//! One client takes all there is of something; others are served.

use std::io::Write as _;
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use palisade_e2e::{HttpClient, LapiProcess, Outcome, Setup, World, story};

use super::bystander::Bystander;
use super::{MACHINE, bans, post, start};

/// A login that is sent byte by byte, on so many connections of one address, again as soon as one is closed.
struct Trickle {
    lapi: HttpClient,
    open: Vec<Option<TcpStream>>,
    sent: usize,
}

impl Trickle {
    fn new(lapi: &LapiProcess, connections: usize) -> Outcome<Self> {
        let from: IpAddr = "127.0.66.1".parse()?;
        let lapi = HttpClient::new(lapi.address()).from(from).with_timeout(Duration::from_secs(1));
        Ok(Self { lapi, open: (0..connections).map(|_| None).collect(), sent: 0 })
    }

    /// One byte on each connection, or a new one.
    fn step(&mut self) {
        self.sent += 1;
        for (number, place) in self.open.iter_mut().enumerate() {
            let bytes: &[u8] = if place.is_some() { b"x" } else { HEAD };
            if place.is_none() {
                // The next one in the next round: what is refused is not tried again at once.
                if self.sent > 1 && number % 8 != self.sent % 8 {
                    continue;
                }
                *place = self.lapi.connect().ok();
            }
            if let Some(stream) = place
                && stream.write_all(bytes).is_err()
            {
                *place = None;
            }
        }
    }
}

/// The log without the lines about each request, which have limits of their own.
fn without_access(log: &str) -> String {
    log.lines().filter(|line| !line.contains(" HTTP/1.1 ")).flat_map(|line| [line, "\n"]).collect()
}

const HEAD: &[u8] =
    b"POST /v1/watchers/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n{";

fn others_are_served_beside(world: &World, open_files: u32, connections: usize) -> Outcome {
    let setup = Setup { open_files: Some(open_files), ..Setup::default() };
    let (mut lapi, token) = start(world, &setup)?;
    let process = lapi.process()?;
    std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5")?;
    let before = process.memory("VmRSS")?;
    let mut trickle = Trickle::new(&lapi, connections)?;
    trickle.step();
    let bystander = Bystander::start(&lapi)?;
    for round in 0..16_u8 {
        trickle.step();
        // Logins and alerts too.
        let login = lapi.log_in(MACHINE.0, MACHINE.1);
        assert!(login.is_ok(), "round {round}: {login:?}");
        let values = vec![format!("192.0.2.{round}")];
        let reply = post(&lapi, &token, bans(&values, "meanwhile").to_string().as_bytes())?;
        assert_eq!(reply.status, 201, "round {round}: {reply:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    bystander.unharmed()?;
    assert!(lapi.process()?.exited().is_none(), "the server stays");
    let grown = lapi.process()?.memory("VmHWM")?.saturating_sub(before) >> 10;
    assert!(grown < 80, "its peak grew by {grown} MB");
    let log = without_access(&lapi.log());
    assert!(!log.contains("Too many open files"), "a reserve is kept: {log}");
    assert!(log.len() < 64 << 10, "the log has {} bytes", log.len());
    Ok(())
}

#[test]
fn few_open_files_leave_room_for_others() -> Outcome {
    story(|world| others_are_served_beside(world, 64, 100))
}

#[test]
fn nine_hundred_trickling_logins_leave_room_for_others() -> Outcome {
    story(|world| others_are_served_beside(world, 1024, 900))
}

#[test]
fn a_flood_of_refusals_does_not_fill_the_log() -> Outcome {
    story(|world| {
        let (lapi, _) = start(world, &Setup::default())?;
        let mut client = lapi.http_client();
        let json = ("Content-Type", "application/json");
        for n in 0..300 {
            let unknown = format!(r#"{{"machine_id":"nobody-{n}","password":"x"}}"#);
            let bodies: [&[u8]; 3] = [b"{", b"[]", unknown.as_bytes()];
            for body in bodies {
                let reply = client.ask("POST", "/v1/watchers/login", &[json], Some(body))?;
                assert!([401, 429].contains(&reply.status), "{reply:?}");
                let reply = client.ask("POST", "/v1/watchers", &[json], Some(body))?;
                assert!([201, 400, 403, 422, 429].contains(&reply.status), "{reply:?}");
            }
            let key = format!("wrong-{n}");
            let reply = client.ask("GET", "/v1/decisions/stream", &[("X-Api-Key", &key)], None)?;
            assert_eq!(reply.status, 403);
        }
        let log = without_access(&lapi.log());
        let lines = log.lines().count();
        assert!(lines < 100 && log.len() < 20 << 10, "{lines} lines, {} bytes:\n{log}", log.len());
        assert!(log.contains("login refused") && log.contains("bouncer refused"), "{log}");
        Ok(())
    })
}
