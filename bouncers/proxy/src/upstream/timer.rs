//! A timer whose deadline moves with each request, at the cost of one comparison.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// A timer that belongs to a connection.
///
/// A later deadline leaves the runtime's timer where it is: when that one elapses, it is armed again for what is left. So
/// a connection with a thousand requests a second touches the runtime's timers about once in a timeout, not once in each
/// request.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Ready when `deadline` has passed; otherwise the task is woken then, or earlier.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline || Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_later_and_earlier() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, at(60)).is_pending())).await);
        poll_fn(|cx| timer.poll(cx, at(90))).await;
        assert_eq!(Instant::now().duration_since(start).as_secs(), 90);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx, at(150)).is_pending())).await);
        poll_fn(|cx| timer.poll(cx, at(100))).await;
        assert_eq!(Instant::now().duration_since(start).as_secs(), 100);
    }
}
