//! Signals: SIGTERM and SIGINT stop the daemon, a second one immediately; SIGHUP requests a reload.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ready::Readiness;
use crate::logs::Logs;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Installs the handlers: from then on no signal kills the process.
pub(super) fn open() -> io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

/// Translates signals into `stop` and `reload` until the runtime ends.
pub(super) async fn listen(
    mut signals: Signals,
    stop: CancellationToken,
    reload: watch::Sender<u64>,
    readiness: Readiness,
    logs: Logs,
) {
    let mut asked_to_stop = false;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
            _ = signals.hangup.recv() => {
                // A reload during shutdown would start what is being stopped.
                if !stop.is_cancelled() {
                    info!("Received SIGHUP, reloading the configuration");
                    readiness.reloading();
                    reload.send_modify(|count| *count += 1);
                }
                continue;
            }
        }
        if asked_to_stop {
            warn!("second shutdown signal, exiting immediately");
            // `exit` runs no destructors and does not wait for the log's thread.
            logs.flush();
            std::process::exit(1);
        }
        asked_to_stop = true;
        info!("Received shutdown signal, exiting gracefully");
        // At once, and not when the body returns: until then the service manager would report the daemon as running.
        super::ready::notify(&[sd_notify::NotifyState::Stopping]);
        stop.cancel();
    }
}
