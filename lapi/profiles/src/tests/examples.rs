//! The shipped profiles, what users commonly write, and hostile files.

use palisade_wire::{Alert, Source};
use proptest::prelude::*;

use super::{Past, alert, evaluate};
use crate::{Outcome, Profiles};

const SHIPPED: &str = include_str!("../../../../packaging/config/profiles.yaml");

fn about(scope: &str, value: &str, remediation: bool) -> Alert {
    Alert {
        remediation,
        source: Source { scope: scope.to_owned(), value: value.to_owned(), ..alert().source },
        ..alert()
    }
}

fn shown(outcome: &Outcome) -> Vec<String> {
    let one = |d: &crate::ProfileDecision| {
        format!("{} {} {} {} {}", d.origin, d.kind, d.duration, d.scope, d.value)
    };
    outcome.decisions.iter().map(one).collect()
}

#[test]
fn the_shipped_profiles_ban_addresses_and_ranges_that_ask_for_it() {
    let outcome = evaluate(SHIPPED, &about("Ip", "192.0.2.1", true)).unwrap();
    assert_eq!(shown(&outcome), ["crowdsec ban 4h0m0s Ip 192.0.2.1"]);
    assert_eq!((outcome.trace.len(), outcome.trace[0].stopped), (1, true));
    let outcome = evaluate(SHIPPED, &about("Range", "192.0.2.0/24", true)).unwrap();
    assert_eq!(shown(&outcome), ["crowdsec ban 4h0m0s Range 192.0.2.0/24"]);
    for (scope, remediation) in [("Ip", false), ("Range", false), ("AS", true), ("Country", true)] {
        assert!(evaluate(SHIPPED, &about(scope, "x", remediation)).unwrap().decisions.is_empty(), "{scope}");
    }
    assert!(!Profiles::parse(SHIPPED, "p").unwrap().needs_history());
}

#[test]
fn the_example_in_the_shipped_profiles_works_when_uncommented() {
    let text = SHIPPED.replace("# duration_expr", "duration_expr");
    let profiles = Profiles::parse(&text, "p").unwrap();
    assert!(profiles.needs_history());
    let outcome = profiles.evaluate(&alert(), &Past(Ok(2))).unwrap();
    assert_eq!(shown(&outcome), ["crowdsec ban 12h0m0s Ip 192.0.2.1"]);
}

#[test]
fn captcha_first_and_a_ban_for_repeated_offences() {
    let text = "\
name: captcha
filters:
  - Alert.Remediation == true && Alert.GetScope() == \"Ip\" && Alert.GetScenario() contains \"http\" && GetDecisionsSinceCount(Alert.GetValue(), \"24h\") <= 24
decisions:
  - type: captcha
    duration: 4h
on_success: break
---
name: ban
filters:
  - |
    // everyone else
    Alert.Remediation == true && Alert.GetScope() == \"Ip\"
      && !(Alert.Source.Cn in [\"XX\", \"YY\"])   /* not these */
decisions:
  - type: ban
    duration: 4h
on_success: break
";
    let http = Alert { scenario: "crowdsecurity/http-probing".to_owned(), ..alert() };
    assert_eq!(shown(&evaluate(text, &http).unwrap()), ["crowdsec captcha 4h0m0s Ip 192.0.2.1"]);
    assert_eq!(shown(&evaluate(text, &alert()).unwrap()), ["crowdsec ban 4h0m0s Ip 192.0.2.1"]);
}

proptest! {
    #[test]
    fn any_file_is_answered(text in "\\PC{0,200}") {
        let _ = Profiles::parse(&text, "p");
    }

    #[test]
    fn any_damage_to_the_shipped_file_is_answered(at in 0..2000_usize, length in 0..30_usize, piece in "[\\PC\n]{0,12}") {
        let mut text: Vec<char> = SHIPPED.chars().collect();
        let at = at % text.len();
        let end = (at + length).min(text.len());
        text.splice(at..end, piece.chars());
        let text: String = text.into_iter().collect();
        if let Ok(profiles) = Profiles::parse(&text, "p") {
            let _ = profiles.evaluate(&alert(), &Past(Ok(1)));
        }
    }
}
