//! A well-behaved client, which must not be affected by the fault.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_e2e::{Failure, LapiProcess, Outcome};

/// The bystander's own key.
pub(crate) const KEY: &str = "key-of-the-bystander";
/// The longest it may wait for an answer: room for an unoptimised server on a busy machine, and short of a stall.
const AT_MOST: Duration = Duration::from_secs(10);

/// Requests health, changes and one address, again and again.
pub(crate) struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<(usize, Duration)>>,
}

impl Bystander {
    /// Starts sending requests, each on a connection of its own.
    pub(crate) fn start(lapi: &LapiProcess) -> Outcome<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, to) = (Arc::clone(&stop), lapi.address());
        let from: IpAddr = "127.0.77.1".parse()?;
        let thread = std::thread::spawn(move || {
            let (mut asked, mut longest) = (0, Duration::ZERO);
            let paths = [
                "/health",
                "/v1/decisions/stream?startup=true",
                "/v1/decisions?ip=192.0.2.1",
                "/v1/decisions/stream",
            ];
            while !ended.load(Ordering::Relaxed) {
                let path = paths[asked % paths.len()];
                let begin = Instant::now();
                let mut caller =
                    palisade_e2e::HttpClient::new(to).from(from).with_timeout(Duration::from_secs(30));
                let reply = caller.ask("GET", path, &[("X-Api-Key", KEY)], None)?;
                longest = longest.max(begin.elapsed());
                if reply.status != 200 {
                    return Err(Failure::new(format!("{path}: status {}: {}", reply.status, reply.text())));
                }
                asked += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok((asked, longest))
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; it must have been answered every time, and soon.
    pub(crate) fn unharmed(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let (asked, longest) = self.thread.join().expect("the bystander does not panic")?;
        let timeout = AT_MOST.mul_f64(palisade_e2e::default_timeout().as_secs_f64() / 40.0);
        if asked == 0 || longest > timeout {
            return Err(Failure::new(format!(
                "the bystander asked {asked} times and once waited {longest:.1?}"
            )));
        }
        Ok(())
    }
}
