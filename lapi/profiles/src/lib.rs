//! `profiles.yaml`: which alert becomes which decisions.
