//! The reverse proxy as built, with real upstreams, clients and LAPIs.

mod access_log;
mod acme;
mod basics;
mod browser;
mod client_addresses;
mod commands;
mod decisions;
mod differential;
mod restarts;
mod streams;
mod strictness;
mod tls;
mod upstreams;
