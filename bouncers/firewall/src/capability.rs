//! CAP_NET_ADMIN of this process: whether it is there, and passing it on to `nft`.

use std::io;

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// Whether this process may change the ruleset as far as capabilities decide it. `true` where they cannot be read.
pub(crate) fn has_net_admin() -> bool {
    capabilities(None).map_or(true, |sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Lets programs that this thread, and those it starts, will run have CAP_NET_ADMIN as well. Where the capability comes
/// from the program's file (`setcap`) they would not: `nft` has no such file capability of its own.
///
/// # Errors
/// The kernel refuses it: the securebits of a container may.
pub fn pass_on_net_admin() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    if !sets.permitted.contains(CapabilitySet::NET_ADMIN) {
        return Ok(());
    }
    sets.inheritable |= CapabilitySet::NET_ADMIN;
    set_capabilities(None, sets)?;
    Ok(configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true)?)
}
