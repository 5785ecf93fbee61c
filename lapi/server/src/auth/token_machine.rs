//! The machine that a token belongs to, if the token is still bound to its credentials.

use std::sync::Arc;

use palisade_daemon::listen::Peer;
use palisade_service::registry::{AuthType, Machine};

use super::{
    certificate::Role,
    fingerprint::fingerprint,
    token::{Claims, TokenError},
};
use crate::{error::ApiError, state::Lapi};

/// The machine of a token, if it still exists, is validated, and has the credentials that the token was issued for. The
/// stock server checks the token alone, so there a deleted machine's token stays good until it expires.
pub(crate) async fn machine_of(
    lapi: &Lapi,
    claims: &Claims,
    peer: Option<&Peer>,
) -> Result<Arc<Machine>, ApiError> {
    let name = &claims.id;
    let is_bound =
        |machine: &Machine| fingerprint(machine, peer).is_some_and(|current| current == claims.credentials);
    let is_valid = |machine: &Machine| machine.validated && is_bound(machine);
    match lapi.registry.machine_matching(name, is_valid).await {
        Ok(Some(machine)) if !machine.validated => {
            Err(ApiError::unauthorized(format!("machine {name} not validated")))
        }
        Ok(Some(machine)) if !is_bound(&machine) => {
            Err(ApiError::unauthorized(TokenError::OtherCredentials.to_string()))
        }
        Ok(Some(machine)) => {
            if machine.auth == AuthType::Tls
                && let Some(peer) = peer
            {
                // For each request, so that a revocation ends the machine's tokens and open connections.
                let admitted = lapi.auth.certificates.load().admit(Role::Machine, peer, lapi.clock.now());
                admitted.map_err(|cause| ApiError::unauthorized(cause.to_string()))?;
            }
            Ok(machine)
        }
        Ok(None) => Err(ApiError::unauthorized("ent: machine not found")),
        Err(cause) => Err(ApiError::store(&cause, "unable to query")),
    }
}
