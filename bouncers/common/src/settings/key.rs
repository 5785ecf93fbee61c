//! Reads API keys outside the configuration file: in a separate file, or a systemd credential.

use std::path::{Component, Path};

use palisade_client::Secret;

use super::ProcessEnv;

/// The credential used by default, as in `LoadCredential=api_key:/etc/palisade/key`.
const CREDENTIAL: &str = "api_key";

/// Maximum size of a key file.
const MAX_KEY_BYTES: usize = 4096;

/// Reads the key from a file.
pub(super) fn from_file(file: &Path, env: &ProcessEnv<'_>) -> Result<Secret, String> {
    // A bare name is a credential of the unit: systemd puts these into a directory that only the unit can read, and
    // whose path is not known in advance.
    let bare = matches!(file.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    let path = match (&env.credentials, bare) {
        (Some(folder), true) => folder.join(file),
        (None, true) => {
            return Err(
                "a name without a folder is a systemd credential, and this process was given none; add \
                        `LoadCredential=` to the unit, or give an absolute path"
                    .to_owned(),
            );
        }
        (_, false) => file.to_owned(),
    };
    let bytes = (env.read)(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    clean(&bytes)
        .ok_or_else(|| format!("{} does not hold a key: one line of text, and nothing else", path.display()))
}

/// The key from the default credential, if present.
pub(super) fn from_credentials(env: &ProcessEnv<'_>) -> Option<Secret> {
    let bytes = (env.read)(&env.credentials.as_ref()?.join(CREDENTIAL)).ok()?;
    clean(&bytes)
}

/// The key without surrounding white space.
fn clean(bytes: &[u8]) -> Option<Secret> {
    // Editors end a file with a line feed, which an HTTP header must not contain.
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let sound = !text.is_empty() && bytes.len() <= MAX_KEY_BYTES && !text.contains(char::is_control);
    sound.then(|| Secret::new(text))
}

/// The placeholders that packages write.
pub(super) fn is_placeholder(key: &Secret) -> bool {
    // The stock packages write the first, and the second when no key could be created.
    matches!(key.reveal(), "${API_KEY}" | "<API_KEY>")
}
