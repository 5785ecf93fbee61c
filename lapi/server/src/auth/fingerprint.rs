//! What a machine's token is bound to: the credentials of its login. Pure.

use palisade_daemon::listen::Peer;
use palisade_service::registry::{AuthType, Machine};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Identifies the credentials of a machine: its row, and its password or client certificate. Replacing the machine or
/// its credentials changes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    /// Of the row `id` and the password's stored hash, or the certificate as DER. The hash is salted, so that the
    /// fingerprint, which the machine can read, reveals nothing of it.
    pub(crate) fn new(id: i64, credentials: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(id.to_be_bytes()).chain_update(credentials).finalize();
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The fingerprint of a machine's credentials on this connection. `None` for a machine with a certificate when the
/// connection has none.
pub(crate) fn fingerprint(machine: &Machine, peer: Option<&Peer>) -> Option<Fingerprint> {
    let credentials = match machine.auth {
        AuthType::Tls => peer?.certificates.first()?.as_slice(),
        AuthType::Password | AuthType::ApiKey => machine.password.as_bytes(),
    };
    Some(Fingerprint::new(machine.id, credentials))
}
