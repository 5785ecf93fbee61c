//! What is refused when a file is read, with its place.

use std::fs;

use crate::{Profiles, ProfilesError};

#[test]
fn mistakes_are_reported_with_file_line_and_column() {
    for (text, line, column, reason) in [
        ("name: a\nfilter:\n - 'true'\n", 2, 1, "filter"),
        ("name: a\ndecisions:\n - type: ban\n   durations: 4h\n", 4, 4, "durations"),
        (
            "name: a\nfilters:\n - Alert.Remediaton == true\n",
            3,
            4,
            "Alert has no field Remediaton; did you mean Remediation?",
        ),
        (
            "filters:\n - true && Alert.GetScpe() == 'Ip'\n",
            2,
            12,
            "no method GetScpe; did you mean GetScope?",
        ),
        ("filters:\n - \"true && Alert.Nope\"\n", 2, 13, "no field Nope"),
        ("filters:\n - |\n   true &&\n   Alert.Nope\n", 4, 4, "no field Nope"),
        ("filters:\n - >-\n   Alert.Nope\n", 3, 4, "no field Nope"),
        ("filters:\n - nonsense(1)\n", 2, 4, "unknown function nonsense"),
        ("filters:\n - alert.Remediation\n", 2, 4, "unknown name alert; did you mean Alert?"),
        ("filters:\n - Alert.Remediation ==\n", 2, 24, "unexpected the end"),
        (
            "filters:\n - CrowdsecCTI(Alert.GetValue()).GetMaliciousnessScore() > 0.5\n",
            2,
            4,
            "CrowdsecCTI cannot be used",
        ),
        ("filters:\n - RegexpInFile(Alert.GetValue(), 'x.txt')\n", 2, 4, "data files"),
        ("filters:\n - GeoIPEnrich(Alert.GetValue())?.Country == 'x'\n", 2, 4, "Alert.Source.Cn"),
        ("filters:\n - len(LookupHost('x')) > 0\n", 2, 8, "network"),
        ("filters:\n - HTTPGet('x') != nil\n", 2, 4, "network"),
        ("filters:\n - 'true'\nduration_expr: Sprintf('%dh', nope)\n", 3, 31, "duration_expr"),
        ("decisions:\n - type: ban\n   duration: 4x\n", 3, 14, "unknown unit"),
        ("decisions:\n - type: ban\n   duration: 4\n", 3, 14, "missing unit"),
        ("decisions:\n - duration: 4h\n", 2, 4, "needs a type"),
        ("on_success: brake\n", 1, 13, "write one of continue, break"),
        ("on_failure: nope\n", 1, 13, "write one of continue, break, apply"),
        ("name: a\n---\nname: b\nfilters:\n - nope\n", 5, 4, "unknown name nope"),
        ("name: a\nname: b\n", 2, 1, "name"),
        ("name: [\n", 0, 0, ""),
        ("- a\n- b\n", 1, 1, ""),
        ("filters: 5\n", 1, 10, ""),
    ] {
        let error = Profiles::parse(text, "/etc/x/profiles.yaml").expect_err(text);
        let ProfilesError::Invalid { path, line: l, column: c, reason: r } = &error else {
            panic!("{text}: {error}")
        };
        assert_eq!(path.to_str(), Some("/etc/x/profiles.yaml"));
        assert!(r.contains(reason), "{text}: {error}");
        if line > 0 {
            assert_eq!((*l, *c), (line, column), "{text}: {error}");
        }
        assert!(error.to_string().starts_with("/etc/x/profiles.yaml:"), "{error}");
        assert!(!r.contains(" at line") && !r.contains('\n'), "{error}");
    }
}

#[test]
fn a_file_without_profiles_is_refused() {
    for text in ["", "# nothing\n", "---\n---\n"] {
        let error = Profiles::parse(text, "p.yaml").unwrap_err();
        assert!(matches!(error, ProfilesError::Empty { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains("zero profiles loaded for LAPI"));
    }
}

#[test]
fn documents_of_the_local_file_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profiles.yaml");
    fs::write(&path, "name: main\nfilters: ['true']\n").unwrap();
    assert_eq!(Profiles::load(&path).unwrap().names().collect::<Vec<_>>(), ["main"]);
    let local = folder.path().join("profiles.yaml.local");
    fs::write(&local, "name: a\n---\nname: b\n").unwrap();
    assert_eq!(Profiles::load(&path).unwrap().names().collect::<Vec<_>>(), ["a", "b", "main"]);
    fs::write(&local, "nmae: a\n").unwrap();
    let error = Profiles::load(&path).unwrap_err().to_string();
    assert!(error.contains("profiles.yaml.local:1:1"), "{error}");
    // A dollar is a dollar: profiles hold regular expressions, not environment variables.
    fs::write(&local, "name: $HOME\nfilters: [\"Alert.Scenario matches 'ssh$'\"]\n").unwrap();
    assert_eq!(Profiles::load(&path).unwrap().names().next(), Some("$HOME"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Profiles::load("/nonexistent/profiles.yaml".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the profiles in /nonexistent/profiles.yaml");
}

#[test]
fn fields_that_mean_nothing_in_a_decision_are_accepted() {
    let text = "filters: ['true']\ndecisions:\n - {type: ban, duration: 4h, value: x, scenario: y, id: 3, uuid: z, until: w}\n";
    assert!(Profiles::parse(text, "p").is_ok());
}
