//! Runs long computations on blocking threads, away from the threads that serve requests.

use axum::http::StatusCode;

use crate::error::ApiError;

/// Runs `work` on a blocking thread.
///
/// # Errors
///
/// The error of `work`; 500 with an empty body when it panics, as the stock server answers a panic.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a blocking task of a request panicked");
            Err(ApiError::empty(StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}
