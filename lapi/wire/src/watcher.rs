//! Bodies of machine ("watcher") registration and login: `POST /v1/watchers` and `POST /v1/watchers/login`.

use serde::{Deserialize, Serialize};

use crate::request_body::{
    self, BodyError, at_most, list_or_empty, name, null_is_default, require, required,
};

/// The longest name of a machine, in characters.
const MAX_MACHINE_NAME: usize = 255;

/// A registration request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registration {
    /// The unique name; an empty one is accepted, as in the stock server.
    #[serde(deserialize_with = "required")]
    pub machine_id: String,
    /// The password, at most 72 bytes if it is to be hashed.
    #[serde(deserialize_with = "required")]
    pub password: String,
    /// Registers and validates at once if the server has such a token configured; 32 to 255 characters.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub registration_token: String,
}

/// A login request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// The name.
    #[serde(deserialize_with = "required")]
    pub machine_id: String,
    /// The password.
    #[serde(deserialize_with = "required")]
    pub password: String,
    /// The names of the scenarios it runs.
    #[serde(default, deserialize_with = "list_or_empty")]
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

/// Parses the body of `POST /v1/watchers`.
///
/// # Errors
/// The body cannot be parsed or a field is invalid.
pub fn read_registration(body: &[u8]) -> Result<Registration, BodyError> {
    let read: Registration = require(request_body::read(body)?, "machine_id")?;
    let token = &read.registration_token;
    if !token.is_empty() && token.chars().count() < 32 {
        let text = "registration_token in body should be at least 32 chars long";
        return Err(BodyError::Invalid(text.to_owned()));
    }
    at_most("registration_token", token, 255)?;
    name("machine_id", &read.machine_id, MAX_MACHINE_NAME)?;
    Ok(read)
}

/// Parses the body of `POST /v1/watchers/login`.
///
/// # Errors
/// The body cannot be parsed or a field is missing.
pub fn read_login(body: &[u8]) -> Result<Login, BodyError> {
    require(request_body::read(body)?, "machine_id")
}

/// Parses the body of a login with a certificate, of which only the scenarios are used.
///
/// # Errors
/// The body cannot be parsed; the stock server responds with `missing scenarios list in login request for TLS auth: …`.
pub fn read_certificate_login(body: &[u8]) -> Result<Vec<String>, BodyError> {
    #[derive(Default, Deserialize)]
    struct Scenarios {
        #[serde(default, deserialize_with = "list_or_empty")]
        scenarios: Vec<String>,
    }
    Ok(request_body::read::<Scenarios>(body)?.unwrap_or_default().scenarios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_validated() {
        let sound = br#"{"machine_id":"m","password":"p","extra":1,"registration_token":null} and more"#;
        let read = read_registration(sound).unwrap();
        assert_eq!((&*read.machine_id, &*read.password, &*read.registration_token), ("m", "p", ""));
        let long =
            format!(r#"{{"machine_id":"m","password":"p","registration_token":"{}"}}"#, "é".repeat(256));
        for (body, text) in [
            ("{}", "machine_id in body is required"),
            ("null", "machine_id in body is required"),
            (r#"{"machine_id":"m","password":null}"#, "password in body is required"),
            (
                r#"{"machine_id":"","password":"","registration_token":"short"}"#,
                "registration_token in body should be at least 32 chars long",
            ),
            (&*long, "registration_token in body should be at most 255 chars long"),
            (
                r#"{"machine_id":"a\u001b[2J","password":"p"}"#,
                "machine_id in body must not contain control characters",
            ),
            (
                r#"{"machine_id":"a\u009b","password":"p"}"#,
                "machine_id in body must not contain control characters",
            ),
        ] {
            let (BodyError::Invalid(found) | BodyError::TooLong(found)) =
                read_registration(body.as_bytes()).unwrap_err()
            else {
                panic!("{body} is malformed")
            };
            assert_eq!(found, text, "{body}");
        }
        for (body, part) in
            [("", "EOF"), (r#"{"machine_id":1}"#, "machine_id: invalid type"), ("5", "integer")]
        {
            let error = read_registration(body.as_bytes()).unwrap_err();
            assert!(matches!(&error, BodyError::Malformed(text) if text.contains(part)), "{error}");
        }
    }

    #[test]
    fn a_login_is_validated() {
        let read = read_login(br#"{"machine_id":"m","password":"p","scenarios":["a"]}"#).unwrap();
        assert_eq!(read.scenarios, ["a"]);
        assert_eq!(
            read_login(br#"{"machine_id":"m"}"#).unwrap_err().to_string(),
            "validation failure list:\npassword in body is required"
        );
        assert_eq!(read_certificate_login(br#"{"scenarios":["a"]}"#).unwrap(), ["a"]);
        assert!(read_certificate_login(b"null").unwrap().is_empty());
        assert!(read_certificate_login(b"").unwrap_err().to_string().contains("EOF"));
    }
}
