//! Streaming through the proxy: back-pressure and memory, WebSockets, gRPC, trailers, `100 Continue`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use palisade_e2e::{
    Doing as _, Failure, HttpClient, Lapi, Make, Outcome, Proxy, ProxyConfig, World, pace, story,
};
use serde_json::json;
use tungstenite::Message;

/// What the proxy may grow by while a body of any length passes, in kB. A body that is kept would be 30 times that.
const GROWTH: u64 = 16 * 1024;
const MEGABYTE: usize = 1 << 20;

/// A listener on a loopback port of the router, and a thread that serves its connections one after the other.
fn serve(world: &World, script: impl Fn(TcpStream) + Send + 'static) -> Outcome<String> {
    let listener = world.router.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || listener.incoming().flatten().for_each(script));
    Ok(format!("http://{address}"))
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn connect(world: &World, to: SocketAddr) -> Outcome<TcpStream> {
    let client = HttpClient::new(to).with_timeout(Duration::from_secs(120));
    Ok(world.visitor.run(|| client.connect())?)
}

/// The proxy's memory, in kB.
fn memory(proxy: &mut Proxy) -> Outcome<u64> {
    proxy.process().memory("VmRSS")
}

#[test]
fn a_slow_download_of_a_gigabyte_costs_no_memory() -> Outcome {
    story(|world| {
        const MEGABYTES: usize = 1024;
        let lapi = Lapi::start(world, Make::Ours)?;
        let url = serve(world, |mut stream| {
            let piece = vec![b'x'; MEGABYTE];
            if read_head(&mut stream).is_none() {
                return;
            }
            let length = MEGABYTES * MEGABYTE;
            let _ =
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
            for _ in 0..MEGABYTES {
                if stream.write_all(&piece).is_err() {
                    return;
                }
            }
        })?;
        let mut proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &url)?)?;
        let mut client = connect(world, proxy.address())?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
        read_head(&mut client).doing("reading the head")?;
        let (before, mut most) = (memory(&mut proxy)?, 0);
        let mut piece = vec![0; MEGABYTE];
        for number in 0..MEGABYTES {
            // Slow at first, so that everything between fills up.
            if number < 100 {
                pace(Duration::from_millis(5));
            }
            client.read_exact(&mut piece)?;
            if number % 16 == 0 {
                most = most.max(memory(&mut proxy)?);
            }
        }
        assert!(most < before + GROWTH, "{before} kB before, at most {most} kB");
        Ok(())
    })
}

#[test]
fn a_large_upload_to_a_slow_upstream_costs_no_memory() -> Outcome {
    story(|world| {
        const MEGABYTES: usize = 256;
        static RECEIVED: AtomicU64 = AtomicU64::new(0);
        let lapi = Lapi::start(world, Make::Ours)?;
        let url = serve(world, |mut stream| {
            if read_head(&mut stream).is_none() {
                return;
            }
            let mut piece = vec![0; MEGABYTE];
            for number in 0..MEGABYTES {
                if number < 100 {
                    pace(Duration::from_millis(5));
                }
                if stream.read_exact(&mut piece).is_err() {
                    return;
                }
                RECEIVED.fetch_add(1, Ordering::Relaxed);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        })?;
        let mut proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &url)?)?;
        let mut client = connect(world, proxy.address())?;
        let length = MEGABYTES * MEGABYTE;
        client.write_all(
            format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
        )?;
        let (before, mut most) = (memory(&mut proxy)?, 0);
        let piece = vec![b'x'; MEGABYTE];
        for number in 0..MEGABYTES {
            client.write_all(&piece)?;
            if number % 16 == 0 {
                most = most.max(memory(&mut proxy)?);
            }
        }
        let head = read_head(&mut client).doing("reading the answer")?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(RECEIVED.load(Ordering::Relaxed), MEGABYTES as u64);
        assert!(most < before + GROWTH, "{before} kB before, at most {most} kB");
        Ok(())
    })
}

#[test]
fn websockets_pass() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let url = serve(world, |stream| {
            let Ok(mut socket) = tungstenite::accept(stream) else { return };
            while let Ok(message) = socket.read() {
                if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                    return;
                }
            }
        })?;
        let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &url)?)?;
        let stream = connect(world, proxy.address())?;
        let (mut socket, response) =
            tungstenite::client(format!("ws://{}/chat?x=1", proxy.address()), stream)
                .map_err(|error| Failure::new(error.to_string()))
                .doing("opening a WebSocket")?;
        assert_eq!(response.status(), 101);
        for message in [
            Message::text("hello"),
            Message::binary(vec![7; 3 * MEGABYTE]),
            Message::text("x".repeat(70_000)),
            Message::text(""),
        ] {
            socket.send(message.clone()).doing("sending")?;
            assert!(socket.read().doing("receiving")? == message);
        }
        socket.send(Message::Ping(Bytes::from_static(b"1"))).doing("sending a ping")?;
        assert_eq!(socket.read().doing("receiving")?, Message::Pong(Bytes::from_static(b"1")));
        socket.close(None).doing("closing")?;
        assert!(socket.read().doing("receiving")?.is_close(), "the other end closes too");
        Ok(())
    })
}

