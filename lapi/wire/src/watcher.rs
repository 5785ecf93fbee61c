//! Bodies of machine ("watcher") registration and login: `POST /v1/watchers` and `POST /v1/watchers/login`.

use serde::{Deserialize, Serialize};

use crate::go_json::{self, BodyError, lenient, without_nulls};
use crate::validation::{Group, ValidationFailure};

/// A registration request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registration {
    /// The unique name; an empty one is accepted, as in the stock server.
    pub machine_id: String,
    /// The password, at most 72 bytes if it is to be hashed.
    pub password: String,
    /// Registers and validates at once if the server has such a token configured; 32 to 255 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub registration_token: String,
}

/// A login request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// The name.
    pub machine_id: String,
    /// The password.
    pub password: String,
    /// The names of the scenarios it runs.
    #[serde(default)]
    pub scenarios: Vec<String>,
}

/// The response to a login and to `GET /v1/refresh_token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginAnswer {
    /// Always 200.
    pub code: i32,
    /// When the token expires, RFC 3339; stock servers write their local zone.
    pub expire: String,
    /// The token, for `Authorization: Bearer`.
    pub token: String,
}

/// Why a registration or login is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The body cannot be parsed: 400 for a registration, 401 `missing: …` for a login.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A field is missing, too short or too long: 422 for a registration, 401 for a login.
    #[error(transparent)]
    Invalid(#[from] ValidationFailure),
}

lenient! {
    struct PostedRegistration as "WatcherRegistrationRequest", list "[]models.WatcherRegistrationRequest" {
        machine_id: String = "machine_id",
        password: String = "password",
        registration_token: String = "registration_token",
    }
}

lenient! {
    struct PostedLogin as "WatcherAuthRequest", list "[]models.WatcherAuthRequest" {
        machine_id: String = "machine_id",
        password: String = "password",
        scenarios: Vec<Option<String>> = "scenarios",
    }
}

/// Parses the body of `POST /v1/watchers`.
///
/// # Errors
/// The body cannot be parsed or a field is invalid.
pub fn read_registration(body: &[u8]) -> Result<Registration, RequestError> {
    let posted: PostedRegistration = go_json::read(body)?.unwrap_or_default();
    let mut failures = Group::default();
    failures.require("machine_id", &posted.machine_id);
    failures.require("password", &posted.password);
    let registration_token = posted.registration_token.unwrap_or_default();
    if !registration_token.is_empty() {
        failures.at_least("registration_token", &registration_token, 32);
        failures.at_most("registration_token", &registration_token, 255);
    }
    failures.check()?;
    Ok(Registration {
        machine_id: posted.machine_id.unwrap_or_default(),
        password: posted.password.unwrap_or_default(),
        registration_token,
    })
}

/// Parses the body of `POST /v1/watchers/login`.
///
/// # Errors
/// The body cannot be parsed or a field is invalid.
pub fn read_login(body: &[u8]) -> Result<Login, RequestError> {
    let posted: PostedLogin = go_json::read(body)?.unwrap_or_default();
    let mut failures = Group::default();
    failures.require("machine_id", &posted.machine_id);
    failures.require("password", &posted.password);
    failures.check()?;
    Ok(Login {
        machine_id: posted.machine_id.unwrap_or_default(),
        password: posted.password.unwrap_or_default(),
        scenarios: without_nulls(posted.scenarios),
    })
}

/// Parses the body of a login with a certificate, of which only the scenarios are used.
///
/// # Errors
/// The body cannot be parsed; the stock server responds with `missing scenarios list in login request for TLS auth: …`.
pub fn read_certificate_login(body: &[u8]) -> Result<Vec<String>, BodyError> {
    let posted: PostedLogin = go_json::read(body)?.unwrap_or_default();
    Ok(without_nulls(posted.scenarios))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_says_what_it_lacks() {
        let sound = br#"{"Machine_ID":"m","PASSWORD":"p","extra":1,"registration_token":null} and more"#;
        let read = read_registration(sound).unwrap();
        assert_eq!((&*read.machine_id, &*read.password, &*read.registration_token), ("m", "p", ""));
        let heading = "validation failure list:\n";
        for (body, text) in [
            ("{}", format!("{heading}machine_id in body is required\npassword in body is required")),
            (
                r#"{"machine_id":"","password":"","registration_token":"short"}"#,
                format!("{heading}registration_token in body should be at least 32 chars long"),
            ),
            ("", "EOF".into()),
            (
                r#"{"machine_id":1}"#,
                "json: cannot unmarshal number into Go struct field WatcherRegistrationRequest.machine_id of \
                 type string"
                    .into(),
            ),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type models.WatcherRegistrationRequest".into(),
            ),
        ] {
            assert_eq!(read_registration(body.as_bytes()).unwrap_err().to_string(), text, "{body}");
        }
        let long =
            format!(r#"{{"machine_id":"m","password":"p","registration_token":"{}"}}"#, "é".repeat(256));
        assert_eq!(
            read_registration(long.as_bytes()).unwrap_err().to_string(),
            format!("{heading}registration_token in body should be at most 255 chars long")
        );
    }

    #[test]
    fn a_login_says_what_it_lacks() {
        let read = read_login(br#"{"machine_id":"m","password":"p","scenarios":["a",null]}"#).unwrap();
        assert_eq!(read.scenarios, ["a", ""]);
        assert_eq!(
            read_login(br#"{"machine_id":"m"}"#).unwrap_err().to_string(),
            "validation failure list:\npassword in body is required"
        );
        assert_eq!(read_certificate_login(br#"{"scenarios":["a"]}"#).unwrap(), ["a"]);
        assert_eq!(read_certificate_login(b"").unwrap_err().to_string(), "EOF");
    }
}
