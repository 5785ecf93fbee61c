//! Work that takes long is done away from the threads that answer requests.

use axum::http::StatusCode;

use crate::error::ApiError;

/// Does the work on a thread that may be busy for a while.
///
/// # Errors
///
/// What the work says; 500 with an empty body when it breaks off, as the stock server answers a panic.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a request's work broke off");
            Err(ApiError::empty(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}
