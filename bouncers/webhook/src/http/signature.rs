//! Signs messages: Standard Webhooks 1.0.0, and an HMAC in a header of its own. Pure.
//!
//! The signed content is `{id}.{timestamp}.{body}`. Each secret makes one signature, so that a receiver can change from
//! one secret to the next without missing a message.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::HeaderValue;
use palisade_client::Secret;

use crate::config::{HmacAlgorithm, HmacConfig, HmacEncoding};

const SYMMETRIC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
/// Bytes of a symmetric secret.
const SYMMETRIC_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of an ed25519 private key, and of its public key that may follow it.
const ED25519_BYTES: usize = 32;

/// Padding may be left out of a secret.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A signing secret cannot be used. The secret is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Its prefix.
    #[error("a signing secret begins with `whsec_` (HMAC) or `whsk_` (ed25519), followed by base64")]
    Prefix,
    /// A public key instead of a private one.
    #[error("`whpk_` is a public key, for the receiver; the signing secret begins with `whsk_`")]
    Public,
    /// What follows the prefix.
    #[error("what follows `{0}` in a signing secret must be standard base64")]
    Base64(&'static str),
    /// Its length.
    #[error(
        "a `whsec_` secret must have 24 to 64 bytes (32 to 88 characters of base64), not {0}; `openssl rand -base64 32` makes one"
    )]
    Length(usize),
    /// The length of a key.
    #[error("a `whsk_` secret must have 32 bytes, or 64 with the public key, not {0}")]
    KeyLength(usize),
    /// Its public half does not belong to its private half.
    #[error("the second half of a `whsk_` secret must be the public key of the first half")]
    KeyPair,
}

enum Key {
    /// In a box: it has the state of the digest and is far larger than the other.
    Symmetric(Box<hmac::Key>),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    fn parse(secret: &Secret) -> Result<Self, SecretError> {
        let text = secret.reveal().trim();
        let decode = |text, prefix| LENIENT.decode(text).map_err(|_| SecretError::Base64(prefix));
        if let Some(rest) = text.strip_prefix(SYMMETRIC_PREFIX) {
            let key = decode(rest, SYMMETRIC_PREFIX)?;
            if !SYMMETRIC_BYTES.contains(&key.len()) {
                return Err(SecretError::Length(key.len()));
            }
            return Ok(Self::Symmetric(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key))));
        }
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretError::Public);
        }
        let rest = text.strip_prefix(PRIVATE_PREFIX).ok_or(SecretError::Prefix)?;
        let key = decode(rest, PRIVATE_PREFIX)?;
        let pair = match key.len() {
            ED25519_BYTES => Ed25519KeyPair::from_seed_unchecked(&key),
            length if length == 2 * ED25519_BYTES => {
                let (seed, public) = key.split_at(ED25519_BYTES);
                Ed25519KeyPair::from_seed_and_public_key(seed, public)
            }
            length => return Err(SecretError::KeyLength(length)),
        };
        pair.map(Self::Ed25519).map_err(|_| SecretError::KeyPair)
    }
}

/// The public key (`whpk_…`) of an ed25519 secret, for its receivers; `None` for a symmetric secret.
///
/// # Errors
/// When the secret cannot be used.
pub fn public_key(secret: &Secret) -> Result<Option<String>, SecretError> {
    Ok(match Key::parse(secret)? {
        Key::Symmetric(_) => None,
        Key::Ed25519(pair) => Some(format!("{PUBLIC_PREFIX}{}", STANDARD.encode(pair.public_key()))),
    })
}

/// Signs with all secrets of an endpoint.
pub struct Signer {
    keys: Vec<Key>,
}

impl Signer {
    /// With these secrets, in order.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(secrets: &[Secret]) -> Result<Self, SecretError> {
        Ok(Self { keys: secrets.iter().map(Key::parse).collect::<Result<_, _>>()? })
    }

    /// The value of `webhook-signature`; `None` without a secret. `timestamp` is in seconds.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<HeaderValue> {
        if self.keys.is_empty() {
            return None;
        }
        let head = format!("{id}.{timestamp}.");
        let mut signatures = String::with_capacity(96 * self.keys.len());
        for key in &self.keys {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            match key {
                Key::Symmetric(key) => {
                    let mut context = hmac::Context::with_key(key);
                    context.update(head.as_bytes());
                    context.update(body);
                    signatures.push_str("v1,");
                    STANDARD.encode_string(context.sign(), &mut signatures);
                }
                Key::Ed25519(pair) => {
                    let content = [head.as_bytes(), body].concat();
                    signatures.push_str("v1a,");
                    STANDARD.encode_string(pair.sign(&content), &mut signatures);
                }
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(signatures)).ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("keys", &self.keys.len()).finish()
    }
}

/// Makes the HMAC header.
pub struct HeaderSigner {
    config: HmacConfig,
    key: hmac::Key,
}

