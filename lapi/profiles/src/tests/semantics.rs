//! The rules by which profiles match, decide and stop.

use palisade_wire::Decision;

use super::{Past, alert, evaluate, filter};
use crate::{NoHistory, Outcome, Profiles, StepResult};

/// Kinds and durations of the decisions.
fn decided(outcome: &Outcome) -> Vec<String> {
    outcome.decisions.iter().map(|decision| format!("{} {}", decision.kind, decision.duration)).collect()
}

#[test]
fn alerts_show_their_fields_and_methods() {
    for expression in [
        "Alert.Remediation",
        "Alert.Remediation == true && Alert.GetScope() == 'Ip'",
        "Alert.GetValue() == '192.0.2.1' and Alert.GetScenario() contains 'ssh'",
        "Alert.GetEventsCount() > 5 and Alert.EventsCount == 6 and Alert.Capacity < 6",
        "Alert.GetMeta('target') contains '/login' and Alert.GetMeta('none') == ''",
        "Alert.Source.IP == '192.0.2.1' && Alert.Source.Range == '192.0.2.0/24'",
        "Alert.Source.Cn in ['FR', 'DE'] && Alert.Source.AsNumber == '64496'",
        "Alert.Source.GetAsNumberName() == '64496 Example Net'",
        "Alert.Source.String() == 'ip 192.0.2.1 (FR/64496)'",
        "Alert.Source.Latitude > 48.0 and Alert.Source.Longitude == 0",
        "Alert.Source.Scope == 'Ip' and Alert.Source.Value == Alert.Source.GetValue()",
        "Alert.Scenario != nil && Alert.Scenario startsWith 'crowdsecurity/'",
        "Alert.Kind == 'crowdsec' && Alert.UUID == '' && Alert.ID == 0 && !Alert.Simulated",
        "Alert.Events[0].GetMeta('service') == 'ssh' && Alert.Events[-1].Timestamp != ''",
        "any(Alert.Events, {.GetMeta('user') == 'root'})",
        "any(Alert.Events, {any(.Meta, {#.Key == 'user' && #.Value == 'root'})})",
        "len(Alert.Events) == 1 && len(Alert.Meta) == 1 && Alert.Meta[0].Key == 'target'",
        "'a' in Alert.Labels && len(Alert.Decisions) == 0",
        "Alert?.Source?.Cn == 'FR'",
        "IpInRange(Alert.Source.IP, '192.0.2.0/24') && IsIPV4(Alert.GetValue())",
        "Alert.Message matches '(?i)SSH-BF$'",
        "Alert.Source.AsName not in ['Other'] && Alert.Source.Cn not contains 'X'",
        "GetDecisionsCount(Alert.GetValue()) == 2",
        "GetDecisionsSinceCount(Alert.GetValue(), '24h') == 24",
        "GetDecisionsSinceCount(Alert.GetValue(), '2d') == 48",
        "GetActiveDecisionsCount(Alert.GetValue()) > 1",
        "GetActiveDecisionsTimeLeft(Alert.GetValue()) == duration('2h')",
        "GetActiveDecisionsTimeLeft(Alert.GetValue()).Hours() > 1.5",
        // What is no address has no past.
        "GetDecisionsCount('alice') == 0 && GetDecisionsSinceCount('AS1', '1h') == 0",
        "GetDecisionsSinceCount(Alert.GetValue(), 'nonsense') == 0",
        "LogInfo('seen %s', Alert.GetValue()) && Hostname() != ''",
        "TimeNow().Hour() >= 0 && now().Weekday().String() != ''",
    ] {
        assert_eq!(filter(expression), Ok(true), "{expression}");
    }
}

#[test]
fn a_decision_is_made_of_template_and_alert() {
    let outcome = evaluate(
        "name: p\nfilters: ['true']\ndecisions:\n- type: ban\n  duration: 1d\n- type: captcha\n  scope: range\n  origin: mine\n  value: ignored\n",
        &alert(),
    )
    .unwrap();
    let [first, second] = outcome.decisions.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((first.kind.as_str(), first.scope.as_str(), first.value.as_str()), ("ban", "Ip", "192.0.2.1"));
    assert_eq!((first.origin.as_str(), first.scenario.as_str()), ("crowdsec", "crowdsecurity/ssh-bf"));
    assert_eq!(first.duration.to_string(), "24h0m0s");
    assert_eq!((second.scope.as_str(), second.value.as_str()), ("Range", "192.0.2.1"));
    assert_eq!(second.origin, "crowdsec/mine");
    // No duration anywhere: four hours, as the stock server only announces.
    assert_eq!(second.duration.to_string(), "4h0m0s");
}

