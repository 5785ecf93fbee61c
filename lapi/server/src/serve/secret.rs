//! The secrets that sign tokens and cursors.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use palisade_store::Store;
use palisade_wire::UnixMillis;

use crate::auth::token::MIN_SECRET;

/// The environment variable with the operator's secret.
const VARIABLE: &str = "CS_LAPI_SECRET";
/// The store's setting for the generated secret.
const TOKEN_SECRET_SETTING: &str = "jwt_secret";
/// The store's setting for the cursor key.
const CURSOR_KEY_SETTING: &str = "cursor_key";

/// The operator's secret, if set.
pub(super) fn from_environment() -> anyhow::Result<Option<Vec<u8>>> {
    match std::env::var_os(VARIABLE) {
        None => Ok(None),
        Some(secret) if secret.is_empty() => Ok(None),
        Some(secret) if secret.len() < MIN_SECRET => {
            bail!(
                "api server init: unable to run local API: controller init: {VARIABLE} not strong enough: it has {} \
                 bytes, {MIN_SECRET} are needed",
                secret.len()
            )
        }
        Some(secret) => Ok(Some(secret.into_encoded_bytes())),
    }
}

/// The secret stored in the database, generated at the first start: tokens stay valid over restarts.
pub(super) async fn stored_token_secret(store: &Store, now: UnixMillis) -> anyhow::Result<Vec<u8>> {
    Ok(store.setting_or_insert(now, TOKEN_SECRET_SETTING, &random_hex()?).await?.into_bytes())
}

/// The key that signs cursors. Always the database's, so that every LAPI on it accepts the cursor, whatever token
/// secret each is configured with.
pub(super) async fn stored_cursor_key(store: &Store, now: UnixMillis) -> anyhow::Result<Vec<u8>> {
    Ok(store.setting_or_insert(now, CURSOR_KEY_SETTING, &random_hex()?).await?.into_bytes())
}

/// Random bytes in hexadecimal.
fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; MIN_SECRET];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).ok().context("the system gives no random bytes")?;
    let mut text = String::with_capacity(2 * MIN_SECRET);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}
