//! Checks which files the user of a unit can use.
//!
//! The kernel decides, and not the permission bits, so that access lists and mounts count: a thread takes the user's
//! identity, which Linux keeps for each thread, and asks.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{Access, access},
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use tracing::warn;

/// The packaged unit of a program, as far as it affects access to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The unit's name without `.service`, which is also that of its user and its group.
    pub name: &'static str,
    /// Its configuration file.
    pub config: &'static str,
    /// Files that `ExecStartPre=` makes readable at each start; with `.local` where there is one.
    pub handed_over: &'static [&'static str],
    /// `StateDirectory=`, `LogsDirectory=` and `RuntimeDirectory=`: the only ones it can write to, and systemd gives them
    /// to the user.
    pub own_directories: &'static [&'static str],
}

impl Unit {
    /// Compares this with the text of the unit file, for tests of the programs.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, file: &str) -> Result<(), String> {
        let values = |key: &str| {
            let key = format!("{key}=");
            file.lines().filter_map(|line| line.strip_prefix(&key)).map(str::to_owned).collect::<Vec<_>>()
        };
        let own = [("State", "/var/lib/"), ("Logs", "/var/log/"), ("Runtime", "/run/")]
            .map(|(kind, root)| format!("{root}{}", values(&format!("{kind}Directory")).concat()));
        let start = values("ExecStartPre").join(" ");
        let (is_user, is_config) = (
            values("User") == [self.name] && values("Group") == [self.name],
            values("ExecStart").concat().ends_with(&format!(" -c {}", self.config)),
        );
        if !is_user || !is_config || self.own_directories != own {
            return Err(format!("user, configuration or directories are not those of the unit: {own:?}"));
        }
        let missing = self.handed_over.iter().find(|path| !start.split(' ').any(|word| word == **path));
        missing.map_or(Ok(()), |path| Err(format!("{path} is not handed over by ExecStartPre=")))
    }
}

/// What a program does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededAccess {
    /// Reads it.
    Read,
    /// Executes it.
    Execute,
    /// Writes it, or makes it in its directory.
    Write,
    /// Makes and deletes files in it.
    WriteDirectory,
}

/// A file that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededFile {
    /// The key that names it; empty for the configuration itself.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// What the program does with it.
    pub access: NeededAccess,
    /// Whether the program cannot start without it.
    pub is_required: bool,
}

impl NeededFile {
    /// A file.
    pub fn new(key: impl Into<String>, path: impl Into<PathBuf>, access: NeededAccess) -> Self {
        Self { key: key.into(), path: path.into(), access, is_required: true }
    }

    /// The same for a file that the program starts without: that is a warning.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_required: false, ..self }
    }
}

/// A user, with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitUser {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// Why the files cannot be looked at as another user, or what that user lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Only root can take another identity.
    #[error("-user {0} needs root: run the same command with sudo")]
    NotRoot(String),
    /// There is no such user.
    #[error("-user {0}: there is no such user in /etc/passwd")]
    UnknownUser(String),
    /// The identity could not be taken.
    #[error("cannot look at files as user {user}")]
    Identity {
        /// The user.
        user: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// Files that the user cannot use.
    #[error("user {user}, which runs the program, {}", list(.lacking))]
    Lacking {
        /// The user.
        user: String,
        /// One text for each file.
        lacking: Vec<String>,
    },
}

fn list(lacking: &[String]) -> impl fmt::Display {
    lacking.join("; ")
}

