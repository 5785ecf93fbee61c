//! Determines the client's address from the peer and forwarded headers. Pure.
