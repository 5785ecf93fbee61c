//! Decisions in memory: ledger, snapshot, verdict, cover and diff. Pure: no runtime, no clock, no wire format.
