//! The HTTP client of a bouncer: asks a CrowdSec Local API for decisions and reports usage.
