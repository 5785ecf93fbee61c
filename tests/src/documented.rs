//! Runs the commands of the book as they are printed on its pages.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::tools::{self, ToolOutput};
use crate::world::World;

/// The text of a file of the repository.
///
/// # Errors
/// When it cannot be read.
pub fn repository(path: &str) -> Outcome<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).doing(format_args!("reading {}", path.display()))
}

/// The fenced blocks of a page in this language.
///
/// # Errors
/// When there is none.
pub fn blocks(page: &str, language: &str) -> Outcome<Vec<String>> {
    let text = repository(page)?;
    let fence = format!("```{language}\n");
    let found: Vec<String> =
        text.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.to_owned())).collect();
    if found.is_empty() { Err(Failure::new(format!("no {language} block in {page}"))) } else { Ok(found) }
}

/// The first of them that contains `phrase`.
///
/// # Errors
/// When there is none.
pub fn block(page: &str, language: &str, phrase: &str) -> Outcome<String> {
    let found = blocks(page, language)?.into_iter().find(|block| block.contains(phrase));
    found.doing(format_args!("{page} has a block with {phrase}"))
}

/// A shell on a host, in which programs are found under the names that pages use, and `sudo` changes nothing.
pub struct Shell {
    host: Host,
    bin: PathBuf,
    /// The folder that commands run in.
    pub folder: PathBuf,
    /// Variables that commands see.
    pub variables: Vec<(String, String)>,
    /// What is written differently here.
    pub replaced: Vec<(&'static str, String)>,
}

impl Shell {
    /// One with these programs, each with the command that it stands for.
    ///
    /// # Errors
    /// When its folders cannot be made.
    pub fn new(world: &World, host: &Host, programs: &[(&str, String)]) -> Outcome<Self> {
        let (bin, folder) = (world.fresh_path("bin"), world.fresh_path("shell"));
        std::fs::create_dir_all(&bin)?;
        std::fs::create_dir_all(&folder)?;
        let sudo = ("sudo", String::new());
        for (name, runs) in programs.iter().chain([&sudo]) {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nexec {runs} \"$@\"\n"))?;
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(Self { host: host.clone(), bin, folder, variables: Vec::new(), replaced: Vec::new() })
    }

    /// The command of a line, for a process that goes on.
    ///
    /// # Errors
    /// When the harness does not run from a build folder.
    pub fn command(&self, line: &str) -> Outcome<std::process::Command> {
        let line = self.replaced.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        let mut command = tools::command("bash")?;
        let path = format!("{}:{}", self.bin.display(), tools::search_path()?.to_string_lossy());
        command.args(["-euo", "pipefail", "-c", &line]).env("PATH", path).current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs a line; a failure anywhere in it is one of the line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, line: &str) -> Outcome<ToolOutput> {
        let mut command = self.command(line)?;
        self.host.run(|| tools::run(&mut command, ""))
    }

    /// Runs a line that has to succeed; returns what it printed on both outputs.
    ///
    /// # Errors
    /// When it fails.
    pub fn succeed(&self, line: &str) -> Outcome<String> {
        let said = self.run(line)?;
        if said.code != 0 {
            return Err(Failure::new(format!("{line}: {said:?}")));
        }
        Ok(said.out + &said.err)
    }
}
