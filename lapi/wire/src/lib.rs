//! What CrowdSec's Local API says on the wire: types, durations, the incremental stream decoder. No I/O.
