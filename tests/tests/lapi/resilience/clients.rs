//! Too many clients, and slow ones.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use palisade_e2e::{HttpClient, Outcome, Setup, eventually, read_reply, request, story};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::bystander::Bystander;
use super::{KEY, as_machine, bans, post, start};

const CONNECTIONS: u64 = 10_000;

#[test]
fn ten_thousand_open_connections_affect_no_other_client() -> Outcome {
    story(|world| {
        let limit = getrlimit(Resource::Nofile);
        // The server inherits it.
        let most = limit.maximum.unwrap_or(u64::MAX);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        let wanted = CONNECTIONS.min(most.saturating_sub(500));
        println!("{wanted} connections; this system allows a process {most} open files");
        let (mut lapi, token) = start(world, &Setup::default())?;
        let values: Vec<String> = (0..200).map(|n| format!("192.0.2.{n}")).collect();
        assert_eq!(post(&lapi, &token, bans(&values, "some").to_string().as_bytes())?.status, 201);
        let bystander = Bystander::start(&lapi)?;
        let mut open: Vec<TcpStream> = Vec::new();
        for n in 0..wanted {
            let from = Ipv4Addr::from(0x7f02_0001 + (n / 100) as u32);
            open.push(HttpClient::new(lapi.address()).from(IpAddr::from(from)).connect()?);
        }
        // Some of them send a request, and get a response.
        let ask = request(lapi.address(), "GET", "/v1/decisions/stream", &[("X-Api-Key", KEY)], None);
        for connection in open.iter_mut().rev().step_by(50) {
            connection.write_all(&ask)?;
            assert_eq!(read_reply(connection, "GET", Instant::now())?.status, 200);
        }
        println!("{} kB resident with them", lapi.process()?.memory("VmRSS")?);
        assert_eq!(post(&lapi, &token, bans(&values, "more").to_string().as_bytes())?.status, 201);
        bystander.unharmed()?;
        drop(open);
        let id = lapi.process()?.id();
        eventually("the server lets go of them", || {
            Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count() < 200)
        })?;
        Ok(())
    })
}

#[test]
fn unfinished_requests_time_out_without_affecting_others() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let connect = || HttpClient::new(lapi.address()).with_timeout(Duration::from_secs(100)).connect();
        let mut heads: Vec<TcpStream> = (0..200).map(|_| connect()).collect::<Result<_, _>>()?;
        let mut bodies: Vec<TcpStream> = (0..100).map(|_| connect()).collect::<Result<_, _>>()?;
        let body = bans(&["192.0.2.1".to_owned()], "slow").to_string();
        let whole = request(lapi.address(), "POST", "/v1/alerts", &as_machine(&token), Some(body.as_bytes()));
        let begun = whole.len() - body.len() + 5;
        for connection in &mut bodies {
            connection.write_all(&whole[..begun])?;
        }
        // A byte now and then, for a while.
        for byte in &whole[..30] {
            for connection in heads.iter_mut() {
                // It may have been let go already.
                let _ = connection.write_all(&[*byte]);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for body in bodies.iter_mut() {
            let _ = body.write_all(b" ");
        }
        eventually("the server answers others at once", || Ok(post(&lapi, &token, b"[]")?.status == 201))?;
        bystander.unharmed()?;
        // One of each is observed to its end: closed, or answered with a timeout error.
        for connection in [&mut heads[0], &mut bodies[0]] {
            connection.set_read_timeout(Some(Duration::from_secs(100)))?;
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest)?;
            let text = String::from_utf8_lossy(&rest).into_owned();
            assert!(rest.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        }
        assert!(lapi.process()?.exited().is_none());
        Ok(())
    })
}

#[test]
fn clients_that_do_not_read_cost_little_and_affect_no_other() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        // An answer of several megabytes: more than sockets hold.
        for part in 0..4u32 {
            let values: Vec<String> =
                (0..10_000u32).map(|n| Ipv4Addr::from(0x0b00_0000 + part * 10_000 + n).to_string()).collect();
            let body = bans(&values, &format!("part {part}")).to_string();
            assert_eq!(post(&lapi, &token, body.as_bytes())?.status, 201);
        }
        let bystander = Bystander::start(&lapi)?;
        let before = lapi.process()?.memory("VmRSS")?;
        let ask =
            request(lapi.address(), "GET", "/v1/decisions/stream?startup=true", &[("X-Api-Key", KEY)], None);
        let mut readers = Vec::new();
        for _ in 0..100 {
            let mut reader =
                HttpClient::new(lapi.address()).with_timeout(Duration::from_secs(60)).connect()?;
            reader.write_all(&ask)?;
            let mut first = [0; 100];
            reader.read_exact(&mut first)?;
            readers.push(reader);
        }
        let alerts =
            format!("GET /v1/alerts?limit=0 HTTP/1.1\r\nHost: lapi\r\nAuthorization: {token}\r\n\r\n");
        let mut lister = HttpClient::new(lapi.address()).with_timeout(Duration::from_secs(60)).connect()?;
        lister.write_all(alerts.as_bytes())?;
        assert_eq!(
            post(&lapi, &token, bans(&["192.0.2.1".to_owned()], "more").to_string().as_bytes())?.status,
            201
        );
        std::thread::sleep(Duration::from_secs(1));
        let grown = lapi.process()?.memory("VmRSS")?.saturating_sub(before);
        println!("{grown} kB more with 100 readers that do not read");
        assert!(grown < 150_000, "memory grew by {grown} kB");
        bystander.unharmed()?;
        // One that begins to read again gets all of it.
        let reader = readers.last_mut().expect("there are readers");
        let mut rest = vec![0; 1 << 20];
        reader.read_exact(&mut rest)?;
        Ok(())
    })
}
