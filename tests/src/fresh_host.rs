//! Boots a fresh Debian with systemd in namespaces of its own: a host on which packages are installed.
//!
//! The host has its own processes, mounts, network (loopback only), control groups and name; nothing of this machine is
//! changed. Needs root: systemd manages control groups.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::tools;
use crate::veth;
use crate::wait::{default_timeout, eventually, eventually_within};

/// Mounts what a booting system expects and becomes its first process. `$1` is the root folder, `$2` the host's name.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
for folder in run tmp dev; do mount -t tmpfs tmpfs "$1/$folder"; done
mkdir "$1/dev/pts" "$1/dev/shm"
mount -t devpts devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
for device in null zero full random urandom tty; do
    : >"$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
ip link set lo up
hostname "$2"
cd "$1"
pivot_root . mnt
umount -l /mnt
export container=other
exec /lib/systemd/systemd --log-target=journal --unit=multi-user.target
"#;

/// A release of Debian that hosts are made of.
#[derive(Debug, Clone, Copy)]
pub enum Debian {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Debian {
    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// A running host; it ends with this value.
pub struct FreshHost {
    root: PathBuf,
    boot: Child,
    first_process: u32,
    // Removed after the processes have ended.
    _folder: TempDir,
}

impl Drop for FreshHost {
    fn drop(&mut self) {
        // With it the first process, and all others with that.
        let _ = self.boot.kill();
        let _ = self.boot.wait();
    }
}

impl FreshHost {
    /// Why there can be none here, if so.
    pub fn unavailable() -> Option<String> {
        (!rustix::process::geteuid().is_root())
            .then(|| "a host with systemd of its own needs root: its control groups".to_owned())
    }

    /// Makes the root that hosts of a release are copies of, unless it exists.
    ///
    /// # Errors
    /// When that fails: with what `tests/fresh-root` printed.
    pub fn make_root(release: Debian) -> Outcome {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fresh-root");
        let mut make = Command::new(script);
        make.arg(release.suite()).env("PALISADE_PEERS", tools::peers_dir()?);
        let output = make.output().doing(script)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Boots a copy of the root of a release.
    ///
    /// # Errors
    /// When it cannot be copied, or does not come up.
    pub fn boot(name: &str, release: Debian) -> Outcome<Self> {
        let peers = tools::peers_dir()?;
        // Not in memory: with the programs it is half a gigabyte.
        let folder = tempfile::Builder::new().prefix("fresh-host-").tempdir_in(&peers)?;
        let root = folder.path().join("root");
        let mut copy = tools::command("cp")?;
        let original = peers.join(format!("fresh-root-{}", release.suite()));
        tools::run(copy.arg("-a").arg(original).arg(&root), "")?.into_stdout()?;
        // Without the harness's environment, which is not the host's.
        let mut boot = Command::new("unshare");
        boot.args(["--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]);
        boot.args(["bash", "-c", BOOT, "boot"]).arg(&root).arg(name);
        boot.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        boot.stdin(Stdio::null()).stdout(Stdio::null());
        let boot = boot.spawn().doing("starting unshare")?;
        let mut host = Self { root, boot, first_process: 0, _folder: folder };
        eventually("the host has a first process", || {
            host.first_process = child_of(host.boot.id())?;
            Ok::<_, Failure>(comm(host.first_process)? == "systemd")
        })?;
        // Also with a unit that could not start in time, which on a busy machine one of the system's own may be.
        eventually_within(default_timeout() * 3, "the host is up", || {
            let (_, state) = host.run("systemctl is-system-running")?;
            Ok::<_, Failure>(matches!(state.trim(), "running" | "degraded"))
        })?;
        Ok(host)
    }

    /// Connects a visitor with the address 198.51.100.77. Returns the network of the host, and the visitor.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn visitor(&self) -> Outcome<(Host, Host)> {
        let (v4, v6) = (Ipv4Addr::new(198, 51, 100, 1), "2001:db8:b::1".parse()?);
        let network = Host::of_process("fresh-host", self.first_process, v4, v6)?;
        let visitor = veth::join(
            &network,
            "visitor",
            Ipv4Addr::new(198, 51, 100, 77),
            "2001:db8:b::77".parse::<Ipv6Addr>()?,
        )?;
        Ok((network, visitor))
    }

    /// The process that is systemd.
    pub(crate) fn first_process(&self) -> u32 {
        self.first_process
    }

    /// A path on the host, as seen from here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Copies a file to `/root` of the host.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn put(&self, file: &Path) -> Outcome<String> {
        let name = file.file_name().doing("a file has a name")?.to_string_lossy().into_owned();
        std::fs::copy(file, self.path("/root").join(&name)).doing(file.display())?;
        Ok(format!("/root/{name}"))
    }

    /// Runs a shell command on the host: whether it succeeded, and what it printed on both outputs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, command: &str) -> Outcome<(bool, String)> {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.first_process.to_string(), "--all"]);
        enter.args(["env", "-i", "HOME=/root", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        enter.args(["sh", "-c", &format!("exec 2>&1; {command}")]).stdin(Stdio::null());
        let output = enter.output().doing(command)?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// As [`run`](Self::run), of a command that has to succeed.
    ///
    /// # Errors
    /// When it fails: with what it printed.
    pub fn sh(&self, command: &str) -> Outcome<String> {
        match self.run(command)? {
            (true, output) => Ok(output),
            (false, output) => Err(Failure::new(format!("{command}: {output}"))),
        }
    }
}

fn child_of(process: u32) -> Outcome<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(children.split_whitespace().next().doing("it has no child yet")?.parse()?)
}

fn comm(process: u32) -> Outcome<String> {
    Ok(std::fs::read_to_string(format!("/proc/{process}/comm"))?.trim_end().to_owned())
}

/// Builds the packages with the programs of this build; returns the folder they are in.
///
/// # Errors
/// When that fails: with what the script printed.
pub fn packages() -> Outcome<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/build");
    let binaries = tools::ours("palisade-firewall")?.parent().doing("it is in a folder")?.to_path_buf();
    let output = Command::new(script).arg("--binaries").arg(binaries).output().doing(script)?;
    if !output.status.success() {
        return Err(Failure::new(format!("{script}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    Ok(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/packages")))
}
