//! The sections of the metrics and the words that select them.

use serde::Serialize;

use crate::failure::Failure;

/// A section, in the order of fields of `metrics list`.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Section {
    pub(super) description: &'static str,
    pub(super) title: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

const fn section(kind: &'static str, title: &'static str, description: &'static str) -> Section {
    Section { description, title, kind }
}

/// The sections in display order.
pub(super) const SECTIONS: [Section; 16] = [
    section(
        "acquisition",
        "Acquisition Metrics",
        "Measures the lines read, parsed, and unparsed per datasource.",
    ),
    section(
        "alerts",
        "Local API Alerts",
        "Tracks the total number of past and present alerts for the installed scenarios.",
    ),
    section(
        "appsec-challenge",
        "Appsec Challenge Metrics",
        "Measures the challenges of the application firewall.",
    ),
    section(
        "appsec-challenge-infra",
        "Appsec Challenge Infra Metrics",
        "Measures the machinery of the challenges.",
    ),
    section(
        "appsec-engine",
        "Appsec Metrics",
        "Measures the number of parsed and blocked requests by the AppSec Component.",
    ),
    section(
        "appsec-rule",
        "Appsec Rule Metrics",
        "Provides “per AppSec Component” information about the number of matches for loaded AppSec Rules.",
    ),
    section("bouncers", "Bouncer Metrics", "Network traffic blocked by bouncers."),
    section("decisions", "Local API Decisions", "Provides information about all currently active decisions."),
    section("lapi", "Local API Metrics", "Monitors the requests made to local API routes."),
    section(
        "lapi-bouncer",
        "Local API Bouncers Metrics",
        "Tracks total hits to remediation component related API routes.",
    ),
    section(
        "lapi-decisions",
        "Local API Bouncers Decisions",
        "Tracks the number of empty/non-empty answers from LAPI to bouncers that are working in \"live\" mode.",
    ),
    section(
        "lapi-machine",
        "Local API Machines Metrics",
        "Tracks the number of calls to the local API from each registered machine.",
    ),
    section(
        "parsers",
        "Parser Metrics",
        "Tracks the number of events processed by each parser and indicates success of failure.",
    ),
    section("scenarios", "Scenario Metrics", "Measure events in different scenarios."),
    section(
        "stash",
        "Parser Stash Metrics",
        "Tracks the status of stashes that might be created by various parsers and scenarios.",
    ),
    section(
        "whitelists",
        "Whitelist Metrics",
        "Tracks the number of events processed and possibly whitelisted by each parser whitelist.",
    ),
];

const ALIASES: [(&str, &[&str]); 4] = [
    ("engine", &["acquisition", "parsers", "scenarios", "stash", "whitelists"]),
    ("lapi", &["alerts", "decisions", "lapi", "lapi-bouncer", "lapi-decisions", "lapi-machine"]),
    ("appsec", &["appsec-engine", "appsec-rule"]),
    ("bot-detection", &["appsec-challenge", "appsec-challenge-infra"]),
];

/// The sections for the given names; all for none.
pub(super) fn selected(words: &[String]) -> Result<Vec<&'static str>, Failure> {
    let mut wanted = Vec::new();
    for word in words {
        let alias = ALIASES.iter().find(|(name, _)| name == word).map(|(_, list)| list.to_vec());
        let section = SECTIONS.iter().find(|section| section.kind == word).map(|section| vec![section.kind]);
        wanted.extend(alias.or(section).ok_or_else(|| {
            Failure::advised(format!("unknown metrics type: {word}"), "`palisade metrics list` lists them")
        })?);
    }
    if words.is_empty() {
        wanted.extend(SECTIONS.iter().map(|section| section.kind));
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_sections() {
        let select =
            |words: &[&str]| selected(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(select(&["alerts", "alerts"]).unwrap(), ["alerts"]);
        assert_eq!(select(&["lapi"]).unwrap().len(), 6);
        assert_eq!(select(&[]).unwrap().len(), SECTIONS.len());
        assert_eq!(select(&["foo"]).unwrap_err().to_string(), "unknown metrics type: foo");
    }
}
