//! The proxies under test: each one process with one worker on the proxy's core, before the same origin.

use std::any::Any;
use std::time::Duration;

use palisade_e2e::{Certificate, Failure, Outcome, Proxy, ProxyConfig, World, eventually_within};
use serde_json::json;

use super::cores::Cores;
use super::shape::{Http, Shape};
use crate::scripted::ScriptedStream;

/// Idle connections to the origin that every proxy may keep: more than any load has requests in flight.
pub(super) const UPSTREAM_CONNECTIONS: usize = 1024;
/// How long a proxy may take to have its list loaded.
pub(super) const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// Where a proxy listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    /// HTTP/2 without TLS; some proxies need a separate port for it.
    pub(super) h2c: u16,
    pub(super) tls: u16,
}

impl Ports {
    pub(super) fn separate(world: &World) -> Outcome<Self> {
        let free = || world.router.free_port();
        Ok(Self { plain: free()?, h2c: free()?, tls: free()? })
    }

    pub(super) fn of(&self, shape: Shape) -> u16 {
        match (shape.tls, shape.http) {
            (true, _) => self.tls,
            (false, Http::Two) => self.h2c,
            (false, _) => self.plain,
        }
    }
}

/// A running proxy; killed when dropped.
pub(super) struct Front {
    pub(super) name: &'static str,
    pub(super) pid: u32,
    pub(super) ports: Ports,
    _running: Box<dyn Any>,
}

impl Front {
    pub(super) fn new(name: &'static str, pid: u32, ports: Ports, running: impl Any) -> Self {
        Self { name, pid, ports, _running: Box::new(running) }
    }
}

/// Ours, and the LAPI it follows.
pub(super) struct Ours {
    pub(super) front: Front,
    pub(super) lapi: ScriptedStream,
}

/// What all proxies have in common.
pub(super) struct Fronts<'a> {
    pub(super) world: &'a World,
    pub(super) cores: Cores,
    pub(super) certificate: Certificate,
    /// The origin's port.
    pub(super) origin: u16,
}

impl Fronts<'_> {
    /// Our proxy in this mode, `stream` or `off`, with these decisions of a LAPI.
    pub(super) fn ours(
        &self,
        name: &'static str,
        mode: &str,
        decisions: impl Iterator<Item = String>,
    ) -> Outcome<Ours> {
        let world = self.world;
        let lapi = ScriptedStream::start(&world.router, decisions)?;
        let tls = world.router.free_port()?;
        let config = ProxyConfig::new(world, &lapi.access(), "origin")?
            .push(
                "listen",
                json!({
                    "address": format!("127.0.0.1:{tls}"),
                    "tls": { "certificates": [{ "certificate": self.certificate.cert, "key": self.certificate.key }] },
                }),
            )
            .push(
                "upstreams",
                json!({
                    "name": "origin",
                    "servers": [{ "url": format!("http://127.0.0.1:{}", self.origin) }],
                    "keep_alive": UPSTREAM_CONNECTIONS,
                    "keep_alive_idle": "600s",
                    "protocol": "http1",
                }),
            )
            .set("trusted_proxies", json!(["127.0.0.1"]))
            .set("limits", json!({ "connections": 8000, "keep_alive": "600s" }))
            .set("decisions", json!({ "mode": mode }));
        let ports = Ports { plain: config.port(), h2c: config.port(), tls };
        let mut proxy = self.cores.on_proxy_core(|| Proxy::launch(world, &config))?;
        let pid = proxy.process().id();
        eventually_within(LOAD_LIMIT, "palisade-proxy is ready", || match proxy.process().exited() {
            Some(_) => Ok(true),
            None => proxy.is_ready(),
        })?;
        if let Some(status) = proxy.process().exited() {
            return Err(Failure::new(format!("palisade-proxy ended with {status}: {}", proxy.log())));
        }
        Ok(Ours { front: Front::new(name, pid, ports, proxy), lapi })
    }
}