#[test]
fn a_decision_is_simulated_when_template_or_alert_is() {
    let text = "filters: ['true']\ndecisions:\n- {type: ban, simulated: true}\n- {type: ban}\n";
    let flags = |simulated| {
        let outcome = evaluate(text, &palisade_wire::Alert { simulated, ..alert() }).unwrap();
        outcome.decisions.iter().map(|decision| decision.simulated).collect::<Vec<_>>()
    };
    assert_eq!(flags(false), [true, false]);
    assert_eq!(flags(true), [true, true]);
}

#[test]
fn each_true_filter_makes_the_decisions_again() {
    let text = "filters: ['true', 'false', 'Alert.Remediation']\ndecisions:\n- {type: ban, duration: 1h}\n";
    let outcome = evaluate(text, &alert()).unwrap();
    assert_eq!(decided(&outcome), ["ban 1h0m0s", "ban 1h0m0s"]);
    assert_eq!(
        outcome.trace[0].filters.iter().map(|f| f.result.clone()).collect::<Vec<_>>(),
        [Ok(true), Ok(false), Ok(true)]
    );
    assert_eq!((outcome.trace[0].result, outcome.trace[0].decisions), (StepResult::Matched, 2));
}

#[test]
fn the_first_match_that_decides_supplies_the_decisions() {
    let text = "\
name: notify
filters: ['true']
notifications: [mail]
---
name: none
decisions: [{type: never}]
---
name: no
filters: ['false']
decisions: [{type: never}]
notifications: [never]
on_failure: break
---
name: first
filters: ['true']
decisions: [{type: ban}]
notifications: [mail, chat]
---
name: sees
filters: ['len(Alert.Decisions) == 1 && Alert.Decisions[0].Type == \"ban\" && Alert.Decisions[0].Duration == \"4h0m0s\"']
decisions: [{type: captcha}]
notifications: [pager]
on_success: break
---
name: unreached
filters: ['true']
notifications: [never]
";
    let outcome = evaluate(text, &alert()).unwrap();
    assert_eq!(decided(&outcome), ["ban 4h0m0s"]);
    assert_eq!(outcome.notify, ["mail", "chat", "pager"]);
    let trace: Vec<_> =
        outcome.trace.iter().map(|step| (step.profile.as_str(), step.result, step.stopped)).collect();
    assert_eq!(
        trace,
        [
            ("notify", StepResult::Matched, false),
            ("none", StepResult::NotMatched, false),
            ("no", StepResult::NotMatched, false),
            ("first", StepResult::Matched, false),
            ("sees", StepResult::Matched, true),
        ]
    );
}

#[test]
fn durations_can_be_computed_and_fall_back() {
    for (expression, duration, meant) in [
        ("Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)", "duration: 1h", "12h0m0s"),
        ("duration('90m')", "duration: 1h", "1h30m0s"),
        ("duration('1h') * 3", "duration: 1h", "3h0m0s"),
        ("Alert.Source.Cn == 'FR' ? '2d' : '4h'", "duration: 1h", "48h0m0s"),
        ("'nonsense'", "duration: 1h", "1h0m0s"),
        ("1 + 1", "duration: 1h", "1h0m0s"),
        ("'nonsense'", "simulated: false", "4h0m0s"),
        ("Alert.Events[99].Timestamp", "duration: 3h", "3h0m0s"),
        ("string(GetActiveDecisionsCount('alice'))", "duration: 3h", "3h0m0s"),
    ] {
        let text = format!(
            "filters: ['true']\nduration_expr: \"{expression}\"\ndecisions:\n- type: ban\n  {duration}\n"
        );
        let outcome = evaluate(&text, &alert()).unwrap();
        assert_eq!(decided(&outcome), [format!("ban {meant}")], "{expression}");
        let failed = !outcome.trace[0].notes.is_empty();
        let falls_back = matches!(expression, "'nonsense'" | "1 + 1")
            || expression.contains("99")
            || expression.contains("alice");
        assert_eq!(failed, falls_back, "{expression}: {:?}", outcome.trace[0].notes);
    }
}

