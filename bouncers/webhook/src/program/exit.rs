//! Describes how processes end, in Go's words, which log parsers of the stock bouncer know. Pure.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// `exit status 3`, `signal: killed`, `signal: segmentation fault (core dumped)`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
            match signal_name(signal) {
                Some(name) => format!("signal: {name}{dumped}"),
                None => format!("signal: signal {signal}{dumped}"),
            }
        }
        (None, Some(code)) => format!("exit status {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    // By number, as on x86 and ARM.
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_described_as_go_does() {
        for (raw, text) in [
            (9, "signal: killed"),
            (15, "signal: terminated"),
            (11 | 0x80, "signal: segmentation fault (core dumped)"),
            (35, "signal: signal 35"),
            (3 << 8, "exit status 3"),
            (0, "exit status 0"),
        ] {
            assert_eq!(describe(ExitStatus::from_raw(raw)), text);
        }
    }
}
