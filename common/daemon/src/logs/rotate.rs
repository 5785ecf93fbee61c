//! Rotates the log file when it is full, and compresses and removes old ones.
//!
//! File names are those of the stock programs: `name-2026-01-02T03-04-05.000.log`, with `.gz` when compressed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use flate2::{Compression, write::GzEncoder};
use jiff::{Timestamp, ToSpan as _, civil::DateTime, tz::TimeZone};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::keys::Rotation;

const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    size: u64,
    /// The size at which the file is rotated; raised after a failed rotation.
    rotate_at: u64,
    /// Whether the last write stopped in the middle of a line.
    torn: bool,
    tidying: Option<JoinHandle<()>>,
}

impl LogFile {
    /// Opens `path` for appending; a new file is readable by its owner only, an existing one keeps its mode. A missing
    /// folder is made, as the stock programs do.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        let rotate_at = rotation.max_bytes;
        let mut log =
            Self { path: path.to_owned(), rotation, file, size, rotate_at, torn: false, tidying: None };
        // The last run may have been cut short, or the limits been changed.
        log.tidy();
        Ok(log)
    }

    /// Writes a line, rotating first if it does not fit. A line longer than the limit is written all the same.
    pub(super) fn write_line(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(len) > self.rotate_at && self.rotate(now).is_err() {
            // Most likely the directory is not writable. The file keeps growing, which is better than losing lines; the
            // next attempt is made when it has grown by another tenth.
            self.rotate_at = self.size.saturating_add(len).saturating_add(self.rotation.max_bytes / 10);
        }
        // The disk was full in the middle of a line; the next one must not be appended to its beginning.
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
            self.size += 1;
        }
        let before = self.size;
        let result = self.write_all(line);
        self.torn = result.is_err() && self.size > before;
        result
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // Not `write_all` of the standard library: after an error it does not tell how much was written.
                Ok(written) => {
                    rest = &rest[written..];
                    self.size += u64::try_from(written).unwrap_or(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let aside = self.free_name(now)?;
        // The operator may have made the file readable for others; the next one should be too.
        let mode = self.file.metadata()?.permissions().mode() & 0o7777;
        // The descriptor follows the file, so nothing is lost if the new one cannot be opened.
        fs::rename(&self.path, &aside)?;
        let fresh = OpenOptions::new().append(true).create(true).mode(mode).open(&self.path);
        match fresh {
            Ok(file) => {
                (self.file, self.size, self.torn, self.rotate_at) = (file, 0, false, self.rotation.max_bytes);
                self.tidy();
                Ok(())
            }
            Err(error) => {
                // Keep writing to the old file, under its old name.
                let _ = fs::rename(&aside, &self.path);
                Err(error)
            }
        }
    }

    /// The first name from `now` on, in steps of a millisecond, that does not exist.
    fn free_name(&self, now: Timestamp) -> io::Result<PathBuf> {
        for step in 0..1000_i64 {
            let at = now.checked_add(step.milliseconds()).unwrap_or(now);
            let name = self.name_at(at);
            let mut packed = name.clone().into_os_string();
            packed.push(".gz");
            // Two rotations may fall into one millisecond, and the first may have been compressed already.
            if !name.try_exists()? && !Path::new(&packed).try_exists()? {
                return Ok(name);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn name_at(&self, at: Timestamp) -> PathBuf {
        let (stem, extension) = split(&self.path);
        let stamp = at.to_zoned(TimeZone::UTC).strftime(STAMP).to_string();
        self.path.with_file_name(format!("{stem}-{stamp}{extension}"))
    }

    /// Compresses and removes old files on a separate thread, one run at a time, while logging continues.
    fn tidy(&mut self) {
        if self.tidying.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (path, rotation) = (self.path.clone(), self.rotation);
        let work = move || tidy(&path, rotation, Timestamp::now());
        self.tidying = std::thread::Builder::new().name("log-tidy".into()).spawn(work).ok();
    }

    #[cfg(test)]
    pub(super) fn wait_until_tidy(&mut self) {
        if let Some(thread) = self.tidying.take() {
            thread.join().unwrap();
        }
    }
}

/// Finds what [`LogFile::open`] would refuse. Makes nothing.
pub(super) fn check_path(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => return Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    // The first folder that is there: the others would be made in it.
    let folder = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Splits `/var/log/name.log` into `name` and `.log`.
fn split(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension =
        path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    (part(path.file_stem()), extension)
}

struct Rotated {
    path: PathBuf,
    at: Timestamp,
    packed: bool,
}

fn rotated(path: &Path) -> Vec<Rotated> {
    let (stem, extension) = split(path);
    let prefix = format!("{stem}-");
    let Ok(dir) = fs::read_dir(path.parent().unwrap_or(Path::new("."))) else { return Vec::new() };
    let mut found: Vec<Rotated> = dir
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (name, packed) = match name.strip_suffix(".gz") {
                Some(name) => (name.to_owned(), true),
                None => (name, false),
            };
            let stamp = name.strip_prefix(&prefix)?.strip_suffix(&extension)?;
            let at = DateTime::strptime("%Y-%m-%dT%H-%M-%S%.f", stamp)
                .ok()?
                .to_zoned(TimeZone::UTC)
                .ok()?
                .timestamp();
            Some(Rotated { path: entry.path(), at, packed })
        })
        .collect();
    // The newest first. Of a file and its unfinished copy the file, which is compressed again then.
    found.sort_by(|a, b| b.at.cmp(&a.at).then(a.packed.cmp(&b.packed)));
    found
}

/// Removes files that are too old or too many and compresses the rest. Failures are retried at the next rotation.
fn tidy(path: &Path, rotation: Rotation, now: Timestamp) {
    let oldest = i64::try_from(rotation.max_age_days)
        .ok()
        .and_then(|days| days.checked_mul(24))
        .and_then(|hours| now.checked_sub(hours.hours()).ok());
    let mut kept: Vec<Timestamp> = Vec::new();
    for file in rotated(path) {
        // A file and its compressed copy count once.
        if !kept.contains(&file.at) {
            kept.push(file.at);
        }
        let too_many = u64::try_from(kept.len()).is_ok_and(|count| count > rotation.max_files);
        let too_old = oldest.is_some_and(|oldest| file.at < oldest);
        if too_many || too_old {
            let _ = fs::remove_file(&file.path);
        } else if rotation.compress && !file.packed {
            let _ = pack(&file.path);
        }
    }
}

fn pack(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let packed = PathBuf::from(name);
    let mode = source.metadata()?.permissions().mode() & 0o7777;
    let result =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&packed).and_then(
            |file| {
                let mut encoder = GzEncoder::new(file, Compression::default());
                io::copy(&mut source, &mut encoder)?;
                // On disk before the original is removed.
                encoder.finish()?.sync_all()
            },
        );
    fs::remove_file(if result.is_ok() { path } else { &packed })?;
    result
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const KEEP: Rotation = Rotation { max_bytes: 20, max_files: 2, max_age_days: 30, compress: false };

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_private_and_an_existing_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        drop(LogFile::open(&path, KEEP).unwrap());
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut log = LogFile::open(&path, KEEP).unwrap();
        assert_eq!(mode(&path), 0o640);
        let now = Timestamp::now();
        log.write_line(b"0123456789\n", now).unwrap();
        log.write_line(b"0123456789\n", now).unwrap();
        assert_eq!(mode(&path), 0o640, "also after a rotation");
        log.wait_until_tidy();
    }

    #[test]
    fn rotates_by_size_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        fs::write(dir.path().join("d-notes.log"), "not ours").unwrap();
        let mut log = LogFile::open(&path, KEEP).unwrap();
        let first = Timestamp::now();
        for minute in 0..4_i64 {
            log.wait_until_tidy();
            log.write_line(b"fifteen bytes..\n", first + minute.minutes()).unwrap();
        }
        log.wait_until_tidy();
        let stamp =
            |minute: i64| format!("d-{}.log", (first + minute.minutes()).strftime("%Y-%m-%dT%H-%M-%S%.3f"));
        assert_eq!(names(dir.path()), [stamp(2), stamp(3), "d-notes.log".into(), "d.log".into()]);
        assert_eq!(fs::read(&path).unwrap(), b"fifteen bytes..\n");
    }

    #[test]
    fn a_rotation_that_fails_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        let mut log = LogFile::open(&path, KEEP).unwrap();
        log.wait_until_tidy();
        log.write_line(b"fifteen bytes..\n", Timestamp::now()).unwrap();
        // Rotation needs the file's name; without it the open file still accepts lines.
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        for _ in 0..3 {
            log.write_line(b"fifteen bytes..\n", Timestamp::now()).unwrap();
        }
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap().len(), 4 * 16);
    }

    #[test]
    fn two_rotations_in_one_millisecond_do_not_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&dir.path().join("d.log"), KEEP).unwrap();
        let now = Timestamp::now();
        for text in [&b"first .............\n"[..], b"second ............\n", b"third .............\n"] {
            log.write_line(text, now).unwrap();
        }
        log.wait_until_tidy();
        assert_eq!(names(dir.path()).len(), 3);
    }

    #[test]
    fn compresses_and_forgets_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.log");
        let text = "some text ".repeat(100);
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        fs::write(dir.path().join("d-2026-02-20T10-00-00.000.log"), &text).unwrap();
        fs::write(dir.path().join("d-2026-01-02T03-04-05.000.log"), &text).unwrap();
        fs::write(dir.path().join("d-2026-01-01T03-04-05.000.log.gz"), "old").unwrap();
        tidy(&path, Rotation { compress: true, max_files: 9, ..KEEP }, now);
        assert_eq!(names(dir.path()), ["d-2026-02-20T10-00-00.000.log.gz"]);
        let mut unpacked = String::new();
        let file = File::open(dir.path().join("d-2026-02-20T10-00-00.000.log.gz")).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }
}