#[test]
fn a_refused_websocket_is_an_ordinary_response() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let app = world.application(&world.router)?;
        let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &app.url())?)?;
        let mut client = HttpClient::new(proxy.address()).with_timeout(Duration::from_secs(60));
        let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
        world.visitor.run(|| -> Outcome {
            for _ in 0..2 {
                assert_eq!(client.ask("GET", "/", &upgrade, None)?.status, 200);
                assert_eq!(client.ask("GET", "/", &[], None)?.status, 200);
            }
            Ok(())
        })
    })
}

#[test]
fn a_client_that_expects_100_continue_gets_it_once_there_is_an_upstream() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let app = world.application(&world.router)?;
        let nobody = format!("http://127.0.0.1:{}", world.router.free_port()?);
        for (url, expected) in [(app.url(), "HTTP/1.1 100 Continue"), (nobody, "HTTP/1.1 50")] {
            let proxy = Proxy::start(world, &ProxyConfig::new(world, &lapi.access(), &url)?)?;
            let mut client = connect(world, proxy.address())?;
            client.write_all(
                b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
            )?;
            let head = read_head(&mut client).doing("reading the first head")?;
            assert!(head.starts_with(expected), "{head}");
            if head.starts_with("HTTP/1.1 100") {
                client.write_all(b"hello")?;
                let head = read_head(&mut client).doing("reading the second head")?;
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            }
        }
        Ok(())
    })
}

/// Runs a client and a server of a call on one thread.
fn run_async<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().doing("starting a runtime")?.block_on(work)
}

/// A gRPC message: not compressed, its length, its bytes.
fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes.into()
}

/// Answers each message of a call with itself, and ends with the status in trailers; `/fail` has trailers alone.
async fn serve_calls(listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let response = Response::builder().header("content-type", "application/grpc");
            if request.uri().path() == "/fail" {
                let response = response.header("grpc-status", "5").body(()).expect("the head is valid");
                respond.send_response(response, true).expect("the call is open");
                continue;
            }
            assert_eq!(request.headers()["te"], "trailers");
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            assert_eq!(authority, Some("calls.example"), "the client's, not the upstream's");
            let mut stream = respond
                .send_response(response.body(()).expect("the head is valid"), false)
                .expect("the call is open");
            let mut body = request.into_body();
            // The connection makes progress only while it is polled.
            let call = async {
                while let Some(Ok(data)) = body.data().await {
                    let _ = body.flow_control().release_capacity(data.len());
                    stream.send_data(data, false).expect("the call is open");
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                stream.send_trailers(trailers).expect("the call is open");
            };
            tokio::pin!(call);
            loop {
                tokio::select! {
                    () = &mut call => break,
                    next = connection.accept() => assert!(next.is_none(), "one call at a time"),
                }
            }
        }
    }
}

#[test]
fn grpc_calls_stream_both_ways_with_their_status_in_trailers() -> Outcome {
    story(|world| {
        let lapi = Lapi::start(world, Make::Ours)?;
        let listener = world.router.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let url = format!("http://{}", listener.local_addr()?);
        let pool = json!({ "name": "calls", "servers": [{ "url": url }], "protocol": "http2" });
        let config = ProxyConfig::new(world, &lapi.access(), "calls")?.push("upstreams", pool);
        let proxy = Proxy::start(world, &config.set("listen.0.http2", true))?;
        let stream = connect(world, proxy.address())?;
        listener.set_nonblocking(true)?;
        stream.set_nonblocking(true)?;
        run_async(async move {
            let served = serve_calls(tokio::net::TcpListener::from_std(listener)?);
            let (mut client, connection) =
                h2::client::handshake(tokio::net::TcpStream::from_std(stream)?).await.doing("connecting")?;
            let calls = async {
                let request = |path: &str| {
                    let request =
                        Request::builder().method(Method::POST).uri(format!("http://calls.example{path}"));
                    request
                        .header("content-type", "application/grpc")
                        .header("te", "trailers")
                        .body(())
                        .unwrap()
                };
                let (response, mut sending) =
                    client.send_request(request("/echo"), false).doing("calling")?;
                sending.send_data(message("one"), false).doing("sending")?;
                let mut body = response.await.doing("the response")?.into_body();
                for text in ["one", "two", "three"] {
                    let data = body.data().await.doing("a message")?.doing("a message")?;
                    assert_eq!(data, message(text));
                    match text {
                        "one" => sending.send_data(message("two"), false).doing("sending")?,
                        "two" => sending.send_data(message("three"), true).doing("sending")?,
                        _ => {}
                    }
                }
                assert!(body.data().await.is_none());
                let trailers = body.trailers().await.doing("trailers")?.doing("there are trailers")?;
                assert_eq!(trailers["grpc-status"], "0");

                let (response, _) = client.send_request(request("/fail"), true).doing("calling")?;
                assert_eq!(response.await.doing("the response")?.headers()["grpc-status"], "5");
                Ok(())
            };
            tokio::select! {
                result = calls => result,
                () = served => unreachable!("it serves for ever"),
                _ = connection => unreachable!("the connection stays open"),
            }
        })
    })
}
