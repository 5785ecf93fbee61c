//! Receivers of every kind: what one holds in the end is what is decided, in order, and nothing is invented.

mod backlog;
mod changes;
mod dead_letters;
mod failures;
mod nginx;
mod operations;
mod pauses;
mod values;

use std::path::PathBuf;

use palisade_e2e::{Outcome, Receiver, ScriptedLapi, Truth, Webhook, World, eventually, webhook_file};
use serde_json::Value;

/// One endpoint, named `soar`, that is sent what a LAPI decides.
pub(crate) struct Delivery {
    pub(crate) lapi: ScriptedLapi,
    pub(crate) receiver: Receiver,
    pub(crate) truth: Truth,
    pub(crate) webhook: Webhook,
    pub(crate) state: PathBuf,
}

impl Delivery {
    /// With these keys of the endpoint, and nothing decided.
    pub(crate) fn start(world: &World, keys: Value) -> Outcome<Self> {
        Self::start_with(world, keys, 0)
    }

    /// With this many addresses decided before.
    pub(crate) fn start_with(world: &World, keys: Value, decided: u32) -> Outcome<Self> {
        let (lapi, receiver) = (ScriptedLapi::start(&world.router)?, Receiver::start(&world.router)?);
        let truth = Truth::default();
        for address in palisade_e2e::many_addresses(decided) {
            truth.ban(&lapi, &address)?;
        }
        let config = webhook_file(&lapi.access(), &[receiver.endpoint("soar", keys)]);
        let state = world.fresh_path("state");
        let webhook = Webhook::start(world, &config, &state)?;
        Ok(Self { lapi, receiver, truth, webhook, state })
    }

    pub(crate) fn ban(&self, address: &str) -> Outcome {
        self.truth.ban(&self.lapi, address)
    }

    pub(crate) fn lift(&self, address: &str) -> Outcome {
        self.truth.lift(&self.lapi, address)
    }

    /// Makes random changes of a few addresses.
    pub(crate) fn change(&self, seed: u64, changes: usize) -> Outcome {
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..changes {
            self.truth.change(&self.lapi, &mut rng, 40)?;
            if rng.f32() < 0.1 {
                self.lapi.pulled(1)?;
            }
        }
        Ok(())
    }

    /// Waits until the receiver holds what is decided, and checks every event up to then.
    pub(crate) fn settles(&self) -> Outcome {
        eventually("the receiver holds what is decided", || self.truth.is_held_by(&self.receiver))?;
        self.truth.explains(&self.receiver)
    }

    /// Waits until the first snapshot is complete.
    pub(crate) fn begins(&self) -> Outcome {
        eventually("the first snapshot is complete", || self.receiver.snapshots() > 0)?;
        self.settles()
    }

    /// Waits until `status` shows this text.
    pub(crate) fn shows(&self, world: &World, text: &str) -> Outcome {
        eventually(&format!("the status shows {text:?}"), || {
            let status = self.command(world, &["status"])?;
            match status.contains(text) {
                true => Ok(true),
                false => Err(palisade_e2e::Failure::new(status)),
            }
        })
        .map(drop)
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn command(&self, world: &World, words: &[&str]) -> Outcome<String> {
        self.webhook.tool(world, words)?.into_stdout()
    }
}
