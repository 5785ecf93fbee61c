//! Authentication. Handlers declare what they need as an argument; a request that does not satisfy it is refused before
//! the handler runs:
//!
//! | argument | admits | refuses with |
//! |---|---|---|
//! | [`Machine`] | a machine's token | 401 with `code` |
//! | [`Bouncer`] | a bouncer's key or certificate | 403 `access forbidden` |
//! | [`MachineOrBouncer`] | one of the two | as above |
//! | [`ClientAddress`] | every request; carries the client's address | never |
//! | [`TrustedAddress`] | addresses of `trusted_ips`, loopback, the socket | 403 `access forbidden from this IP (…)` |
//!
//! Put [`Machine`] before [`TrustedAddress`]: the stock server checks tokens first.

pub(crate) mod address;
pub(crate) mod authenticator;
pub(crate) mod certificate;
pub(crate) mod extract;
pub(crate) mod fingerprint;
pub(crate) mod password;
pub(crate) mod throttle;
pub(crate) mod token;
mod token_machine;

pub(crate) use address::ClientAddress;
pub(crate) use authenticator::Authenticator;
pub(crate) use extract::{Agent, Bouncer, Machine, MachineOrBouncer, TrustedAddress, bearer};
pub(crate) use fingerprint::fingerprint;
pub(crate) use token_machine::machine_of;
