use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::config::ProgramMode;
use crate::program::test_support::{added, config, script};

const LONG: Duration = Duration::from_secs(60);

struct Fixture {
    folder: tempfile::TempDir,
    sink: StandardInputSink,
    exceeded: mpsc::Receiver<MaxStartsExceeded>,
}

/// A sink of a script that can write its process id to `$PID` and lines to `$LINES`.
fn fixture(max_starts: Option<u32>, text: &str) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let text = format!("PID={place}/pid; LINES={place}/lines\necho $$ > $PID\n{text}");
    let (restart_wait, stop_timeout) = (Duration::from_millis(20), LONG);
    let mode = ProgramMode::StandardInput { max_starts, restart_wait, stop_timeout };
    let config = config(script(folder.path(), &text), mode);
    let (sender, exceeded) = mpsc::channel(1);
    let policy = Policy { max_starts, restart_wait, stop_timeout };
    Fixture { sink: StandardInputSink::new(Arc::new(config), policy, sender), folder, exceeded }
}

impl Fixture {
    fn lines(&self) -> Vec<String> {
        lines(&self.folder.path().join("lines"))
    }

    async fn pid(&self) -> i32 {
        let file = self.folder.path().join("pid");
        wait_for("the program has started", || !lines(&file).is_empty()).await;
        lines(&file)[0].parse().unwrap()
    }

    async fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().await).unwrap(), signal).unwrap();
    }

    /// Reports the start, as everything is sent again to a program that was started.
    async fn started(&mut self) {
        assert_eq!(self.sink.lost().await, "the program was started");
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines().map(str::to_owned).collect()
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Drives a future for a moment, and drops it if it does not end.
async fn briefly<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(150), future).await.ok()
}

#[tokio::test]
async fn a_program_is_started_told_and_closed() {
    let mut fixture = fixture(Some(1), "cat > $LINES; echo end >> $LINES");
    fixture.started().await;
    assert_eq!(fixture.sink.deliver(&added(1..=20_000)).await, Outcome::Delivered);
    assert_eq!(fixture.sink.deliver(&added([7])).await, Outcome::Delivered);
    let Fixture { folder, sink, .. } = fixture;
    sink.close().await;
    let lines = lines(&folder.path().join("lines"));
    assert_eq!(lines.len(), 20_002);
    assert!(lines[19_999].contains("\"value\":\"0.0.78.32\""), "{}", lines[19_999]);
    assert_eq!(lines[20_001], "end", "it has seen the end of its input, and was waited for");
}

#[tokio::test]
async fn what_was_not_read_is_not_delivered() {
    let mut fixture = fixture(None, "kill -STOP $$; exec cat > $LINES");
    fixture.started().await;
    let message = added([1, 2]);
    assert_eq!(briefly(fixture.sink.deliver(&message)).await, None, "it reads nothing yet");
    fixture.signal(Signal::CONT).await;
    assert_eq!(fixture.sink.deliver(&message).await, Outcome::Delivered);
    wait_for("it has received the line", || fixture.lines().len() >= 2).await;
    assert_eq!(fixture.lines().len(), 2, "and once, although the delivery was abandoned and repeated");
}

#[tokio::test]
async fn a_program_that_reads_nothing_fails_visibly_and_is_not_ended() {
    let mut fixture = fixture(None, "kill -STOP $$; exec cat > $LINES");
    fixture.started().await;
    fixture.sink.read_timeout = Duration::from_millis(100);
    // More than the pipe holds, so that a line is cut.
    let (large, small) = (added(1..=20_000), added([7]));
    for (message, perhaps_received) in [(&large, true), (&large, true), (&small, false), (&small, false)] {
        let Outcome::Failed(failure) = fixture.sink.deliver(message).await else { panic!("it reads") };
        assert_eq!((failure.kind, failure.perhaps_received), (FailureKind::Retry, perhaps_received));
    }
    fixture.sink.read_timeout = LONG;
    fixture.signal(Signal::CONT).await;
    assert_eq!(fixture.sink.deliver(&small).await, Outcome::Delivered);
    wait_for("all is written", || fixture.lines().last().is_some_and(|line| line.contains("\"0.0.0.7\"")))
        .await;
    for line in fixture.lines() {
        serde_json::from_str::<serde_json::Value>(&line).expect("no line is cut");
    }
}

