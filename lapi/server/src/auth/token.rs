//! Machine tokens: JWT signed with HS256, valid for one hour.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use palisade_wire::UnixMillis;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;

/// How long a token is valid, in seconds; also how long after it was first issued it may be refreshed.
pub(crate) const LIFETIME: i64 = 3600;
/// How long after a login its token can be refreshed again and again, in seconds.
pub(crate) const SESSION: i64 = 24 * 3600;
/// The minimum length of a configured secret, in bytes.
pub(crate) const MIN_SECRET: usize = 64;

/// Signs and verifies tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
}

/// Omits the secret.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// The claims of a token: the stock server's, and what the token is bound to. A token without the latter, issued by
/// another server with the same secret, is bound to nothing that exists, and its machine logs in again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) id: String,
    /// Expiry, in seconds since the epoch.
    pub(crate) exp: i64,
    /// Time of issue, in seconds since the epoch.
    pub(crate) orig_iat: i64,
    /// Time of the login, in seconds since the epoch.
    #[serde(default)]
    pub(crate) login: i64,
    /// The fingerprint of the credentials of the login; see [`Fingerprint`].
    #[serde(default)]
    pub(crate) credentials: Fingerprint,
}

/// Why a token is refused, with the stock server's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokenError {
    /// The request has no token.
    #[error("cookie token is empty")]
    Missing,
    /// Not three segments separated by dots.
    #[error("token contains an invalid number of segments")]
    Segments,
    /// The segments cannot be decoded.
    #[error("token is malformed")]
    Malformed,
    /// Signed with another key or algorithm.
    #[error("signature is invalid")]
    Signature,
    #[error("token is expired")]
    Expired,
    /// Not of the machine's current credentials, or not of this connection's certificate.
    #[error("token was issued for other credentials; log in again")]
    OtherCredentials,
}

impl Tokens {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(secret), checking: DecodingKey::from_secret(secret) }
    }

    /// A token for this machine, which logged in at `login`, and its expiry.
    ///
    /// # Errors
    ///
    /// When the token cannot be signed; no secret causes that.
    pub(crate) fn issue(
        &self,
        machine: &str,
        credentials: Fingerprint,
        login: UnixMillis,
        now: UnixMillis,
    ) -> Result<(String, UnixMillis), jsonwebtoken::errors::Error> {
        let seconds = now.0.div_euclid(1000);
        let login = login.0.div_euclid(1000);
        let id = machine.to_owned();
        let claims = Claims { id, exp: seconds + LIFETIME, orig_iat: seconds, login, credentials };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, UnixMillis(claims.exp * 1000)))
    }

    /// The claims of a token that is signed by this LAPI and has not expired.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub(crate) fn check(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let claims = self.read(token)?;
        if claims.exp <= now.0.div_euclid(1000) { Err(TokenError::Expired) } else { Ok(claims) }
    }

    /// The claims of a token that may be refreshed: issued at most an hour ago, expired or not, after a login of the last
    /// 24 hours.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub(crate) fn check_refreshable(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let claims = self.read(token)?;
        let seconds = now.0.div_euclid(1000);
        if claims.orig_iat < seconds - LIFETIME || claims.login < seconds - SESSION {
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
        // Expiry is checked by the caller, against its own clock.
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
        let print = Fingerprint::new(1, b"hash");
        let (token, end) = tokens.issue("m", print.clone(), now, now).unwrap();
        assert_eq!(end, UnixMillis(1_700_003_600_000));
        let claims = Claims {
            id: "m".into(),
            exp: 1_700_003_600,
            orig_iat: 1_700_000_000,
            login: 1_700_000_000,
            credentials: print.clone(),
        };
        assert_eq!(tokens.check(&token, now), Ok(claims.clone()));
        assert_eq!(tokens.check(&token, UnixMillis(1_700_003_599_999)), Ok(claims));
        assert_eq!(tokens.check(&token, UnixMillis(1_700_003_600_000)), Err(TokenError::Expired));
        assert!(tokens.check_refreshable(&token, UnixMillis(1_700_003_600_000)).is_ok());
        assert_eq!(tokens.check_refreshable(&token, UnixMillis(1_700_003_601_000)), Err(TokenError::Expired));
        // Refreshed again and again, a token ends a day after the login.
        let later = |seconds: i64| UnixMillis(now.0 + seconds * 1000);
        let (last, _) = tokens.issue("m", print.clone(), now, later(SESSION - 1)).unwrap();
        assert!(tokens.check_refreshable(&last, later(SESSION)).is_ok());
        assert_eq!(tokens.check_refreshable(&last, later(SESSION + 1)), Err(TokenError::Expired));
        // Each part of the credentials counts.
        assert!(print != Fingerprint::new(2, b"hash") && print != Fingerprint::new(1, b"other"));
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
