//! What was decided, value by value and in versions, and what may be sent because of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use super::Receiver;
use crate::lapi::{Ban, Lapi, ScriptedLapi};
use crate::outcome::{Failure, Outcome};

/// A LAPI at which decisions are made.
pub trait Decides {
    /// Adds a decision.
    ///
    /// # Errors
    /// When it refuses.
    fn decide(&self, ban: Ban) -> Outcome;

    /// Ends all decisions on an address.
    ///
    /// # Errors
    /// When it refuses.
    fn end(&self, address: &str) -> Outcome;
}

impl Decides for ScriptedLapi {
    fn decide(&self, ban: Ban) -> Outcome {
        self.ban(ban);
        Ok(())
    }

    fn end(&self, address: &str) -> Outcome {
        self.lift(address);
        Ok(())
    }
}

impl Decides for Lapi {
    fn decide(&self, ban: Ban) -> Outcome {
        self.ban(ban).map(drop)
    }

    fn end(&self, address: &str) -> Outcome {
        self.as_machine("DELETE", &format!("/v1/decisions?ip={address}"), None).map(drop)
    }
}

/// The versions of one value's decision, oldest first.
#[derive(Default)]
struct Versions {
    /// `true` of those that were ended and not replaced.
    lifted: Vec<(u64, bool)>,
}

impl Versions {
    fn in_force(&self) -> Option<u64> {
        self.lifted.last().filter(|(_, lifted)| !lifted).map(|(version, _)| *version)
    }
}

/// All that was decided. Each decision has a version in its scenario, and a newer one ends later, so that a LAPI that
/// sends only the longest decision on a value sends the newest.
#[derive(Default)]
pub struct Truth(Mutex<State>);

#[derive(Default)]
struct State {
    values: BTreeMap<String, Versions>,
    version: u64,
}

/// The version in a scenario.
pub(super) fn version(scenario: &str) -> Option<u64> {
    scenario.strip_prefix("version ")?.parse().ok()
}

impl Truth {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides a ban of this address, in a new version.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn ban(&self, lapi: &impl Decides, address: &str) -> Outcome {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        // Noted first: its event may arrive before the LAPI has responded.
        state.values.entry(address.to_owned()).or_default().lifted.push((version, false));
        drop(state);
        let mut ban = Ban::of(address).lasting(Duration::from_secs(3600 + 60 * version));
        ban.scenario = format!("version {version}");
        lapi.decide(ban)
    }

    /// Ends the decision on this address.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn lift(&self, lapi: &impl Decides, address: &str) -> Outcome {
        if let Some((_, lifted)) =
            self.state().values.get_mut(address).and_then(|versions| versions.lifted.last_mut())
        {
            *lifted = true;
        }
        lapi.end(address)
    }

    /// A random change of one of the first `count` addresses of 10.1.0.0/16: a ban, a longer one, or its end.
    ///
    /// # Errors
    /// When the LAPI refuses.
    pub fn change(&self, lapi: &impl Decides, rng: &mut Rng, count: u8) -> Outcome {
        let address = format!("10.1.0.{}", rng.u8(..count));
        let is_in_force = self.in_force().contains_key(&address);
        if is_in_force && rng.f32() < 0.6 { self.lift(lapi, &address) } else { self.ban(lapi, &address) }
    }

    /// The version in force of each value.
    pub fn in_force(&self) -> BTreeMap<String, u64> {
        let state = self.state();
        let in_force =
            state.values.iter().filter_map(|(value, versions)| Some((value.clone(), versions.in_force()?)));
        in_force.collect()
    }

    /// How many values there have been.
    pub fn value_count(&self) -> usize {
        self.state().values.len()
    }

    /// Whether the receiver holds exactly what is in force. An error names some that differ.
    ///
    /// # Errors
    /// When it does not.
    pub fn is_held_by(&self, receiver: &Receiver) -> Outcome<bool> {
        let in_force: BTreeMap<String, Vec<String>> = self
            .in_force()
            .into_iter()
            .map(|(value, version)| (value, vec![format!("version {version}")]))
            .collect();
        let holds = receiver.holds();
        if holds == in_force {
            if receiver.holds_without_repeats() == in_force {
                return Ok(true);
            }
            return Err(Failure::new("one that drops repeats does not hold what is decided"));
        }
        let differing: Vec<String> = in_force
            .keys()
            .chain(holds.keys())
            .filter(|value| in_force.get(*value) != holds.get(*value))
            .map(|value| format!("{value}: decided {:?}, held {:?}", in_force.get(value), holds.get(value)))
            .take(6)
            .collect();
        Err(Failure::new(differing.join("; ")))
    }

    /// Checks that nothing was invented: each event is about a version that was decided, and what is lifted was.
    ///
    /// # Errors
    /// Names events that follow from nothing, and what was wrong with messages.
    pub fn explains(&self, receiver: &Receiver) -> Outcome {
        receiver.is_content()?;
        let state = self.state();
        let invented: Vec<String> = receiver
            .events()
            .iter()
            .filter(|event| {
                let (Some(versions), Some(version)) =
                    (state.values.get(&event.value), version(&event.scenario))
                else {
                    return true;
                };
                let was_lifted =
                    versions.lifted.iter().any(|(decided, lifted)| *lifted && *decided >= version);
                let was_decided = versions.lifted.iter().any(|(decided, _)| *decided == version);
                !was_decided || (event.kind == "decision.lifted" && !was_lifted)
            })
            .take(6)
            .map(|event| format!("{event:?}"))
            .collect();
        if invented.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("these events follow from no decision: {}", invented.join("; "))))
    }
}
