//! Verifies and hashes passwords on threads of their own, so that at most as many are hashed at once as there are
//! processors, and requests that need no password do not queue behind them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_store::{hash_password, password_matches};
use sha2::Sha256;
use tokio::sync::oneshot;

/// At most this many passwords are known as right without hashing.
const MAX_VERIFIED: usize = 16_384;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the hashing threads.
#[derive(Clone)]
pub(crate) struct Passwords {
    jobs: mpsc::Sender<Job>,
    verified: Arc<Mutex<Verified>>,
}

/// Passwords that have matched a hash since the start. A client that has logged in before is admitted by these however
/// many wrong guesses are queued.
struct Verified {
    key: [u8; 32],
    /// By bcrypt hash; a changed password has another.
    codes: HashMap<String, [u8; 32]>,
}

impl Verified {
    /// A fast code, but useless without the key, which never leaves this process.
    fn code(&self, password: &str) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&self.key)
            .expect("HMAC takes a key of any length")
            .chain_update(password)
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
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
            // At normal priority: a log processor in one-shot mode gives up a login that takes seconds on a busy host,
            // and loses its alerts.
            thread::Builder::new().name(format!("password-{number}")).spawn(move || {
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
        let mut key = [0; 32];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
        let verified = Arc::new(Mutex::new(Verified { key, codes: HashMap::new() }));
        Ok(Self { jobs, verified })
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

    /// Whether `password` has matched `hash` before. Costs microseconds.
    pub(crate) fn is_verified(&self, password: &str, hash: &str) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.codes.get(hash).is_some_and(|code| verified.code(password).verify_slice(code).is_ok())
    }

    /// Whether `password` matches `hash`. `still` is evaluated when the job leaves the queue; when it returns false,
    /// nothing is verified and the result is `None`.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: String,
        still: impl FnOnce() -> bool + Send + 'static,
    ) -> Option<bool> {
        let (guess, stored) = (password.clone(), hash.clone());
        let matches =
            self.run(move || still().then(|| password_matches(&guess, &stored))).await.unwrap_or(Some(false));
        if matches == Some(true) {
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            if verified.codes.len() >= MAX_VERIFIED {
                verified.codes.clear();
            }
            let code = verified.code(&password).finalize().into_bytes().into();
            verified.codes.insert(hash, code);
        }
        matches
    }

    /// The hash of a password; `None` when it is too long.
    pub(crate) async fn hash(&self, password: String) -> Option<String> {
        self.run(move || hash_password(&password)).await.flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_hashed_once_and_known_from_then_on() {
        let passwords = Passwords::start().unwrap();
        let hash = passwords.hash("secret".into()).await.unwrap();
        let verify = |password: &str| passwords.verify(password.into(), hash.clone(), || true);
        assert!(!passwords.is_verified("secret", &hash));
        assert_eq!(verify("other").await, Some(false));
        assert!(!passwords.is_verified("other", &hash));
        assert_eq!(verify("secret").await, Some(true));
        assert!(passwords.is_verified("secret", &hash) && !passwords.is_verified("other", &hash));
        assert!(!passwords.is_verified("secret", "another hash"));
        assert_eq!(passwords.verify("secret".into(), hash.clone(), || false).await, None);
        assert_eq!(passwords.hash("x".repeat(73)).await, None);
    }
}
