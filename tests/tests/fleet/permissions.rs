//! `-t` of every program warns of secrets that every user can read, and checks as another user whether files can be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_e2e::tools::{self, ToolOutput};
use palisade_e2e::{Outcome, story};

/// A program, and a configuration of it in which `@` stands for a folder with the files `secret` and `page`.
struct Case {
    program: &'static str,
    config: &'static str,
    /// The key that names `secret`.
    key: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        program: "palisade-firewall",
        config: "mode: dry-run\napi_url: http://127.0.0.1:1/\napi_key_file: @/secret\nstate_dir: ''\n",
        key: "api_key_file",
    },
    Case {
        program: "palisade-webhook",
        config: "api_url: http://127.0.0.1:1/\napi_key: abcdef\nstate_dir: @/state\n\
                 endpoints: [{name: a, url: 'http://127.0.0.1:1/', bearer_file: @/secret}]\n",
        key: "bearer_file",
    },
    Case {
        program: "palisade-proxy",
        config: "api_url: http://127.0.0.1:1/\napi_key: abcdef\nstate_dir: ''\nlisten: [{address: '127.0.0.1:0'}]\n\
                 upstreams: [{name: app, servers: [{url: 'http://127.0.0.1:1'}]}]\nroutes: [{upstream: app}]\n\
                 captcha: {provider: turnstile, site_key: s, secret_key_file: @/secret, signing_keys: \
                 ['0123456789abcdef0123456789abcdef']}\n",
        key: "secret_key_file",
    },
];

impl Case {
    /// Writes the files; only their owner can read them.
    fn folder(&self, world: &Path) -> Outcome<PathBuf> {
        let folder = world.join(self.program);
        fs::create_dir_all(folder.join("state"))?;
        chmod(&folder.join("state"), 0o777)?;
        let config = self.config.replace('@', &folder.display().to_string());
        for (name, text) in [("config.yaml", config.as_str()), ("secret", "abcdefabcdef\n")] {
            fs::write(folder.join(name), text)?;
            chmod(&folder.join(name), 0o600)?;
        }
        // Other users get this far, whatever the folder of the world is like.
        for parent in folder.ancestors().take_while(|parent| parent.starts_with(world)) {
            chmod(parent, 0o755)?;
        }
        Ok(folder)
    }

    fn test(&self, folder: &Path, more: &[&str]) -> Outcome<ToolOutput> {
        let mut command = tools::command(tools::ours(self.program)?)?;
        command.arg("-c").arg(folder.join("config.yaml")).arg("-t").args(more);
        tools::run(&mut command, "")
    }
}

fn chmod(path: &Path, mode: u32) -> Outcome {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

#[test]
fn secrets_that_everybody_can_read_are_warned_of() -> Outcome {
    story(|world| {
        for case in &CASES {
            let folder = case.folder(world.folder())?;
            let said = case.test(&folder, &[])?;
            assert!(said.code == 0 && !said.has("holds a secret"), "{said:?}");
            let in_file = !case.config.contains("api_key_file");
            for (name, mode, is_warned) in
                [("secret", 0o644, true), ("secret", 0o640, false), ("config.yaml", 0o644, in_file)]
            {
                chmod(&folder.join(name), mode)?;
                let said = case.test(&folder, &[])?;
                assert_eq!(said.code, 0, "a warning: {said:?}");
                let path = folder.join(name).display().to_string();
                let warning =
                    format!("{path} holds a secret and can be read by every user (mode 0644); run: chmod");
                assert_eq!(said.has(&warning), is_warned, "{name} {mode:o}: {said:?}");
                chmod(&folder.join(name), 0o600)?;
            }
        }
        Ok(())
    })
}

/// Needs root, and not that of a story: in its namespace there are no other users.
#[test]
fn files_are_looked_at_with_the_eyes_of_another_user() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let world = tempfile::tempdir()?;
    for case in &CASES {
        let folder = case.folder(world.path())?;
        let secret = folder.join("secret").display().to_string();
        let said = case.test(&folder, &["-user", "nobody"])?;
        let lacks = format!("cannot read {secret} ({}); run: chgrp nobody {secret} && chmod g+r", case.key);
        let config = format!("cannot read {}", folder.join("config.yaml").display());
        assert!(
            said.code == 1 && said.has("user nobody") && said.has(&lacks) && said.has(&config),
            "{said:?}"
        );
        // Without the flag this file is not the packaged unit's.
        for more in [&[][..], &["-user", "root"]] {
            let said = case.test(&folder, more)?;
            assert!(said.code == 0 && said.has("config is valid"), "{said:?}");
        }
        for name in ["secret", "config.yaml"] {
            chmod(&folder.join(name), 0o644)?;
        }
        let said = case.test(&folder, &["-user", "nobody"])?;
        assert!(said.code == 0 && said.has("config is valid"), "{said:?}");
        let said = case.test(&folder, &["-user", "no-such-user"])?;
        assert!(said.code == 1 && said.has("no such user"), "{said:?}");
    }
    Ok(())
}
