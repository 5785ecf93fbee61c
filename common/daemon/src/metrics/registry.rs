//! The registry of metrics, and hooks that refresh them before a scrape.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::registry::Registry;

use super::text;

/// How long a scrape waits for each hook before it serves the old values.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

type Hook = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A handle to a metrics registry with refresh hooks; clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    hooks: Arc<Mutex<Vec<Arc<Hook>>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives access to the registry, to add metrics. `_total` is appended to the names of counters.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        // A panic while adding leaves a usable registry.
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `hook` before each scrape and at each [`Self::refresh`].
    pub fn before_scrape<F: Future<Output = ()> + Send + 'static>(
        &self,
        hook: impl Fn() -> F + Send + Sync + 'static,
    ) {
        let hook: Hook = Box::new(move || Box::pin(hook()));
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(hook));
    }

    /// Runs all hooks in turn, at most five seconds each.
    pub async fn refresh(&self) {
        // Cloned, because a lock must not be held across an await.
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            if tokio::time::timeout(REFRESH_TIMEOUT, hook()).await.is_err() {
                tracing::warn!("metrics were not refreshed within 5s; serving the last values");
            }
        }
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub fn text(&self) -> String {
        text::prometheus(&self.openmetrics())
    }

    /// All metrics in the OpenMetrics text format 1.0.0.
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // When a collector fails, what was encoded before is still useful.
        if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
            tracing::warn!("metrics are incomplete: a collector failed");
        }
        text
    }
}
