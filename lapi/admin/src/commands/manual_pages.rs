//! `manual-pages FOLDER`, for packages: writes a page of each command, from what `--help` is made of. The overview,
//! palisade(1), is `docs/man/palisade.1`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// an existing folder
    folder: PathBuf,
}

pub(super) fn run(root: &Command, args: &Args) -> Result<(), Failure> {
    write(root, &args.folder)
        .map_err(|error| Failure::Command(format!("cannot write to {}: {error}", args.folder.display())))
}

/// Groups such as `decisions` have no page: palisade(1) lists what is in them, and the page of the group `lapi` would hide
/// the daemon's, palisade-lapi(8).
fn write(parent: &Command, folder: &Path) -> io::Result<()> {
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        if !command.is_subcommand_required_set() {
            page(command, folder)?;
        }
        write(command, folder)?;
    }
    Ok(())
}

fn page(command: &Command, folder: &Path) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Not `render_title`, which leaves the empty date out, so that the source takes its place.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    writeln!(text, ".TH {} 1 \"\" Palisade \"User Commands\"", name.to_uppercase())?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    writeln!(text, ".SH \"SEE ALSO\"\n.BR palisade (1)")?;
    std::fs::write(folder.join(man.get_filename()), text)
}
