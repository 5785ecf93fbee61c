//! The single writer. Queued jobs share a transaction, each behind its own savepoint: many small writes cost one sync,
//! and a failed job does not affect the others.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::fault::DatabaseLocation;
use super::files::Lost;
use super::notifications;
use super::session::{STATEMENT_TIMEOUT, Session};
use super::sql::Kind;
use super::sqlite_readers;
use super::tx::{Counters, Tx};
use super::write_problem::WriteProblem;
use crate::StoreError;

/// Maximum number of jobs per transaction.
// One sync for many jobs. More would make the first of them wait for long.
const GROUP: usize = 128;
// A full queue makes `write` wait, so that a flood of requests is slowed down and not kept in memory.
const QUEUE: usize = 1024;

/// Opens a new connection for the writer.
pub(super) type Connect =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Session, StoreError>> + Send>> + Send + Sync>;

pub(crate) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

/// Finds out whether the database is still where it was opened.
pub(super) type Check = Box<dyn Fn() -> Result<(), Lost> + Send + Sync>;

/// Makes a write that has to come before all others.
type MakeFirst = Arc<Mutex<Option<Box<dyn Fn() -> Box<dyn Job> + Send + Sync>>>>;

/// The sending end of the queue; `None` after closing.
type Queue = mpsc::Sender<Box<dyn Job>>;

/// A handle to the queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: Arc<RwLock<Option<Queue>>>,
    tasks: TaskTracker,
    location: Arc<DatabaseLocation>,
    name: Arc<str>,
    first: MakeFirst,
    problem: WriteProblem,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Writer {
    /// Without a session when the database can only be read so far.
    pub(super) fn start(
        session: Option<Session>,
        connect: Connect,
        check: Check,
        location: Arc<DatabaseLocation>,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let tasks = TaskTracker::new();
        let name: Arc<str> = Uuid::new_v4().simple().to_string().into();
        let (first, problem) = (MakeFirst::default(), WriteProblem::default());
        let worker = Worker {
            connect,
            check,
            name: Arc::clone(&name),
            location: Arc::clone(&location),
            first: Arc::clone(&first),
            problem: problem.clone(),
            is_log_saved: false,
        };
        tasks.spawn(worker.run(jobs, session));
        // `wait` returns only for a closed tracker. A closed one still accepts tasks.
        tasks.close();
        Self { queue: Arc::new(RwLock::new(Some(queue))), tasks, location, name, first, problem }
    }

    /// Why the last write failed, if it did, and not because of what was written.
    pub(crate) fn problem(&self) -> &WriteProblem {
        &self.problem
    }

    /// A write that must come before all others. It failed, and is tried again before the next one; the others fail until it
    /// succeeds.
    pub(crate) fn retry_first<F>(&self, doing: &'static str, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, ()> + Send + 'static,
    {
        let job = move || {
            let (answer, _) = oneshot::channel();
            Box::new(Task { body: Some(make()), outcome: None, answer, doing }) as Box<dyn Job>
        };
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(job));
    }

    /// The name it sends in notifications.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Queues a write and waits until it is committed. Dropping the future does not cancel the write.
    pub(crate) async fn write<T, F>(&self, doing: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
    {
        let gone = || StoreError::Unavailable {
            doing,
            database: self.location.to_string(),
            reason: "it is being closed".to_owned(),
        };
        // Cloned, so that the lock is not held across the await.
        let queue = self.queue.read().ok().and_then(|queue| queue.clone()).ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        let job = Task { body: Some(body), outcome: None, answer, doing };
        queue.send(Box::new(job)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Spawns work that consists of several writes, so that it completes even when the caller is dropped.
    pub(crate) async fn write_to_completion<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.tasks.spawn(work).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                doing,
                database: self.location.to_string(),
                reason: "it is being closed".to_owned(),
            })
        })
    }

    /// Accepts no more jobs and waits for those in progress.
    pub(crate) async fn close(&self) {
        if let Ok(mut queue) = self.queue.write() {
            // The writer's task ends when the last sender is dropped, after the jobs that are queued already.
            queue.take();
        }
        self.tasks.wait().await;
    }
}

/// A queued write, with its result type erased.
trait Job: Send {
    fn doing(&self) -> &'static str;
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>>;
    /// The job's own error, if it is not the fault of what it writes.
    fn failure(&self) -> Option<&StoreError>;
    /// Whether it has run without an error.
    fn is_sound(&self) -> bool;
    /// Sends the result to the caller. An error means that the whole transaction failed.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Task<T, F> {
    body: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
    doing: &'static str,
}

impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
{
    fn doing(&self) -> &'static str {
        self.doing
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 't>> {
        Box::pin(async move {
            let body = self.body.take().expect("a job is run once");
            let outcome = body(tx).await;
            let sound = outcome.is_ok();
            self.outcome = Some(outcome);
            sound
        })
    }

    fn failure(&self) -> Option<&StoreError> {
        self.outcome.as_ref()?.as_ref().err().filter(|error| error.is_temporary())
    }

    fn is_sound(&self) -> bool {
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            // A job's own error is more specific than the transaction's.
            (_, Some(Err(own))) => Err(own),
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => unreachable!("a committed job has run"),
        };
        // The caller may have been dropped.
        self.answer.send(outcome).ok();
    }
}

/// Runs the queued jobs.
struct Worker {
    connect: Connect,
    check: Check,
    name: Arc<str>,
    location: Arc<DatabaseLocation>,
    first: MakeFirst,
    problem: WriteProblem,
    /// Whether the contents of a deleted write-ahead log have been saved.
    is_log_saved: bool,
}

impl Worker {
    async fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>, mut idle: Option<Session>) {
        while let Some(first) = jobs.recv().await {
            let mut group = vec![first];
            // Only what is queued already: waiting for more would delay a single write.
            while group.len() < GROUP
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            let done = self.write(idle.take(), &mut group).await;
            if done.away {
                // While the database is unavailable, jobs in the queue would each wait for the same timeout: fail them now.
                while let Ok(next) = jobs.try_recv() {
                    group.push(next);
                }
            }
            idle = done.left;
            // A job's own error is more specific than the transaction's.
            match group.iter().find_map(|job| job.failure()).or_else(|| done.committed.as_ref().err()) {
                Some(error) if error.is_temporary() => self.problem.set(error),
                None if group.iter().any(|job| job.is_sound()) => self.problem.clear(),
                _ => {}
            }
            for job in group {
                job.finish(done.committed.clone());
            }
        }
        if let Some(session) = idle {
            session.close().await;
        }
    }

    /// Writes a group of jobs in one transaction, and before it what has to come first.
    async fn write(&mut self, session: Option<Session>, group: &mut [Box<dyn Job>]) -> Done {
        let doing = group.first().map_or("write", |job| job.doing());
        if let Err(lost) = (self.check)() {
            return self.lost(lost, session, doing).await;
        }
        let session = match session {
            Some(session) => Ok(session),
            None => (self.connect)().await,
        };
        let mut session = match session {
            Ok(session) => session,
            Err(error) => return Done::unavailable(error),
        };
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|make| make());
        if let Some(first) = first {
            let mut alone = [first];
            let done = transact(session, &mut alone, &self.connect, &self.name).await;
            let failed = alone[0].failure().cloned().or(done.committed.err());
            if let Some(error) = failed {
                return Done { committed: Err(error), left: done.left, away: true };
            }
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = None;
            session = match done.left {
                Some(session) => session,
                None => match (self.connect)().await {
                    Ok(session) => session,
                    Err(error) => return Done::unavailable(error),
                },
            };
        }
        let done = transact(session, group, &self.connect, &self.name).await;
        // What was committed into a file that is gone by now must not be acknowledged.
        match (self.check)() {
            Err(lost) if done.committed.is_ok() => self.lost(lost, done.left, doing).await,
            _ => done,
        }
    }

    async fn lost(&mut self, lost: Lost, mut session: Option<Session>, doing: &'static str) -> Done {
        if lost.is_log_deleted
            && !std::mem::replace(&mut self.is_log_saved, true)
            && let Some(session) = &mut session
        {
            // Into the database itself: otherwise the last commits would be lost with this process.
            match session.raw("PRAGMA wal_checkpoint(TRUNCATE)").await {
                Ok(()) => {
                    tracing::warn!("the write-ahead log was deleted; what was in it is in the database now")
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the write-ahead log was deleted, and what was in it cannot be written into the database"
                ),
            }
        }
        let error = sqlite_readers::lost(lost, &self.location, doing);
        Done { committed: Err(error), left: session, away: true }
    }
}

struct Done {
    committed: Result<(), StoreError>,
    /// The session, if it is still usable.
    left: Option<Session>,
    /// Whether the database was unreachable.
    away: bool,
}

impl Done {
    fn with(committed: Result<(), StoreError>, left: Option<Session>) -> Self {
        Self { committed, left, away: false }
    }

    fn unavailable(error: StoreError) -> Self {
        Self { committed: Err(error), left: None, away: true }
    }
}

