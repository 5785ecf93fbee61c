//! Readiness of the daemon, and notifications of the service manager.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::debug;

/// Sends a notification, if there is a service manager. Failure to send it is not an error.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        debug!(error = &cause as &dyn std::error::Error, "cannot notify the service manager");
    }
}

/// Counts the latches that are not released yet.
#[derive(Debug, Clone)]
pub(super) struct Readiness {
    held: Arc<AtomicUsize>,
    ready: watch::Sender<bool>,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self { held: Arc::default(), ready: watch::Sender::new(false) }
    }

    pub(super) fn latch(&self) -> Latch {
        self.held.fetch_add(1, Ordering::AcqRel);
        Latch { readiness: self.clone() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// A reload begins. Not sent before the daemon is ready: for the service manager it is still starting then.
    pub(super) fn reloading(&self) {
        if *self.ready.borrow() {
            match NotifyState::monotonic_usec_now() {
                // `Type=notify-reload` requires the time. Other types ignore it.
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
        }
    }

    pub(super) fn reloaded(&self) {
        if *self.ready.borrow() {
            // For the service manager READY=1 also ends a reload.
            notify(&[NotifyState::Ready]);
        }
    }
}

/// Holds back readiness until it is released.
#[derive(Debug)]
#[must_use = "release it when what it stands for is up"]
pub struct Latch {
    readiness: Readiness,
}

impl Latch {
    /// Releases the latch. The daemon becomes ready, for good, with the last one.
    pub fn release(self) {
        // `send_replace` returns the earlier value, so READY=1 is sent once although latches may be taken again
        // later.
        if self.readiness.held.fetch_sub(1, Ordering::AcqRel) == 1 && !self.readiness.ready.send_replace(true)
        {
            notify(&[NotifyState::Ready]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_latch_is_released() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch(), readiness.latch());
        let ready = readiness.watch();
        one.release();
        assert!(!*ready.borrow());
        two.release();
        assert!(*ready.borrow());
    }

    #[test]
    fn a_lost_latch_holds_back_for_ever() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch(), readiness.latch());
        drop(one);
        two.release();
        assert!(!*readiness.watch().borrow());
    }
}
