//! Runs background jobs, each at its interval. Jobs for the whole database run on the LAPI that is its leader.
//!
//! One task starts whatever is due. A job that is still running is not started again; one that fails or panics is
//! logged and runs again at its next turn. Neither delays the other jobs.

use std::{error::Error, pin::Pin, time::Duration};

use palisade_store::Leadership;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The outcome of a run; an error is logged.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Run = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// A background job.
pub struct Job {
    name: &'static str,
    interval: Duration,
    leader_only: bool,
    run: Run,
    due: Instant,
    running: Option<Id>,
}

impl Job {
    /// A job that one LAPI per database runs, at once and then at every interval.
    pub fn for_leader<F>(
        name: &'static str,
        interval: Duration,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let run: Run = Box::new(move || Box::pin(run()));
        Self { name, interval, leader_only: true, run, due: Instant::now(), running: None }
    }

    /// A job that every LAPI runs.
    pub fn for_all<F>(
        name: &'static str,
        interval: Duration,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self { leader_only: false, ..Self::for_leader(name, interval, run) }
    }
}

/// Runs the jobs until `stop` fires; then cancels those that are running, and resigns as leader.
pub async fn run(jobs: Vec<Job>, leadership: Leadership, stop: CancellationToken) {
    let mut scheduler = Scheduler { jobs, running: JoinSet::new(), leadership, leads: None };
    // Cancelling a job is safe: it writes in steps, and each is a transaction that completes or not.
    stop.run_until_cancelled(scheduler.run()).await;
    scheduler.running.shutdown().await;
    // After the jobs have ended: another LAPI may start the same ones at once.
    scheduler.leadership.resign().await;
}

struct Scheduler {
    jobs: Vec<Job>,
    running: JoinSet<Outcome>,
    leadership: Leadership,
    /// Whether this LAPI is the leader; `None` before the first attempt.
    leads: Option<bool>,
}

impl Scheduler {
    async fn run(&mut self) {
        loop {
            // A running job is started again at its next turn after it has ended, so it never runs twice at the same
            // time.
            let next = self.jobs.iter().filter(|job| job.running.is_none()).map(|job| job.due).min();
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                () = sleep_until(next) => self.start_due().await,
            }
        }
    }

    async fn start_due(&mut self) {
        let now = Instant::now();
        let is_due = |job: &Job| job.running.is_none() && job.due <= now;
        // The database is only asked for the lock when a job needs it.
        let leads = self.jobs.iter().any(|job| is_due(job) && job.leader_only) && self.lead().await;
        for job in self.jobs.iter_mut().filter(|job| is_due(job)) {
            // Also for jobs that are skipped, so that a LAPI that is not the leader asks again at the next turn.
            job.due = now + job.interval;
            if leads || !job.leader_only {
                job.running = Some(self.running.spawn((job.run)()).id());
            }
        }
    }

    /// Whether this LAPI is the leader now; logs changes.
    async fn lead(&mut self) -> bool {
        let leads = match self.leadership.hold().await {
            Ok(leads) => leads,
            Err(error) => {
                // That the database is unavailable is logged by the poll.
                tracing::debug!(error = &error as &dyn Error, "background jobs skipped");
                return false;
            }
        };
        if self.leads.replace(leads) != Some(leads) {
            let who = if leads { "this LAPI" } else { "another LAPI on this database" };
            let names: Vec<&str> =
                self.jobs.iter().filter(|job| job.leader_only).map(|job| job.name).collect();
            tracing::info!("{who} runs {}", names.join(", "));
        }
        leads
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            // A job that panicked must be found as well, or it would count as running for ever.
            Err(panicked) => panicked.id(),
        };
        let Some(job) = self.jobs.iter_mut().find(|job| job.running == Some(id)) else { return };
        job.running = None;
        let (name, seconds) = (job.name, job.interval.as_secs());
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => tracing::warn!(
                job = name,
                error = &*error as &dyn Error,
                "a background job failed; trying again in {seconds} s"
            ),
            Err(error) => tracing::error!(job = name, %error, "a background job panicked"),
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        // All jobs are running: only the end of one wakes the loop.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use palisade_store::{DbConfig, Store};

    use super::*;

    #[tokio::test]
    async fn a_job_that_hangs_fails_or_panics_does_not_stop_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DbConfig::sqlite(folder.path().join("lapi.db"))).await.unwrap();
        let counts: [Arc<AtomicU32>; 4] = Default::default();
        let count = |which: usize| {
            let count = counts[which].clone();
            move || count.fetch_add(1, Ordering::Relaxed)
        };
        let (hangs, fails, panics, works) = (count(0), count(1), count(2), count(3));
        let often = Duration::from_millis(5);
        let jobs = vec![
            Job::for_leader("hangs", often, move || {
                hangs();
                std::future::pending()
            }),
            Job::for_leader("fails", often, move || {
                fails();
                async { Err("on purpose".into()) }
            }),
            Job::for_all("panics", often, move || {
                panics();
                async { if std::hint::black_box(true) { panic!("on purpose") } else { Ok(()) } }
            }),
            Job::for_leader("works", often, move || {
                works();
                async { Ok(()) }
            }),
        ];
        let stop = CancellationToken::new();
        let enough = async {
            while counts[1..].iter().any(|count| count.load(Ordering::Relaxed) < 5) {
                tokio::time::sleep(often).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(run(jobs, store.leadership(), stop.clone()), enough) };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("all run again and again");
        assert_eq!(counts[0].load(Ordering::Relaxed), 1, "a running job is not started again");
    }
}
