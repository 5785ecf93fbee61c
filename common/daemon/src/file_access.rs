//! Checks the permissions of the files that a configuration names. It changes and opens nothing.
//!
//! `-t` uses both halves: [`exposed_secret`] finds secrets that every user of the host can read, and [`UnitUser`] what
//! the unit's user cannot read or write although root, as which the command runs, can.

mod exposed;
mod unit_user;

pub use self::{
    exposed::exposed_secret,
    unit_user::{AccessError, NeededAccess, NeededFile, Unit, UnitUser, check_as_unit},
};
