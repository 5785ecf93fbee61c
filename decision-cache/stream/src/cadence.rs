//! Request timing parameters, and the types of a request.

use std::time::Duration;

use palisade_cache::Timestamp;
use palisade_client::Continuation;
use palisade_wire::follow::Content;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullKind {
    /// All decisions in force.
    Everything,
    /// The changes since the last response.
    Changes,
}

/// How often to send requests.
#[derive(Debug, Clone)]
pub struct Cadence {
    /// Between two requests for changes.
    pub interval: Duration,
    /// Between two full pulls from a stock LAPI; shortened by up to a quarter at random to spread load. From a LAPI
    /// that keeps cursors, full pulls are [`AUDIT`](Self::AUDIT) times rarer.
    pub resync: Duration,
    /// Pull from a stock LAPI more often than [`resync`](Self::resync) when its list is short:
    /// [`RESYNC_ENTRIES_PER_SECOND`](Self::RESYNC_ENTRIES_PER_SECOND) on average, at most every
    /// [`MIN_RESYNC`](Self::MIN_RESYNC).
    pub resync_by_size: bool,
    /// How soon a response that would empty the cache is requested again.
    pub confirm_after: Duration,
    /// How long a LAPI that supports it may park a request; zero disables long polling.
    pub max_wait: Duration,
}

impl Cadence {
    /// How much rarer full pulls are from a LAPI that keeps cursors.
    pub const AUDIT: u32 = 24;
    /// The shortest regular time between full pulls.
    pub const MIN_RESYNC: Duration = Duration::from_secs(120);
    /// Entries per second that regular full pulls fetch on average (12 KB): a list of 6,000 is pulled every two
    /// minutes, one of 180,000 every hour.
    pub const RESYNC_ENTRIES_PER_SECOND: u32 = 50;
    /// The same for full pulls around the ends of decisions, at most one per interval: a list of 1,000 may be pulled
    /// every 10 s, one of 15,000 every 150 s.
    pub const END_CHECK_ENTRIES_PER_SECOND: u32 = 100;
    /// The shortest time between full pulls when another client seems to use the key, unless
    /// [`resync`](Self::resync) is less than four times this long.
    pub const RESYNC_FLOOR: Duration = Duration::from_secs(60);
    /// The time allowed for a full pull: it is requested this much before an end.
    pub const END_CHECK_LEAD: Duration = Duration::from_secs(2);

    /// The regular time between full pulls of a list of this length.
    pub(crate) fn resync_of(&self, entries: usize) -> Duration {
        if !self.resync_by_size {
            return self.resync;
        }
        time_for(entries, Self::RESYNC_ENTRIES_PER_SECOND).max(Self::MIN_RESYNC).min(self.resync)
    }

    /// The shortest time between full pulls when another client seems to use the key.
    pub(crate) fn resync_floor(&self) -> Duration {
        Self::RESYNC_FLOOR.min(self.resync / 4)
    }

    /// The shortest time between full pulls because of ends, for a list of this length.
    pub(crate) fn end_check_of(&self, entries: usize) -> Duration {
        time_for(entries, Self::END_CHECK_ENTRIES_PER_SECOND).max(self.interval)
    }

    /// How long before an end a full pull is due: at the last request before it, or the one before that.
    pub(crate) fn end_check_window(&self) -> Duration {
        // With half an interval more than one, at least one request falls into the window even if a response is late.
        self.interval.saturating_mul(3) / 2 + Self::END_CHECK_LEAD
    }
}

fn time_for(entries: usize, per_second: u32) -> Duration {
    Duration::from_millis(entries as u64 * 1000 / u64::from(per_second))
}

impl Default for Cadence {
    /// Changes every 10 s as the stock bouncers do, full pulls every two minutes to every hour, and long polling where
    /// supported.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            resync: Duration::from_secs(3600),
            resync_by_size: true,
            confirm_after: Duration::from_secs(5),
            max_wait: Duration::from_secs(25),
        }
    }
}

/// Why the next pull is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncReason {
    /// Nothing has been pulled yet.
    Start,
    /// A request failed after it may have moved a stock LAPI's cursor.
    LostAnswer,
    /// Much longer than the interval has passed since a stock LAPI's last answer.
    Gap,
    /// New decisions of a stock LAPI have lower ids than known ones: the database was restored, replaced or emptied.
    OtherDatabase,
    /// Another stock LAPI is used now, which has no position of this client.
    OtherLapi,
    /// A stock LAPI answered a request with a cursor: its changes are relative to its own idea of the position.
    NoCursor,
    /// Changes arrived although the request had no cursor.
    NoPlace,
    /// The last full response would have removed most decisions; it must be confirmed.
    Unconfirmed,
    /// The timer, or a decision that is about to end or has ended since the last full pull.
    Timer,
}

impl PullKind {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Changes => "changes",
        }
    }
}

impl ResyncReason {
    /// The reason in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::LostAnswer => "lost_answer",
            Self::Gap => "gap",
            Self::OtherDatabase => "other_database",
            Self::OtherLapi => "other_lapi",
            Self::NoCursor => "no_cursor",
            Self::NoPlace => "no_place",
            Self::Unconfirmed => "unconfirmed",
            Self::Timer => "timer",
        }
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub ask: PullKind,
    /// The cursor of the last response that was applied; empty without one.
    pub cursor: String,
    /// How long the LAPI may park the request, in whole seconds; zero for not at all.
    pub wait: Duration,
    /// Why it asks for all decisions.
    pub resync_reason: Option<ResyncReason>,
    /// When it was created.
    pub at: Timestamp,
}

impl Request {
    /// What a response with this head contains. A stock LAPI (no head) sends what was asked for.
    pub fn brings(&self, head: Option<&Continuation>) -> PullKind {
        match head.map(|head| head.content) {
            Some(Content::Everything(_)) => PullKind::Everything,
            Some(Content::Changes) => PullKind::Changes,
            None => self.ask,
        }
    }
}

/// The kind of LAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Peer {
    /// No response yet.
    #[default]
    Unknown,
    /// Keeps one position per key and address, and moves it whether or not the response arrives.
    Stock,
    /// Returns a cursor to each client: lost and repeated responses do no harm.
    KeepsCursors,
}

impl Peer {
    /// The kind as a metric label and in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Stock => "stock",
            Self::KeepsCursors => "cursors",
        }
    }
}
