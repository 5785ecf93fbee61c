//! Several hosts, LAPIs and log processors together.

mod backup;
mod demonstration;
mod documented_commands;
mod guide;
mod guide_tls;
mod harness;
mod identity;
mod lapi_drift;
mod lapi_faults;
mod lapi_killed;
mod manual_pages;
mod mixed;
mod network_trouble;
mod permissions;
mod recorder;
mod replay;
mod shared_key;
mod stolen;
mod storms;
