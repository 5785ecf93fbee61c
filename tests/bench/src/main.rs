//! Compares Palisade with its peers and with physical limits, each in turn in one run.
//!
//! `palisade-bench [NAME…]` runs all comparisons, or those named or whose name begins so.

mod cache;
mod data;
mod firewall;
mod floor;
mod lapi;
mod netlink;
mod packet;
mod proxy;
mod report;
mod scripted;
mod stream;
mod webhook;

use std::process::ExitCode;

use report::BenchRow;

type Bench = (&'static str, fn() -> Vec<BenchRow>);

const BENCHES: &[Bench] = &[
    ("lookup", cache::lookup),
    ("memory", cache::memory),
    ("delta", cache::delta),
    ("startup", stream::startup),
    ("firewall", firewall::firewall),
    ("packet", || packet::packet("packet")),
    (QUICK, || packet::packet(QUICK)),
    ("lapi-import", || lapi::bench("lapi-import")),
    ("lapi-startup", || lapi::bench("lapi-startup")),
    ("lapi-delta", || lapi::bench("lapi-delta")),
    ("lapi-mixed", || lapi::bench("lapi-mixed")),
    ("lapi-memory", || lapi::bench("lapi-memory")),
    ("lapi-login", || lapi::bench("lapi-login")),
    ("takeover", || lapi::bench("takeover")),
    ("push-latency", || lapi::bench("push-latency")),
    ("push-waiters", || lapi::bench("push-waiters")),
    ("push-fleet", || lapi::bench("push-fleet")),
    ("proxy-throughput", || proxy::bench("proxy-throughput")),
    ("proxy-latency", || proxy::bench("proxy-latency")),
    ("proxy-update", || proxy::bench("proxy-update")),
    ("proxy-memory", || proxy::bench("proxy-memory")),
    ("proxy-check", || proxy::bench("proxy-check")),
    ("webhook-mirror", webhook::mirror::bench),
    ("webhook-deliveries", webhook::deliveries::bench),
    ("webhook-memory", webhook::memory::bench),
];

/// A selection of `packet`: runs only when it is named.
const QUICK: &str = "packet-quick";

/// The comparisons of this name, else those whose name begins so.
fn named(arg: &str) -> impl Iterator<Item = &'static Bench> {
    let exact = BENCHES.iter().any(|(name, _)| *name == arg);
    BENCHES.iter().filter(move |(name, _)| if exact { *name == arg } else { name.starts_with(arg) })
}

#[expect(clippy::print_stderr, reason = "a command talks to its user")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, what] = args.as_slice()
        && first == "child-memory"
    {
        cache::child(what);
        return ExitCode::SUCCESS;
    }
    if let [first, name] = args.as_slice()
        && first == "child-lapi"
    {
        return if lapi::child(name) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if args.first().is_some_and(|first| first == "child-firewall") {
        return if firewall::child() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let [first, name] = args.as_slice()
        && first == "child-packet"
    {
        return if packet::child(name) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let [first, words @ ..] = args.as_slice()
        && first == "child-webhook"
    {
        return if webhook::child(words) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let [first, name] = args.as_slice()
        && first == "child-proxy"
    {
        return if proxy::child(name) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Some(unknown) = args.iter().find(|arg| named(arg).next().is_none()) {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no benchmark's name begins with `{unknown}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    for (name, run) in BENCHES {
        let wanted = args.iter().any(|arg| named(arg).any(|(found, _)| found == name));
        if wanted || (args.is_empty() && *name != QUICK) {
            eprintln!("running {name} ...");
            if let Err(error) = report::publish(name, &run()) {
                eprintln!("cannot write the figures of {name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
