//! Locates binaries: the peers under `target/peers`, the tools of the system, and our own.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outcome::{Doing, Failure, Outcome};

/// The `target` folder of this binary's build.
///
/// # Errors
/// When it runs from somewhere else.
pub fn target_dir() -> Outcome<PathBuf> {
    Ok(profile_dir()?.parent().doing("the build folder has no parent")?.to_path_buf())
}

/// `target/debug` or `target/release`: where the other binaries of this build lie.
fn profile_dir() -> Outcome<PathBuf> {
    let program = std::env::current_exe().doing("asking where this program is")?;
    let folder = program.parent().doing("this program has no folder")?;
    let inner = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    Ok(if inner { folder.parent().doing("deps/ without a parent")? } else { folder }.to_path_buf())
}

/// Where `tests/peers` unpacks; `PALISADE_PEERS` overrides it.
///
/// # Errors
/// When this program does not lie in a build folder.
pub fn peers_dir() -> Outcome<PathBuf> {
    match std::env::var_os("PALISADE_PEERS") {
        Some(folder) => Ok(folder.into()),
        None => Ok(target_dir()?.join("peers")),
    }
}

/// The Standard Webhooks library for Python: a wheel, which is a zip file that Python imports from (`PYTHONPATH`).
///
/// # Errors
/// When it is missing; the message names the command that fetches it.
pub fn standard_webhooks() -> Outcome<PathBuf> {
    let files = std::fs::read_dir(peers_dir()?.join("wheels")).into_iter().flatten().flatten();
    let mut paths = files.map(|file| file.path());
    let wheel = paths.find(|path| path.to_string_lossy().contains("standardwebhooks"));
    wheel.ok_or_else(|| Failure::new("the Standard Webhooks library is not fetched; run tests/peers"))
}

/// A binary out of Debian's packages.
///
/// # Errors
/// When it is missing; the message names the command that fetches it.
pub fn peer(name: &str) -> Outcome<PathBuf> {
    let path = peers_dir()?.join("root/usr/bin").join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!("{name} is not in {}; run tests/peers (or make test)", path.display())))
}

/// A binary of this workspace, as built into the same folder as this program.
///
/// # Errors
/// When it is not built; the message names the command that builds it.
pub fn ours(name: &str) -> Outcome<PathBuf> {
    let path = profile_dir()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    let flag =
        if path.parent().is_some_and(|folder| folder.ends_with("release")) { " --release" } else { "" };
    Err(Failure::new(format!("{} is not built; run cargo build{flag} --workspace --bins", path.display())))
}

/// The search path for tools: the caller's, the `sbin` folders an ordinary user lacks, and the unpacked ones.
///
/// # Errors
/// When this program does not lie in a build folder.
pub fn search_path() -> Outcome<OsString> {
    let root = peers_dir()?.join("root");
    let given = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&given).collect();
    folders.extend(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    folders.extend(["usr/sbin", "sbin", "usr/bin", "bin"].map(|folder| root.join(folder)));
    let mut known = HashSet::new();
    folders.retain(|folder| known.insert(folder.clone()));
    Ok(std::env::join_paths(folders)?)
}

/// Library folders of unpacked packages, for the loader; none if everything is installed in the system.
fn library_path(root: &Path) -> Option<OsString> {
    let found: Vec<PathBuf> = ["usr/lib", "lib"]
        .iter()
        .filter_map(|lib| std::fs::read_dir(root.join(lib)).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|folder| folder.to_string_lossy().ends_with("-linux-gnu"))
        .filter(|folder| {
            std::fs::read_dir(folder).is_ok_and(|mut files| {
                files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().contains(".so.")))
            })
        })
        .collect();
    if found.is_empty() { None } else { std::env::join_paths(found).ok() }
}

/// A command that finds system tools and unpacked ones alike. Its input is empty.
///
/// # Errors
/// When this program does not lie in a build folder.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Outcome<Command> {
    let path = search_path()?;
    let program = program.as_ref();
    let mut command = match find(Path::new(program), &path) {
        Some(found) => Command::new(found),
        None => Command::new(program),
    };
    command.env("PATH", path).stdin(std::process::Stdio::null());
    if let Some(libraries) = library_path(&peers_dir()?.join("root")) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    Ok(command)
}

/// A manipulation of a program's clock.
#[derive(Debug, Clone, Copy)]
pub enum Time<'a> {
    /// Shifts the wall clock only, by the contents of this file at each call: `+0`, `+2d`, `-3h`.
    WallClockOff(&'a Path),
    /// Timers run this many times as fast.
    Faster(u32),
}

/// A command whose clock is manipulated.
///
/// # Errors
/// When the library for it is not unpacked.
pub fn command_in(time: Time<'_>, program: impl AsRef<std::ffi::OsStr>) -> Outcome<Command> {
    let root = peers_dir()?.join("root/usr/lib");
    let folders = std::fs::read_dir(&root).doing(format_args!("reading {}", root.display()))?;
    let library = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
        .doing("libfaketime is not unpacked; run tests/peers --force")?;
    let mut command = command(program)?;
    command.env("LD_PRELOAD", library);
    match time {
        Time::WallClockOff(file) => {
            command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        Time::Faster(rate) => {
            command.env("FAKETIME", format!("+0 x{rate}"));
        }
    }
    Ok(command)
}

/// `std` searches a program in the parent's search path, not the child's; so the search is done here.
fn find(program: &Path, path: &OsString) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return None;
    }
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|candidate| {
        std::fs::metadata(candidate)
            .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    })
}

/// A command as typed in a shell, without its environment.
pub(crate) fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot start or fails; quotes its error output.
pub fn output(command: &mut Command) -> Outcome<String> {
    let ran = command.output().doing(format_args!("starting {}", spelled(command)))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        return Err(Failure::new(format!("{} ended with {}: {}", spelled(command), ran.status, said.trim())));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// The result of a command that ended.
#[derive(Debug)]
pub struct ToolOutput {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its error output.
    pub err: String,
}

impl ToolOutput {
    /// Whether either output contains this text.
    pub fn has(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }

    /// Its standard output, if it succeeded.
    ///
    /// # Errors
    /// When it failed; quotes its error output.
    pub fn into_stdout(self) -> Outcome<String> {
        if self.code == 0 { Ok(self.out) } else { Err(Failure::new(format!("{self:?}"))) }
    }
}

/// Runs a command to its end, whatever its exit status, with `input` on its standard input.
///
/// # Errors
/// When it cannot start.
pub fn run(command: &mut Command, input: &str) -> Outcome<ToolOutput> {
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().doing(format_args!("starting {}", spelled(command)))?;
    let mut pipe = child.stdin.take().doing("its input is piped")?;
    let text = input.to_owned();
    // A program that does not read its input is no failure.
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut pipe, text.as_bytes())));
    let ran = child.wait_with_output()?;
    writer.join().expect("writing does not panic");
    Ok(ToolOutput {
        code: ran.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&ran.stdout).into_owned(),
        err: String::from_utf8_lossy(&ran.stderr).into_owned(),
    })
}
