//! Implements the commands on a running endpoint: `resume`, `snapshot`, `deadletter`.

use serde_json::{Value, json};

use super::{Endpoints, Kind, Running, show};
use crate::delivery::endpoint::{CommandError, Endpoint};
use crate::store::DeadLetter;

/// Most dead letters listed or sent again by one command.
pub const MAX_LETTERS: usize = 1000;

/// The commands, as they are sent through the control socket.
pub const ACTIONS: &[&str] = &["resume", "snapshot", "deadletter"];

/// A command cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No such command.
    #[error("unknown command `{0}`; the running program may be of another version")]
    Unknown(String),
    /// The endpoint is not named.
    #[error("name the endpoint")]
    NoEndpoint,
    /// There is no such endpoint.
    #[error("there is no endpoint `{name}`; there are: {}", known.join(", "))]
    NoSuchEndpoint {
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The endpoint takes whole lists.
    #[error("the endpoint takes whole lists, so it has no dead letters")]
    WholeLists,
    /// What to do with dead letters is not understood.
    #[error("`{0}` is none of list, replay and drop")]
    NoSuchVerb(String),
    /// A dead letter is named by something else than its number.
    #[error("`{0}` is no number of a dead letter; `deadletter list` shows them")]
    NoNumber(String),
    /// There is no dead letter with this number.
    #[error("there is no dead letter {0}; `deadletter list` shows them")]
    NoSuchLetter(u64),
    /// Which dead letters to drop is not said.
    #[error("name the dead letters to drop by number, or `all`")]
    NothingNamed,
    /// The endpoint cannot do it now.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Endpoints {
    /// Carries out a command. May wait for the disk.
    ///
    /// # Errors
    /// Why it cannot be carried out.
    pub fn act(&self, action: &str, arguments: &[String]) -> Result<Value, ActionError> {
        match (action, arguments) {
            ("resume", [name, ..]) => self.resume(name),
            ("snapshot", [name, ..]) => self.snapshot(name),
            ("deadletter", [verb, name, numbers @ ..]) => self.dead_letters(verb, name, numbers),
            _ if ACTIONS.contains(&action) => Err(ActionError::NoEndpoint),
            _ => Err(ActionError::Unknown(action.chars().take(40).collect())),
        }
    }

    fn resume(&self, name: &str) -> Result<Value, ActionError> {
        match &self.find(name)?.kind {
            Kind::Delivery(endpoint) => endpoint.resume()?,
            Kind::Replace(endpoint) => endpoint.resume(),
        }
        Ok(json!({ "endpoint": name, "resumed": true }))
    }

    fn snapshot(&self, name: &str) -> Result<Value, ActionError> {
        match &self.find(name)?.kind {
            Kind::Delivery(endpoint) => endpoint.snapshot()?,
            Kind::Replace(endpoint) => endpoint.snapshot(),
        }
        Ok(json!({ "endpoint": name, "snapshot": true }))
    }

    fn dead_letters(&self, verb: &str, name: &str, numbers: &[String]) -> Result<Value, ActionError> {
        let running = self.find(name)?;
        let Kind::Delivery(endpoint) = &running.kind else { return Err(ActionError::WholeLists) };
        match verb {
            "list" => {
                let letters = endpoint.dead_letters(None, MAX_LETTERS)?;
                let listed: Vec<Value> =
                    letters.iter().map(|(number, letter)| show::dead_letter(*number, letter)).collect();
                let more = endpoint.status().dead_letters.saturating_sub(listed.len() as u64);
                Ok(json!({ "endpoint": name, "dead_letters": listed, "more": more }))
            }
            "replay" => {
                let letters = letters(endpoint, numbers)?;
                let replayed = letters.len();
                endpoint.replay(letters)?;
                Ok(json!({ "endpoint": name, "replayed": replayed }))
            }
            "drop" if numbers.is_empty() => Err(ActionError::NothingNamed),
            "drop" => {
                let is_all = numbers.iter().any(|number| number == "all");
                let letters = letters(endpoint, if is_all { &[] } else { numbers })?;
                let numbers: Vec<u64> = letters.iter().map(|(number, _)| *number).collect();
                let dropped = numbers.len();
                endpoint.drop_dead_letters(numbers)?;
                Ok(json!({ "endpoint": name, "dropped": dropped }))
            }
            verb => Err(ActionError::NoSuchVerb(verb.chars().take(40).collect())),
        }
    }

    fn find(&self, name: &str) -> Result<std::sync::Arc<Running>, ActionError> {
        let running = self.running();
        running.get(name).map(std::sync::Arc::clone).ok_or_else(|| ActionError::NoSuchEndpoint {
            name: name.chars().take(80).collect(),
            known: running.keys().cloned().collect(),
        })
    }
}

/// The dead letters with these numbers; all when none is named.
fn letters(endpoint: &Endpoint, numbers: &[String]) -> Result<Vec<(u64, DeadLetter)>, ActionError> {
    let parse = |number: &String| {
        number.parse::<u64>().map_err(|_| ActionError::NoNumber(number.chars().take(40).collect()))
    };
    let wanted = numbers.iter().map(parse).collect::<Result<Vec<u64>, _>>()?;
    if wanted.is_empty() {
        return Ok(endpoint.dead_letters(None, MAX_LETTERS)?);
    }
    let mut found = Vec::new();
    for number in wanted.into_iter().collect::<std::collections::BTreeSet<u64>>() {
        let next = endpoint.dead_letters(number.checked_sub(1), 1)?.pop();
        match next.filter(|(one, _)| *one == number) {
            Some(letter) => found.push(letter),
            None => return Err(ActionError::NoSuchLetter(number)),
        }
    }
    Ok(found)
}
