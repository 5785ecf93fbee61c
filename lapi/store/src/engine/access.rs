//! Explains why a file of the database cannot be used: its owner, its mode, and what to do.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Error, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Checks that the files of an existing database can be written. Whatever is no matter of permissions is left to
/// SQLite.
pub(super) fn check(database: &Path) -> Result<(), String> {
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", database.display()));
    for file in [database.to_owned(), beside("-wal"), beside("-shm")] {
        match OpenOptions::new().read(true).write(true).open(&file) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(refused(&error, &file)),
            _ => {}
        }
    }
    // SQLite makes files beside the database.
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match check_folder(folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(refused(&error, folder)),
        _ => Ok(()),
    }
}

/// Whether files can be made in a folder.
pub(super) fn check_folder(folder: &Path) -> Result<(), Error> {
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// The error with owner and mode of the file or folder, and the next step.
pub(super) fn refused(error: &Error, path: &Path) -> String {
    let Ok(found) = std::fs::metadata(path) else {
        return format!("{error}; the user of this program must be able to read and write there");
    };
    let (owner, group) = (name_of("/etc/passwd", found.uid()), name_of("/etc/group", found.gid()));
    let own = name_of("/etc/passwd", rustix::process::geteuid().as_raw());
    let mode = found.permissions().mode() & 0o7777;
    let (at, is_folder) = (path.display(), found.is_dir());
    let remedy = if is_folder { format!("chown {own} {at}") } else { format!("chown {own}: {at}*") };
    format!(
        "{error}: {at} belongs to {owner}:{group} with mode {mode:04o}, and this program runs as {own}; run it as \
         {owner}, or give that user's files to {own} (as root: {remedy})"
    )
}

/// The name of a user or group, or its number.
fn name_of(list: &str, id: u32) -> String {
    let id = id.to_string();
    let file = File::open(list).map(BufReader::new);
    let mut lines = file.into_iter().flat_map(|file| file.lines().map_while(Result::ok));
    let name = lines.find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&id)).then(|| name.to_owned())
    });
    name.unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_mode_and_next_step_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lapi.db");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let own = name_of("/etc/passwd", rustix::process::geteuid().as_raw());
        let text = refused(&ErrorKind::PermissionDenied.into(), &file);
        assert!(text.contains(&format!("belongs to {own}:")) && text.contains("mode 0640"), "{text}");
        assert!(text.contains(&format!("as root: chown {own}: {}*", file.display())), "{text}");
        assert_eq!(name_of("/etc/passwd", u32::MAX - 7), (u32::MAX - 7).to_string());
        assert_eq!(name_of("/etc/passwd", 0), "root");
    }
}
