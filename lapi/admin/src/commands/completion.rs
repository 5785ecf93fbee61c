//! `completion SHELL`, and the hidden `__complete`, with which shells query names.

use std::path::PathBuf;

use clap_complete::Shell;

use super::{allowlists, bouncers, machines};
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::{line, print};
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// bash, zsh, powershell or fish
    shell: String,
}

pub(super) fn run(root: &clap::Command, args: &Args) -> Result<(), Failure> {
    let name = root.get_name();
    let shell = match args.shell.parse() {
        // clap knows more shells than `cscli`.
        Ok(shell @ (Shell::Bash | Shell::Zsh | Shell::PowerShell | Shell::Fish)) => shell,
        _ => {
            return Err(Failure::Usage(format!(
                "invalid argument \"{}\" for \"{name} completion\"",
                args.shell
            )));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root.clone(), name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Handles `__complete GROUP COMMAND … PREFIX`, which came after `flags`: prints the matching names, then `:4`, with
/// which the shell offers no files. Errors are ignored, so that they do not disturb the prompt.
pub(crate) async fn complete(
    flags: &[String],
    commands: &CommandLine,
    words: &[String],
) -> Result<(), Failure> {
    let config = flags.windows(2).find(|pair| matches!(&*pair[0], "-c" | "--config"));
    let globals = Globals::with_config(config.map(|pair| PathBuf::from(&pair[1])));
    let (typed, words) = words.split_last().map_or(("", &[][..]), |(last, words)| (last.as_str(), words));
    let selected = commands.select(words.iter().map(String::as_str).filter(|word| !word.starts_with('-')));
    // Without a readable configuration the names of commands are still completed.
    let names = match (&selected.path[1..], Session::open(&globals, false)) {
        (["bouncers", "delete" | "inspect"], Ok(session)) => bouncers::names(&session).await,
        (["machines", "delete" | "inspect" | "validate"], Ok(session)) => machines::names(&session).await,
        (["allowlists", "add" | "remove" | "delete" | "inspect" | "import"], Ok(session)) => {
            allowlists::names(&session).await
        }
        _ => Ok(selected.command.get_subcommands().map(|known| known.get_name().to_owned()).collect()),
    };
    for name in names.unwrap_or_default() {
        if name.contains(typed) && !words.contains(&name) {
            line(&name)?;
        }
    }
    line(":4")
}
