//! The active decisions in memory: what every stream request is answered from. No I/O.

mod row;

pub use row::{Change, Commit, InvalidAddress, Row, net, span};
