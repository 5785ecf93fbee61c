//! Refuses requests that upstreams could read differently. Pure.
