use palisade_cache::{Decision, Target, Timestamp};

use super::*;

fn decision() -> Decision<'static> {
    Decision {
        scope: "Ip",
        target: Target::Net("192.0.2.7/32".parse().unwrap()),
        remediation: "ban",
        origin: "crowdsec",
        scenario: "crowdsecurity/SSH-bf",
        until: Timestamp::from_millis(1_800_000_000_000),
        id: 7,
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn expression(source: &str) -> Result<Filter, FilterError> {
    Filter::compile(&FilterConfig { expression: Some(source.to_owned()), ..FilterConfig::default() })
}

#[test]
fn an_empty_filter_takes_everything() {
    let filter = Filter::compile(&FilterConfig::default()).unwrap();
    assert!(filter.is_empty() && filter.matches(&decision()));
}

#[test]
fn lists_are_compared_without_regard_to_case_and_all_must_match() {
    let all = FilterConfig {
        scopes: texts(&["Range", "IP"]),
        types: texts(&["Ban"]),
        origins: texts(&["CrowdSec"]),
        scenarios: texts(&["ssh-BF", "http"]),
        not_scenarios: texts(&["slow"]),
        expression: Some("Decision.ID == 7".to_owned()),
    };
    let takes = |config: &FilterConfig| Filter::compile(config).unwrap().matches(&decision());
    assert!(takes(&all));
    let no = texts(&["other"]);
    assert!(!takes(&FilterConfig { scopes: no.clone(), ..all.clone() }));
    assert!(!takes(&FilterConfig { types: no.clone(), ..all.clone() }));
    assert!(!takes(&FilterConfig { origins: no.clone(), ..all.clone() }));
    assert!(!takes(&FilterConfig { scenarios: no, ..all.clone() }));
    assert!(!takes(&FilterConfig { not_scenarios: texts(&["SSH"]), ..all.clone() }));
    assert!(!takes(&FilterConfig { expression: Some("Decision.ID == 8".to_owned()), ..all }));
}

#[test]
fn one_list_is_named_by_its_origin_and_name() {
    let listed = Decision { origin: "lists", scenario: "firehol_voipbl", ..decision() };
    let takes = |origin: &str, decision: &Decision<'_>| {
        let config = FilterConfig { origins: texts(&[origin]), ..FilterConfig::default() };
        Filter::compile(&config).unwrap().matches(decision)
    };
    assert!(takes("lists", &listed) && takes("Lists:FireHOL_voipbl", &listed));
    assert!(!takes("lists:other", &listed) && !takes("lists:crowdsecurity/SSH-bf", &decision()));
}

#[test]
fn an_empty_text_is_refused() {
    let config = FilterConfig { not_scenarios: texts(&["a", ""]), ..FilterConfig::default() };
    assert_eq!(Filter::compile(&config).unwrap_err(), FilterError::Empty { list: "not_scenarios" });
}

#[test]
fn an_expression_reads_every_field_of_a_decision() {
    for (source, expected) in [
        (r#"Decision.Value == "192.0.2.7" && Decision.Scope == "Ip""#, true),
        (r#"Decision.Type in ["ban", "captcha"] && Decision.Origin != "CAPI""#, true),
        (r#"Decision.Scenario contains "SSH" || Lower(Decision.Scenario) contains "http""#, true),
        (r#"Decision.Until > "2027-01-15T08:00:00Z""#, false),
        (r#"Decision.Until >= "2027-01-15T08:00:00Z""#, true),
        (r#"IpInRange(Decision.Value, "192.0.2.0/24")"#, true),
        (r#"Decision.Within("192.0.2.0/29")"#, true),
        (r#"Decision.Within("192.0.2.0/30")"#, false),
        ("Decision.ID > 7", false),
    ] {
        assert_eq!(expression(source).unwrap().matches(&decision()), expected, "{source}");
    }
}

#[test]
fn a_range_is_within_a_prefix_that_holds_all_of_it_and_a_name_in_none() {
    let range = Decision { target: Target::Net("192.0.2.0/25".parse().unwrap()), ..decision() };
    let country = Decision { scope: "Country", target: Target::Name("FR"), ..decision() };
    let filter = expression(r#"Decision.Within("192.0.2.0/24")"#).unwrap();
    assert!(filter.matches(&range) && !filter.matches(&country));
    assert!(!expression(r#"Decision.Within("192.0.2.0/26")"#).unwrap().matches(&range));
}

#[test]
fn an_error_names_the_place_and_a_suggestion() {
    let error = expression("Decision.Scop == \"Ip\"").unwrap_err().to_string();
    assert!(error.contains("did you mean Scope?") && error.contains("line 1, column"), "{error}");
    for (source, part) in [
        ("Decision.Duration > 3600", "has the fields ID, Value"),
        ("Decision.Value", "expected a condition"),
        ("Decision.Until > now()", "lifted before their end"),
        ("Decision.Value ==", "line 1"),
    ] {
        let error = expression(source).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let long = expression(&"1 == 1 || ".repeat(2000)).unwrap_err();
    assert!(matches!(long, FilterError::TooLong { .. }), "{long}");
}

#[test]
fn an_evaluation_that_fails_is_counted_and_takes_nothing() {
    let filter = expression(r#"Decision.Within(Decision.Scenario)"#).unwrap();
    assert!(!filter.matches(&decision()) && !filter.matches(&decision()));
    assert_eq!(filter.evaluation_errors(), 2);
    assert_eq!(Filter::default().evaluation_errors(), 0);
}