#[tokio::test]
async fn a_program_killed_with_unread_input_has_lost_everything() {
    let mut fixture = fixture(None, "read line; echo \"$line\" >> $LINES; exec sleep 1000");
    fixture.started().await;
    let message = added(1..=30_000);
    let kill = async {
        let folder = fixture.folder.path().to_owned();
        wait_for("a line is read", || !lines(&folder.join("lines")).is_empty()).await;
        let pid: i32 = lines(&folder.join("pid"))[0].parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    };
    let (outcome, ()) = tokio::join!(fixture.sink.deliver(&message), kill);
    assert_eq!(outcome, Outcome::Lost("the program was started again: signal: killed".to_owned()));
}

#[tokio::test]
async fn a_program_that_ends_while_there_is_nothing_to_tell_is_started_again() {
    let mut fixture = fixture(None, "trap 'exit 0' USR1; while read line; do echo \"$line\" >> $LINES; done");
    fixture.started().await;
    fixture.signal(Signal::KILL).await;
    assert_eq!(fixture.sink.lost().await, "the program was started again: signal: killed");
    assert_eq!(fixture.sink.deliver(&added([1])).await, Outcome::Delivered);
    wait_for("it has received the line", || fixture.lines().len() == 1).await;
}

#[tokio::test]
async fn a_program_is_started_so_often_and_then_the_daemon_ends() {
    let mut fixture = fixture(Some(3), "exit 3");
    for reason in ["the program was started", "the program was started again: exit status 3"] {
        assert_eq!(fixture.sink.lost().await, reason);
        assert!(fixture.exceeded.try_recv().is_err());
    }
    // Its last start, during a delivery or not.
    let outcome = fixture.sink.deliver(&added([1])).await;
    assert_eq!(outcome, Outcome::Lost("the program was started again: exit status 3".to_owned()));
    let outcome = fixture.sink.deliver(&added([1])).await;
    let Outcome::Failed(Failure { kind: FailureKind::Gone, .. }) = outcome else { panic!("{outcome:?}") };
    let error = fixture.exceeded.recv().await.unwrap();
    assert_eq!(error.to_string(), "maximum retries exceeded for program execution");
    assert_eq!(briefly(fixture.sink.lost()).await, None);
}

#[tokio::test]
async fn a_program_that_closes_its_input_counts_as_ended() {
    let mut fixture = fixture(None, "exec <&-; echo closed > $LINES; sleep 1000");
    fixture.started().await;
    let folder = fixture.folder.path().to_owned();
    wait_for("it is closed", || !lines(&folder.join("lines")).is_empty()).await;
    let reason = "the program was started again: it has closed its standard input".to_owned();
    assert_eq!(fixture.sink.deliver(&added([1])).await, Outcome::Lost(reason));
}

#[tokio::test]
async fn a_program_that_cannot_be_started_pauses_the_endpoint_unless_starts_are_bounded() {
    let mut unbounded = fixture(None, "");
    std::fs::remove_file(unbounded.folder.path().join("program")).unwrap();
    let Outcome::Failed(failure) = unbounded.sink.deliver(&added([1])).await else { panic!("it is gone") };
    assert_eq!(failure.kind, FailureKind::Refusing);
    let mut bounded = fixture(Some(2), "");
    std::fs::remove_file(bounded.folder.path().join("program")).unwrap();
    let Outcome::Failed(failure) = bounded.sink.deliver(&added([1])).await else { panic!("it is gone") };
    assert_eq!(failure.kind, FailureKind::Gone);
    assert!(bounded.exceeded.try_recv().is_ok());
}

#[tokio::test]
async fn a_program_that_ignores_the_end_of_its_input_is_ended() {
    let mut fixture = fixture(None, "trap '' TERM; sleep 1000 & trap 'exit 0' TERM; while :; do wait; done");
    fixture.started().await;
    fixture.sink.policy.stop_timeout = Duration::from_millis(50);
    let pid = fixture.pid().await;
    fixture.sink.close().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
