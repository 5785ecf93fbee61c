//! A daemon as the service manager and the operator see it. Each story runs this test binary again as the
//! daemon, because signals are a matter of the whole process.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::{
    io::Read as _,
    os::unix::{net::UnixDatagram, process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use palisade_daemon::{
    logs::Logs,
    runtime::{self, DaemonContext},
};
use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The daemon of these stories; runs only when a story has set its part.
#[test]
fn daemon_under_test() {
    let Ok(part) = std::env::var("PALISADE_LIFE_PART") else { return };
    let logs = Logs::start().unwrap();
    let code = runtime::run(logs, async |context: DaemonContext| {
        let latch = context.latch();
        match part.as_str() {
            "fails" => anyhow::bail!("it did not work"),
            "task-panics" => context.spawn("sample", async { panic!("out of luck") }),
            "stuck" => context.spawn("sample", async {
                std::future::pending::<()>().await;
                Ok(())
            }),
            _ => {}
        }
        context.status("all is well");
        context.watchdog(|| true);
        latch.release();
        let mut reload = context.reload.clone();
        while let Some(changed) = context.stop.run_until_cancelled(reload.changed()).await {
            changed?;
            context.reloaded();
        }
        anyhow::Ok(())
    });
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 });
}

struct Daemon {
    child: Child,
    manager: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn start(part: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(TIMEOUT)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon_under_test", "--nocapture"])
            .env("PALISADE_LIFE_PART", part)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "100000")
            .env_remove("WATCHDOG_PID")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, manager, _dir: dir }
    }

    /// Waits for a notification that contains `text`.
    fn wait_for(&self, text: &str) -> String {
        let mut buffer = [0; 512];
        loop {
            let len = self
                .manager
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{text} does not come: {error}"));
            let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if message.contains(text) {
                return message;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ends(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("the daemon does not end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

#[test]
fn ready_reload_watchdog_stop() {
    let daemon = Daemon::start("regular");
    daemon.wait_for("STATUS=all is well");
    daemon.wait_for("READY=1");
    daemon.wait_for("WATCHDOG=1");
    daemon.signal(Signal::HUP);
    let reloading = daemon.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    daemon.wait_for("READY=1");
    daemon.signal(Signal::TERM);
    daemon.wait_for("STOPPING=1");
    let (status, log) = daemon.ends();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("level=info msg=\"Received shutdown signal, exiting gracefully\""), "{log}");
}

#[test]
fn interrupt_is_graceful_too() {
    let daemon = Daemon::start("regular");
    daemon.wait_for("READY=1");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ends().0.code(), Some(0));
}

#[test]
fn a_returned_error_is_logged_at_fatal_and_exits_1() {
    let (status, log) = Daemon::start("fails").ends();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("level=fatal msg=\"it did not work\""), "{log}");
}

#[test]
fn a_panicking_task_ends_the_daemon() {
    let (status, log) = Daemon::start("task-panics").ends();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("level=panic") && log.contains("out of luck"), "{log}");
    assert!(log.contains("level=fatal msg=\"the sample task panicked"), "{log}");
}

#[test]
fn a_second_signal_does_not_wait() {
    let daemon = Daemon::start("stuck");
    daemon.wait_for("READY=1");
    daemon.signal(Signal::TERM);
    daemon.wait_for("STOPPING=1");
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.ends();
    assert!(asked.elapsed() < Duration::from_secs(5), "{log}");
    assert_eq!((status.code(), status.signal()), (Some(1), None), "{log}");
}
