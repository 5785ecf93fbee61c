//! Rows of `docs/proxy-strictness.md` that need routes, HTTP/2 or an upstream that answers badly. All others are cases
//! of the comparison with other proxies.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use palisade_e2e::{Doing as _, Host, Lapi, Make, Outcome, Proxy, ProxyConfig, World, story};
use serde_json::json;

/// Sends a request on a connection of its own, and returns all that comes back.
fn send(host: &Host, to: SocketAddr, request: &str) -> Outcome<String> {
    host.run(|| {
        let mut stream = TcpStream::connect(to).doing("connecting to the proxy")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // A reset after the response loses none of it.
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })
}

/// The status of the first response; 0 when there is none.
fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

fn start(world: &World, change: impl FnOnce(ProxyConfig) -> ProxyConfig) -> Outcome<(Lapi, Proxy)> {
    let lapi = Lapi::start(world, Make::Ours)?;
    let app = world.application(&world.router)?;
    let proxy = Proxy::start(world, &change(ProxyConfig::new(world, &lapi.access(), &app.url())?))?;
    Ok((lapi, proxy))
}

#[test]
fn requests_without_a_route_are_refused_and_none_slips_to_another_route() -> Outcome {
    story(|world| {
        let (_lapi, proxy) = start(world, |config| {
            config
                .set("routes.0.name", "api")
                .set("routes.0.hosts", json!(["app.example"]))
                .set("routes.0.path_prefix", "/api")
                .set("routes.0.methods", json!(["GET", "HEAD"]))
        })?;
        for (line, host, expected) in [
            ("GET /api/x", "app.example", 200),
            ("GET //api//x", "APP.example.:80", 200),
            ("GET /api", "other.example", 421),
            ("GET /api", "198.51.100.1", 421),
            ("GET /other", "app.example", 404),
            ("GET /apix", "app.example", 404),
            ("GET /api/../x", "app.example", 404),
            ("GET /api%2Fx", "app.example", 400),
            ("GET /api;x", "app.example", 400),
            ("GET /api/a%2Fb", "app.example", 200),
            ("POST /api/x", "app.example", 405),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = send(&world.visitor, proxy.address(), &request)?;
            assert_eq!(status(&answer), expected, "{line} {host}: {answer}");
            assert_eq!(
                answer.to_ascii_lowercase().contains("\r\nallow: get, head\r\n"),
                expected == 405,
                "{answer}"
            );
        }
        let odd = "GET /api HTTP/1.1\r\nHost: app.example\r\nConnection: close, a b\r\n\r\n";
        assert_eq!(status(&send(&world.visitor, proxy.address(), odd)?), 400);
        Ok(())
    })
}

#[test]
fn requests_over_http2_are_held_to_the_same_rules() -> Outcome {
    story(|world| {
        let (_lapi, proxy) = start(world, |config| config)?;
        let to = proxy.address();
        let requests = [
            (Request::get("http://h/a"), Some(200)),
            (Request::get("http://h/a").header("host", "h"), Some(200)),
            (Request::get("http://h/a").header("host", "evil"), Some(400)),
            (Request::get("http://h/a").header("host", "h").header("host", "h"), Some(400)),
            (Request::get("http://user@h/a"), Some(400)),
            (Request::get("ftp://h/a"), Some(400)),
            (Request::get("http://h/a%00"), Some(400)),
            (Request::get("http://h/a").header("x-a", " 1"), Some(400)),
            (Request::get("http://h/a").header("expect", "foo"), Some(417)),
            (Request::builder().method(Method::CONNECT).uri("h:443"), Some(405)),
            (Request::builder().method("get").uri("http://h/a"), Some(400)),
        ];
        for (request, expected) in requests {
            let shown = format!("{request:?}");
            let request = request.body(Empty::<Bytes>::new())?;
            let answered = world.visitor.run(|| over_http2(to, request))?;
            assert_eq!(answered, expected, "{shown}");
        }
        Ok(())
    })
}

/// The status of one request; `None` when its stream is reset.
fn over_http2(to: SocketAddr, request: Request<Empty<Bytes>>) -> Outcome<Option<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(to).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let response = sender.send_request(request);
        tokio::select! {
            response = response => Ok(response.ok().map(|response| response.status().as_u16())),
            _ = connection => Ok(None),
        }
    })
}

/// An upstream that answers a request for `/N` with the N-th answer, and closes the connection.
fn scripted(host: &Host, answers: Vec<String>) -> Outcome<String> {
    let listener = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                request.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let number =
                text.split('/').nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
            let answer = number.and_then(|number| answers.get(number)).map_or("", String::as_str);
            // The proxy may have closed it already.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(url)
}

#[test]
fn upstreams_are_held_to_the_same_rules() -> Outcome {
    story(|world| {
        const OK: &str = "HTTP/1.1 200 OK\r\n";
        let many: String = (0..101).map(|number| format!("X-{number}: 1\r\n")).collect();
        let large = "a".repeat(70_000);
        // The answer, the status the client gets, what else it gets, and what it must not get.
        let cases: Vec<(String, u16, &str, &str)> = vec![
            (format!("{OK}Content-Length: 2\r\n\r\nok"), 200, "\r\n\r\nok", "chunked"),
            (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw".into(),
                502,
                "",
                "raw",
            ),
            (format!("{OK}Transfer-Encoding: gzip\r\n\r\nraw"), 502, "", "raw"),
            (format!("{OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 502, "", "gzip"),
            (format!("{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nraw"), 502, "", "raw"),
            (format!("{OK}Content-Length: +2\r\n\r\nraw"), 502, "", "raw"),
            (
                format!("{OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
                200,
                "content-length: 2\r\n",
                "2, 2",
            ),
            (
                format!("{OK}Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
                200,
                "ok",
                "content-length: 9",
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".into(), 204, "", "content-length"),
            (
                format!("{OK}Connection: x-mine, close\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n"),
                200,
                "",
                "x-mine",
            ),
            (format!("{OK}{many}\r\n"), 502, "", "x-100"),
            (format!("{OK}X-A: {large}\r\n\r\n"), 502, "", "aaaa"),
            (format!("{OK}X-A: 1\r\n folded\r\n\r\n"), 502, "", "folded"),
            (format!("{OK}X-A : 1\r\n\r\n"), 502, "", "x-a"),
            ("nonsense\r\n\r\n".into(), 502, "", "nonsense"),
            (String::new(), 502, "", "\u{0}"),
        ];
        let url = scripted(&world.router, cases.iter().map(|(answer, ..)| answer.clone()).collect())?;
        let lapi = Lapi::start(world, Make::Ours)?;
        // Bad answers must not take the only upstream out of use here.
        let config = ProxyConfig::new(world, &lapi.access(), &url)?
            .push("upstreams", json!({ "name": "bad", "servers": [{ "url": url }], "max_failures": 0 }))
            .set("routes.0.upstream", "bad");
        let proxy = Proxy::start(world, &config)?;
        for (number, (upstream, expected, has, has_not)) in cases.iter().enumerate() {
            let request = format!("GET /{number} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            let answer = send(&world.visitor, proxy.address(), &request)?;
            let shown = upstream.chars().take(90).collect::<String>();
            assert_eq!(status(&answer), *expected, "{shown:?}: {answer}");
            let answer = answer.to_ascii_lowercase();
            assert!(answer.contains(has), "{shown:?}: {answer}");
            assert!(!answer.contains(has_not), "{shown:?}: {answer}");
        }
        Ok(())
    })
}
