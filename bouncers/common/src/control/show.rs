//! Formats responses of the control socket for terminals. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use palisade_wire::GoDuration;

use super::{DecisionView, Effect, LookupAnswer, Source, State, StatusAnswer};

pub(super) fn lookup(answer: &LookupAnswer) -> String {
    let mut text = String::new();
    let subject = printable(&answer.subject);
    let running = answer.state.source == Source::Running;
    line(&mut text, format_args!("{subject}: {}", effect(answer.effect.as_ref(), running)));
    match &answer.verdict {
        Some(held) => {
            line(
                &mut text,
                format_args!("{subject}: {} for {}", printable(&held.remediation), span(held.seconds_left)),
            );
            line(&mut text, format_args!("  because of {}", why(held)));
        }
        None if answer.decisions.is_empty() => {
            line(&mut text, format_args!("{subject}: no decision holds"));
        }
        None => line(&mut text, format_args!("{subject}: no decision covers all of it, but these touch it")),
    }
    let others = answer.decisions.iter().filter(|held| Some(*held) != answer.verdict.as_ref());
    for held in others {
        line(&mut text, format_args!("  also {held}"));
    }
    if answer.not_listed > 0 {
        line(&mut text, format_args!("  and {} more", answer.not_listed));
    }
    text + &state(&answer.state)
}

pub(super) fn status(answer: &StatusAnswer) -> String {
    let mut text = state(&answer.state);
    if !answer.counts.is_empty() {
        let heads = ["origin", "remediation", "ipv4", "ipv6", "other"].map(str::to_owned);
        let rows = answer.counts.iter().map(|count| {
            [
                printable(&count.origin),
                printable(&count.remediation),
                count.ipv4.to_string(),
                count.ipv6.to_string(),
                count.other.to_string(),
            ]
        });
        text.push_str(&table(std::iter::once(heads).chain(rows).collect()));
    }
    if answer.requests > 0 {
        line(
            &mut text,
            format_args!("requests: {}, {} without a usable answer", answer.requests, answer.failed_requests),
        );
    }
    for (reason, count) in &answer.refused {
        line(&mut text, format_args!("not admitted: {count} ({})", printable(reason)));
    }
    if answer.missed > 0 {
        line(
            &mut text,
            format_args!(
                "missed by updates: {} (is the API key shared with another bouncer?)",
                answer.missed
            ),
        );
    }
    for (name, value) in &answer.enforcer {
        line(&mut text, format_args!("{}: {}", printable(name), printable(value)));
    }
    text
}

fn state(state: &State) -> String {
    let mut text = String::new();
    let age = state.seconds_since_last_answer.map(span);
    let about = format!("{} {}", printable(&state.about.program), printable(&state.about.version));
    let lapi = printable(&state.about.lapi);
    let decisions = match state.decisions {
        1 => "1 decision".to_owned(),
        many => format!("{many} decisions"),
    };
    match (state.source, age) {
        (Source::Running, Some(age)) => {
            line(&mut text, format_args!("{about}: {decisions}, {lapi} answered {age} ago"));
        }
        (Source::Running, None) => {
            line(&mut text, format_args!("{about}: {decisions}, {lapi} has not answered yet"));
        }
        (Source::Remembered, age) => {
            let age = age.unwrap_or_else(|| "some time".to_owned());
            line(&mut text, format_args!("{about} is not running: {decisions}, remembered {age} ago"));
        }
    }
    let kind = match (state.lapi_kind.as_str(), state.push) {
        ("cursors", true) => Some("tells changes as they happen"),
        ("cursors", false) => Some("keeps our place, and is asked at the interval"),
        ("stock", _) => Some("is a stock LAPI, asked at the interval"),
        _ => None,
    };
    if let Some(kind) = kind {
        let which = if state.current_lapi.is_empty() { &state.about.lapi } else { &state.current_lapi };
        let overs = match state.fail_overs {
            0 => String::new(),
            1 => "; it is the second that was turned to".to_owned(),
            more => format!("; LAPIs were changed {more} times"),
        };
        line(&mut text, format_args!("{} {kind}{overs}", printable(which)));
    }
    if let Some(failing) = &state.failing {
        line(&mut text, format_args!("the LAPI fails: {}", printable(failing)));
    }
    text
}

