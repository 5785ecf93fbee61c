use std::path::Path;

use super::*;
use crate::config::ProgramMode;
use crate::event::{EventKind, LiftCause};
use crate::program::test_support::{added, config, event, script};

fn sink(folder: &Path, text: &str, timeout: Duration) -> ArgumentsSink {
    let config = config(script(folder, text), ProgramMode::Arguments { timeout });
    ArgumentsSink::new(Arc::new(config), timeout, Attempts::default())
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_event_is_a_call_with_five_arguments_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("printf '%s|' \"$#\" \"$@\" >> {0}/calls; echo >> {0}/calls", folder.path().display());
    let mut sink = sink(folder.path(), &text, LONG);
    let mut message = added([0x0102_0304]);
    message.events.push(event("192.0.2.0/24", EventKind::Lifted(LiftCause::Deleted)));
    assert_eq!(sink.deliver(&message).await, Outcome::Delivered);
    let calls = lines(&folder.path().join("calls"));
    let words: Vec<Vec<&str>> = calls.iter().map(|call| call.split('|').collect()).collect();
    assert_eq!(words.len(), 2);
    assert_eq!(words[0][..3], ["5", "add", "1.2.3.4"]);
    assert_eq!(words[1][..3], ["5", "del", "192.0.2.0/24"]);
    assert_eq!(words[0][4], "manual 'ban' from 'localhost'");
    let left: i64 = words[0][3].parse().unwrap();
    let json: serde_json::Value = serde_json::from_str(words[0][5]).unwrap();
    let text = json["duration"].as_str().unwrap().parse::<palisade_go_compat::GoDuration>().unwrap();
    assert_eq!(text.rounded_seconds(), left);
    assert!(json.get("action").is_none());
}

#[tokio::test]
async fn a_failing_call_is_tried_three_times_and_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), "test \"$2\" != 0.0.0.2 || { echo no such set; exit 3; }", LONG);
    let message = added([1, 2, 3]);
    for kind in [FailureKind::Retry, FailureKind::Retry, FailureKind::Rejected, FailureKind::Retry] {
        let Outcome::Partly(failures) = sink.deliver(&message).await else { panic!("one fails") };
        let reason = "the program failed: exit status 3: no such set".to_owned();
        let failure = Failure { kind, perhaps_received: true, reason, retry_after: None };
        assert_eq!(failures, [(1, failure)]);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let text = format!("echo waiting; sleep 1000 & echo $! > {}; wait", file.display());
    let mut sink = sink(folder.path(), &text, Duration::from_millis(700));
    let Outcome::Partly(failures) = sink.deliver(&added([1])).await else { panic!("it does not end") };
    let (_, failure) = &failures[0];
    assert_eq!(failure.reason, "the program failed: killed after the timeout of 700ms: waiting");
    let pid = lines(&file)[0].clone();
    wait_for("the sleep is killed", || !is_running(&pid)).await;
}

#[tokio::test]
async fn an_abandoned_call_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let mut sink = sink(folder.path(), &format!("sleep 1000 & echo $! > {}; wait", file.display()), LONG);
    {
        let message = added([1]);
        let delivery = sink.deliver(&message);
        tokio::pin!(delivery);
        let started = wait_for("it has started", || !lines(&file).is_empty());
        tokio::select! {
            outcome = &mut delivery => panic!("{outcome:?}"),
            () = started => {}
        }
    }
    let pid = lines(&file)[0].clone();
    wait_for("the sleep is killed", || !is_running(&pid)).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_pauses_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = sink(folder.path(), "rm \"$0\"", LONG);
    let Outcome::Partly(failures) = sink.deliver(&added([1, 2, 3])).await else {
        panic!("it removes itself")
    };
    assert_eq!(failures.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    let Outcome::Failed(failure) = sink.deliver(&added([2, 3])).await else { panic!("it is gone") };
    assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Refusing, false));
}

#[tokio::test]
async fn output_is_bounded_and_what_goes_on_in_the_background_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let text = "yes | head -c 300000; (sleep 3; echo) & exit 1";
    let mut sink = sink(folder.path(), text, LONG);
    let start = Instant::now();
    let Outcome::Partly(failures) = sink.deliver(&added([1])).await else { panic!("it fails") };
    assert!(start.elapsed() < Duration::from_secs(3));
    let reason = &failures[0].1.reason;
    assert!(reason.len() < 20_000 && reason.ends_with(" ...") && !reason.contains('\n'), "{reason}");
}

fn is_running(pid: &str) -> bool {
    // A zombie has been killed too.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
