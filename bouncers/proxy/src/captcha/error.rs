//! Errors of the captcha's configuration and keys.

use std::path::PathBuf;

/// Why the captcha cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CaptchaError {
    /// A configured key that could be guessed.
    #[error(
        "a signing key has {length} bytes; use at least {minimum}, such as the output of `openssl rand -base64 32`"
    )]
    ShortKey {
        /// Its length.
        length: usize,
        /// The shortest.
        minimum: usize,
    },
    /// The file of generated keys.
    #[error("cannot {doing} the captcha keys in {}: {cause}; correct `state_dir`, or set `captcha.signing_keys`", path.display())]
    KeyFile {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file of generated keys has other contents.
    #[error("{} holds no captcha keys; remove it to generate new ones: all visitors then solve a captcha again", path.display())]
    WrongKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// No random numbers from the system.
    #[error("the system provides no random numbers for the captcha keys")]
    Random,
    /// A difficulty that no browser or every script solves.
    #[error(
        "the difficulty of the proof of work is {difficulty}; use {minimum} to {maximum}, each step doubles the work"
    )]
    Difficulty {
        /// As configured.
        difficulty: u8,
        /// The lowest.
        minimum: u8,
        /// The highest.
        maximum: u8,
    },
    /// The file of authorities for the provider.
    #[error("cannot use the authorities in {} for the captcha's provider: {reason}; correct `captcha.ca`", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The HTTP client for the provider.
    #[error("cannot set up requests to the captcha's provider: {reason}")]
    Client {
        /// Why.
        reason: String,
    },
}
