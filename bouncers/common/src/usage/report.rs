//! Reads the counters and sends reports, in one task.

use std::future::Future;
use std::time::Duration;

use palisade_client::{LapiPool, PushError};
use palisade_go_compat::with_causes;
use palisade_wire::{MetricsWindow, OsInfo, RemediationComponent, UsageMetrics};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Accumulator, Reading};

const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the final report, which delays shutdown.
const FINAL_REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// When a LAPI without usage metrics is tried again: it may have been upgraded.
const RETRY_UNSUPPORTED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The bouncer's side of a report.
pub trait Meter: Send {
    /// All metrics as they are now. Values that cannot be read are omitted and logged.
    fn read(&mut self) -> impl Future<Output = Vec<Reading>> + Send;
}

/// The destination of reports: a LAPI, or a test.
pub trait Receiver: Send + Sync {
    /// Delivers a report.
    fn push(&self, metrics: &UsageMetrics) -> impl Future<Output = Result<(), PushError>> + Send;
}

impl Receiver for LapiPool {
    async fn push(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
        self.push_usage_metrics(metrics).await
    }
}

/// The sender of reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The type, as in the User-Agent before the slash.
    pub kind: String,
    /// The version, as in the User-Agent after the slash.
    pub version: String,
    /// The operating system; see [`os_info`](super::os_info).
    pub os: OsInfo,
    /// When the process started, in seconds since the Unix epoch.
    pub started: i64,
}

/// Sends a report every `interval`, and a final one at the end.
#[derive(Debug)]
pub struct Reporter<M, R> {
    /// The sender.
    pub identity: Identity,
    /// The source of metrics.
    pub meter: M,
    /// The destination. It must use the stream's key and address family, or the LAPI takes it for another bouncer.
    pub receiver: R,
    /// 15 minutes in the stock bouncers; zero disables reports.
    pub interval: Duration,
}

impl<M: Meter, R: Receiver> Reporter<M, R> {
    /// Reports until `stop`, then once more, which takes at most five seconds. Counters must stay readable until this
    /// returns: stop it before the enforcer cleans up.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.interval.is_zero() {
            info!("usage metrics are switched off");
            return;
        }
        let mut accumulator = Accumulator::new(now());
        accumulator.begin(self.meter.read().await);
        let mut wait = self.interval;
        let mut supported = true;
        loop {
            // The first report comes after one interval, as in the stock bouncers.
            let stopping = stop.run_until_cancelled(sleep(wait)).await.is_none();
            accumulator.read(self.meter.read().await);
            let at = now();
            let report = self.identity.report(accumulator.window(at));
            let limit = if stopping { FINAL_REPORT_TIMEOUT } else { REPORT_TIMEOUT };
            // The final report would only delay the end.
            if stopping && !supported {
                return;
            }
            wait = self.interval;
            match timeout(limit, self.receiver.push(&report)).await {
                Ok(Ok(())) => {
                    debug!("usage metrics sent");
                    accumulator.delivered(at);
                    supported = true;
                }
                // No report follows the final one, so a warning about the next would be wrong, and a missing endpoint
                // during shutdown does not mean an old LAPI.
                Ok(Err(error)) if stopping => {
                    debug!(error = with_causes(&error), "the last usage metrics were not sent");
                }
                Err(_) if stopping => debug!("the last usage metrics were not sent in time"),
                Ok(Err(PushError::Unsupported { .. })) => {
                    if supported {
                        info!("metrics endpoint not found, older LAPI? Usage metrics are off until tomorrow");
                    }
                    // Discarded: this LAPI takes no reports, and after an upgrade of it a report must cover its own
                    // window only.
                    accumulator.delivered(at);
                    supported = false;
                    wait = RETRY_UNSUPPORTED_AFTER.max(self.interval);
                }
                Ok(Err(error)) => warn!(
                    "failed to send metrics: {}; they are kept for the next report",
                    with_causes(&error)
                ),
                Err(_) => warn!("timeout sending metrics; they are kept for the next report"),
            }
            if stopping {
                return;
            }
        }
    }
}

impl Identity {
    fn report(&self, window: MetricsWindow) -> UsageMetrics {
        UsageMetrics {
            remediation_components: vec![RemediationComponent {
                kind: self.kind.clone(),
                version: self.version.clone(),
                feature_flags: Vec::new(),
                utc_startup_timestamp: self.started,
                os: Some(self.os.clone()),
                metrics: vec![window],
            }],
        }
    }
}

