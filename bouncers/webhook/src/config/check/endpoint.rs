//! Checks an entry of `endpoints`: the keys of every endpoint, and which kind of receiver it has.

use std::time::Duration;

use super::super::file::{BatchFile, EndpointFile, HistoryFile, RetryFile};
use super::super::{
    BatchConfig, EndpointConfig, FilterConfig, HistoryConfig, Initial, ProgramMode, Receiver, RetryConfig,
};
use super::{Check, SHORTEST};
use crate::event::Grouping;
use crate::filter::Filter;

/// The longest name.
const MAX_NAME: usize = 64;
/// The most messages under way at once.
const MAX_PARALLEL: usize = 64;
/// The most events in a message.
const MAX_BATCH: usize = 1000;
/// The most events passed to a program at once.
const MAX_PROGRAM_BATCH: usize = 10_000;
/// Events passed at once to a program that reads lines, by default: the program waits after each message until it is
/// known to have been read, so a message is worth many pages of the pipe.
const LINES_BATCH: usize = 4000;
/// The longest body of a message.
const MAX_BODY: u64 = 16 << 20;
/// The longest wait for more events.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Defaults that depend on the receiver.
pub(super) struct ReceiverDefaults {
    pub(super) initial: Initial,
    pub(super) events: usize,
    pub(super) wait: Duration,
    pub(super) max_events: usize,
    pub(super) parallel: usize,
    pub(super) replay_at_start: bool,
    pub(super) grouping: Grouping,
    /// The longest wait between two attempts.
    pub(super) retry_max: Duration,
}

impl ReceiverDefaults {
    pub(super) fn program(mode: ProgramMode) -> Self {
        Self {
            initial: Initial::Snapshot,
            events: match mode {
                ProgramMode::Arguments { .. } => MAX_BATCH,
                ProgramMode::StandardInput { .. } => LINES_BATCH,
            },
            wait: Duration::ZERO,
            max_events: MAX_PROGRAM_BATCH,
            parallel: 1,
            replay_at_start: true,
            grouping: Grouping::Remediation,
            // A program is on this host: an attempt costs little, and nothing is gained by a long pause.
            retry_max: Duration::from_secs(30),
        }
    }

    pub(super) fn http() -> Self {
        Self {
            initial: Initial::Snapshot,
            events: 100,
            wait: Duration::ZERO,
            max_events: MAX_BATCH,
            parallel: 4,
            replay_at_start: false,
            grouping: Grouping::Value,
            retry_max: Duration::from_secs(3600),
        }
    }
}