#[test]
fn on_error_decides_the_effect_of_a_failing_filter() {
    const FAILING: &str = "Alert.Events[99].Timestamp == \"\"";
    // `on_error`, an earlier filter that is true: the profile's result, and whether the next profile is evaluated.
    for (on_error, earlier, meant) in [
        ("", false, None),
        ("", true, None),
        ("on_error: whatever", false, None),
        ("on_error: continue", false, Some((StepResult::Skipped, true))),
        ("on_error: ignore", false, Some((StepResult::Skipped, true))),
        ("on_error: continue", true, Some((StepResult::MatchedWithoutDecisions, true))),
        ("on_error: ignore", true, Some((StepResult::MatchedWithoutDecisions, true))),
        ("on_error: apply", false, Some((StepResult::MatchedWithoutDecisions, true))),
        ("on_error: apply", true, Some((StepResult::MatchedWithoutDecisions, true))),
        ("on_error: break", false, Some((StepResult::Skipped, true))),
        ("on_error: break", true, Some((StepResult::MatchedWithoutDecisions, false))),
    ] {
        let first = if earlier { "'true', " } else { "" };
        let text = format!(
            "name: a\nfilters: [{first}'{FAILING}']\ndecisions: [{{type: ban}}]\nnotifications: [n]\n{on_error}\n\
             ---\nname: b\nfilters: ['true']\ndecisions: [{{type: captcha}}]\n"
        );
        let outcome = evaluate(&text, &alert());
        match (meant, outcome) {
            (None, Err(error)) => {
                assert!(
                    error.starts_with(&format!("while running expression {FAILING}: index out of range")),
                    "{error}"
                );
            }
            (Some((result, next)), Ok(outcome)) => {
                let case = format!("{on_error} {earlier}: {outcome:?}");
                assert_eq!(outcome.trace[0].result, result, "{case}");
                assert_eq!(outcome.trace.len(), if next { 2 } else { 1 }, "{case}");
                assert_eq!(decided(&outcome).len(), usize::from(next), "{case}");
                assert_eq!(
                    !outcome.notify.is_empty(),
                    result == StepResult::MatchedWithoutDecisions,
                    "{case}"
                );
                assert_eq!(outcome.trace[0].stopped, !next, "{case}");
            }
            (meant, outcome) => panic!("{on_error} {earlier}: {meant:?} {outcome:?}"),
        }
    }
}

#[test]
fn a_function_that_is_missing_follows_on_error() {
    const CALLS: [&str; 5] = [
        "CrowdsecCTI(Alert.GetValue()).GetMaliciousnessScore() > 0.5",
        "GeoIPEnrich(Alert.GetValue())?.Country == \"x\"",
        "len(LookupHost(\"x\")) > 0",
        "RegexpInFile(Alert.GetValue(), \"x.txt\")",
        "HTTPGet(\"x\") != nil && Alert.Remediation",
    ];
    let text = |call: &str, keys: &str| {
        format!(
            "name: a\nfilters: ['{call}']\ndecisions: [{{type: captcha}}]\n{keys}\n\
             ---\nname: b\nfilters: ['true']\ndecisions: [{{type: ban}}]\n"
        )
    };
    for call in CALLS {
        for (on_error, result) in [
            ("continue", StepResult::Skipped),
            ("ignore", StepResult::Skipped),
            ("break", StepResult::Skipped),
            ("apply", StepResult::MatchedWithoutDecisions),
        ] {
            let outcome = evaluate(&text(call, &format!("on_error: {on_error}")), &alert()).unwrap();
            assert_eq!(outcome.trace[0].result, result, "{call} {on_error}");
            assert_eq!(decided(&outcome), ["ban 4h0m0s"], "{call} {on_error}: the other profile decides");
        }
        // Without `on_error` a failure refuses the alert, so every alert would be refused.
        for keys in ["", "on_error: whatever"] {
            let error = Profiles::parse(&text(call, keys), "p").unwrap_err().to_string();
            assert!(error.contains("cannot be used"), "{error}");
        }
    }
    // A filter that never gets to the call holds.
    let lazy = text("Alert.Remediation || CrowdsecCTI(\"x\").Score > 1", "on_error: continue");
    assert_eq!(decided(&evaluate(&lazy, &alert()).unwrap()), ["captcha 4h0m0s"]);
    // An earlier filter that is true: the profile matched, and `break` ends there.
    let first = "name: a\nfilters: ['true', 'CrowdsecCTI(\"x\").Score > 1']\nnotifications: [n]\non_error: break\n\
                 ---\nfilters: ['true']\ndecisions: [{type: ban}]\n";
    let outcome = evaluate(first, &alert()).unwrap();
    assert_eq!((outcome.trace.len(), outcome.notify.len(), outcome.decisions.len()), (1, 1, 0));
    // A duration that cannot be computed falls back to the fixed one, whatever `on_error` is.
    let computed = "filters: ['true']\ndecisions: [{type: ban, duration: 2h}]\n\
                    duration_expr: CrowdsecCTI(Alert.GetValue()).Duration\n";
    assert_eq!(decided(&evaluate(computed, &alert()).unwrap()), ["ban 2h0m0s"]);
}

