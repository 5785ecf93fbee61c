//! Stories that drive the built binaries against real peers, and the harness they share.
