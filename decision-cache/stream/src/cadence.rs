//! How often the LAPI is asked, and what a request says.

use std::time::Duration;

use palisade_cache::Timestamp;
use palisade_client::Continuation;
use palisade_wire::follow::Content;

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullKind {
    /// Every decision in force.
    Everything,
    /// What changed since the last answer.
    Changes,
}

/// How often to ask.
#[derive(Debug, Clone)]
pub struct Cadence {
    /// Between two requests for changes.
    pub interval: Duration,
    /// Between two full pulls from a stock LAPI; shortened by up to a quarter so that machines spread out. One that keeps
    /// cursors is asked for everything [`AUDIT`](Self::AUDIT) times as rarely.
    pub resync: Duration,
    /// Pull everything from a stock LAPI more often than [`resync`](Self::resync) where its list is short:
    /// [`RESYNC_ENTRIES_PER_SECOND`](Self::RESYNC_ENTRIES_PER_SECOND) on average, but not more often than every
    /// [`MIN_RESYNC`](Self::MIN_RESYNC).
    pub resync_by_size: bool,
    /// The shortest time between two full pulls that suspicion may lead to.
    pub resync_floor: Duration,
    /// How soon an answer that would empty the cache is asked for again.
    pub confirm_after: Duration,
    /// For how long a LAPI that can may hold a request until there is something to tell; zero for no push.
    pub max_wait: Duration,
}

impl Cadence {
    /// How much rarer full pulls are from a LAPI that keeps cursors.
    pub const AUDIT: u32 = 24;
    /// The shortest time between two full pulls of a short list, unless suspicion or an end asks for one.
    pub const MIN_RESYNC: Duration = Duration::from_secs(120);
    /// How many entries a second regular full pulls fetch on average (12 KB): a list of 6,000 is pulled every two
    /// minutes, one of 180,000 every hour.
    pub const RESYNC_ENTRIES_PER_SECOND: u32 = 50;
    /// The same for the full pulls around the ends of decisions, which come at most one per interval: a list of 1,000 may
    /// be pulled every 10 s, one of 15,000 every 150 s.
    pub const END_CHECK_ENTRIES_PER_SECOND: u32 = 100;
    /// What a full pull may take, so that it is asked for that much earlier before an end.
    pub const END_CHECK_LEAD: Duration = Duration::from_secs(2);

    /// The regular time between two full pulls of a list of so many entries.
    pub(crate) fn resync_of(&self, entries: usize) -> Duration {
        if !self.resync_by_size {
            return self.resync;
        }
        time_for(entries, Self::RESYNC_ENTRIES_PER_SECOND).max(Self::MIN_RESYNC).min(self.resync)
    }

    /// The shortest time between two full pulls of a list of so many entries because decisions end.
    pub(crate) fn end_check_of(&self, entries: usize) -> Duration {
        time_for(entries, Self::END_CHECK_ENTRIES_PER_SECOND).max(self.interval)
    }

    /// How long before an end everything is asked for: at the last request before it, or the one before that.
    pub(crate) fn end_check_window(&self) -> Duration {
        self.interval.saturating_mul(3) / 2 + Self::END_CHECK_LEAD
    }
}

fn time_for(entries: usize, per_second: u32) -> Duration {
    Duration::from_millis(entries as u64 * 1000 / u64::from(per_second))
}

impl Default for Cadence {
    /// Changes every 10 s as the stock bouncers do, everything every two minutes to every hour, and push where it is
    /// offered.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            resync: Duration::from_secs(3600),
            resync_by_size: true,
            resync_floor: Duration::from_secs(60),
            confirm_after: Duration::from_secs(5),
            max_wait: Duration::from_secs(25),
        }
    }
}

/// Why the next pull is a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncReason {
    /// Nothing has been pulled yet.
    Start,
    /// A request failed after it may have moved a stock LAPI's cursor.
    LostAnswer,
    /// Much longer than the interval has passed since a stock LAPI's last answer.
    Gap,
    /// New decisions of a stock LAPI have lower ids than known ones: a restored, replaced or emptied database.
    OtherDatabase,
    /// Another LAPI is asked now, and a stock one does not know where we are.
    OtherLapi,
    /// A stock LAPI answered a request that carried a cursor: it told what it thinks we lack.
    NoCursor,
    /// Changes came although there was no cursor to count them from.
    NoPlace,
    /// The last full answer would have removed most of what is held; it must be summary twice.
    Unconfirmed,
    /// The timer, or a decision that is about to end or has ended since the last full pull.
    Timer,
}

impl PullKind {
    /// The word in logs.
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

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub ask: PullKind,
    /// The cursor of the last answer that was taken; empty when there is none.
    pub cursor: String,
    /// For how long the LAPI may hold the request, in whole seconds; zero for not at all.
    pub wait: Duration,
    /// Why everything is asked for.
    pub resync_reason: Option<ResyncReason>,
    /// When it was made.
    pub at: Timestamp,
}

impl Request {
    /// What an answer to this request with this head holds. A stock LAPI (no head) tells what it was asked for.
    pub fn brings(&self, head: Option<&Continuation>) -> PullKind {
        match head.map(|head| head.content) {
            Some(Content::Everything(_)) => PullKind::Everything,
            Some(Content::Changes) => PullKind::Changes,
            None => self.ask,
        }
    }
}

/// What kind of LAPI answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Peer {
    /// None has answered yet.
    #[default]
    Unknown,
    /// It knows one place for all who share a key and an address, and moves it whether or not an answer arrives.
    Stock,
    /// It tells each client its place and takes it back: nothing that is lost or repeated matters.
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
