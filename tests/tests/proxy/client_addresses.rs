//! The client of a request: one connection of a trusted proxy carries many, and other peers name nobody else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use palisade_e2e::{Doing as _, Host, Lapi, Make, Outcome, Proxy, ProxyConfig, World, eventually, story};
use serde_json::json;

/// Banned in these stories.
const BANNED: &str = "192.0.2.66";

/// A request that names its client.
fn request(client: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {client}\r\n\r\n")
}

/// Sends bytes on one connection of `host`, and returns the statuses of the responses until the connection is closed.
fn statuses(host: &Host, to: SocketAddr, bytes: &[u8]) -> Outcome<Vec<u16>> {
    host.run(|| {
        let mut stream = TcpStream::connect(to).doing("connecting to the proxy")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        // A reset after the response loses none of it.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let lines = text
            .match_indices("HTTP/1.1 ")
            .filter_map(|(at, line)| text.get(at + line.len()..at + line.len() + 3));
        Ok(lines.filter_map(|status| status.parse().ok()).collect())
    })
}

/// A proxy that trusts the visitor, and an application behind it; [`BANNED`] is banned.
fn behind_a_proxy(world: &World, change: impl FnOnce(ProxyConfig) -> ProxyConfig) -> Outcome<(Lapi, Proxy)> {
    let lapi = Lapi::start(world, Make::Ours)?;
    let app = world.application(&world.router)?;
    let config = ProxyConfig::new(world, &lapi.access(), &app.url())?
        .set("trusted_proxies", json!([format!("{}/32", world.visitor.v4())]));
    let proxy = Proxy::start(world, &change(config))?;
    lapi.ban(BANNED.parse::<std::net::IpAddr>()?)?;
    eventually("the ban is in force", || {
        Ok(proxy.get(&world.visitor, "/", &[("X-Forwarded-For", BANNED)])?.status == 403)
    })?;
    Ok((lapi, proxy))
}

#[test]
fn each_request_on_a_connection_of_a_trusted_proxy_has_its_own_client() -> Outcome {
    story(|world| {
        let (_lapi, proxy) = behind_a_proxy(world, |config| config)?;
        let last = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let bytes =
            [&request("192.0.2.1"), &request(BANNED), &request("192.0.2.2"), last].map(String::from).concat();
        assert_eq!(statuses(&world.visitor, proxy.address(), bytes.as_bytes())?, [200, 403, 200, 200]);
        Ok(())
    })
}

#[test]
fn a_forwarded_header_of_any_other_peer_changes_nothing() -> Outcome {
    story(|world| {
        let (lapi, proxy) = behind_a_proxy(world, |config| config)?;
        let neighbour = &world.neighbour;
        let reply = proxy.get(neighbour, "/", &[("X-Forwarded-For", BANNED)])?;
        assert_eq!(reply.status, 200);
        let text = reply.text().to_ascii_lowercase();
        assert!(text.contains(&format!("x-forwarded-for: {}\r\n", neighbour.v4())), "{text}");
        assert!(!text.contains(BANNED), "{text}");
        lapi.ban(neighbour.v4())?;
        eventually("the neighbour is banned", || {
            Ok(proxy.get(neighbour, "/", &[("X-Forwarded-For", "192.0.2.1")])?.status == 403)
        })?;
        Ok(())
    })
}

#[test]
fn streams_of_one_http2_connection_have_clients_of_their_own() -> Outcome {
    story(|world| {
        let (_lapi, proxy) = behind_a_proxy(world, |config| config)?;
        let clients = ["192.0.2.1", BANNED, "192.0.2.2", BANNED, "192.0.2.3"];
        let to = proxy.address();
        let statuses = world.visitor.run(|| on_one_http2_connection(to, &clients))?;
        assert_eq!(statuses, [200, 403, 200, 403, 200]);
        Ok(())
    })
}

/// Sends one request for each client at once, and returns their statuses.
fn on_one_http2_connection(to: SocketAddr, clients: &[&str]) -> Outcome<Vec<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(to).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut responses = Vec::new();
        for client in clients {
            let request = hyper::Request::get("http://h/").header("x-forwarded-for", *client);
            responses.push(sender.send_request(request.body(Empty::<Bytes>::new())?));
        }
        let all = async {
            let mut statuses = Vec::new();
            for response in responses {
                statuses.push(response.await?.status().as_u16());
            }
            Ok::<_, hyper::Error>(statuses)
        };
        tokio::select! {
            statuses = all => Ok(statuses?),
            ended = connection => Err(ended.err().map_or_else(|| palisade_e2e::Failure::new("it was closed"), Into::into)),
        }
    })
}

#[test]
fn a_proxy_protocol_header_counts_from_listed_peers_only() -> Outcome {
    story(|world| {
        let only = format!("{}/32", world.neighbour.v4());
        let (_lapi, proxy) =
            behind_a_proxy(world, |config| config.set("listen.0.proxy_protocol_from", json!([only])))?;
        let last = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let version1 = |client: &str| format!("PROXY TCP4 {client} 198.51.100.1 4711 80\r\n").into_bytes();
        let version2 = |client: &str| -> Outcome<Vec<u8>> {
            let client: std::net::Ipv4Addr = client.parse()?;
            let addresses = [&client.octets()[..], &[198, 51, 100, 1], &[0, 9, 0, 80]].concat();
            Ok([&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat())
        };
        for (client, expected) in [("192.0.2.1", 200), (BANNED, 403)] {
            for header in [version1(client), version2(client)?] {
                let bytes = [&header[..], last].concat();
                assert_eq!(statuses(&world.neighbour, proxy.address(), &bytes)?, [expected], "{client}");
                // From others it is part of a malformed request, whoever it names.
                let answered = statuses(&world.visitor, proxy.address(), &bytes)?;
                assert!(answered.iter().all(|status| *status == 400), "{answered:?}");
            }
        }
        // A listed peer without the header gets nothing.
        assert_eq!(statuses(&world.neighbour, proxy.address(), last)?, [] as [u16; 0]);
        Ok(())
    })
}
