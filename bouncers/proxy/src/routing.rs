//! Finds the route of a request. Pure.
