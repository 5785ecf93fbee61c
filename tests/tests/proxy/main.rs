//! The reverse proxy as built, with real upstreams, clients and LAPIs.

mod basics;
mod browser;
