//! Enters temporary namespaces by starting this program again inside them.
//!
//! The second run is root of its own user, network, mount and process namespaces: it may change any firewall rule it
//! sees and sees none of the host's. All its processes end when it does, however it ends.

use std::any::type_name;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::outcome::{Doing, Failure, Outcome};
use crate::tools;
use crate::world::World;

/// Set for the run inside.
const INSIDE: &str = "PALISADE_INSIDE";

/// How the namespaces are entered.
const UNSHARE: &[&str] = &["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Whether this is the run inside the namespaces.
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs a test in a world of its own. A test is `fn name() -> Outcome { story(|world| …) }`: the closure's type names
/// the test, and the test binary runs it again, alone, inside the namespaces.
///
/// # Errors
/// Any error of the test, after the world's evidence (logs, ruleset) has been printed.
pub fn story<F: FnOnce(&World) -> Outcome>(story: F) -> Outcome {
    story_within(Duration::from_secs(180), story)
}

/// A [`story`] that may take longer than the usual three minutes.
///
/// # Errors
/// As [`story`].
pub fn story_within<F: FnOnce(&World) -> Outcome>(limit: Duration, story: F) -> Outcome {
    if inside() { run_inside(limit, story) } else { run_again(&test_name(type_name::<F>())?) }
}

/// `ranges::a_banned_range::{{closure}}` is the test `a_banned_range` of the binary `ranges`.
fn test_name(closure: &str) -> Outcome<String> {
    let path = closure.trim_end_matches("::{{closure}}");
    let (_binary, test) = path.split_once("::").doing(format_args!("{closure} is not inside a test"))?;
    Ok(test.to_owned())
}

/// Appends how long a test took to the file that `make test` lists the slowest tests from.
fn note_time(test: &str, took: Duration) -> Outcome {
    let Some(path) = std::env::var_os("PALISADE_TEST_TIMES") else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // In one write, as many tests append at once.
    file.write_all(format!("{:.1} {test}\n", took.as_secs_f64()).as_bytes())?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "libtest keeps it and shows it when the story fails")]
fn run_again(test: &str) -> Outcome {
    let begin = Instant::now();
    let mut inner = unshare()?;
    inner.arg(std::env::current_exe()?).args([
        "--exact",
        test,
        "--nocapture",
        "--include-ignored",
        "--test-threads=1",
    ]);
    let (mut reader, writer) = std::io::pipe().doing("making a pipe")?;
    let mut child = inner
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .doing(format_args!("starting {}", tools::spelled(&inner)))?;
    drop(inner); // it holds the pipe's writing ends; without this the reading below would never end
    let mut said = Vec::new();
    reader.read_to_end(&mut said)?;
    let status = child.wait()?;
    note_time(test, begin.elapsed())?;
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    if !status.success() {
        return Err(Failure::new(reason(&said).unwrap_or_else(|| format!("the story ended with {status}"))));
    }
    if !said.contains("1 passed") {
        return Err(Failure::new(format!("no test of the name {test} ran inside the world")));
    }
    Ok(())
}

/// The line in which the run inside reports why it failed.
fn reason(said: &str) -> Option<String> {
    said.lines().find_map(|line| line.strip_prefix(FAILED)).map(str::to_owned)
}

/// Marks the line [`reason`] looks for.
pub(crate) const FAILED: &str = "story failed: ";

#[expect(clippy::print_stderr, reason = "the run outside picks it up")]
fn run_inside<F: FnOnce(&World) -> Outcome>(limit: Duration, story: F) -> Outcome {
    let world = World::raise()?;
    world.watch(limit);
    let result = catch_unwind(AssertUnwindSafe(|| story(&world)));
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Failure::new(text.unwrap_or_else(|| "it panicked".to_owned())))
        }
    };
    if let Err(failure) = &outcome {
        world.show_evidence();
        eprintln!("\n{FAILED}{failure}");
    }
    outcome
}

/// Replaces this program by itself inside the namespaces, for a program that is not a test. Returns inside.
///
/// # Errors
/// When the namespaces cannot be created; the message names what the system must allow.
pub fn enter() -> Outcome {
    if inside() {
        return Ok(());
    }
    let mut inner = unshare()?;
    inner.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).stdin(Stdio::inherit());
    Err(inner.exec()).doing("entering the namespaces")
}

/// The command that runs this program again inside, as a child with its arguments, for a program that goes on outside.
/// Unlike a test's, that run does not die with this one: it has to notice.
///
/// # Errors
/// As [`enter`].
pub fn command_inside() -> Outcome<Command> {
    let mut command = tools::command("unshare")?;
    command.args(user_namespace()?).args(UNSHARE).arg("--").env(INSIDE, "1");
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Ok(command)
}

/// The command that enters: all processes die with this one (`--pdeathsig`).
fn unshare() -> Outcome<Command> {
    let user = user_namespace()?;
    let mut command = tools::command("setpriv")?;
    command.args(["--pdeathsig", "KILL", "unshare"]).args(user).args(UNSHARE).arg("--").env(INSIDE, "1");
    Ok(command)
}

/// `--map-root-user` where the system allows user namespaces; nothing for root where it does not.
fn user_namespace() -> Outcome<&'static [&'static str]> {
    const MAPPED: &[&str] = &["--map-root-user"];
    let mut refusals = Vec::new();
    let root = rustix::process::geteuid().is_root();
    let real_root = root && std::env::var_os("PALISADE_REAL_ROOT").is_some();
    let ways: &[&'static [&'static str]] = if real_root {
        &[&[]]
    } else if root {
        &[MAPPED, &[]]
    } else {
        &[MAPPED]
    };
    for way in ways {
        let mut trial = tools::command("unshare")?;
        match tools::output(trial.args(*way).args(UNSHARE).args(["--", "true"])) {
            Ok(_) => return Ok(way),
            Err(refusal) => refusals.push(refusal.to_string()),
        }
    }
    Err(Failure::new(format!(
        "no namespaces to be had here: {}; an ordinary user needs kernel.unprivileged_userns_clone=1 (Debian) or \
         kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or run this as root",
        refusals.join("; ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closure_names_its_test() {
        assert_eq!(test_name("ranges::nested::{{closure}}").unwrap(), "nested");
        assert_eq!(test_name("ranges::deep::nested::{{closure}}").unwrap(), "deep::nested");
        assert!(test_name("lonely").is_err());
    }
}
