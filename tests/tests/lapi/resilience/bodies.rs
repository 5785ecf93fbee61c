//! Bodies too large, and bodies that become so.

use std::io::Write as _;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use palisade_e2e::{HttpClient, LapiProcess, Outcome, Reply, Setup, read_reply, story};

use super::bystander::Bystander;
use super::{KEY, as_machine, bans, message, post, start};

const TOO_LARGE: &str = "http: request body too large";

#[test]
fn bodies_beyond_the_limit_are_refused_and_disturb_nobody() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let name = "x".repeat(3 << 20);
        let body = format!(r#"{{"machine_id":"{name}","password":"p","scenarios":[]}}"#);
        let (status, text) = refused(&lapi, "/v1/watchers/login", &[], body.as_bytes())?;
        assert_eq!((status, text.as_str()), (401, "missing: http: request body too large"));
        let (status, text) = refused(&lapi, "/v1/watchers", &[], body.as_bytes())?;
        assert_eq!((status, text.as_str()), (400, TOO_LARGE));
        // One that holds its size back is refused when it gets there.
        let body = spaces(52 << 20);
        let (status, text) = refused(&lapi, "/v1/alerts", &as_machine(&token), &body)?;
        assert_eq!((status, text.as_str()), (400, TOO_LARGE));
        let (status, text) = refused(&lapi, "/v1/usage-metrics", &[("X-Api-Key", KEY)], &body)?;
        assert_eq!((status, text.as_str()), (400, TOO_LARGE));
        let (status, text) = chunked(&lapi, "/v1/alerts", &as_machine(&token), &body)?;
        assert_eq!((status, text.as_str()), (400, TOO_LARGE));
        // One below is taken.
        let mut body = spaces(20 << 20);
        body.extend_from_slice(bans(&["192.0.2.1".to_owned()], "below").to_string().as_bytes());
        assert_eq!(post(&lapi, &token, &body)?.status, 201);
        bystander.unharmed()?;
        assert!(lapi.process()?.exited().is_none());
        Ok(())
    })
}

#[test]
fn a_small_body_that_unpacks_to_a_huge_one_is_refused_early() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let process = lapi.process()?;
        std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5")?;
        let before = process.memory("VmRSS")?;
        let packed = bomb(1 << 30)?;
        assert!(packed.len() < 4 << 20, "it packs to {}", packed.len());
        for _ in 0..8 {
            let mut headers = as_machine(&token).to_vec();
            headers.push(("Content-Encoding", "gzip"));
            let begin = Instant::now();
            let (status, text) = refused(&lapi, "/v1/alerts", &headers, &packed)?;
            assert_eq!((status, text.as_str()), (400, TOO_LARGE));
            assert!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
        }
        let small = bomb(64 << 20)?;
        let (status, _) = refused(&lapi, "/v1/watchers/login", &[("Content-Encoding", "gzip")], &small)?;
        assert_eq!(status, 401);
        // In a shell of its own each: gzip in gzip is not unpacked twice.
        let twice = pack(&packed)?;
        let mut headers = as_machine(&token).to_vec();
        headers.push(("Content-Encoding", "gzip"));
        let (status, _) = refused(&lapi, "/v1/alerts", &headers, &twice)?;
        assert_eq!(status, 400);
        // Cut off in the middle.
        let (status, _) = refused(&lapi, "/v1/alerts", &headers, &pack(b"[{},{},{},{}]")?[..15])?;
        assert_eq!(status, 400);
        let grown = lapi.process()?.memory("VmHWM")?.saturating_sub(before);
        // Unpacked, each is a gigabyte; what is kept of one is 50 MiB, in buffers that grow by doubling.
        assert!(grown < 400_000, "its peak grew by {grown} kB");
        bystander.unharmed()
    })
}

/// Many clients without credentials that stop in the middle of a body, and one with a list of nothing.
#[test]
fn what_is_not_accepted_takes_little_memory() -> Outcome {
    story(|world| {
        let (mut lapi, token) = start(world, &Setup::default())?;
        let bystander = Bystander::start(&lapi)?;
        let process = lapi.process()?;
        std::fs::write(format!("/proc/{}/clear_refs", process.id()), "5")?;
        let before = process.memory("VmRSS")?;
        let packed = pack(&spaces(250 << 10))?;
        let mut held = Vec::new();
        for number in 0..300 {
            let path = if number % 2 == 0 { "/v1/watchers/login" } else { "/v1/watchers" };
            let mut stream = HttpClient::new(lapi.address()).connect()?;
            // One byte is held back.
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                packed.len() + 1
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&packed)?;
            held.push(stream);
        }
        // Others log in meanwhile, and the list is refused.
        assert_eq!(
            post(&lapi, &token, bans(&["192.0.2.1".to_owned()], "x").to_string().as_bytes())?.status,
            201
        );
        let empty = pack(format!("[{}]", vec!["{}"; 5_000_000].join(",")).as_bytes())?;
        let mut headers = as_machine(&token).to_vec();
        headers.push(("Content-Encoding", "gzip"));
        let (status, text) = refused(&lapi, "/v1/alerts", &headers, &empty)?;
        assert!(status == 400 && text.contains("more elements"), "{status} {text}");
        let peak = lapi.process()?.memory("VmHWM")?;
        let more = peak.saturating_sub(before) >> 10;
        assert!(more < 160, "it took {more} MB");
        assert!(lapi.log().len() < 1 << 20, "the log has {} bytes", lapi.log().len());
        drop(held);
        bystander.unharmed()
    })
}

fn spaces(length: usize) -> Vec<u8> {
    vec![b' '; length]
}

fn pack(plain: &[u8]) -> Outcome<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(plain)?;
    Ok(packed.finish()?)
}

/// So many spaces, packed, without holding them.
fn bomb(length: usize) -> Outcome<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    let piece = spaces(1 << 16);
    for _ in 0..length / piece.len() {
        packed.write_all(&piece)?;
    }
    Ok(packed.finish()?)
}

/// The status and the message of the refusal. The server may refuse before it has read everything, and a client that
/// goes on writing may then find the connection closed: so the answer is read whatever becomes of the writing.
fn refused(lapi: &LapiProcess, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<(u16, String)> {
    let bytes = palisade_e2e::request(lapi.address(), "POST", path, headers, Some(body));
    said(&sent(lapi, &bytes)?)
}

fn chunked(lapi: &LapiProcess, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Outcome<(u16, String)> {
    let mut bytes = palisade_e2e::request(lapi.address(), "POST", path, headers, None);
    bytes.truncate(bytes.len() - 2);
    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(1 << 20) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    said(&sent(lapi, &bytes)?)
}

fn sent(lapi: &LapiProcess, bytes: &[u8]) -> Outcome<Reply> {
    let mut stream = HttpClient::new(lapi.address()).with_timeout(Duration::from_secs(60)).connect()?;
    let mut writing = stream.try_clone()?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || writing.write_all(&bytes));
    let reply = read_reply(&mut stream, "POST", Instant::now());
    drop(stream);
    let _ = writer.join().expect("writing does not panic");
    Ok(reply?)
}

fn said(reply: &Reply) -> Outcome<(u16, String)> {
    if reply.body.is_empty() {
        return Ok((reply.status, String::new()));
    }
    Ok((reply.status, message(reply)))
}
