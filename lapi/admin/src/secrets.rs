//! Generates names, passwords and keys from the system's random number generator.

use std::fs::File;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

const LETTERS_AND_DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LOWER_AND_DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

fn random(bytes: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(bytes)
}

/// A text of `length` characters, uniformly distributed.
fn random_text(length: usize, alphabet: &[u8]) -> io::Result<String> {
    // Bytes beyond the last whole multiple would favour the start of the alphabet.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 64];
        random(&mut bytes)?;
        let letters = bytes.into_iter().map(usize::from).filter(|byte| *byte < fair);
        text.extend(
            letters.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])),
        );
    }
    Ok(text)
}

/// A password of 64 letters and digits.
pub(crate) fn password() -> io::Result<String> {
    random_text(64, LETTERS_AND_DIGITS)
}

/// A machine's name: the operating system's own id (or a random one) and 16 random characters.
pub(crate) fn machine_name() -> io::Result<String> {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id: String = id.trim().chars().filter(|c| c.is_ascii_alphanumeric()).take(32).collect();
    // Containers often have no id, or an empty file.
    let id = if id.len() == 32 { id } else { uuid::Uuid::new_v4().simple().to_string() };
    Ok(id + &random_text(16, LOWER_AND_DIGITS)?)
}

/// A bouncer's key: 32 random bytes in Base64 without padding.
pub(crate) fn bouncer_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(STANDARD_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_form() {
        let key = bouncer_key().unwrap();
        assert_eq!(key.len(), 43);
        assert_ne!(key, bouncer_key().unwrap());
        let password = password().unwrap();
        assert!(password.len() == 64 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(machine_name().unwrap().len(), 48);
    }
}
