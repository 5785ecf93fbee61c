//! No dependency in `Cargo.lock` has a version that an advisory in `packaging/advisories.toml` affects.

use std::collections::BTreeSet;
use std::path::Path;

use palisade_e2e::{Doing as _, Outcome};
use semver::{Version, VersionReq};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const KINDS: &[&str] = &["notice", "unmaintained", "unsound", "vulnerability"];

/// `packaging/advisories.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    crates: BTreeSet<String>,
    #[serde(default, rename = "advisory")]
    advisories: Vec<Advisory>,
    #[serde(default)]
    accepted: Vec<Accepted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advisory {
    id: String,
    #[serde(rename = "crate")]
    name: String,
    date: String,
    kind: String,
    title: String,
    patched: Vec<VersionReq>,
    unaffected: Vec<VersionReq>,
}

/// An advisory that affects `Cargo.lock` and does not touch us.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    id: String,
    reason: String,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Version,
    /// None for the members of this workspace.
    source: Option<String>,
}

impl Advisory {
    fn affects(&self, package: &Package) -> bool {
        package.source.is_some() && package.name == self.name && self.affects_version(&package.version)
    }

    /// As in Cargo, a pre-release matches only a requirement that names a pre-release of the same version. A pre-release
    /// with the fix can thus be reported; it belongs into `accepted`.
    fn affects_version(&self, version: &Version) -> bool {
        !self.patched.iter().chain(&self.unaffected).any(|requirement| requirement.matches(version))
    }

    fn patched_versions(&self) -> String {
        if self.patched.is_empty() {
            return "none".to_owned();
        }
        let requirements: Vec<String> = self.patched.iter().map(VersionReq::to_string).collect();
        requirements.join(" or ")
    }

    /// The first field whose value nothing but this check refuses.
    fn malformed_field(&self) -> Option<&'static str> {
        let fields = [
            ("id", is_id(&self.id)),
            ("date", self.date.parse::<jiff::civil::Date>().is_ok()),
            ("kind", KINDS.contains(&self.kind.as_str())),
            ("title", !self.title.trim().is_empty()),
        ];
        fields.into_iter().find(|(_, valid)| !valid).map(|(field, _)| field)
    }
}

/// Whether this has the form RUSTSEC-YYYY-NNNN, with a number of its own.
fn is_id(id: &str) -> bool {
    let parts: Vec<&str> = id.split('-').collect();
    let is_number =
        |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit()) && text != "0000";
    matches!(*parts, ["RUSTSEC", year, number] if is_number(year) && is_number(number))
}

fn read<T: DeserializeOwned>(file: &str) -> Outcome<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(path).doing(format!("reading {file}"))?;
    toml_edit::de::from_str(&text).doing(format!("parsing {file}"))
}

/// What must be changed, in `Cargo.lock` or in the facts, one line each.
fn problems(facts: &Facts, lock: &Lock) -> Vec<String> {
    let mut problems = malformed_entries(facts);
    let names: BTreeSet<&str> = lock
        .package
        .iter()
        .filter(|package| package.source.is_some())
        .map(|package| package.name.as_str())
        .collect();
    for name in names {
        if !facts.crates.contains(name) {
            problems.push(format!(
                "{name} is not in `crates`: add its advisories, if there are any, and its name"
            ));
        }
    }
    let is_accepted = |advisory: &Advisory| facts.accepted.iter().any(|accepted| accepted.id == advisory.id);
    for advisory in facts.advisories.iter().filter(|advisory| !is_accepted(advisory)) {
        for package in lock.package.iter().filter(|package| advisory.affects(package)) {
            problems.push(format!(
                "{} {} is affected by {} ({}): {}; patched: {}",
                package.name,
                package.version,
                advisory.id,
                advisory.kind,
                advisory.title,
                advisory.patched_versions(),
            ));
        }
    }
    for accepted in &facts.accepted {
        let mut advisories = facts.advisories.iter().filter(|advisory| advisory.id == accepted.id);
        if !advisories.any(|advisory| lock.package.iter().any(|package| advisory.affects(package))) {
            problems
                .push(format!("{} is accepted and affects nothing: remove it from `accepted`", accepted.id));
        }
    }
    problems
}

fn malformed_entries(facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for advisory in &facts.advisories {
        if let Some(field) = advisory.malformed_field() {
            problems.push(format!("{} of {}: malformed {field}", advisory.id, advisory.name));
        }
        if !facts.crates.contains(&advisory.name) {
            problems.push(format!("{}: its crate {} is not in `crates`", advisory.id, advisory.name));
        }
        if !ids.insert(&advisory.id) {
            problems.push(format!("{} is listed twice", advisory.id));
        }
    }
    let mut ids = BTreeSet::new();
    for accepted in &facts.accepted {
        if accepted.reason.trim().is_empty() {
            problems.push(format!("{} is accepted without a reason", accepted.id));
        }
        if !ids.insert(&accepted.id) {
            problems.push(format!("{} is accepted twice", accepted.id));
        }
    }
    problems
}

