//! Password hashing on dedicated low-priority threads, so that a burst of logins delays logins and nothing else.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;
use tracing::warn;

/// bcrypt's cost factor, the stock server's.
pub(crate) const COST: u32 = 10;
/// The longest password bcrypt accepts, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: usize = 72;
/// The nice value of the hashing threads.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the hashing threads.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    jobs: mpsc::Sender<Job>,
}

impl Passwords {
    /// Starts one thread per processor, at most eight.
    ///
    /// # Errors
    ///
    /// When the system refuses to create a thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        for number in 0..count {
            let waiting = waiting.clone();
            thread::Builder::new().name(format!("password-{number}")).spawn(move || {
                if let Err(cause) = rustix::process::nice(NICE) {
                    warn!(%cause, "cannot lower the priority of the password hashing threads");
                }
                loop {
                    // The lock is held while waiting for a job, never while running one.
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    match job {
                        Ok(job) => job(),
                        Err(_) => return,
                    }
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Runs `work` on one of the threads. `None` when it panicked.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            // The caller may have been dropped while the job was queued; then the work is skipped.
            if !answer.is_closed() {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok();
                let _ = answer.send(result);
            }
        };
        self.jobs.send(Box::new(job)).ok()?;
        answered.await.ok().flatten()
    }

    /// Whether `password` matches `hash`. `still` is evaluated when the job leaves the queue; when it returns false,
    /// nothing is verified and the result is `None`. A malformed hash matches no password.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: String,
        still: impl FnOnce() -> bool + Send + 'static,
    ) -> Option<bool> {
        // Go's bcrypt refuses to compare passwords that it would refuse to hash.
        let fits = password.len() <= MAX_PASSWORD_BYTES;
        self.run(move || still().then(|| fits && bcrypt::verify(password, &hash).unwrap_or(false)))
            .await
            .unwrap_or(Some(false))
    }

    /// The hash of a password; `None` when it is too long.
    pub(crate) async fn hash(&self, password: String) -> Option<String> {
        if password.len() > MAX_PASSWORD_BYTES {
            return None;
        }
        self.run(move || bcrypt::hash(password, COST).ok()).await.flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_are_bcrypts_of_the_stock_cost() {
        let passwords = Passwords::start().unwrap();
        let hash = passwords.hash("secret".into()).await.unwrap();
        assert!(hash.starts_with("$2b$10$"), "{hash}");
        assert_eq!(passwords.verify("secret".into(), hash.clone(), || true).await, Some(true));
        assert_eq!(passwords.verify("other".into(), hash.clone(), || true).await, Some(false));
        assert_eq!(passwords.verify("secret".into(), hash.clone(), || false).await, None);
        // Go writes this prefix.
        let go = hash.replacen("$2b$", "$2a$", 1);
        assert_eq!(passwords.verify("secret".into(), go, || true).await, Some(true));
        assert_eq!(passwords.verify("secret".into(), "no hash".into(), || true).await, Some(false));
        assert_eq!(passwords.hash("é".repeat(37)).await, None);
        assert!(passwords.hash("x".repeat(72)).await.is_some());
    }
}
