//! The built binary on a configuration of its own, with a SQLite file and a scripted LAPI.

#[cfg(test)]
mod database;
#[cfg(test)]
mod http;
#[cfg(test)]
mod lapi;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod world;
