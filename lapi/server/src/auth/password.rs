//! Passwords are hashed on a few threads of their own, which give way to everything else: a rush of logins makes
//! logins slow and nothing else.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;
use tracing::warn;

/// bcrypt's cost, as in the stock server.
pub const COST: u32 = 10;
/// Longest password bcrypt can take, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 72;
/// How much less than others these threads want the processor.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Debug, Clone)]
pub struct Passwords {
    jobs: mpsc::Sender<Job>,
}

impl Passwords {
    /// Starts one thread per processor, eight at most.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(8));
        for number in 0..count {
            let waiting = waiting.clone();
            thread::Builder::new().name(format!("password-{number}")).spawn(move || {
                if let Err(cause) = rustix::process::nice(NICE) {
                    warn!(%cause, "threads that hash passwords keep their priority");
                }
                loop {
                    // The lock is held while waiting, never while working.
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
            // Whoever asked may have gone away meanwhile: then the work is spared.
            if !answer.is_closed() {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok();
                let _ = answer.send(result);
            }
        };
        self.jobs.send(Box::new(job)).ok()?;
        answered.await.ok().flatten()
    }

    /// Whether `password` is the one `hash` was made of, asked only if `still` says so when its turn has come; `None`
    /// if not. A hash that is none fits no password.
    pub async fn verify(
        &self,
        password: String,
        hash: String,
        still: impl FnOnce() -> bool + Send + 'static,
    ) -> Option<bool> {
        // Go refuses to compare what it would not have hashed.
        let fits = password.len() <= MAX_PASSWORD_BYTES;
        self.run(move || still().then(|| fits && bcrypt::verify(password, &hash).unwrap_or(false)))
            .await
            .unwrap_or(Some(false))
    }

    /// The hash of a password; `None` when it is too long.
    pub async fn hash(&self, password: String) -> Option<String> {
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
        // As Go writes them.
        let go = hash.replacen("$2b$", "$2a$", 1);
        assert_eq!(passwords.verify("secret".into(), go, || true).await, Some(true));
        assert_eq!(passwords.verify("secret".into(), "no hash".into(), || true).await, Some(false));
        assert_eq!(passwords.hash("é".repeat(37)).await, None);
        assert!(passwords.hash("x".repeat(72)).await.is_some());
    }
}
