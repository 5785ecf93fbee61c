//! The state that every recording begins with, and a server on it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use palisade_daemon::listen::{Limits, Listeners, Serving, bind};
use palisade_store::NewAllowlistItem;
use palisade_wire::UnixMillis;
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::test_server::TestServer;

const PROFILES: &str = include_str!("../../../../../tests/golden/lapi-1.7.8/profiles.yaml");
const SERVER: &str = "    trusted_ips: [127.0.0.1, \"::1\"]
    auto_registration:
      enabled: true
      token: autoregtokenautoregtokenautoregtoken
      allowed_ranges: [127.0.0.0/8]
";
/// When the state was made.
const MADE: &str = "2026-11-26T15:22:34.3Z";

/// A server that listens.
pub(super) struct Listening {
    server: TestServer,
    address: SocketAddr,
    /// The same server on the IPv6 loopback, where there is one.
    six: Option<SocketAddr>,
    stop: CancellationToken,
}

impl Listening {
    /// Connects from an address of this host, 127.0.0.1 when it is `None`.
    pub(super) async fn connect(&self, from: Option<IpAddr>) -> TcpStream {
        let six = from.filter(IpAddr::is_ipv6).and(self.six);
        TcpStream::connect(six.unwrap_or(self.address)).await.unwrap()
    }

    /// Whether clients can have this address here.
    pub(super) fn has(&self, from: Option<IpAddr>) -> bool {
        from.is_none_or(|from| from.is_ipv4() || self.six.is_some())
    }

    /// Sets the clock.
    pub(super) fn set(&self, time: UnixMillis) {
        self.server.set(time);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A server with the machines, bouncers and allowlists of the recordings.
pub(super) async fn prepared() -> Listening {
    let server = TestServer::configured_with(PROFILES, SERVER).await;
    let now = UnixMillis::parse_rfc3339(MADE).unwrap();
    server.set(now);
    for machine in ["m1", "m2"] {
        server.register_with(machine, "pw12345678").await;
    }
    server.add_bouncer("b1", "rawkeynumberone0123456789").await;
    server.add_bouncer("b2", "rawkeynumbertwo0123456789").await;
    for (list, about) in [("al1", "first list"), ("al2", "second \"list\" <é>"), ("empty", "nothing in it")]
    {
        server.lapi.store.create_allowlist(now, list, about).await.unwrap();
    }
    let ten_hours = Duration::from_secs(36_000);
    let ends = UnixMillis(now.0 + i64::try_from(ten_hours.as_millis()).unwrap());
    for (list, value, comment, expires_at) in [
        ("al1", "192.0.2.200", "a host", None),
        ("al1", "203.0.113.0/24", "a net", Some(ends)),
        ("al2", "192.0.2.200", "both", None),
        ("al2", "2001:db8:a::/48", "both", None),
    ] {
        let item = NewAllowlistItem { value: value.into(), comment: comment.into(), expires_at };
        server.lapi.store.add_to_allowlist(now, list, vec![item]).await.unwrap();
    }
    server.lapi.replication.catch_up().await.unwrap();
    let stop = CancellationToken::new();
    let address = listen(&server, "127.0.0.1:0", &stop).await.unwrap();
    let six = listen(&server, "[::1]:0", &stop).await;
    Listening { server, address, six, stop }
}

/// Serves on an address of this host until `stop`.
async fn listen(server: &TestServer, address: &str, stop: &CancellationToken) -> Option<SocketAddr> {
    let tcp = bind(address).await.ok()?;
    let address = tcp.local_addr().unwrap();
    let serving = Serving {
        service: server.router.clone(),
        tls: Arc::default(),
        limits: Limits::default(),
        metrics: server.lapi.metrics.connections.clone(),
    };
    let listeners = Listeners { tcp: Some(tcp), unix: None };
    TaskTracker::new().spawn(listeners.serve(serving, stop.clone()));
    Some(address)
}
