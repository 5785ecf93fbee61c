//! The packages on fresh hosts with systemd: installed, upgraded, removed, purged.
//!
//! They hold the programs of this build. A host of its own needs root; without it these tests are left out, and say so.

mod adopt;
mod deb;
mod guide;
mod pages;
mod rpm;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use palisade_e2e::{Debian, Doing as _, FreshHost, Outcome, packages};

/// Builds the packages once for all tests, and boots a host with Debian 12.
fn host(name: &str) -> Outcome<Option<FreshHost>> {
    host_with(Debian::Bookworm, name)
}

/// As [`host`], with a release.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn host_with(release: Debian, name: &str) -> Outcome<Option<FreshHost>> {
    // Stories at the same time: one makes the root, the others need it.
    static ROOT: Mutex<()> = Mutex::new(());
    if let Some(reason) = FreshHost::unavailable() {
        eprintln!("left out: {reason}");
        return Ok(None);
    }
    folder()?;
    {
        let _alone = ROOT.lock();
        FreshHost::make_root(release)?;
    }
    FreshHost::boot(name, release).map(Some)
}

/// Where the packages are.
fn folder() -> Outcome<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| packages().map_err(|failure| failure.to_string()));
    folder.clone().map_err(palisade_e2e::Failure::new)
}

/// The package of a role, copied to the host.
fn put(host: &FreshHost, role: &str, ending: &str) -> Outcome<String> {
    put_from(folder()?, host, role, ending)
}

/// The package that an upgrade begins with: of an earlier build in the folder that `PALISADE_PREVIOUS_PACKAGES` names, by
/// default of this build.
fn put_previous(host: &FreshHost, role: &str, ending: &str) -> Outcome<String> {
    let earlier = std::env::var_os("PALISADE_PREVIOUS_PACKAGES").map(PathBuf::from);
    put_from(earlier.map_or_else(folder, Ok)?, host, role, ending)
}

fn put_from(folder: PathBuf, host: &FreshHost, role: &str, ending: &str) -> Outcome<String> {
    let mut files = std::fs::read_dir(folder)?.flatten().map(|file| file.path());
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("palisade-{role}")) && name.ends_with(ending)
    };
    host.put(&files.find(is_wanted).doing(format!("the package of {role}"))?)
}
