//! Error responses of a LAPI.

use serde::Deserialize;

/// The body of an error response: `{"message":"access forbidden"}`, sometimes with `code` (the status) or `errors`.
/// Routing errors and proxies send something else or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ErrorBody {
    /// The reason.
    #[serde(default)]
    pub message: String,
    /// Details; LAPI itself never sends them, but its clients show them in parentheses.
    #[serde(default)]
    pub errors: String,
}

/// How much of a foreign body is quoted, in characters.
const QUOTED: usize = 200;

impl ErrorBody {
    /// The text that CrowdSec's clients show after `API error: ` for this status and body, for log searches. Long
    /// bodies are truncated, control characters escaped.
    pub fn describe(status: u16, body: &[u8]) -> String {
        if body.is_empty() {
            return format!("http code {status}, no response body");
        }
        if status == 422 {
            return format!("http code 422, invalid request: {}", quote(body));
        }
        match serde_json::from_slice::<Self>(body) {
            Ok(Self { message, errors }) if !(message.is_empty() && errors.is_empty()) => {
                let text = quote(message.as_bytes());
                if errors.is_empty() { text } else { format!("{text} ({})", quote(errors.as_bytes())) }
            }
            _ => format!("http code {status}, response: {}", quote(body)),
        }
    }
}

fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut quoted = String::new();
    for (count, c) in text.trim_end().chars().enumerate() {
        if count == QUOTED {
            quoted.push('…');
            break;
        }
        if c.is_control() { quoted.extend(c.escape_default()) } else { quoted.push(c) }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_stock_clients_show_it() {
        for (status, body, text) in [
            (403, r#"{"message":"access forbidden"}"#, "access forbidden"),
            (401, r#"{"code":401,"message":"cookie token is empty"}"#, "cookie token is empty"),
            (500, r#"{"message":"m","errors":"e"}"#, "m (e)"),
            (404, "", "http code 404, no response body"),
            (422, "validation", "http code 422, invalid request: validation"),
            (502, "<html>Bad Gateway</html>\n", "http code 502, response: <html>Bad Gateway</html>"),
            (500, "{}", "http code 500, response: {}"),
            (500, "a\nb", "http code 500, response: a\\nb"),
        ] {
            assert_eq!(ErrorBody::describe(status, body.as_bytes()), text);
        }
        assert!(ErrorBody::describe(500, &[0xff; 5000]).chars().count() < 250);
    }
}
