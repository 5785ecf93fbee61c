//! Keeps the keys that sign proofs and challenge tokens: configured ones, or generated ones in the state directory.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use palisade_client::Secret;

use super::error::CaptchaError;

/// The shortest configured key.
pub const MIN_KEY_BYTES: usize = 32;

/// A generated key that has signed for this long is replaced at the next start, and only verifies until the one after.
const ROTATION_SECONDS: u64 = 30 * 24 * 3600;

const FILE: &str = "captcha-keys";
const FILE_HEADER: &str = "palisade captcha keys 1";
/// More is no file of ours.
const MAX_FILE: u64 = 4096;

/// Names a key in what it has signed.
pub(super) type KeyId = [u8; 4];

/// A key.
#[derive(Debug)]
struct SigningKey {
    id: KeyId,
    key: hmac::Key,
}

impl SigningKey {
    fn new(bytes: &[u8]) -> Self {
        // By its contents, so that proxies that share keys agree on their names.
        let hash = digest::digest(&digest::SHA256, &[b"palisade captcha key id\0", bytes].concat());
        let mut id = KeyId::default();
        id.copy_from_slice(&hash.as_ref()[..4]);
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }
    }
}

/// The keys; the first one signs, all verify.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<SigningKey>,
    /// Other proxies may have the same ones.
    pub(super) are_shared: bool,
}

impl Keys {
    /// The configured keys, or those kept in the directory. Without a directory they last as long as the program.
    pub(super) fn load(
        configured: &[Secret],
        directory: Option<&Path>,
        now: u64,
    ) -> Result<Self, CaptchaError> {
        if let Some(short) =
            configured.iter().map(|key| key.reveal().len()).find(|length| *length < MIN_KEY_BYTES)
        {
            return Err(CaptchaError::ShortKey { length: short, minimum: MIN_KEY_BYTES });
        }
        if !configured.is_empty() {
            let keys = configured.iter().map(|key| SigningKey::new(key.reveal().as_bytes())).collect();
            return Ok(Self { keys, are_shared: true });
        }
        let kept = match directory {
            Some(directory) => kept_keys(directory, now)?,
            None => vec![KeptKey::generate(now)?],
        };
        Ok(Self { keys: kept.iter().map(|key| SigningKey::new(&key.bytes)).collect(), are_shared: false })
    }

    /// The id of the key that signs.
    pub(super) fn current(&self) -> KeyId {
        self.keys.first().map_or(KeyId::default(), |key| key.id)
    }

    /// The code of a message under one of the keys; `None` when it is not known.
    pub(super) fn sign(&self, id: KeyId, parts: &[&[u8]]) -> Option<[u8; 32]> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        let mut context = hmac::Context::with_key(&key.key);
        for part in parts {
            // With its length, so that no two lists of parts make the same message.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut code = [0; 32];
        code.copy_from_slice(context.sign().as_ref());
        Some(code)
    }
}

/// A generated key, as it is kept.
struct KeptKey {
    created: u64,
    bytes: [u8; 32],
}

impl KeptKey {
    fn generate(now: u64) -> Result<Self, CaptchaError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| CaptchaError::Random)?;
        Ok(Self { created: now, bytes })
    }

    fn parse(line: &str) -> Option<Self> {
        let (created, bytes) = line.split_once(' ')?;
        let bytes = BASE64.decode(bytes).ok()?.try_into().ok()?;
        Some(Self { created: created.parse().ok()?, bytes })
    }
}

/// Reads the kept keys, and generates or replaces the current one when that is due.
fn kept_keys(directory: &Path, now: u64) -> Result<Vec<KeptKey>, CaptchaError> {
    let path = directory.join(FILE);
    let failed = |doing, cause| CaptchaError::KeyFile { doing, path: path.clone(), cause };
    let mut keys = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("read", error)),
        Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_FILE => {
            return Err(CaptchaError::WrongKeyFile { path });
        }
        Ok(_) => {
            let text = fs::read_to_string(&path).map_err(|error| failed("read", error))?;
            parse(&text).ok_or_else(|| CaptchaError::WrongKeyFile { path: path.clone() })?
        }
    };
    // A clock that was set back leaves a key from the future, which is kept: it is as secret as any.
    if keys.first().is_some_and(|key| now.saturating_sub(key.created) < ROTATION_SECONDS) {
        return Ok(keys);
    }
    keys.truncate(1);
    keys.insert(0, KeptKey::generate(now)?);
    write(&path, &keys).map_err(|error| failed("write", error))?;
    Ok(keys)
}

fn parse(text: &str) -> Option<Vec<KeptKey>> {
    let keys: Vec<KeptKey> =
        text.strip_prefix(FILE_HEADER)?.trim().lines().map(KeptKey::parse).collect::<Option<_>>()?;
    (1..=2).contains(&keys.len()).then_some(keys)
}

fn write(path: &Path, keys: &[KeptKey]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut text = format!("{FILE_HEADER}\n");
    for key in keys {
        text.push_str(&format!("{} {}\n", key.created, BASE64.encode(key.bytes)));
    }
    let written = (|| {
        // A file left by a crash may have another mode; `mode` applies to new files only.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Atomic, so that a crash leaves the old keys or the new ones.
        fs::rename(&staged, path)?;
        if let Some(directory) = path.parent() {
            fs::File::open(directory)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn generated_keys_survive_restarts_and_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = Keys::load(&[], Some(directory.path()), 1_000).unwrap();
        let second = Keys::load(&[], Some(directory.path()), 2_000).unwrap();
        assert_eq!(first.sign(first.current(), &[b"x"]), second.sign(first.current(), &[b"x"]));
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_old_key_is_replaced_and_verifies_until_the_next_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let load = |now| Keys::load(&[], Some(directory.path()), now).unwrap();
        let first = load(0).current();
        let rotated = load(ROTATION_SECONDS);
        assert_ne!(rotated.current(), first);
        assert!(rotated.sign(first, &[b"x"]).is_some());
        assert!(load(2 * ROTATION_SECONDS).sign(first, &[b"x"]).is_none());
    }

    #[test]
    fn another_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for text in ["", "garbage", "palisade captcha keys 1\n1 short", "palisade captcha keys 1\n"] {
            fs::write(&path, text).unwrap();
            let error = Keys::load(&[], Some(directory.path()), 0).unwrap_err();
            assert!(matches!(error, CaptchaError::WrongKeyFile { .. }), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn configured_keys_are_shared_and_must_be_long() {
        let secret = |text: &str| Secret::new(text.repeat(32));
        let here = Keys::load(&[secret("a"), secret("b")], None, 0).unwrap();
        let there = Keys::load(&[secret("b"), secret("a")], None, 0).unwrap();
        assert_eq!(here.sign(here.current(), &[b"x"]), there.sign(here.current(), &[b"x"]));
        let error = Keys::load(&[Secret::new("short")], None, 0).unwrap_err();
        assert!(matches!(error, CaptchaError::ShortKey { length: 5, .. }));
    }

    #[test]
    fn parts_are_kept_apart() {
        let keys = Keys::load(&[], None, 0).unwrap();
        assert_ne!(keys.sign(keys.current(), &[b"ab", b"c"]), keys.sign(keys.current(), &[b"a", b"bc"]));
    }
}
