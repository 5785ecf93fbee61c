//! What evaluating costs: `cargo run --release -p palisade-profiles --example figures`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{hint::black_box, time::Instant};

use palisade_profiles::{NoHistory, Profiles};
use palisade_wire::{Alert, Event, MetaItem, Source};

const FILTERS: [&str; 9] = [
    "Alert.Remediation",
    "Alert.Remediation == true && Alert.GetScope() == 'Ip'",
    "Alert.GetScenario() contains 'ssh' || Alert.GetScenario() startsWith 'crowdsecurity/http'",
    "Alert.Source.Cn in ['DE', 'FR', 'IT', 'ES', 'NL', 'BE', 'AT', 'CH', 'PL', 'SE']",
    "Alert.GetScenario() matches '^crowdsecurity/(ssh|http)-[a-z]+$'",
    "IpInRange(Alert.GetValue(), '192.0.2.0/24')",
    "any(Alert.Events, {.GetMeta('user') == 'root'})",
    "Sprintf('%s-%d', Alert.GetValue(), Alert.GetEventsCount()) == 'x'",
    "Lower(Alert.Source.AsName) contains 'hosting'",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let item = |key: &str, value: &str| MetaItem { key: key.to_owned(), value: value.to_owned() };
    let event = Event {
        meta: Some(vec![item("service", "ssh"), item("source_ip", "192.0.2.1"), item("user", "admin")]),
        timestamp: "2026-07-01T10:00:00Z".to_owned(),
    };
    let alert = Alert {
        scenario: "crowdsecurity/ssh-slow-bf".to_owned(),
        remediation: true,
        events: vec![event; 5],
        source: Source {
            scope: "Ip".to_owned(),
            value: "192.0.2.1".to_owned(),
            cn: "PT".to_owned(),
            as_name: "Example Networks".to_owned(),
            ..Source::default()
        },
        ..Alert::default()
    };
    println!("ns per evaluation of one filter");
    for filter in FILTERS {
        let program = palisade_profiles::compile_filter(filter)?;
        println!("{:>8.0}  {filter}", nanos(|| black_box(program.test(black_box(&alert)).is_ok())));
    }
    let long = vec!["Alert.GetScenario() contains 'rundll32.exe'"; 500].join(" || ");
    let program = palisade_profiles::compile_filter(&long)?;
    println!("{:>8.0}  500 times `contains` joined by ||", nanos(|| black_box(program.test(&alert).is_ok())));
    let profiles = Profiles::parse(include_str!("../../../packaging/config/profiles.yaml"), "profiles.yaml")?;
    let cost = nanos(|| black_box(profiles.evaluate(black_box(&alert), &NoHistory).is_ok()));
    println!("{cost:>8.0}  the shipped profiles on an alert they match, decision and trace made");
    Ok(())
}

/// The fastest of several runs, in nanoseconds a call.
fn nanos(mut call: impl FnMut() -> bool) -> f64 {
    const CALLS: u32 = 20_000;
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..CALLS {
            assert!(call());
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    best
}
