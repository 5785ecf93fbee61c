//! The extension by which a client asks Palisade's LAPI which version it is and what it holds.
//!
//! ```text
//!    client ──► GET /v1/decisions?limit=none    X-Palisade-Version: v0.1.0
//!    LAPI   ──► (refused: no number)            X-Palisade-Version: v0.1.0
//!    client ──► POST /v1/watchers/login         X-Palisade-Version: v0.1.0
//!    LAPI   ──► a token                         X-Palisade-Version: v0.1.0   X-Palisade-State: database=sqlite; …
//! ```
//!
//! A stock LAPI ignores the header and sends none. Clients that are not authenticated get none either.

use std::fmt;

/// In requests, the client's version; in responses to requests that have it, the LAPI's.
pub const VERSION_HEADER: &str = "x-palisade-version";
/// Response header of a login: what the LAPI holds, in the form of [`LapiState`].
pub const STATE_HEADER: &str = "x-palisade-state";
/// Parameters of `GET /v1/decisions` that every LAPI refuses once it knows the client. A valid query would move a stock
/// LAPI's position of this bouncer.
pub const PROBE_QUERY: &str = "limit=none";

/// What a LAPI holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LapiState {
    /// `sqlite` or `postgresql`.
    pub database: String,
    /// Machines, validated or not.
    pub machines: u64,
    /// Bouncers.
    pub bouncers: u64,
    /// Decisions in force.
    pub decisions: u64,
    /// Bouncers whose request is parked until there are changes.
    pub waiting: u64,
}

/// The header's value.
impl fmt::Display for LapiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, machines, bouncers, decisions, waiting } = self;
        write!(
            f,
            "database={database}; machines={machines}; bouncers={bouncers}; decisions={decisions}; waiting={waiting}"
        )
    }
}

impl LapiState {
    /// Parses the header's value; unknown parts are ignored, missing ones are empty.
    pub fn read(text: &str) -> Self {
        let mut state = Self::default();
        for (name, value) in text.split(';').filter_map(|part| part.trim().split_once('=')) {
            let number = || value.parse().unwrap_or(0);
            match name {
                "database" => value.clone_into(&mut state.database),
                "machines" => state.machines = number(),
                "bouncers" => state.bouncers = number(),
                "decisions" => state.decisions = number(),
                "waiting" => state.waiting = number(),
                _ => {}
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let state =
            LapiState { database: "sqlite".to_owned(), machines: 1, bouncers: 2, decisions: 3, waiting: 4 };
        assert_eq!(LapiState::read(&state.to_string()), state);
        assert_eq!(LapiState::read("later=1; machines=x; nonsense"), LapiState::default());
    }
}