#[test]
fn on_error_excuses_no_mistake() {
    for filter in ["CrowdsecCTI(", "nonsense(1)", "Alert.Nope", "CrowdsecCTI(Alert.Nope)", "1 + 1"] {
        let text = format!("filters: ['{filter}']\non_error: continue\n");
        assert!(Profiles::parse(&text, "p").is_err(), "{filter}");
    }
}

#[test]
fn on_success_break_ends_even_after_an_error_that_is_applied() {
    let text = "filters: ['Alert.Events[9].Timestamp == \"\"']\non_error: apply\non_success: break\n---\nfilters: ['true']\ndecisions: [{type: ban}]\n";
    let outcome = evaluate(text, &alert()).unwrap();
    assert_eq!((outcome.trace.len(), outcome.decisions.len()), (1, 0));
}

#[test]
fn an_alert_with_decisions_keeps_them_and_only_notifies() {
    let text = "\
name: fails
filters: ['true', 'Alert.Events[99].Timestamp == \"\"']
notifications: [never]
---
name: a
filters: ['Alert.Decisions[0].Origin == \"cscli\"']
decisions: [{type: ban}]
notifications: [mail]
on_success: break
---
name: b
filters: ['true']
notifications: [never]
";
    let mut alert = alert();
    alert.decisions.push(Decision { origin: "cscli".to_owned(), ..Decision::default() });
    let outcome = evaluate(text, &alert).unwrap();
    assert_eq!((outcome.decisions.len(), outcome.notify.as_slice()), (0, ["mail".to_owned()].as_slice()));
    assert_eq!(
        outcome.trace.iter().map(|step| step.result).collect::<Vec<_>>(),
        [StepResult::Skipped, StepResult::Matched]
    );
}

#[test]
fn a_history_that_fails_makes_the_expression_fail() {
    for function in ["GetDecisionsCount", "GetActiveDecisionsCount"] {
        let text = format!("filters: ['{function}(Alert.GetValue()) > 1']\ndecisions: [{{type: ban}}]\n");
        let profiles = Profiles::parse(&text, "p").unwrap();
        assert!(profiles.needs_history());
        let error = profiles.evaluate(&alert(), &Past(Err("the database is away".to_owned()))).unwrap_err();
        assert!(error.to_string().contains("the database is away"), "{error}");
    }
    assert!(filter("GetActiveDecisionsCount('alice') > 0").unwrap_err().contains("no address and no range"));
    assert!(filter("GetActiveDecisionsTimeLeft('FR') > duration('1h')").is_err());
}

#[test]
fn a_result_that_is_no_bool_is_an_error_when_the_file_is_read_or_when_it_runs() {
    assert!(filter("get({a: 1}, 'a')").unwrap_err().contains("expected a bool and got int"));
    let error = Profiles::parse("filters: ['1 + 1']\n", "p").unwrap_err().to_string();
    assert!(error.contains("this gives int"), "{error}");
}

#[test]
fn without_questions_about_the_past_none_is_needed() {
    let profiles =
        Profiles::parse("filters: ['Alert.Remediation']\nnotifications: [a, b, a]\n", "p").unwrap();
    assert!(!profiles.needs_history());
    assert_eq!(profiles.notifications(), ["a", "b"]);
    assert!(profiles.evaluate(&alert(), &NoHistory).unwrap().decisions.is_empty());
}
