//! When the firewall of a host begins or ceases to drop a visitor's packets, found by connection attempts in close succession.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use palisade_e2e::{Failure, Host, Outcome};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::doors::{Change, LIMIT};

/// The interval between attempts, which do not wait for each other.
pub(crate) const INTERVAL: Duration = Duration::from_millis(4);
/// An attempt without an answer has failed after this time.
const UNANSWERED: Duration = Duration::from_millis(300);

/// Attempts to connect from `host` until the door has changed; returns the time of the change. Reports on `ready` once
/// the door was seen as it was before.
pub(crate) fn watch(host: &Host, to: SocketAddr, change: Change, ready: &Sender<()>) -> Outcome<Instant> {
    host.run(|| {
        // The sockets belong to the host because this thread does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match timeout(LIMIT, attempts(to, change, ready)).await {
                Ok(changed) => changed,
                Err(_) => Err(Failure::new(format!("not within {LIMIT:?}"))),
            }
        })
    })
}

async fn attempts(to: SocketAddr, change: Change, ready: &Sender<()>) -> Outcome<Instant> {
    let mut under_way = JoinSet::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The beginning of the latest attempt that was answered.
    let mut answered: Option<Instant> = None;
    let mut is_ready = false;
    loop {
        let attempt = tokio::select! {
            _ = ticks.tick() => {
                under_way.spawn(attempt(to));
                continue;
            }
            Some(attempt) = under_way.join_next() => attempt??,
        };
        match (change, attempt.answered) {
            (Change::Opens, Some(at)) => return Ok(at),
            (Change::Closes, Some(_)) => answered = answered.max(Some(attempt.begun)),
            // None of the attempts that began later was answered, for as long as this one waited: no lost packet.
            (Change::Closes, None) if answered.is_some_and(|last| last < attempt.begun) => {
                return Ok(attempt.begun);
            }
            (_, None) => {}
        }
        if !is_ready && (answered.is_some() || change == Change::Opens) {
            is_ready = ready.send(()).is_ok();
        }
    }
}

struct Attempt {
    begun: Instant,
    answered: Option<Instant>,
}

async fn attempt(to: SocketAddr) -> Outcome<Attempt> {
    let begun = Instant::now();
    let answered = match timeout(UNANSWERED, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => {
            // A reset instead of an orderly end, which would keep hundreds of ports busy for a minute.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            Some(Instant::now())
        }
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            return Err(Failure::new(format!("{to} refuses connections, which no firewall here does")));
        }
        Ok(Err(_)) | Err(_) => None,
    };
    Ok(Attempt { begun, answered })
}