fn now() -> i64 {
    palisade_stream::now().as_millis().div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use palisade_client::PullError;
    use tokio::sync::mpsc;

    use super::*;

    /// Returns 1, 2, 3, … on successive readings.
    struct Ticker(u64);
    impl Meter for Ticker {
        async fn read(&mut self) -> Vec<Reading> {
            self.0 += 1;
            vec![Reading::counter("processed", "packet", [("ip_type", "ipv4")], self.0)]
        }
    }

    /// Answers from a script, then with success, and forwards what it received.
    struct Scripted {
        answers: Mutex<VecDeque<Option<PushError>>>,
        got: mpsc::UnboundedSender<UsageMetrics>,
    }
    impl Receiver for Arc<Scripted> {
        async fn push(&self, metrics: &UsageMetrics) -> Result<(), PushError> {
            self.got.send(metrics.clone()).unwrap();
            let answer = self.answers.lock().unwrap().pop_front();
            match answer {
                None => Ok(()),
                Some(Some(error)) => Err(error),
                Some(None) => std::future::pending().await,
            }
        }
    }

    fn value(report: &UsageMetrics) -> u64 {
        let [component] = &report.remediation_components[..] else { panic!("not one component") };
        let [window] = &component.metrics[..] else { panic!("not one window") };
        window.items[0].value.as_u64().unwrap()
    }

    struct Running {
        got: mpsc::UnboundedReceiver<UsageMetrics>,
        stop: CancellationToken,
        task: tokio::task::JoinSet<()>,
    }

    fn start(answers: Vec<Option<PushError>>) -> Running {
        let (sender, got) = mpsc::unbounded_channel();
        let reporter = Reporter {
            identity: Identity {
                kind: "palisade-test".into(),
                version: "v0.1.0".into(),
                os: OsInfo { name: "debian".into(), family: "linux".into(), version: "12".into() },
                started: 1,
            },
            meter: Ticker(100),
            receiver: Arc::new(Scripted { answers: Mutex::new(answers.into()), got: sender }),
            interval: Duration::from_secs(900),
        };
        let stop = CancellationToken::new();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(reporter.run(stop.clone()));
        Running { got, stop, task }
    }

    fn broken() -> Option<PushError> {
        let url = "http://x/".to_owned();
        let message = "oops".to_owned();
        Some(PushError::Failed(PullError::Status {
            url,
            status: 500,
            message,
            advice: String::new(),
            retry_after: None,
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn reports_come_every_quarter_of_an_hour_and_at_the_end() {
        let began = tokio::time::Instant::now();
        let mut running = start(vec![]);
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
        assert_eq!(began.elapsed().as_secs(), 900);
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
        assert_eq!(began.elapsed().as_secs(), 1800);
        running.stop.cancel();
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
        running.task.join_next().await;
        assert_eq!(began.elapsed().as_secs(), 1800);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unsent_report_is_added_to_the_next() {
        let mut running = start(vec![broken(), None]);
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
        assert_eq!(value(&running.got.recv().await.unwrap()), 2);
        assert_eq!(value(&running.got.recv().await.unwrap()), 3);
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_lapi_is_left_in_peace() {
        let unsupported = || Some(PushError::Unsupported { url: "http://x/".into() });
        let began = tokio::time::Instant::now();
        let mut running = start(vec![unsupported(), unsupported()]);
        running.got.recv().await.unwrap();
        assert_eq!(value(&running.got.recv().await.unwrap()), 1);
        assert_eq!(began.elapsed().as_secs(), 900 + 24 * 3600);
        running.stop.cancel();
        running.task.join_next().await;
        assert!(running.got.recv().await.is_none(), "no last report to who cannot read it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_report_does_not_hold_up_the_end() {
        let began = tokio::time::Instant::now();
        let mut running = start(vec![None]);
        tokio::task::yield_now().await;
        running.stop.cancel();
        running.task.join_next().await;
        assert!(began.elapsed() <= FINAL_REPORT_TIMEOUT);
        assert!(running.got.recv().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_that_fails_at_the_end_logs_nothing_about_the_next() {
        let unsupported = Some(PushError::Unsupported { url: "http://x/".into() });
        for answer in [unsupported, broken(), None] {
            let (log, _guard) = crate::test_log::begin();
            let mut running = start(vec![answer]);
            tokio::task::yield_now().await;
            running.stop.cancel();
            running.task.join_next().await;
            assert!(running.got.recv().await.is_some());
            let text = log.text();
            assert!(!text.contains("older LAPI") && !text.contains("next report"), "{text}");
            assert!(!text.contains("WARN"), "{text}");
        }
        // A LAPI without the endpoint is logged once.
        let (log, _guard) = crate::test_log::begin();
        let unsupported = || Some(PushError::Unsupported { url: "http://x/".into() });
        let mut running = start(vec![unsupported(), unsupported(), unsupported()]);
        for _ in 0..3 {
            running.got.recv().await.unwrap();
        }
        assert_eq!(log.text().matches("older LAPI").count(), 1, "{}", log.text());
    }

    #[tokio::test]
    async fn zero_switches_reports_off() {
        let mut running = start(vec![]);
        running.task.abort_all();
        let (sender, mut got) = mpsc::unbounded_channel();
        let identity =
            Identity { kind: "a".into(), version: "b".into(), os: super::super::os_info(), started: 0 };
        let receiver = Arc::new(Scripted { answers: Mutex::default(), got: sender });
        Reporter { identity, meter: Ticker(0), receiver, interval: Duration::ZERO }
            .run(CancellationToken::new())
            .await;
        assert!(got.recv().await.is_none());
    }
}
