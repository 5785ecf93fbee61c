//! Posts bans from a thread of its own, so that measuring threads never wait for a response.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use palisade_e2e::{Failure, Outcome};

use super::super::bench_server::{BenchServer, ban_body, wanted};

/// One machine that bans.
pub(super) struct Poster {
    orders: mpsc::Sender<(usize, String)>,
    done: mpsc::Receiver<(usize, Outcome<Posted>)>,
}

/// A ban that the LAPI has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posted {
    /// When the request was sent.
    pub(super) at: Instant,
    /// How long the answer took.
    pub(super) answered: Duration,
}

impl Poster {
    /// Of the machine that is registered there.
    pub(super) fn start(server: &BenchServer) -> Self {
        let (orders, todo) = mpsc::channel::<(usize, String)>();
        let (sender, done) = mpsc::channel();
        let (mut caller, token) =
            (server.process.http_client().with_timeout(Duration::from_secs(60)), server.token.clone());
        std::thread::spawn(move || {
            let headers = [("Authorization", token.as_str()), ("User-Agent", "cscli/v1.4.6")];
            for (number, value) in todo {
                let body = ban_body(&value);
                let at = Instant::now();
                let asked = caller.ask("POST", "/v1/alerts", &headers, Some(body.as_bytes()));
                let posted = asked.map_err(Failure::from).and_then(|reply| {
                    wanted(&reply, 201)?;
                    Ok(Posted { at, answered: reply.whole })
                });
                if sender.send((number, posted)).is_err() {
                    return;
                }
            }
        });
        Self { orders, done }
    }

    /// Posts a ban of an address; `number` is returned with the result.
    pub(super) fn ban(&self, number: usize, address: String) -> Outcome {
        Ok(self.orders.send((number, address))?)
    }

    /// What became of one, if another is done.
    pub(super) fn done(&self) -> Option<(usize, Outcome<Posted>)> {
        self.done.try_recv().ok()
    }
}
