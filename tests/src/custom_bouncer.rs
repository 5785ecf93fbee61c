//! The stock custom bouncer, crowdsec-custom-bouncer 0.0.15, which calls a program for every added and deleted
//! decision.

use serde_json::json;

use crate::host::Host;
use crate::lapi::Access;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::recording_program::{Call, RecordingProgram};
use crate::tools;
use crate::world::World;

/// A running custom bouncer.
pub struct CustomBouncer {
    process: Process,
    program: RecordingProgram,
}

impl CustomBouncer {
    /// Starts it with a program that is called; it polls ten times a second.
    ///
    /// # Errors
    /// When it is not unpacked, or cannot be started.
    pub fn start(world: &World, host: &Host, lapi: &Access) -> Outcome<Self> {
        let program = RecordingProgram::called(world)?;
        let config = program.stock_file(lapi, &json!({}));
        Self::start_with(world, host, program, &config)
    }

    /// Starts it with this configuration, of which the program is part.
    ///
    /// # Errors
    /// When it is not unpacked, or cannot be started.
    pub fn start_with(world: &World, host: &Host, program: RecordingProgram, config: &str) -> Outcome<Self> {
        let path = world.fresh_path("custom.yaml");
        std::fs::write(&path, config)?;
        let mut command = tools::command(tools::peer("crowdsec-custom-bouncer")?)?;
        command.arg("-c").arg(path);
        Ok(Self { process: world.start(host, "custom-bouncer", command)?, program })
    }

    /// Every call so far, oldest first.
    ///
    /// # Errors
    /// When a call cannot be read.
    pub fn calls(&self) -> Outcome<Vec<Call>> {
        self.program.calls()
    }

    /// Its program.
    pub fn program(&self) -> &RecordingProgram {
        &self.program
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
