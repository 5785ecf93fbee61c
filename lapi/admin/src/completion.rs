//! `completion SHELL`, and the hidden `__complete`, with which shells query names.

use clap::Command;
use clap_complete::Shell;

use crate::cli::{Args, leaf};
use crate::failure::Failure;
use crate::output::{line, print};
use crate::session::{Globals, Session};
use crate::{allowlists, bouncers, machines};

pub(crate) fn command() -> Command {
    leaf("completion", "Generate completion script", "bash|zsh|powershell|fish")
}

/// Prints the completion script of a shell.
pub(crate) fn run(root: &Command, args: &Args<'_>) -> Result<(), Failure> {
    let [shell] = args.exactly()?;
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "powershell" => Shell::PowerShell,
        "fish" => Shell::Fish,
        other => {
            return Err(Failure::Usage(format!(
                "invalid argument \"{other}\" for \"{} completion\"",
                root.get_name()
            )));
        }
    };
    let mut script = Vec::new();
    let name = root.get_name().to_owned();
    clap_complete::generate(shell, &mut root.clone(), name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Handles `__complete GROUP COMMAND … PREFIX`, which came after `flags`: prints the matching names, then `:4`, which
/// tells the shell not to offer files. Errors are ignored, so that they do not disturb the prompt.
pub(crate) async fn complete(flags: &[String], root: &Command, words: &[String]) -> Result<(), Failure> {
    let config = flags.windows(2).find(|pair| matches!(&*pair[0], "-c" | "--config"));
    let globals = Globals { config: config.map(|pair| pair[1].clone()), ..Globals::default() };
    let (typed, words) = words.split_last().map_or(("", &[][..]), |(last, words)| (last.as_str(), words));
    let (path, command) = crate::cli::path_of(root, words);
    let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
    let session = Session::open(&globals);
    let names = match (&path[..], session) {
        (["bouncers", "delete" | "inspect"], Ok(session)) => bouncers::names(&session).await,
        (["machines", "delete" | "inspect" | "validate"], Ok(session)) => machines::names(&session).await,
        (["allowlists", "add" | "remove" | "delete" | "inspect" | "import"], Ok(session)) => {
            allowlists::names(&session).await
        }
        _ => Ok(command
            .get_subcommands()
            .filter(|known| !known.is_hide_set())
            .map(|known| known.get_name().to_owned())
            .collect()),
    };
    for name in names.unwrap_or_default() {
        if name.contains(typed) && !words.contains(&name) {
            line(&name)?;
        }
    }
    line(":4")
}
