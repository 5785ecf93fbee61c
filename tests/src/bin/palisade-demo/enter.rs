//! The script `enter`, with which the network is explored from outside.

use std::fmt::Write as _;
use std::path::Path;

use palisade_e2e::{Doing as _, Outcome, tools};

use crate::network::Network;
use crate::program::write_executable;

/// Writes `enter`: `enter HOST COMMAND…` runs a command on a host. `own_id` is this process's id as seen outside.
pub(crate) fn write(folder: &Path, network: &Network, own_id: &str) -> Outcome {
    let mut cases = String::new();
    for host in network.hosts() {
        writeln!(cases, "{}) net={} ;;", host.name(), host.network_path())?;
    }
    let names = network.hosts().map(|host| host.name()).join(" ");
    // Root's processes may be in the machine's own user namespace, where there is none to enter.
    let map = std::fs::read_to_string("/proc/self/uid_map").doing("reading the user namespace")?;
    let user = if map.contains("4294967295") { "" } else { "--user --preserve-credentials " };
    let libraries = tools::command("true")?
        .get_envs()
        .find_map(|(name, value)| (name == "LD_LIBRARY_PATH").then(|| value.map(ToOwned::to_owned)).flatten())
        .map(|libraries| format!("export LD_LIBRARY_PATH='{}'\n", libraries.to_string_lossy()))
        .unwrap_or_default();
    let tools = tools::search_path()?;
    let (tools, host_folders) = (tools.to_string_lossy(), folder.display());
    let text = format!(
        "#!/bin/sh
# Runs a command on a host of the throw-away network: enter HOST COMMAND...
case \"$1\" in
{cases}*) echo \"usage: $0 HOST COMMAND..., where HOST is one of: {names}\" >&2; exit 64 ;;
esac
PATH='{host_folders}'/\"$1\"/bin:'{tools}'
export PATH
shift
if [ $# -eq 0 ]; then set -- sh; fi
{libraries}exec nsenter --target {own_id} {user}--mount --pid --wd=\"$PWD\" -- nsenter --net=\"$net\" -- \"$@\"
"
    );
    write_executable(&folder.join("enter"), &text)
}
