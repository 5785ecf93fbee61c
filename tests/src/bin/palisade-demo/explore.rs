//! What `make run KEEP=1` prints in the end.

use std::path::Path;

use crate::network::VISITOR;
use crate::{receiver, screen};

/// The commands that are printed, with what they show.
fn commands() -> Vec<(String, &'static str)> {
    let visit = "./enter visitor curl -s -m 2 http://198.18.4.10:8001/";
    [
        ("./enter lapi palisade bouncers list", "two hosts behind one address, one key"),
        (visit, "the service of host1"),
        (&format!("./enter lapi palisade decisions add --ip {VISITOR} --duration 10m"), "ban the visitor"),
        ("./enter lapi palisade decisions list", "the ban, and its origin"),
        (&format!("{visit} || echo dropped"), "no answer any more"),
        (&format!("./enter host1 palisade-firewall explain {VISITOR}"), "why, rule by rule"),
        ("./enter host2 nft list ruleset", "the rules in the kernel of host2"),
        (&format!("./enter web palisade-proxy lookup {VISITOR}"), "what the proxy makes of it"),
        ("./enter hook palisade-webhook status", "what was delivered"),
        (&format!("tail -n 1 hook/{}", receiver::LOG), "the last signed message"),
        ("./enter lapi curl -s http://127.0.0.1:6060/metrics", "the LAPI's metrics"),
        (&format!("./enter lapi palisade decisions delete --ip {VISITOR}"), "lift the ban"),
    ]
    .map(|(command, shows)| (command.to_owned(), shows))
    .to_vec()
}

/// Prints where the network is and how it is explored.
pub(crate) fn print(folder: &Path, page: &str, outer_id: &str) {
    screen::title("The network is up until Ctrl-C");
    screen::line(&format!("  From elsewhere it is ended by: kill {outer_id}"));
    screen::line(&format!("\n  The page in a browser of this machine: {page}"));
    screen::line(&format!("  You are the visitor {VISITOR} there: ban it, and reload the page.\n"));
    screen::line("  On the hosts, from another terminal:\n");
    screen::line(&format!("    cd {}", folder.display()));
    for (command, shows) in commands() {
        screen::line(&format!("    # {shows}:\n    {command}"));
    }
    screen::line("\n  ./enter HOST is a shell on a host. lapi/, host1/, ... have each host's");
    screen::line("  configuration, data and logs.\n");
}
