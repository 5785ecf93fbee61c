//! Where answers come from: the seam between the protocol's rules and the network.

use std::future::Future;
use std::time::Duration;

use palisade_client::{Client, PullError};
use palisade_wire::{StreamItem, StreamQuery};

use crate::Ask;

/// A request gave no usable answer.
#[derive(Debug)]
pub struct PullFault {
    /// What happened, for the log.
    pub error: Box<dyn std::error::Error + Send + Sync>,
    /// Not worth asking again sooner.
    pub shortest_retry: Duration,
    /// The LAPI may have counted the answer as delivered.
    pub may_have_reached_lapi: bool,
    /// The LAPI answered and refused us: asking faster does not help.
    pub refused: bool,
}

/// Something that answers decision-stream requests.
pub trait Source: Send {
    /// Asks once and hands each item of the answer to `sink` as it arrives. When it fails, everything the
    /// sink got is to be thrown away. Dropping the future abandons the request.
    fn pull(
        &mut self,
        ask: Ask,
        sink: &mut (dyn FnMut(StreamItem<'_>) + Send),
    ) -> impl Future<Output = Result<(), PullFault>> + Send;
}

/// A LAPI, asked over HTTP with the same filters each time.
#[derive(Debug)]
pub struct Lapi {
    client: Client,
    query: StreamQuery,
}

impl Lapi {
    /// Asks with this client; `startup` of the query is set as needed.
    pub fn new(client: Client, query: StreamQuery) -> Self {
        Self { client, query }
    }
}

impl Source for Lapi {
    async fn pull(
        &mut self,
        ask: Ask,
        sink: &mut (dyn FnMut(StreamItem<'_>) + Send),
    ) -> Result<(), PullFault> {
        self.query.startup = ask == Ask::Everything;
        match self.client.decision_stream(&self.query, sink).await {
            Ok(_) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }
}

fn fault(error: PullError) -> PullFault {
    PullFault {
        shortest_retry: error.shortest_retry(),
        may_have_reached_lapi: error.may_have_reached_lapi(),
        refused: error.is_refusal(),
        error: Box::new(error),
    }
}
