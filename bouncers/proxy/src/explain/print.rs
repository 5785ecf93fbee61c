//! Formats a report for terminals. Pure.

use std::fmt::Write as _;

use palisade_bouncer::control::printable;

use super::report::Report;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail. Values are from the command line, the LAPI and published lists.
        let _ = writeln!(text, "{}", printable(&args.to_string()));
    };
    let status = report.result.status.map_or_else(String::new, |status| format!(" ({status})"));
    line(format_args!("{} {}", report.method, report.url));
    line(format_args!("{}{status}: {}", report.result.action, report.result.reason));
    for step in &report.steps {
        line(format_args!("  {}: {}", step.name, step.finding));
    }
    for decision in &report.decisions {
        let mark = if decision.applies { "applies" } else { "does not apply" };
        line(format_args!(
            "  decision {mark}: {} on {} {} from {}, {:?}, {} s left (id {}): {}",
            decision.remediation,
            decision.scope,
            decision.value,
            decision.origin,
            decision.scenario,
            decision.seconds_left,
            decision.id,
            decision.why
        ));
    }
    for upstream in &report.upstreams {
        let state = match upstream.up {
            Some(true) => "up",
            Some(false) => "down",
            None => "unknown whether it is up: no proxy is running",
        };
        line(format_args!("  upstream {}: {state}", upstream.url));
    }
    text
}
