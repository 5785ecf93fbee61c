//! Compares Palisade with its peers and with physical limits, each in turn in one run.
//!
//! `palisade-bench [NAME…]` runs all comparisons, or those named.

mod cache;
mod data;
mod firewall;
mod lapi;
mod report;
mod stream;

use std::process::ExitCode;

use report::Row;

type Bench = (&'static str, fn() -> Vec<Row>);

const BENCHES: &[Bench] = &[
    ("lookup", cache::lookup),
    ("memory", cache::memory),
    ("delta", cache::delta),
    ("startup", stream::startup),
    ("firewall", firewall::firewall),
    ("lapi-import", || lapi::bench("lapi-import")),
    ("lapi-startup", || lapi::bench("lapi-startup")),
    ("lapi-delta", || lapi::bench("lapi-delta")),
    ("lapi-mixed", || lapi::bench("lapi-mixed")),
    ("lapi-memory", || lapi::bench("lapi-memory")),
    ("lapi-login", || lapi::bench("lapi-login")),
    ("push-latency", || lapi::bench("push-latency")),
    ("push-waiters", || lapi::bench("push-waiters")),
    ("push-fleet", || lapi::bench("push-fleet")),
];

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
    if let Some(unknown) = args.iter().find(|arg| BENCHES.iter().all(|(name, _)| name != arg)) {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no benchmark is named `{unknown}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    for (name, run) in BENCHES {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            eprintln!("running {name} ...");
            if let Err(error) = report::publish(name, &run()) {
                eprintln!("cannot write the figures of {name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
