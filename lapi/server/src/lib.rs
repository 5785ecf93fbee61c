//! The companion Local API: takes alerts, makes decisions, feeds bouncers.
