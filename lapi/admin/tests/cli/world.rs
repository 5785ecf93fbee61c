//! A folder with a configuration, and the binary run on it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A host.
pub(crate) struct World {
    dir: TempDir,
}

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// A LAPI's host, with nothing in its database.
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        let at = |name: &str| world.path(name).display().to_string();
        world.write(
            "config.yaml",
            &format!(
                "common: {{log_media: stdout}}\n\
                 prometheus: {{enabled: true}}\n\
                 api:\n  client: {{credentials_path: {}}}\n  \
                 server: {{listen_uri: 127.0.0.1:8080, profiles_path: {}}}\n\
                 db_config: {{type: sqlite, db_path: {}}}\n",
                at("credentials.yaml"),
                at("profiles.yaml"),
                at("lapi.db"),
            ),
        );
        world.write(
            "profiles.yaml",
            "name: default_ip_remediation\nfilters:\n  - Alert.Remediation == true && Alert.GetScope() == \"Ip\"\n\
             decisions:\n  - type: ban\n    duration: 4h\non_success: break\n",
        );
        world
    }

    /// The same, logged in to the LAPI at this URL.
    pub(crate) fn with_lapi(url: &str) -> Self {
        let world = Self::new();
        world.write("credentials.yaml", &format!("url: {url}\nlogin: host1\npassword: secret\n"));
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        // As the commands make it: some of the files hold secrets.
        self.chmod(name, 0o600);
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs a command line, split at spaces, as `cscli`.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_with(line, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> Run {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run_words(&words, input)
    }

    pub(crate) fn run_words(&self, words: &[&str], input: &str) -> Run {
        self.run_as("cscli", words, input)
    }

    /// The same by another name.
    pub(crate) fn run_as(&self, name: &str, words: &[&str], input: &str) -> Run {
        let link = self.path(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_palisade"), &link).unwrap();
        }
        let mut child = Command::new(link)
            .arg("-c")
            .arg(self.path("config.yaml"))
            .args(words)
            .current_dir(self.dir.path())
            .env_remove("HTTP_PROXY")
            .env_remove("http_proxy")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a line that must succeed, and returns what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{line}: {}", run.err);
        run.out
    }

    /// Runs a line that must fail, and returns the last line of its output.
    pub(crate) fn fails(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(run.code, 1, "{line}: {} {}", run.out, run.err);
        run.err.lines().last().unwrap_or_default().to_owned()
    }
}
