//! Lists the files that a bouncer's configuration names, for `-t`. Looks at files, opens none.

use std::path::Path;

use palisade_daemon::Problems;
use palisade_daemon::file_access::{NeededAccess, NeededFile};
use palisade_daemon::logs::{LogKeys, LogTarget};

use super::config::Loaded;
use crate::settings::LapiSettings;

/// The configuration itself and every file it names.
///
/// Values that are the absolute path of a file are found whatever their key: a key that is added later is covered, and
/// the only values that look alike, paths of URLs, are no files of this host.
pub(super) fn needed_files<C>(loaded: &Loaded<C>, settings: &LapiSettings) -> Vec<NeededFile> {
    let document = &loaded.document;
    let mut needed = vec![NeededFile::new("", document.path(), NeededAccess::Read)];
    needed.extend(document.local_path().map(|local| NeededFile::new("", local, NeededAccess::Read)));
    let values = document.values();
    needed.extend(values.into_iter().filter_map(|(key, text)| {
        let path = Path::new(text);
        let access = if path.is_absolute() { access_of(key, path)? } else { return None };
        Some(NeededFile::new(key, path, access))
    }));
    let state_dir = settings.state_dir.iter();
    needed.extend(state_dir.map(|path| NeededFile::new("state_dir", path, NeededAccess::WriteDirectory)));
    let logs: Option<LogKeys> = document.parse_into(&mut Problems::new());
    // The name of the file does not matter here: all log files are in one directory.
    if let Some(LogTarget::File { path, .. }) =
        logs.map(|keys| keys.check("log", false, &mut Problems::new()).target)
        && let Some(directory) = path.parent()
    {
        // Without its log file a bouncer writes to standard error.
        needed.push(NeededFile::new("log_dir", directory, NeededAccess::WriteDirectory).optional());
    }
    needed
}

/// What is done with the file that `key` names; `None` when the value is no file.
fn access_of(key: &str, path: &Path) -> Option<NeededAccess> {
    Some(match key {
        "state_dir" | "log_dir" => return None,
        // Of `access_log` of the proxy and of the webhook bouncer's mirror.
        "file" | "access_log" => NeededAccess::Write,
        "storage" => NeededAccess::WriteDirectory,
        "path" | "bin_path" if path.is_file() => NeededAccess::Execute,
        "directory" if path.is_dir() => NeededAccess::Read,
        _ if path.is_file() => NeededAccess::Read,
        _ => return None,
    })
}
