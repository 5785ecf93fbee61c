//! Resolves the name of an upstream and connects to the first address that answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use palisade_bouncer::outbound::alternate_families;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connect_tcp;

/// How long resolved addresses are used.
const RESOLVED_FOR: Duration = Duration::from_secs(5);
/// How long they are used when the name does not resolve any more.
const RESOLVED_AT_MOST: Duration = Duration::from_secs(600);
/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 6;
/// How long an attempt runs alone before the next address is tried beside it (RFC 8305).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses of one upstream.
#[derive(Debug)]
pub(super) struct Resolver {
    host: String,
    port: u16,
    literal: Option<IpAddr>,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// Held during a resolution: each takes a thread, and a resolver that hangs must not take them all.
    resolving: tokio::sync::Mutex<()>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            literal: host.parse().ok(),
            resolved: Mutex::default(),
            resolving: tokio::sync::Mutex::default(),
        }
    }

    /// Connects. A name that does not resolve is a failure of this connection, not of the program.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        match self.literal {
            Some(address) => connect_tcp(SocketAddr::new(address, self.port)).await,
            None => connect_any(&self.addresses().await?, connect_tcp).await,
        }
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(addresses) = self.resolved(RESOLVED_FOR) {
            return Ok(addresses);
        }
        let _resolving = self.resolving.lock().await;
        if let Some(addresses) = self.resolved(RESOLVED_FOR) {
            return Ok(addresses);
        }
        let resolved = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses = match resolved.map(|addresses| alternate_families(addresses.collect(), MAX_ADDRESSES))
        {
            Ok(addresses) if !addresses.is_empty() => addresses,
            failed => {
                let error = failed.err().unwrap_or_else(|| io::Error::other("the name has no address"));
                // A resolver that fails for a moment takes no upstream away.
                return self.resolved(RESOLVED_AT_MOST).ok_or(error);
            }
        };
        let kept = (Instant::now(), addresses.clone());
        *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(addresses)
    }

    /// The last result, if it is not too old.
    fn resolved(&self, max_age: Duration) -> Option<Vec<SocketAddr>> {
        let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.as_ref().filter(|(at, _)| at.elapsed() < max_age).map(|(_, addresses)| addresses.clone())
    }
}

type Attempt<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// The first connection that succeeds. The next address is tried when an attempt fails, or takes long.
async fn connect_any<T, F>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts: Vec<Attempt<T>> = Vec::new();
    let mut delay = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    let mut last_error = None;
    std::future::poll_fn(|cx| {
        loop {
            let mut at = 0;
            let mut failed = false;
            while at < attempts.len() {
                match attempts[at].as_mut().poll(cx) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                    Poll::Ready(Err(error)) => {
                        last_error = Some(error);
                        drop(attempts.swap_remove(at));
                        failed = true;
                    }
                }
            }
            let is_due = failed || attempts.is_empty() || delay.as_mut().poll(cx).is_ready();
            if !is_due {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    attempts.push(Box::pin(connect(address)));
                    delay.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
                }
                None if attempts.is_empty() => {
                    let error = last_error.take();
                    return Poll::Ready(Err(error.unwrap_or_else(|| io::ErrorKind::NotFound.into())));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_one_delay() {
        let start = Instant::now();
        let connect = |address: SocketAddr| async move {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                port => Ok(port),
            }
        };
        assert_eq!(connect_any(&addresses(&["[::1]:1", "127.0.0.1:3"]), connect).await.unwrap(), 3);
        assert_eq!(start.elapsed(), ATTEMPT_DELAY);
        assert_eq!(connect_any(&addresses(&["[::1]:2", "127.0.0.1:3"]), connect).await.unwrap(), 3);
        assert_eq!(start.elapsed(), ATTEMPT_DELAY);
        let error = connect_any(&addresses(&["[::1]:2", "[::1]:2"]), connect).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