/// `-t` as root: whether the unit's user can use each of the `needed` files.
///
/// Without `asked` this is done for the packaged configuration file only, and only if the unit's user exists: any other
/// file is not the unit's. `asked` is the value of `-user`; `root` asks for nothing.
///
/// # Errors
/// All files that the user cannot use, each with the command that mends it.
pub fn check_as_unit(
    unit: &Unit,
    config: &Path,
    asked: Option<&str>,
    needed: &[NeededFile],
) -> Result<(), AccessError> {
    let user = match asked {
        Some("root") => return Ok(()),
        Some(name) if !geteuid().is_root() => return Err(AccessError::NotRoot(name.to_owned())),
        Some(name) => UnitUser::find(name).ok_or_else(|| AccessError::UnknownUser(name.to_owned()))?,
        None if !geteuid().is_root() || config != Path::new(unit.config) => return Ok(()),
        None => match UnitUser::find(unit.name) {
            Some(user) => user,
            None => return Ok(()),
        },
    };
    if user.name == unit.name && config == Path::new(unit.config) {
        warn_of_read_only_directories(unit, needed);
    }
    let (required, optional): (Vec<_>, Vec<_>) = needed.iter().cloned().partition(|file| file.is_required);
    let unusable = match user.lacking(unit, &optional) {
        Ok(unusable) => unusable,
        // A container without the capability: there is no unit in it either.
        Err(error) if asked.is_none() => {
            warn!(error = &error as &dyn std::error::Error, "files are not checked as the unit's user");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if !unusable.is_empty() {
        warn!("{}", AccessError::Lacking { user: user.name.clone(), lacking: unusable });
    }
    let lacking = user.lacking(unit, &required)?;
    if lacking.is_empty() { Ok(()) } else { Err(AccessError::Lacking { user: user.name, lacking }) }
}

/// With `ProtectSystem=strict` everything outside the unit's own directories is mounted read-only for it. Not an error: a
/// drop-in, which is not read here, may have `ReadWritePaths=`.
fn warn_of_read_only_directories(unit: &Unit, needed: &[NeededFile]) {
    let mut found = BTreeSet::new();
    for file in needed {
        let directory = match file.access {
            NeededAccess::Read | NeededAccess::Execute => continue,
            NeededAccess::Write => file.path.parent().unwrap_or(&file.path),
            NeededAccess::WriteDirectory => &file.path,
        };
        let is_own = unit.own_directories.iter().any(|own| directory.starts_with(own));
        if !is_own && found.insert(directory) {
            let directory = directory.display();
            warn!(
                "{}: the packaged unit cannot write to {directory} (ProtectSystem=strict); unless a drop-in has it \
                 already, run `systemctl edit {}` and add: [Service] ReadWritePaths={directory}",
                file.key, unit.name,
            );
        }
    }
}

impl UnitUser {
    /// The user with this name in `/etc/passwd`, with the groups of `/etc/group`.
    pub fn find(name: &str) -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::from_files(name, &users, &groups)
    }

    fn from_files(name: &str, users: &str, groups: &str) -> Option<Self> {
        let (uid, gid) = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })?;
        let of_user = groups.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, id, members] = fields[..] else { return None };
            members.split(',').any(|member| member == name).then(|| id.parse().ok()).flatten()
        });
        let groups = std::iter::once(gid).chain(of_user).collect::<BTreeSet<u32>>().into_iter().collect();
        Some(Self { name: name.to_owned(), uid, gid, groups })
    }

    /// A text for each file that this user cannot use.
    fn lacking(&self, unit: &Unit, needed: &[NeededFile]) -> Result<Vec<String>, AccessError> {
        let blocked = self.as_this_user(|| {
            let blocked = needed.iter().map(|file| (file, blocked_at(unit, self.uid, file)));
            blocked.filter_map(|(file, at)| Some((file.clone(), at?))).collect::<Vec<_>>()
        });
        let blocked = blocked.map_err(|source| AccessError::Identity { user: self.name.clone(), source })?;
        Ok(blocked.into_iter().map(|(file, at)| self.describe(unit, &file, &at)).collect())
    }

    /// Runs `look` on a thread with the identity of this user. The thread ends with it, so the identity is never left
    /// behind.
    fn as_this_user<T: Send>(&self, look: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread =
                thread::Builder::new().name("as-unit-user".to_owned()).spawn_scoped(scope, || {
                    let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
                    let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
                    // Groups first: afterwards the thread may not.
                    set_thread_groups(&groups)?;
                    set_thread_res_gid(gid, gid, gid)?;
                    set_thread_res_uid(uid, uid, uid)?;
                    Ok(look())
                })?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    }

    /// The key, the file, what stands in the way, and the command that mends it.
    fn describe(&self, unit: &Unit, file: &NeededFile, at: &Blocked) -> String {
        let verb = match file.access {
            NeededAccess::Read => "read",
            NeededAccess::Execute => "execute",
            NeededAccess::Write | NeededAccess::WriteDirectory => "write to",
        };
        let key = if file.key.is_empty() { String::new() } else { format!(" ({})", file.key) };
        let path = file.path.display();
        let place = if at.path == file.path {
            String::new()
        } else {
            let lacks =
                if matches!(at.right, Right::Write) { "it may not write to" } else { "it has no access to" };
            format!(": {lacks} {}", at.path.display())
        };
        format!("cannot {verb} {path}{key}{place}; {}", self.mend(unit, at))
    }

    fn mend(&self, unit: &Unit, at: &Blocked) -> String {
        let (user, path) = (&self.name, at.path.display());
        // Home directories are hidden from the units whatever their modes are.
        if ["/home", "/root", "/run/user"].iter().any(|home| at.path.starts_with(home)) {
            return format!("move the file out of {path}, for example to /etc/crowdsec, and change the key");
        }
        let right = match at.right {
            Right::Read => "r",
            Right::Search => "x",
            // Directories of the system stay root's; outside its own the packaged unit cannot write in any case.
            Right::Write if at.path.components().count() <= 3 => {
                return format!(
                    "name a place in one of the unit's own directories: {}",
                    unit.own_directories.join(", ")
                );
            }
            Right::Write => return format!("run: chown {user}: {path}"),
        };
        let Ok(there) = fs::metadata(&at.path) else { return format!("make {path} readable for {user}") };
        let bit = if right == "r" { 0o040 } else { 0o010 };
        match group_name(there.gid()) {
            // A group made for sharing, such as ssl-cert: others depend on it.
            Some(group) if there.mode() & bit != 0 && there.gid() != 0 => {
                format!("run: usermod -aG {group} {user}")
            }
            _ => format!("run: chgrp {user} {path} && chmod g+{right} {path}"),
        }
    }
}

