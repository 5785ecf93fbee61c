//! The LAPI and its command-line tool as built, beside CrowdSec's own server, its clients and PostgreSQL.

mod advisories;
mod cli;
mod commands;
mod containers;
mod cscli;
mod database_away;
mod diagnosis;
mod golden;
mod ingest_crashes;
mod licences;
mod postgres;
mod proxied;
mod resilience;
mod several_lapis;
mod stock_bouncers;
mod takeover;
mod tls;