impl Check<'_> {
    /// `None` when it has no receiver or no name.
    pub(super) fn endpoint(&mut self, key: &str, mut file: EndpointFile) -> Option<EndpointConfig> {
        let name = self.name(key, file.name.take());
        let filter = self.filter(&format!("{key}.filter"), file.filter.take());
        let (receiver, defaults) = self.receiver(key, &mut file)?;
        let batch = self.batch(&format!("{key}.batch"), file.batch.unwrap_or_default(), &defaults);
        let parallel =
            self.wrong.number(format!("{key}.parallel"), file.parallel, defaults.parallel, (1, MAX_PARALLEL));
        let history = (file.keep_history == Some(true))
            .then(|| self.history(&format!("{key}.history"), file.history.clone().unwrap_or_default()));
        if history.is_none() && file.history.is_some() {
            self.wrong.add(format!("{key}.history"), "it has no effect without `keep_history: true`");
        }
        let snapshot_interval = file.snapshot_interval.map(|given| {
            let minute = Duration::from_secs(60);
            self.wrong.duration(format!("{key}.snapshot_interval"), Some(given), minute, minute)
        });
        let retry = self.retry(&format!("{key}.retry"), file.retry.unwrap_or_default(), &defaults);
        let hold = self.wrong.duration(
            format!("{key}.hold_repeats"),
            file.hold_repeats,
            Duration::ZERO,
            Duration::ZERO,
        );
        Some(EndpointConfig {
            name: name?,
            grouping: file.events.unwrap_or(defaults.grouping),
            filter,
            initial: file.initial.unwrap_or(defaults.initial),
            snapshot_interval,
            batch,
            parallel,
            hold_repeats: hold,
            replay_at_start: file.replay_at_start.unwrap_or(defaults.replay_at_start),
            history,
            retry,
            max_dead_letters: self.wrong.number(
                format!("{key}.max_dead_letters"),
                file.max_dead_letters,
                1000,
                (1, 100_000),
            ),
            receiver,
        })
    }

    fn name(&mut self, key: &str, given: Option<String>) -> Option<String> {
        let given = given.unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if given.is_empty() || given.len() > MAX_NAME || !given.bytes().all(is_plain) {
            self.wrong.add(
                format!("{key}.name"),
                format!("give the endpoint a name of letters, digits, - and _, at most {MAX_NAME}"),
            );
            return None;
        }
        Some(given)
    }

    fn receiver(&mut self, key: &str, file: &mut EndpointFile) -> Option<(Receiver, ReceiverDefaults)> {
        if let Some(program) = file.program.take() {
            self.refuse_http_keys(key, file, "a program has none");
            let program = self.program(&format!("{key}.program"), program)?;
            let defaults = ReceiverDefaults::program(program.mode);
            return Some((Receiver::Program(program.into()), defaults));
        }
        if let Some(replace) = file.replace.take() {
            let replace = self.replace(key, replace, file)?;
            return Some((Receiver::Replace(replace.into()), ReceiverDefaults::http()));
        }
        let (http, defaults) = self.http(key, file)?;
        Some((Receiver::Http(http.into()), defaults))
    }

    fn batch(&mut self, key: &str, file: BatchFile, defaults: &ReceiverDefaults) -> BatchConfig {
        let events = self.wrong.number(
            format!("{key}.events"),
            file.events,
            defaults.events,
            (1, defaults.max_events),
        );
        let bytes = self.wrong.size(format!("{key}.size"), file.size.as_deref(), 1 << 20, (1024, MAX_BODY));
        let wait = self.wrong.duration(format!("{key}.wait"), file.wait, defaults.wait, Duration::ZERO);
        if wait > MAX_WAIT {
            self.wrong.add(format!("{key}.wait"), "it must be at most 1h");
        }
        BatchConfig { events, bytes: usize::try_from(bytes).unwrap_or(usize::MAX), wait }
    }

    fn history(&mut self, key: &str, file: HistoryFile) -> HistoryConfig {
        let defaults = HistoryConfig::default();
        let second = Duration::from_secs(1);
        HistoryConfig {
            max_age: self.wrong.duration(format!("{key}.max_age"), file.max_age, defaults.max_age, second),
            max_bytes: self.wrong.size(
                format!("{key}.max_size"),
                file.max_size.as_deref(),
                defaults.max_bytes,
                (1 << 20, 1 << 40),
            ),
        }
    }

    fn retry(&mut self, key: &str, file: RetryFile, defaults: &ReceiverDefaults) -> RetryConfig {
        let s = Duration::from_secs;
        let mut duration = |name: &str, given, default| {
            self.wrong.duration(format!("{key}.{name}"), given, default, SHORTEST)
        };
        let retry = RetryConfig {
            first: duration("first", file.first, s(1)),
            max: duration("max", file.max, defaults.retry_max),
            max_retry_after: duration("max_retry_after", file.max_retry_after, s(6 * 3600)),
            refused: duration("refused", file.refused, s(300)),
            breaker_failures: self.wrong.number(
                format!("{key}.breaker_failures"),
                file.breaker_failures,
                5,
                (1, 1000),
            ),
        };
        if retry.first > retry.max {
            self.wrong.add(format!("{key}.first"), "it must not be longer than `max`");
        }
        retry
    }

    /// Compiles the filter, so that a mistake is found before the start.
    pub(super) fn check_expression(&mut self, key: &str, filter: &FilterConfig) {
        if let Err(error) = Filter::compile(filter) {
            self.wrong.add(key, error.to_string());
        }
    }
}
