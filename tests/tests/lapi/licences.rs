//! Everything we link can be used under a permissive licence.

use std::process::{Command, Stdio};

use palisade_e2e::{Doing as _, Failure, Outcome};
use serde_json::Value;

/// What a dependency may be used under: none of these asks more than to keep a notice.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_has_a_permissive_licence() -> Outcome {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ran = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .stdin(Stdio::null())
        .output()
        .doing("starting cargo metadata")?;
    if !ran.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&ran.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&ran.stdout)?;
    let packages = metadata["packages"].as_array().doing("cargo metadata lists no packages")?;
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(permissive))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(packages.len() > 20, "only {} packages seen", packages.len());
    assert!(refused.is_empty(), "not permissive, or not said:\n{}", refused.join("\n"));
    Ok(())
}

/// Whether an SPDX expression leaves a permissive choice: any side of OR (or the old slash), both of AND.
fn permissive(expression: &str) -> bool {
    let words = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut at = 0;
    either(&words, &mut at) && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut fine = both(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fine |= both(words, at);
    }
    fine
}

fn both(words: &[&str], at: &mut usize) -> bool {
    let mut fine = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fine &= one(words, at);
    }
    fine
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let fine = either(words, at);
        *at += 1;
        return fine;
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return PERMISSIVE.contains(&format!("{word} WITH {exception}").as_str());
    }
    PERMISSIVE.contains(&word)
}

#[test]
fn licence_expressions_are_read_with_their_choices() {
    for (expression, fine) in [
        ("MIT", true),
        ("GPL-3.0-or-later", false),
        ("MIT OR GPL-2.0", true),
        ("MIT AND GPL-2.0", false),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("", false),
    ] {
        assert_eq!(permissive(expression), fine, "{expression}");
    }
}
