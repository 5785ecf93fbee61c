//! The messages that the page on troubleshooting quotes are those of the programs.

use std::path::Path;

use palisade_book::{read, root};

/// All sources of the programs in one text, with the texts of strings as they are printed.
fn sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<_> =
        ["bouncers", "common", "decision-cache", "lapi"].map(|name| root().join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text.push_str(&std::fs::read_to_string(Path::new(&path)).expect("a source"));
            }
        }
    }
    // A string goes on in the next line behind a backslash.
    let mut joined = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("\\\n") {
        joined.push_str(before);
        rest = after.trim_start();
    }
    joined.push_str(rest);
    joined.replace("\\\"", "\"")
}

/// The parts of a message between what stands for something else.
fn parts(message: &str) -> Vec<&str> {
    message.split('…').map(str::trim).filter(|part| !part.is_empty()).collect()
}

#[test]
fn quoted_messages_are_in_the_sources() {
    let sources = sources();
    let mut missing = Vec::new();
    let mut count = 0;
    for line in read("docs/troubleshooting.md").lines().filter(|line| line.starts_with("| `")) {
        let Some(message) = line.split('`').nth(1) else { continue };
        // A command, and not a message.
        if ["palisade", "lookup"].iter().any(|name| message.starts_with(name)) {
            continue;
        }
        count += 1;
        for part in parts(message).into_iter().filter(|part| !sources.contains(part)) {
            missing.push(part.to_owned());
        }
    }
    assert!(count > 30, "the page quotes {count} messages");
    assert!(missing.is_empty(), "no program prints these: {missing:#?}");
}
