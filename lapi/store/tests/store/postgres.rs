//! A private PostgreSQL: created in a temporary folder, reachable through a unix socket only, deleted with the test
//! binary.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use palisade_store::{DbConfig, PostgresServer};
use rustix::process::{Pid, Signal};

/// A user that exists everywhere (`daemon`): `initdb` looks its name up.
const USER: u32 = 1;

/// A running server.
pub(crate) struct Server {
    bin: PathBuf,
    folder: PathBuf,
    child: Child,
    databases: AtomicU32,
}

/// The server that the tests of this binary share. It ends with the process.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    pub(crate) fn start() -> Self {
        let bin = binaries();
        let folder = tempfile::Builder::new().prefix("palisade-pg-").tempdir().unwrap().keep();
        let made = as_unprivileged(&bin.join("initdb"), &folder)
            .args(["--auth=trust", "--username=palisade", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(folder.join("data"))
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb failed: {}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let child = run(&bin, &folder);
        let server = Self { bin, folder, child, databases: AtomicU32::new(0) };
        server.wait_until_up();
        server
    }

    /// A new, empty database.
    pub(crate) fn database(&self) -> DbConfig {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = as_unprivileged(&self.bin.join("psql"), &self.folder)
            .args(["-X", "-q", "-U", "palisade", "-d", "postgres", "-h"])
            .arg(&self.folder)
            .args(["-c", &format!("CREATE DATABASE {name}")])
            .output()
            .expect("psql runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut config = DbConfig::postgres(PostgresServer {
            user: "palisade".to_owned(),
            password: "never to be seen".to_owned(),
            name,
            socket: Some(self.folder.clone()),
            ..PostgresServer::default()
        });
        config.max_open = 8;
        config
    }

    /// Runs a statement from outside.
    pub(crate) fn sql(&self, config: &DbConfig, statement: &str) {
        let palisade_store::Engine::Postgres(server) = &config.engine else { panic!("not a server") };
        let done = as_unprivileged(&self.bin.join("psql"), &self.folder)
            .args(["-X", "-q", "-U", "palisade", "-d", &server.name, "-h"])
            .arg(&self.folder)
            .args(["-c", "SET search_path = palisade_lapi, public", "-c", statement])
            .output()
            .expect("psql runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs a script in the default schema.
    pub(crate) fn script(&self, config: &DbConfig, script: &Path) {
        let palisade_store::Engine::Postgres(server) = &config.engine else { panic!("not a server") };
        let done = as_unprivileged(&self.bin.join("psql"), &self.folder)
            .args(["-X", "-q", "-U", "palisade", "-d", &server.name, "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(&self.folder)
            // Read by this process: the folder of the script may be closed to other users.
            .stdin(std::fs::File::open(script).unwrap())
            .output()
            .expect("psql runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn stop(&mut self) {
        self.child.stdin.take().expect("it runs").write_all(b"keep\n").expect("its keeper listens");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn start_again(&mut self) {
        self.child = run(&self.bin, &self.folder);
        self.wait_until_up();
    }

    /// Sends a signal to the server and to all that work for it.
    pub(crate) fn signal(&self, signal: Signal) {
        let told = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it runs");
        let head = told.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw).unwrap();
        // The head of the queue first, so that none is added meanwhile.
        rustix::process::kill_process(head, signal).expect("it is ours");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name in parentheses: the state, then the parent.
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
            if parent == Some(&head.as_raw_nonzero().to_string()) {
                let pid =
                    entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
                // One that has ended by itself is no fault.
                pid.map(|pid| rustix::process::kill_process(pid, signal).ok());
            }
        }
    }

    fn wait_until_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = as_unprivileged(&self.bin.join("psql"), &self.folder)
                .args(["-X", "-q", "-U", "palisade", "-d", "postgres", "-c", "SELECT 1", "-h"])
                .arg(&self.folder)
                .output()
                .expect("psql runs");
            if answer.status.success() {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its keeper sees the end of its input, and clears up; so it does when this process is killed.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Starts the server, ends it at once when the input ends or says `keep`; without that word its folder goes too.
const KEEPER: &str = r#"folder=$1; shift; "$@" & line=; read -r line; kill -QUIT $!; kill -CONT $!; wait $!
    [ "$line" = keep ] || rm -rf "$folder""#;

fn run(bin: &Path, folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    as_unprivileged(Path::new("/bin/sh"), folder)
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(bin.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"])
        .args(["-c", "max_connections=200", "-c", "jit=off", "-c", "timezone=UTC", "-c", "log_timezone=UTC"])
        .args(["-c", "shared_buffers=32MB", "-c", "dynamic_shared_memory_type=mmap"])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

/// A command as a user that PostgreSQL accepts: it refuses root, so root is mapped to another user in a namespace, or,
/// where there are none, changes the user.
fn as_unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = if !rustix::process::geteuid().is_root() {
        Command::new("env")
    } else if namespaces() {
        let mut command = Command::new("unshare");
        command.args(["--user", &format!("--map-user={USER}"), &format!("--map-group={USER}")]);
        command
    } else {
        std::os::unix::fs::chown(folder, Some(USER), Some(USER)).expect("root may give a folder away");
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command
    };
    command.arg(program).env("TZ", "UTC").current_dir("/");
    if let Some(root) = binaries().ancestors().find(|path| path.ends_with("peers/root")) {
        let libraries = [root.join("usr/lib/x86_64-linux-gnu"), root.join("usr/lib/aarch64-linux-gnu")];
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
    }
    command
}

fn namespaces() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let tried = Command::new("unshare")
            .args(["--user", &format!("--map-user={USER}"), &format!("--map-group={USER}"), "true"])
            .output();
        tried.is_ok_and(|done| done.status.success())
    })
}

/// Where `initdb`, `postgres` and `psql` are.
fn binaries() -> PathBuf {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(target, PathBuf::from);
    let peers = std::env::var_os("PALISADE_PEERS").map_or(target.join("peers"), PathBuf::from);
    let versions = [PathBuf::from("/usr/lib/postgresql"), peers.join("root/usr/lib/postgresql")]
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.path().join("bin"));
    let found = std::env::split_paths(&in_path)
        .chain(versions)
        .find(|bin| ["initdb", "postgres", "psql"].iter().all(|name| bin.join(name).exists()));
    let found = found.unwrap_or_else(|| {
        panic!(
            "no PostgreSQL here, and this half of the suite needs one: run `tests/peers`, which fetches it"
        )
    });
    found.canonicalize().unwrap_or(found)
}
