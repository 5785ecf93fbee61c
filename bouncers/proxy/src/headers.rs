//! Rewrites the header fields of forwarded requests and responses. Pure.
