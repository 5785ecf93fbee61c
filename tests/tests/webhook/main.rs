//! The webhook bouncer as built, with real LAPIs.

mod crashes;
mod disk;
mod guide;
mod lists;
mod mirror;
mod programs;
mod receivers;
mod signatures;
mod templates;
