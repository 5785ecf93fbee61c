//! Tests against the running kernel, each in a user and network namespace of its own, so that neither root nor
//! the host's rules are involved. `nft` is the independent witness.

mod commits;
mod explain;
mod structures;

use std::process::{Command, Output};

/// Runs the body in a fresh namespace: starts this test binary again under `unshare`, for this one test.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "PALISADE_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let name = test.split_once("::").expect("module_path!() starts with the crate").1;
    let output = Command::new("unshare")
        .args(["-Urn", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (package util-linux) is needed for this test");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("1 passed"), "{name} in its namespace: {}\n{out}\n{err}", output.status);
    print!("{out}{err}");
}

/// The full name of the test that contains this line.
macro_rules! test_name {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here).trim_end_matches("::here")
    }};
}
pub(crate) use test_name;

/// Runs `nft` on a script, and returns what it prints.
pub(crate) fn nft(script: &str) -> String {
    let output = try_nft(script);
    assert!(output.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn try_nft(script: &str) -> Output {
    Command::new("nft").arg(script).output().expect("nft (package nftables) is needed for this test")
}
