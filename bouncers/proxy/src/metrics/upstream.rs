//! Exports the counters of upstreams.

use std::fmt;

use super::collector::Encoder;
use super::route::CLASSES;
use crate::upstream::{Pools, Server, ServerMetrics};

pub(super) fn encode(encoder: &mut Encoder<'_, '_>, pools: &Pools) -> fmt::Result {
    let servers: Vec<&Server> =
        pools.iter().flat_map(|pool| pool.servers().iter().map(|server| &**server)).collect();
    let labels =
        |server: &Server| [("pool", server.pool().to_string()), ("upstream", server.name().to_string())];
    encoder.counters(
        "palisade_proxy_upstream_responses",
        "Responses of upstreams, by class of status",
        servers.iter().flat_map(|server| {
            CLASSES.into_iter().zip(&server.metrics().responses).map(|(class, count)| {
                let [pool, upstream] = labels(server);
                ([pool, upstream, ("status", class.to_owned())], count.get())
            })
        }),
    )?;
    type Pick = fn(&ServerMetrics) -> u64;
    let counters: [(&str, &str, Pick); 6] = [
        ("palisade_proxy_upstream_failures", "Attempts without a response", |m| m.failures.get()),
        ("palisade_proxy_upstream_connect_failures", "Connections that were not established", |m| {
            m.connect_failures.get()
        }),
        ("palisade_proxy_upstream_retries", "Attempts that followed a failed one", |m| m.retries.get()),
        ("palisade_proxy_upstream_connects", "Connections established", |m| m.connects.get()),
        (
            "palisade_proxy_upstream_ejections",
            "Times an upstream was not used for a while after consecutive failures",
            |m| m.ejections.get(),
        ),
        ("palisade_proxy_upstream_cut_responses", "Responses that ended within the body", |m| {
            m.cut_responses.get()
        }),
    ];
    for (name, help, pick) in counters {
        let values = servers.iter().map(|server| (labels(server), pick(server.metrics())));
        encoder.counters(name, help, values)?;
    }
    type Read = fn(&Server) -> i64;
    let gauges: [(&str, &str, Read); 3] = [
        ("palisade_proxy_upstream_up", "1 while the upstream is used", |server| i64::from(server.is_up())),
        ("palisade_proxy_upstream_connections", "Open connections, idle ones included", |server| {
            server.metrics().open.get()
        }),
        ("palisade_proxy_upstream_in_flight", "Requests in flight", |server| {
            i64::try_from(server.in_flight()).unwrap_or(i64::MAX)
        }),
    ];
    for (name, help, read) in gauges {
        encoder.gauges(name, help, servers.iter().map(|server| (labels(server), read(server))))?;
    }
    Ok(())
}
