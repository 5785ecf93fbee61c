//! Tokens of machines: JWT, HS256, one hour.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use palisade_wire::UnixMillis;
use serde::{Deserialize, Serialize};

/// How long a token is good for, in seconds; also how long after its first issue it may be refreshed.
pub const LIFETIME: i64 = 3600;
/// Fewest bytes of a secret somebody chose.
pub const MIN_SECRET: usize = 64;

/// Signs and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
}

/// The secret is not shown.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// What a token says. The stock server's tokens say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The machine's name.
    pub id: String,
    /// When it ends, in seconds since the epoch.
    pub exp: i64,
    /// When it was issued, in seconds since the epoch.
    pub orig_iat: i64,
}

/// Why a token is not taken, in the stock server's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is none.
    #[error("cookie token is empty")]
    Missing,
    /// Not of the form.
    #[error("token contains an invalid number of segments")]
    Segments,
    /// Of the form, with contents that cannot be read.
    #[error("token is malformed")]
    Malformed,
    /// Signed by somebody else, or in another way.
    #[error("signature is invalid")]
    Signature,
    /// Too old.
    #[error("token is expired")]
    Expired,
}

impl Tokens {
    /// With this secret.
    pub fn new(secret: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(secret), checking: DecodingKey::from_secret(secret) }
    }

    /// A token for this machine and when it ends.
    ///
    /// # Errors
    ///
    /// When the signature cannot be made, which a secret of any bytes does not cause.
    pub fn issue(
        &self,
        machine: &str,
        now: UnixMillis,
    ) -> Result<(String, UnixMillis), jsonwebtoken::errors::Error> {
        let seconds = now.0.div_euclid(1000);
        let claims = Claims { id: machine.to_owned(), exp: seconds + LIFETIME, orig_iat: seconds };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, UnixMillis(claims.exp * 1000)))
    }

    /// What a token says, if it is one of ours that has not ended.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn check(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let claims = self.read(token)?;
        if claims.exp <= now.0.div_euclid(1000) { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// What a token says that may be refreshed: first issued at most an hour ago, ended or not.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn check_refreshable(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let claims = self.read(token)?;
        if claims.orig_iat < now.0.div_euclid(1000) - LIFETIME {
            Err(TokenError::Expired)
        } else {
            Ok(claims)
        }
    }

    fn read(&self, token: &str) -> Result<Claims, TokenError> {
        if token.split('.').count() != 3 {
            return Err(TokenError::Segments);
        }
        let mut rules = Validation::new(Algorithm::HS256);
        // The clock is ours, and is looked at by the caller.
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        match jsonwebtoken::decode::<Claims>(token, &self.checking, &rules) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Signature,
                _ => TokenError::Malformed,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked_in_the_stock_servers_words() {
        let (tokens, now) = (Tokens::new(&[7; 64]), UnixMillis(1_700_000_000_123));
        let (token, end) = tokens.issue("m", now).unwrap();
        assert_eq!(end, UnixMillis(1_700_003_600_000));
        let claims = Claims { id: "m".into(), exp: 1_700_003_600, orig_iat: 1_700_000_000 };
        assert_eq!(tokens.check(&token, now), Ok(claims.clone()));
        assert_eq!(tokens.check(&token, UnixMillis(1_700_003_599_999)), Ok(claims));
        assert_eq!(tokens.check(&token, UnixMillis(1_700_003_600_000)), Err(TokenError::Expired));
        assert!(tokens.check_refreshable(&token, UnixMillis(1_700_003_600_000)).is_ok());
        assert_eq!(tokens.check_refreshable(&token, UnixMillis(1_700_003_601_000)), Err(TokenError::Expired));
        assert_eq!(Tokens::new(&[8; 64]).check(&token, now), Err(TokenError::Signature));
        assert_eq!(tokens.check("garbage", now), Err(TokenError::Segments));
        assert_eq!(tokens.check("a.b.c", now), Err(TokenError::Malformed));
        // "alg":"none" and other algorithms are not taken.
        let mut parts = token.split('.');
        let (_, claims) = (parts.next(), parts.next().unwrap());
        for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9"] {
            assert!(tokens.check(&format!("{header}.{claims}.AA"), now).is_err());
        }
    }
}
