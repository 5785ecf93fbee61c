//! CrowdSec's functions that depend on their arguments only: the same for profiles and for log processors.

pub(crate) mod codec;
pub(crate) mod json;
pub(crate) mod lists;
mod net;
pub(crate) mod text;
mod time;

use crate::function::{Pure, Signature};

/// All of CrowdSec's functions.
pub(crate) fn all() -> Vec<(Signature, Pure)> {
    [text::all(), net::all(), json::all(), codec::all(), lists::all(), time::all()].concat()
}
