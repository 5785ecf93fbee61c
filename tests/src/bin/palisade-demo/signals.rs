//! The signals that end the demonstration.

use std::sync::mpsc::{Receiver, channel};

use palisade_e2e::Outcome;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

/// Catches SIGINT, SIGTERM and SIGHUP from now on; yields the number of the first. SIGHUP stays ignored under `nohup`.
pub(crate) fn terminations() -> Outcome<Receiver<i32>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ignores_hangup = is_in(ignored_signals()?, SignalKind::hangup().as_raw_value());
    let caught = {
        // Here and not on the thread: a signal that arrives after this function has returned is caught.
        let _inside = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let kinds = kinds.into_iter().filter(|kind| *kind != SignalKind::hangup() || !ignores_hangup);
        kinds.map(|kind| Ok((kind.as_raw_value(), signal(kind)?))).collect::<Outcome<Vec<(i32, Signal)>>>()?
    };
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut arrivals = JoinSet::new();
            for (number, mut signal) in caught {
                arrivals.spawn(async move { signal.recv().await.map(|()| number) });
            }
            if let Some(Ok(Some(number))) = arrivals.join_next().await {
                // The main thread has ended otherwise.
                let _ = sender.send(number);
            }
            // The handlers stay: further signals do not interrupt the end.
            std::future::pending::<()>().await;
        });
    });
    Ok(receiver)
}

/// The mask `SigIgn` of this process.
fn ignored_signals() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    Ok(u64::from_str_radix(mask.trim(), 16).unwrap_or_default())
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}
