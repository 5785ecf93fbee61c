//! The expression language of CrowdSec's profiles and scenarios: parse, check, evaluate. No I/O.
