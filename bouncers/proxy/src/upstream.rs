//! Forwards requests to pools of upstreams.