fn group_name(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// What stands in the way.
struct Blocked {
    path: PathBuf,
    right: Right,
}

enum Right {
    Read,
    Write,
    Search,
}

/// What keeps the current user from using `file`; nothing when it can, or when the file is missing, which is found by
/// other checks.
fn blocked_at(unit: &Unit, uid: u32, file: &NeededFile) -> Option<Blocked> {
    let path = file.path.as_path();
    let is_handed_over = unit.handed_over.iter().any(|known| Path::new(known) == path);
    let will_be_own =
        unit.own_directories.iter().any(|own| path.starts_with(own) && is_given_at_start(own, uid));
    if will_be_own {
        return None;
    }
    if let Some(directory) = unsearchable(path) {
        return Some(Blocked { path: directory, right: Right::Search });
    }
    let denied = |path: &Path, wanted: Access| access(path, wanted) == Err(rustix::io::Errno::ACCESS);
    let blocked = |path: &Path, right| Some(Blocked { path: path.to_owned(), right });
    match file.access {
        NeededAccess::Read if !is_handed_over && denied(path, Access::READ_OK) => blocked(path, Right::Read),
        NeededAccess::Execute if denied(path, Access::EXEC_OK) => blocked(path, Right::Search),
        NeededAccess::Write if path.exists() => {
            if denied(path, Access::WRITE_OK) {
                blocked(path, Right::Write)
            } else {
                None
            }
        }
        NeededAccess::Write => {
            let parent = path.parent()?;
            if denied(parent, Access::WRITE_OK) { blocked(parent, Right::Write) } else { None }
        }
        NeededAccess::WriteDirectory if denied(path, Access::WRITE_OK | Access::EXEC_OK) => {
            blocked(path, Right::Write)
        }
        _ => None,
    }
}

/// systemd changes the owner of a unit's directory and of everything in it, unless the directory has the right owner.
fn is_given_at_start(directory: &str, uid: u32) -> bool {
    !fs::metadata(directory).is_ok_and(|there| there.uid() == uid)
}

/// The first directory on the way to `path` that the current user may not search, also behind symbolic links.
fn unsearchable(path: &Path) -> Option<PathBuf> {
    let mut directories: Vec<&Path> =
        path.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
    directories.reverse();
    for directory in directories {
        match access(directory, Access::EXEC_OK) {
            Err(rustix::io::Errno::ACCESS) => {
                // The directory itself, or one behind the link that it is.
                let Ok(target) = fs::read_link(directory) else { return Some(directory.to_owned()) };
                let target = directory.parent().unwrap_or(directory).join(target);
                return Some(unsearchable(&target).unwrap_or(target));
            }
            Err(_) => return None,
            Ok(()) => {}
        }
    }
    // The last part may be a link too. Each step goes to another file, and the kernel has found at most 40 of them.
    let target = fs::read_link(path).ok()?;
    match access(path, Access::EXISTS) {
        Err(rustix::io::Errno::ACCESS) => unsearchable(&path.parent()?.join(target)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const UNIT: Unit =
        Unit { name: "no-such-unit", config: "/none.yaml", handed_over: &[], own_directories: &[] };
    const NOBODY: u32 = 65534;

    fn nobody() -> UnitUser {
        UnitUser { name: "nobody".to_owned(), uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] }
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn users_have_all_their_groups() {
        const USERS: &str = "root:x:0:0::/root:/bin/sh\nbad\nproxy:x:990:980::/:/bin/false\n";
        const GROUPS: &str = "root:x:0:\nbad\nssl-cert:x:110:a,proxy\nother:x:111:proxys\nproxy:x:980:\n";
        let user = UnitUser::from_files("proxy", USERS, GROUPS).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (990, 980, vec![110, 980]));
        assert_eq!(UnitUser::from_files("prox", USERS, GROUPS), None);
        assert_eq!(UnitUser::from_files("bad", USERS, GROUPS), None);
    }

    /// Needs root, as the check itself does.
    #[test]
    fn names_what_stands_in_the_way_and_the_command() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        chmod(folder.path(), 0o755);
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("closed/inner")).unwrap();
        fs::create_dir(path("open")).unwrap();
        for (name, mode) in
            [("public", 0o644), ("private", 0o600), ("shared", 0o640), ("closed/inner/file", 0o644)]
        {
            fs::write(path(name), "x").unwrap();
            chmod(&path(name), mode);
        }
        chown(path("shared"), None, Some(1)).unwrap();
        symlink(path("closed/inner/file"), path("link")).unwrap();
        symlink(path("closed"), path("way")).unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        chmod(&path("closed"), 0o700);
        let group = group_name(1).unwrap();
        let closed = path("closed").display().to_string();
        let mend_closed =
            format!("it has no access to {closed}; run: chgrp nobody {closed} && chmod g+x {closed}");
        use NeededAccess::*;
        for (name, access, words) in [
            ("public", Read, None),
            ("public", Write, Some("chown nobody: ".to_owned())),
            ("private", Read, Some("chgrp nobody".to_owned())),
            ("shared", Read, Some(format!("usermod -aG {group} nobody"))),
            ("closed/inner/file", Read, Some(mend_closed.clone())),
            ("link", Read, Some(mend_closed.clone())),
            ("way/inner/file", Read, Some(mend_closed)),
            ("loop", Read, None),
            ("missing", Read, None),
            ("open", WriteDirectory, Some(format!("chown nobody: {}", path("open").display()))),
            ("open/new", Write, Some(format!("chown nobody: {}", path("open").display()))),
            ("public", Execute, Some("chmod g+x".to_owned())),
        ] {
            let needed = [NeededFile::new("a.key", path(name), access)];
            let lacking = nobody().lacking(&UNIT, &needed).unwrap();
            match words {
                None => assert_eq!(lacking, Vec::<String>::new(), "{name}"),
                Some(words) => assert!(
                    matches!(&lacking[..], [one] if one.contains(&words) && one.contains("a.key")),
                    "{name} {access:?}: {lacking:?} without {words}"
                ),
            }
        }
        assert!(geteuid().is_root(), "only the thread had another identity");
        assert!(fs::read(path("private")).is_ok());
    }

    #[test]
    fn is_silent_unless_it_is_the_units_configuration() {
        let needed = [NeededFile::new("k", "/etc/shadow", NeededAccess::Read)];
        let check = |config: &str, asked| check_as_unit(&UNIT, Path::new(config), asked, &needed);
        assert!(check("/other.yaml", None).is_ok() && check("/none.yaml", None).is_ok());
        assert!(check("/none.yaml", Some("root")).is_ok());
        let error = check("/other.yaml", Some("no-such-user")).unwrap_err().to_string();
        if geteuid().is_root() {
            assert!(error.contains("no such user"), "{error}");
            let error = check("/other.yaml", Some("nobody")).unwrap_err().to_string();
            assert!(
                error.starts_with("user nobody, which runs the program, cannot read /etc/shadow (k)"),
                "{error}"
            );
        } else {
            assert!(error.contains("needs root"), "{error}");
        }
    }
}
