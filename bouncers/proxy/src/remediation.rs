//! Decides what happens to a client's requests.