/// Runs a group of jobs in one transaction.
async fn transact(session: Session, group: &mut [Box<dyn Job>], connect: &Connect, name: &str) -> Done {
    let doing = group.first().map_or("write", |job| job.doing());
    let mut tx = match begin(session, doing).await {
        Ok(tx) => tx,
        // The connection broke while idle: reconnect instead of failing the jobs.
        Err(Refused { lost: true, .. }) => match connect().await {
            Ok(session) => match begin(session, doing).await {
                Ok(tx) => tx,
                Err(refused) => return Done::with(Err(refused.error), None),
            },
            Err(error) => return Done::unavailable(error),
        },
        Err(refused) => return Done::with(Err(refused.error), None),
    };
    // To see at the end whether `head` has to be written.
    let before = tx.counters;
    match run_all(&mut tx, group).await {
        Ok(0) => {
            // Nothing to commit. A session that cannot roll back is discarded.
            let clean = tx.session.raw("ROLLBACK").await.is_ok() && !tx.session.is_broken();
            Done::with(Ok(()), clean.then_some(tx.session))
        }
        Ok(_) => match commit(&mut tx, before, name).await {
            Ok(()) => Done::with(Ok(()), Some(tx.session)),
            Err(error) => {
                // The error is that of the commit. The session is discarded, as it is unknown how far the commit
                // came.
                tx.session.raw("ROLLBACK").await.ok();
                Done::with(Err(error), None)
            }
        },
        Err(error) => Done::with(Err(error), None),
    }
}

struct Refused {
    error: StoreError,
    /// Whether the connection was lost, so that a new one may help.
    lost: bool,
}

async fn begin(mut session: Session, doing: &'static str) -> Result<Tx, Refused> {
    session.set_doing(doing);
    match counters(&mut session).await {
        Ok(counters) => Ok(Tx { session, counters }),
        Err(error) => Err(Refused { error, lost: session.is_broken() }),
    }
}

/// Begins a transaction and reads the counters.
async fn counters(session: &mut Session) -> Result<Counters, StoreError> {
    // On PostgreSQL this locks the row against other writers, so commits are ordered and deadlocks impossible.
    let read = "SELECT commit_no, roster, last_alert_id, last_decision_id FROM head WHERE one = 1";
    let sql = match session.kind() {
        // SQLite has one writer anyway. IMMEDIATE takes its lock now: a transaction that begins by reading could not
        // be upgraded after another process has written.
        Kind::Sqlite => {
            session.raw("BEGIN IMMEDIATE").await?;
            session.sql(read)
        }
        Kind::Postgres => {
            session.raw_within(STATEMENT_TIMEOUT, "BEGIN").await?;
            session.sql(&format!("{read} FOR UPDATE"))
        }
    };
    let counters = session
        .first(sql, |row| {
            Ok(Counters {
                commit: row.get(0)?,
                registry_version: row.get(1)?,
                alert: row.get(2)?,
                decision: row.get(3)?,
            })
        })
        .await?;
    counters.ok_or_else(|| session.is_changed())
}

/// Runs all jobs; returns how many succeeded. An error means that the transaction is lost.
async fn run_all(tx: &mut Tx, group: &mut [Box<dyn Job>]) -> Result<usize, StoreError> {
    // A single job, which is the usual case, needs no savepoint: the transaction itself is rolled back.
    let alone = group.len() == 1;
    let mut sound = 0;
    for (n, job) in group.iter_mut().enumerate() {
        tx.session.set_doing(job.doing());
        match (alone, n) {
            (true, _) => {}
            (false, 0) => tx.session.raw("SAVEPOINT job").await?,
            // Both in one round trip. Savepoints that were never released would nest.
            (false, _) => tx.session.raw("RELEASE SAVEPOINT job; SAVEPOINT job").await?,
        }
        let before = tx.counters;
        if job.run(tx).await {
            sound += 1;
        } else {
            // Numbers that a failed job took are given to the next one, so there are no gaps.
            tx.counters = before;
            if tx.session.is_broken() {
                // The whole transaction went with the connection, so the jobs before this one fail as well.
                return Err(tx.session.breaks());
            }
            if !alone {
                tx.session.raw("ROLLBACK TO SAVEPOINT job").await?;
            }
        }
    }
    Ok(sound)
}

/// Writes the counters, sends a notification and commits. PostgreSQL delivers notifications after the commit and in
/// commit order.
async fn commit(tx: &mut Tx, before: Counters, name: &str) -> Result<(), StoreError> {
    if tx.counters != before {
        let now = tx.counters;
        let mut sql = tx
            .session
            .sql("UPDATE head SET commit_no = $1, roster = $2, last_alert_id = $3, last_decision_id = $4 WHERE one = 1")
            .bind(now.commit)
            .bind(now.registry_version)
            .bind(now.alert)
            .bind(now.decision);
        // New ids alone are of no interest to other processes.
        let moved = (now.commit, now.registry_version) != (before.commit, before.registry_version);
        if moved && tx.session.kind() == Kind::Postgres {
            // In the same statement, which saves a round trip.
            sql.push(" RETURNING pg_notify(").arg(notifications::CHANNEL).push(", ");
            sql.arg(notifications::payload(now.commit, now.registry_version, name)).push(")");
        }
        tx.session.run(sql).await?;
    }
    tx.session.raw("COMMIT").await
}