fn effect(effect: Option<&Effect>, running: bool) -> String {
    match effect {
        Some(Effect { denied: Some(true), reason }) => format!("denied ({})", printable(reason)),
        Some(Effect { denied: Some(false), reason }) => format!("let through: {}", printable(reason)),
        Some(Effect { denied: None, reason }) => printable(reason),
        None if running => "effect unknown: the running bouncer does not report it".to_owned(),
        None => "effect unknown: no bouncer is running".to_owned(),
    }
}

impl fmt::Display for DecisionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}: {}", printable(&self.remediation), span(self.seconds_left), why(self))
    }
}

fn why(held: &DecisionView) -> String {
    format!(
        "{} {} from {}, {:?}, until {} (id {})",
        printable(&held.scope),
        printable(&held.value),
        printable(&held.origin),
        printable(&held.scenario),
        held.until,
        held.id
    )
}

fn span(seconds: u64) -> String {
    GoDuration::from(Duration::from_secs(seconds)).to_string()
}

/// Escapes everything that a terminal would interpret.
pub fn printable(text: &str) -> String {
    // Texts come from the kernel, or from a LAPI, which takes them from log processors and published lists.
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            // Bidirectional controls are no control characters, but reorder what is shown.
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A table: the first two columns left-aligned, numbers right-aligned.
fn table(rows: Vec<[String; 5]>) -> String {
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        line(&mut text, format_args!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
    text
}

fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    writeln!(text, "{args}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_stream::Freshness;

    use super::super::answer::tests::{NOW, about, looked_up, snapshot};
    use super::*;

    #[test]
    fn a_lookup_reads_like_a_sentence() {
        assert_eq!(
            lookup(&looked_up("192.0.2.7")),
            "192.0.2.7: denied (drop)\n\
             192.0.2.7: ban for 4h0m0s\n  \
             because of Range 192.0.2.0/24 from cscli, \"why\", until 2025-10-09T12:53:20Z (id 4)\n  \
             also captcha for 400h0m0s: Ip 192.0.2.7 from crowdsec, \"why\", until 2025-10-26T00:53:20Z (id 400)\n\
             palisade-test v0.1.0: 4 decisions, http://127.0.0.1:8080/ answered 0s ago\n"
        );
        let effect = |denied, reason: &str| Some(Effect { denied, reason: reason.into() });
        let answer = LookupAnswer { effect: effect(Some(false), "no decision"), ..looked_up("203.0.113.1") };
        let text = lookup(&answer);
        let expected = "203.0.113.1: let through: no decision\n203.0.113.1: no decision holds\npalisade-test";
        assert!(text.starts_with(expected), "{text}");
        let text = lookup(&LookupAnswer { effect: effect(None, "in set x"), ..looked_up("192.0.0.0/16") });
        let expected = "192.0.0.0/16: in set x\n\
                        192.0.0.0/16: no decision covers all of it, but these touch it\n  also ban";
        assert!(text.starts_with(expected), "{text}");
        let text = lookup(&LookupAnswer { effect: None, ..looked_up("192.0.2.7") });
        assert!(text.starts_with("192.0.2.7: effect unknown: the running bouncer does not report it\n"));
    }

    #[test]
    fn a_status_names_what_is_wrong() {
        let snapshot = snapshot();
        let freshness = Freshness {
            failing: Some("cannot reach\u{1b}[31m it".into()),
            requests: 9,
            failed_requests: 2,
            refused: BTreeMap::from([("bad value", 3)]),
            ..Freshness::default()
        };
        let state = State::running(about(), &snapshot, &freshness, NOW);
        let enforcer = BTreeMap::from([("elements in the kernel".to_owned(), "4".to_owned())]);
        assert_eq!(
            status(&StatusAnswer::of(&snapshot, &freshness, state, enforcer)),
            "palisade-test v0.1.0: 4 decisions, http://127.0.0.1:8080/ has not answered yet\n\
             the LAPI fails: cannot reach\\u{1b}[31m it\n  \
             origin     remediation  ipv4  ipv6  other\n  \
             CAPI       ban             0     1      0\n  \
             crowdsec   captcha         1     0      0\n  \
             cscli      ban             1     0      0\n  \
             lists:why  ban             1     0      0\n\
             requests: 9, 2 without a usable answer\n\
             not admitted: 3 (bad value)\n\
             elements in the kernel: 4\n"
        );
    }
}
