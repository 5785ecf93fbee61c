//! A PostgreSQL server of the test's own, on the router: created, stopped, suspended and restarted at will.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use crate::Signal;
use crate::host::Host;
use crate::outcome::{Doing, Failure, Outcome};
use crate::process::Process;
use crate::tools;
use crate::wait::eventually;
use crate::world::World;

/// PostgreSQL refuses to run as root, which this process is: it runs as this user, which exists everywhere (`daemon`).
const USER: &str = "1";

/// Arguments of `unshare` with which a program of PostgreSQL runs as that user. In the user namespace root has this name; to the
/// files it is root still, and reaches programs below a folder that only root may enter.
pub const AS_POSTGRES_USER: [&str; 3] = ["--user", "--map-user=1", "--map-group=1"];

/// The folder of the programs of the newest version beside the peers.
///
/// # Errors
/// When there is none.
pub fn postgres_programs() -> Outcome<PathBuf> {
    let versions = tools::peers_dir()?.join("root/usr/lib/postgresql");
    let found = std::fs::read_dir(&versions)
        .doing(format_args!("PostgreSQL is not in {}; run tests/peers", versions.display()))?;
    let newest = found.flatten().map(|version| version.path()).max().doing("no version of PostgreSQL")?;
    Ok(newest.join("bin"))
}

/// A database server with one empty database, `crowdsec`, for its superuser `palisade` without a password.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    host: Host,
    port: u16,
    process: Option<Process>,
}

impl Postgres {
    /// Creates and starts it on the router.
    ///
    /// # Errors
    /// When it is not unpacked or does not come up.
    pub fn start(world: &World) -> Outcome<Self> {
        let programs = postgres_programs()?;
        let folder = world.fresh_path("postgres");
        std::fs::create_dir_all(&folder)?;
        let port = world.router.free_port()?;
        let host = world.router.clone();
        let mut postgres = Self { programs, folder, host, port, process: None };
        if !maps_users()? {
            let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            std::fs::set_permissions(world.folder(), everyone)?;
            std::os::unix::fs::chown(&postgres.folder, Some(1), Some(1))?;
        }
        let data = postgres.folder.join("data");
        let mut make = postgres.command("initdb")?;
        make.arg("-D").arg(&data).args(["-U", "palisade", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        tools::output(make.arg("--no-sync")).doing("making a database")?;
        // LAPIs on other hosts may connect too.
        let mut rules = std::fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
        std::io::Write::write_all(&mut rules, b"host all all 0.0.0.0/0 trust\n")?;
        postgres.up(world)?;
        postgres.ask("postgres", "CREATE DATABASE crowdsec")?;
        Ok(postgres)
    }

    /// The folder of its programs, such as `pg_dump`.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not come up.
    pub fn up(&mut self, world: &World) -> Outcome {
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        for setting in [
            "listen_addresses=0.0.0.0",
            &format!("port={}", self.port),
            // The system's own zone files may be missing.
            "timezone=GMT",
            "log_timezone=GMT",
            // The folder is in memory and ends with the test.
            "fsync=off",
        ] {
            command.args(["-c", setting]);
        }
        let mut process = world.start(&self.host, "postgres", command)?;
        eventually("PostgreSQL answers", || {
            if let Some(status) = process.exited() {
                return Err(Failure::new(format!("it ended with {status}")));
            }
            self.ask("postgres", "SELECT 1").map(|answer| answer == "1")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Shuts it down: clients are disconnected at once.
    ///
    /// # Errors
    /// When it is not running or does not end.
    pub fn stop(&mut self) -> Outcome {
        let mut process = self.process.take().doing("PostgreSQL is not running")?;
        process.signal(Signal::INT)?;
        process.end().map(drop)
    }

    /// Suspends all of its processes, like a machine that is stuck: connections stay open without responses, until
    /// [`resume`](Self::resume).
    ///
    /// # Errors
    /// When it is not running.
    pub fn suspend(&mut self) -> Outcome {
        self.signal_all(Signal::STOP)
    }

    /// Continues it.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&mut self) -> Outcome {
        self.signal_all(Signal::CONT)
    }

    /// The main process and its children, which serve one connection each.
    fn signal_all(&mut self, signal: Signal) -> Outcome {
        let process = self.process.as_mut().doing("PostgreSQL is not running")?;
        process.signal(signal)?;
        let path = format!("/proc/{0}/task/{0}/children", process.id());
        for child in std::fs::read_to_string(&path).doing(format_args!("reading {path}"))?.split_whitespace()
        {
            let pid = child.parse().ok().and_then(Pid::from_raw).doing("a process id is positive")?;
            // One that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }

    /// The `db_config` for another host.
    pub fn remote_config(&self) -> Value {
        let mut config = self.config();
        config["host"] = self.host.v4().to_string().into();
        config
    }

    /// The `db_config` for its own host.
    pub fn config(&self) -> Value {
        json!({
            "type": "postgresql", "user": "palisade", "password": "palisade", "db_name": "crowdsec",
            "host": "127.0.0.1", "port": self.port, "sslmode": "disable", "db_path": null, "use_wal": null,
        })
    }

    /// Queries the LAPI's database; fields are separated by `|`, rows by line ends.
    ///
    /// # Errors
    /// When the query fails or the server does not respond.
    pub fn query(&self, sql: &str) -> Outcome<String> {
        self.ask("crowdsec", sql)
    }

    /// Runs a script in the default schema of the database.
    ///
    /// # Errors
    /// When a statement fails; quotes it.
    pub fn script(&self, path: &Path) -> Outcome {
        let mut command = tools::command(self.programs.join("psql"))?;
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "palisade", "-XAtq"]);
        command.args(["-d", "crowdsec", "-v", "ON_ERROR_STOP=1", "-f"]).arg(path);
        tools::output(&mut command).map(drop)
    }

    fn ask(&self, database: &str, sql: &str) -> Outcome<String> {
        let mut command = tools::command(self.programs.join("psql"))?;
        command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string(), "-U", "palisade", "-XAtq"]);
        command.args(["-d", database, "-c", "SET search_path = palisade_lapi, public", "-c", sql]);
        Ok(tools::output(&mut command)?.trim_end().to_owned())
    }

    /// A command for one of its programs, as a user it accepts.
    fn command(&self, program: &str) -> Outcome<Command> {
        let mut command = as_other_user()?;
        command.arg(self.programs.join(program)).current_dir(&self.folder);
        Ok(command)
    }
}

/// In a user namespace only root exists; a nested one maps root to another user.
fn as_other_user() -> Outcome<Command> {
    if maps_users()? {
        let mut command = tools::command("unshare")?;
        command.args(AS_POSTGRES_USER);
        return Ok(command);
    }
    let mut command = tools::command("setpriv")?;
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    Ok(command)
}

fn maps_users() -> Outcome<bool> {
    let mut trial = tools::command("unshare")?;
    trial.args(AS_POSTGRES_USER).arg("true");
    Ok(tools::output(trial.current_dir(Path::new("/"))).is_ok())
}