#[test]
fn no_dependency_has_a_version_that_an_advisory_affects() -> Outcome {
    let lock: Lock = read("Cargo.lock")?;
    assert!(lock.package.len() > 20, "only {} packages seen", lock.package.len());
    let problems = problems(&read("packaging/advisories.toml")?, &lock);
    assert!(
        problems.is_empty(),
        "update crates with `cargo update -p`; for the rest see the first lines of packaging/advisories.toml:\n{}",
        problems.join("\n")
    );
    Ok(())
}

#[test]
fn a_version_is_affected_if_no_requirement_matches() -> Outcome {
    let two_lines = (&[">= 0.4.8, < 1.0.0-0", ">= 1.1.0"][..], &["< 0.4.2"][..]);
    let compatible = (&[">= 0.14.3", "0.13.10"][..], &["< 0.12.0"][..]);
    let unmaintained = (&[][..], &[">= 0.17"][..]);
    let never_patched = (&[][..], &[][..]);
    let alphas = (&[">= 0.103.12, < 0.104.0-alpha.1", ">= 0.104.0-alpha.6"][..], &[][..]);
    for ((patched, unaffected), version, affected) in [
        (two_lines, "0.4.1", false),
        (two_lines, "0.4.2", true),
        (two_lines, "0.4.8", false),
        (two_lines, "1.0.0", true),
        (two_lines, "1.1.0", false),
        (two_lines, "1.1.0+build.7", false),
        (compatible, "0.13.9", true),
        (compatible, "0.13.11", false),
        (compatible, "0.14.0", true),
        (unmaintained, "0.16.20", true),
        (unmaintained, "0.17.14", false),
        (never_patched, "99.0.0", true),
        (alphas, "0.103.17", false),
        (alphas, "0.104.0-alpha.5", true),
        (alphas, "0.104.0-alpha.7", false),
        // In doubt: made after the fix, but named by no requirement.
        (two_lines, "2.0.0-rc.1", true),
    ] {
        let parsed =
            |requirements: &[&str]| requirements.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let advisory = Advisory {
            id: "RUSTSEC-2026-0001".to_owned(),
            name: "tokio".to_owned(),
            date: "2026-01-01".to_owned(),
            kind: "unsound".to_owned(),
            title: "a title".to_owned(),
            patched: parsed(patched)?,
            unaffected: parsed(unaffected)?,
        };
        assert_eq!(
            advisory.affects_version(&version.parse()?),
            affected,
            "{version} with {patched:?}, {unaffected:?}"
        );
    }
    Ok(())
}

#[test]
fn each_problem_is_named() -> Outcome {
    const LOCK: &str = r#"
        [[package]]
        name = "tokio"
        version = "1.0.0"
        source = "registry"
        [[package]]
        name = "ours"
        version = "0.1.0"
    "#;
    let advisory = |id: &str, patched: &str| {
        format!(
            "[[advisory]]\nid = \"{id}\"\ncrate = \"tokio\"\ndate = \"2026-01-01\"\nkind = \"unsound\"\n\
             title = \"a title\"\npatched = [\"{patched}\"]\nunaffected = []\n"
        )
    };
    let looked_up = "crates = [\"tokio\"]\n";
    let affecting = format!("{looked_up}{}", advisory("RUSTSEC-2026-0001", ">= 1.0.1"));
    let accepted = "[[accepted]]\nid = \"RUSTSEC-2026-0001\"\nreason = \"not called\"\n";
    for (facts, expected) in [
        (looked_up.to_owned(), vec![]),
        (
            affecting.clone(),
            vec!["tokio 1.0.0 is affected by RUSTSEC-2026-0001 (unsound): a title; patched: >=1.0.1"],
        ),
        (affecting.replace(">= 1.0.1", "^1.0.0"), vec![]),
        (format!("{affecting}{accepted}"), vec![]),
        (
            format!("{affecting}{}", accepted.replace("not called", " ")),
            vec!["RUSTSEC-2026-0001 is accepted without a reason"],
        ),
        (
            format!("{looked_up}{accepted}"),
            vec!["RUSTSEC-2026-0001 is accepted and affects nothing: remove it from `accepted`"],
        ),
        (
            "crates = []".to_owned(),
            vec!["tokio is not in `crates`: add its advisories, if there are any, and its name"],
        ),
        (
            format!("{looked_up}{}", advisory("RUSTSEC-0000-0000", "1.0.0")),
            vec!["RUSTSEC-0000-0000 of tokio: malformed id"],
        ),
        (
            format!(
                "{looked_up}{}",
                advisory("RUSTSEC-2026-0001", "1.0.0").replace("2026-01-01", "2026-13-01")
            ),
            vec!["RUSTSEC-2026-0001 of tokio: malformed date"],
        ),
        (
            format!("{looked_up}{}", advisory("RUSTSEC-2026-0001", "1.0.0").repeat(2)),
            vec!["RUSTSEC-2026-0001 is listed twice"],
        ),
    ] {
        assert_eq!(
            problems(&toml_edit::de::from_str(&facts)?, &toml_edit::de::from_str(LOCK)?),
            expected,
            "{facts}"
        );
    }
    for malformed in [affecting.replace("patched", "patchd"), affecting.replace(">= 1.0.1", "> = 1")] {
        assert!(toml_edit::de::from_str::<Facts>(&malformed).is_err(), "{malformed}");
    }
    Ok(())
}
