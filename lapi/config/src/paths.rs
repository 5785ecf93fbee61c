//! File names in the configuration: made absolute relative to the working directory, as the stock program does.

use std::path::PathBuf;

/// The absolute path; `None` when it is not set or empty.
pub(crate) fn absolute(path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path.filter(|path| !path.as_os_str().is_empty())?;
    Some(std::path::absolute(&path).unwrap_or(path))
}
