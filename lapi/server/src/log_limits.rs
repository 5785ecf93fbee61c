//! The kinds of log lines that clients can cause in any number, each limited.

use palisade_daemon::logs::LogLimit;

pub(crate) static UNKNOWN_LOGINS: LogLimit =
    LogLimit::new("logins refused, malformed or of unknown machines");
pub(crate) static LOGINS: LogLimit = LogLimit::new("logins refused");
pub(crate) static BOUNCERS: LogLimit = LogLimit::new("bouncers refused");
pub(crate) static REGISTRATIONS: LogLimit = LogLimit::new("machines registered");
pub(crate) static AGENTS: LogLimit = LogLimit::new("bad user agents");
pub(crate) static STORE: LogLimit = LogLimit::new("requests that the store failed");
pub(crate) static PANICS: LogLimit = LogLimit::new("panics of handlers");

/// Logs what was left out.
pub(crate) fn report() {
    for limit in [&UNKNOWN_LOGINS, &LOGINS, &BOUNCERS, &REGISTRATIONS, &AGENTS, &STORE, &PANICS] {
        limit.report();
    }
}
