//! Upgrades and tunnels.

use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scripted::{PATIENCE, Upstream, config, get, start, text};
use crate::upstream::tunnel::{self, TunnelEnd};
use crate::upstream::{BadAnswer, ErrorKind, Upgrade};

fn websocket() -> Option<Upgrade> {
    Some(Upgrade { protocol: HeaderValue::from_static("websocket"), extended_connect: false })
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

#[tokio::test]
async fn bytes_flow_both_ways_after_the_switch_and_each_end_is_passed_on() {
    let upstream = Upstream::start(|mut peer, _| async move {
        let head = peer.head().await.unwrap();
        assert!(head.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{head}");
        // The first bytes arrive with the head.
        peer.send(format!("{SWITCH}early ")).await;
        assert_eq!(peer.until(b"ping").await.unwrap(), "ping");
        peer.send("pong").await;
        assert_eq!(peer.until(b"never").await, None, "the client's end is passed on");
        peer.send(" bye").await;
    })
    .await;
    let pools = start(config(&[&upstream]));
    let mut request = get("/");
    request.upgrade = websocket();
    let forwarded = pools.get(0).forward(request).await.unwrap();
    assert_eq!(forwarded.response.status(), 101);
    let (client, mut browser) = tokio::io::duplex(1024);
    let tunnel = tunnel::run(client, forwarded.tunnel.unwrap(), PATIENCE, std::future::pending());
    let exchange = async {
        browser.write_all(b"ping").await.unwrap();
        let mut seen = [0; 10];
        browser.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"early pong");
        browser.shutdown().await.unwrap();
        let mut rest = String::new();
        browser.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, " bye");
    };
    let (report, ()) = tokio::join!(tunnel, exchange);
    assert_eq!((report.end, report.to_upstream, report.to_client), (TunnelEnd::Finished, 4, 14));
    assert_eq!(pools.get(0).servers()[0].metrics().open.get(), 0);
    assert_eq!(pools.get(0).servers()[0].in_flight(), 0);
}

#[tokio::test]
async fn a_tunnel_ends_when_it_is_idle_or_told_to() {
    for (idle, end) in [(Duration::from_millis(50), TunnelEnd::Idle), (PATIENCE, TunnelEnd::Closed)] {
        let (client, _browser) = tokio::io::duplex(1024);
        let (upstream, _application) = tokio::io::duplex(1024);
        let closed = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(tunnel::run(client, upstream, idle, closed).await.end, end);
    }
}

#[tokio::test]
async fn another_answer_to_an_upgrade_is_an_ordinary_response() {
    let upstream = Upstream::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", false).await;
    let pools = start(config(&[&upstream]));
    for _ in 0..2 {
        let mut request = get("/");
        request.upgrade = websocket();
        let forwarded = pools.get(0).forward(request).await.unwrap();
        assert!(forwarded.tunnel.is_none());
        assert_eq!(text(forwarded).await.unwrap(), "no");
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_switch_to_another_protocol_is_refused() {
    let upstream = Upstream::answering(SWITCH.replace("WebSocket", "h2c"), false).await;
    let pools = start(config(&[&upstream]));
    let mut request = get("/");
    request.upgrade = websocket();
    let error = pools.get(0).forward(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadAnswer(BadAnswer::UnrequestedSwitch));
}
