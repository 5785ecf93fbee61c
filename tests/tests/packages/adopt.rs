//! Moving over from the stock services with `adopt`, and back, beside Debian's own packages of them.

mod firewall;
mod lapi;
mod webhook;

use std::path::PathBuf;

use palisade_e2e::{Doing as _, FreshHost, Outcome, tools};

use super::{host, put};

/// A host with Debian's crowdsec 1.4.6 and some of its bouncers, as they run after their installation.
fn stock_host(name: &str, bouncers: &[&str]) -> Outcome<Option<FreshHost>> {
    let Some(host) = host(name)? else { return Ok(None) };
    // The installation registers at the central service, which is not reachable, unless there is such a file.
    host.sh("mkdir -p /etc/crowdsec && echo '# none' >/etc/crowdsec/online_api_credentials.yaml")?;
    // The file of the custom bouncer names the LAPI so, which an installer of Debian writes there.
    host.sh("grep -qs localhost /etc/hosts || echo '127.0.0.1 localhost' >>/etc/hosts")?;
    for package in ["crowdsec"].iter().chain(bouncers) {
        let file = host.put(&stock_package(package)?)?;
        host.sh(&format!("dpkg -i {file}"))?;
    }
    Ok(Some(host))
}

fn stock_package(package: &str) -> Outcome<PathBuf> {
    let files = std::fs::read_dir(tools::peers_dir()?.join("debs")).doing("run tests/peers")?;
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
    };
    files
        .flatten()
        .map(|file| file.path())
        .find(is_wanted)
        .doing(format!("the package {package}; run tests/peers"))
}

fn install(host: &FreshHost, role: &str) -> Outcome<String> {
    let package = put(host, role, ".deb")?;
    host.sh(&format!("dpkg -i {package}"))
}

/// Whether a service runs and starts at boot.
fn service(host: &FreshHost, unit: &str) -> Outcome<(bool, bool)> {
    let is = |what: &str| {
        Ok::<_, palisade_e2e::Failure>(host.run(&format!("systemctl is-{what} --quiet {unit}"))?.0)
    };
    Ok((is("active")?, is("enabled")?))
}

/// Runs and starts at boot.
const ON: (bool, bool) = (true, true);
/// Neither.
const OFF: (bool, bool) = (false, false);