impl HeaderSigner {
    /// With the configured digest and key.
    pub fn new(config: &HmacConfig) -> Self {
        let algorithm = match config.algorithm {
            HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
            HmacAlgorithm::Sha384 => hmac::HMAC_SHA384,
            HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Self { config: config.clone(), key: hmac::Key::new(algorithm, config.secret.reveal().as_bytes()) }
    }

    /// The header's value for a body; `None` when the prefix cannot be in a header.
    pub fn sign(&self, body: &[u8]) -> Option<HeaderValue> {
        let tag = hmac::sign(&self.key, body);
        let mut text = self.config.prefix.clone();
        match self.config.encoding {
            HmacEncoding::Base64 => STANDARD.encode_string(tag, &mut text),
            HmacEncoding::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                for byte in tag.as_ref() {
                    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                    text.push(char::from(DIGITS[usize::from(byte & 15)]));
                }
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
    }

    /// The header's name.
    pub fn header(&self) -> &http::HeaderName {
        &self.config.header
    }
}

/// The key is not shown.
impl fmt::Debug for HeaderSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderSigner").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// Of RFC 8032, section 7.1, test 1.
    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn a_symmetric_signature_is_that_of_the_standard_libraries() {
        let signer = Signer::new(&[secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(Signer::new(&[]).unwrap().sign("a", 1, body), None);
    }

    #[test]
    fn an_ed25519_signature_is_verified_with_the_public_key_that_is_shown() {
        let private = secret(&format!("whsk_{SEED}"));
        assert_eq!(public_key(&private).unwrap().unwrap(), format!("whpk_{PUBLIC}"));
        let signature = Signer::new(&[private]).unwrap().sign("msg_1", 5, b"{}").unwrap();
        let signature = signature.to_str().unwrap().strip_prefix("v1a,").unwrap();
        let key = UnparsedPublicKey::new(&ED25519, STANDARD.decode(PUBLIC).unwrap());
        key.verify(b"msg_1.5.{}", &STANDARD.decode(signature).unwrap()).unwrap();
        let both = [STANDARD.decode(SEED).unwrap(), STANDARD.decode(PUBLIC).unwrap()].concat();
        let both = secret(&format!("whsk_{}", STANDARD.encode(both)));
        assert_eq!(public_key(&both).unwrap().unwrap(), format!("whpk_{PUBLIC}"));
    }

    #[test]
    fn each_secret_makes_a_signature_in_order() {
        let secrets = [
            secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            secret(&format!("whsk_{SEED}")),
            secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        ];
        let signatures = Signer::new(&secrets).unwrap().sign("a", 1, b"x").unwrap();
        let kinds: Vec<_> =
            signatures.to_str().unwrap().split(' ').map(|one| one.split_once(',').unwrap().0).collect();
        assert_eq!(kinds, ["v1", "v1a", "v1"]);
    }

    #[test]
    fn unusable_secrets_are_refused_without_being_shown() {
        let zeros = |bytes| STANDARD.encode(vec![0; bytes]);
        for (text, error) in [
            ("SECRET".to_owned(), SecretError::Prefix),
            (format!("whpk_{PUBLIC}"), SecretError::Public),
            ("whsec_SECRET*".to_owned(), SecretError::Base64("whsec_")),
            ("whsk_SECRET*".to_owned(), SecretError::Base64("whsk_")),
            (format!("whsec_{}", zeros(23)), SecretError::Length(23)),
            (format!("whsec_{}", zeros(65)), SecretError::Length(65)),
            (format!("whsk_{}", zeros(31)), SecretError::KeyLength(31)),
            (format!("whsk_{}", zeros(64)), SecretError::KeyPair),
        ] {
            let found = Signer::new(&[secret(&text)]).unwrap_err();
            assert_eq!(found, error);
            assert!(!found.to_string().contains("SECRET"));
        }
        let signer = Signer::new(&[secret(&format!("whsk_{SEED}"))]).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { keys: 1 }");
    }

    #[test]
    fn an_hmac_header_is_that_of_github() {
        let mut config = HmacConfig {
            header: http::HeaderName::from_static("x-hub-signature-256"),
            algorithm: HmacAlgorithm::Sha256,
            prefix: "sha256=".to_owned(),
            encoding: HmacEncoding::Hex,
            secret: secret("It's a Secret to Everybody"),
        };
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(HeaderSigner::new(&config).sign(b"Hello, World!").unwrap(), expected);
        // RFC 4231, section 4.3.
        (config.secret, config.encoding) = (secret("Jefe"), HmacEncoding::Base64);
        (config.prefix, config.algorithm) = (String::new(), HmacAlgorithm::Sha512);
        let sha512 = HeaderSigner::new(&config).sign(b"what do ya want for nothing?").unwrap();
        assert!(sha512.to_str().unwrap().starts_with("Fkt6e/z4GeLj"), "{sha512:?}");
        assert!(!format!("{:?}", HeaderSigner::new(&config)).contains("Jefe"));
    }
}
