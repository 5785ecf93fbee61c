//! Routes of allowlists, and allowlists in memory.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ipnet::IpNet;
use palisade_store::{Allowlist, AllowlistIndex, AllowlistItem, Store, StoreError};
use palisade_wire::{
    Allowlist as Told, AllowlistItem as ToldItem, BulkCheckAnswer, BulkCheckResult, CheckAnswer, NO_EXPIRATION,
    UnixMillis, read_bulk_check,
};

use crate::auth::Machine;
use crate::body::Body;
use crate::error::{ApiError, json};
use crate::query::Pairs;
use crate::router::no_head;
use crate::state::Lapi;

/// Allowlists in memory: alerts are checked without a query. Replaced whole when the roster has moved.
#[derive(Debug, Default)]
pub(crate) struct Allowlists {
    lists: ArcSwap<Vec<Allowlist>>,
    index: ArcSwap<AllowlistIndex>,
}

impl Allowlists {
    /// What an address is looked up in.
    pub(crate) fn index(&self) -> Arc<AllowlistIndex> {
        self.index.load_full()
    }

    /// Reads them again.
    ///
    /// # Errors
    ///
    /// When the database fails; the earlier ones stay.
    pub(crate) async fn refresh(&self, store: &Store, now: UnixMillis) -> Result<(), StoreError> {
        let lists = store.allowlists(now, true).await?;
        self.index.store(Arc::new(AllowlistIndex::new(&lists)));
        self.lists.store(Arc::new(lists));
        Ok(())
    }
}

/// The routes, below `/v1`.
pub(crate) fn routes() -> Router<Lapi> {
    Router::new()
        .route("/allowlists", no_head(get(list)))
        .route("/allowlists/check", no_head(get(named_check)).post(check_many))
        .route("/allowlists/check/{ip_or_range}", get(check).head(check_head))
        .route("/allowlists/{name}", no_head(get(one)))
}

impl Lapi {
    /// Has an allowlist that was changed a moment ago in memory, if the database answers. What is there is good
    /// enough otherwise.
    async fn fresh_allowlists(&self) {
        if let Err(error) = self.catch_up().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "allowlists may be a little old");
        }
    }
}
