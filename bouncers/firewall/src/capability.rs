//! Reads CAP_NET_ADMIN of this process, and passes it on to `nft`.

use std::io;

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// Whether this process may change the ruleset, as far as capabilities decide it.
pub(crate) fn has_net_admin() -> bool {
    // `true` where they cannot be read: the hint in an error then names other causes.
    capabilities(None).map_or(true, |sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Gives CAP_NET_ADMIN to programs that this thread, and those it starts, will run.
///
/// # Errors
/// The kernel refuses it: the securebits of a container may.
pub fn pass_on_net_admin() -> io::Result<()> {
    // A capability from the program's file (`setcap`) is lost at an `exec`, and `nft` has no such file capability of
    // its own. Ambient capabilities survive; the kernel requires that they are inheritable first.
    let mut sets = capabilities(None)?;
    if !sets.permitted.contains(CapabilitySet::NET_ADMIN) {
        return Ok(());
    }
    sets.inheritable |= CapabilitySet::NET_ADMIN;
    set_capabilities(None, sets)?;
    Ok(configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true)?)
}
