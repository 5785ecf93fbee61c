//! Writes one line for each request.
