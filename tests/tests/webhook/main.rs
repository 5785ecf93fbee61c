//! The webhook bouncer as built, with real LAPIs.

mod mirror;
