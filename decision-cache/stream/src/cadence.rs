//! When to ask the LAPI, and for what: a state machine without clock or socket.
//!
//! The protocol has no acknowledgement and a stock LAPI moves its cursor whether or not an answer arrived, so
//! everything doubtful is answered with a full pull (see [`Doubt`]), and a full pull comes round on a timer
//! besides.

use std::time::Duration;

use palisade_cache::{Applied, Mode, Timestamp};

/// What to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
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
    /// Between two full pulls; shortened by up to a tenth so that machines spread out.
    pub resync: Duration,
    /// The shortest time between two full pulls that suspicion may lead to.
    pub resync_floor: Duration,
    /// How soon an answer that would empty the cache is asked for again.
    pub confirm_after: Duration,
}

impl Default for Cadence {
    /// Changes every 10 s as the stock bouncers do, everything once an hour.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            resync: Duration::from_secs(3600),
            resync_floor: Duration::from_secs(60),
            confirm_after: Duration::from_secs(5),
        }
    }
}

/// Why the next pull is a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing has been pulled yet.
    Start,
    /// A request failed after it may have moved the LAPI's cursor.
    LostAnswer,
    /// Much longer than the interval has passed since the last answer.
    Gap,
    /// New decisions have lower ids than known ones: a restored, replaced or emptied database.
    OtherDatabase,
    /// The last full answer would have removed most of what is held; it must be heard twice.
    Unconfirmed,
    /// The timer.
    Timer,
}

/// The state between requests.
#[derive(Debug)]
pub struct Schedule {
    cadence: Cadence,
    resync: Duration,
    doubt: Option<Doubt>,
    last_answer: Option<Timestamp>,
    next_full: Timestamp,
    highest_id: i64,
    /// How many decisions the unconfirmed full answer announced.
    unconfirmed: Option<usize>,
    /// The full pull under way comes right after a delta, so it should bring nothing new.
    comparing: bool,
    /// Comparisons that found decisions no delta had told. One may be a coincidence.
    suspicions: u32,
}

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// How long to wait before the next request.
    pub wait: Duration,
    /// Say (once) that other clients seem to use up this client's deltas.
    pub warn_of_theft: bool,
}

impl Schedule {
    /// Starts with a full pull at once.
    pub fn new(cadence: Cadence) -> Self {
        Self {
            resync: cadence.resync,
            cadence,
            doubt: Some(Doubt::Start),
            last_answer: None,
            next_full: Timestamp::default(),
            highest_id: 0,
            unconfirmed: None,
            comparing: false,
            suspicions: 0,
        }
    }

    /// What to ask for now, and why when it is everything.
    pub fn ask(&mut self, now: Timestamp) -> (Ask, Option<Doubt>) {
        let gap = (self.cadence.interval * 3).max(Duration::from_secs(30));
        if self.doubt.is_none()
            && self.last_answer.is_some_and(|last| now.saturating_duration_since(last) > gap)
        {
            self.doubt = Some(Doubt::Gap);
        }
        if self.doubt.is_none() && self.comparing {
            return (Ask::Everything, Some(Doubt::Timer));
        }
        self.comparing = false;
        (if self.doubt.is_some() { Ask::Everything } else { Ask::Changes }, self.doubt)
    }

    /// How to apply an answer: whether a full one may remove what it does not list.
    pub fn mode(&self, ask: Ask, announced: usize, held: usize) -> Mode {
        match ask {
            Ask::Changes => Mode::Changes,
            Ask::Everything => {
                let shrinks = if held < 100 { announced == 0 && held > 0 } else { announced < held / 2 };
                // Twice about the same is the truth.
                let confirmed =
                    self.unconfirmed.is_some_and(|before| announced.abs_diff(before) <= before / 4 + 10);
                if shrinks && !confirmed { Mode::Additions } else { Mode::Everything }
            }
        }
    }

    /// After an answer was applied.
    pub fn answered(
        &mut self,
        now: Timestamp,
        mode: Mode,
        announced: usize,
        highest_id: Option<i64>,
        applied: Applied,
        spread: f64,
    ) -> Next {
        let mut next = Next { wait: self.cadence.interval, warn_of_theft: false };
        self.last_answer = Some(now);
        match mode {
            Mode::Changes => {
                if highest_id.is_some_and(|id| id < self.highest_id) {
                    self.doubt = Some(Doubt::OtherDatabase);
                    next.wait = Duration::ZERO;
                } else if now >= self.next_full {
                    // A delta first and a full pull at once: what the full pull brings that the delta did
                    // not was lost on the way.
                    self.comparing = true;
                    next.wait = Duration::ZERO;
                }
                self.highest_id = highest_id.map_or(self.highest_id, |id| id.max(self.highest_id));
            }
            Mode::Additions => {
                self.unconfirmed = Some(announced);
                self.doubt = Some(Doubt::Unconfirmed);
                self.comparing = false;
                next.wait = self.cadence.confirm_after.min(self.cadence.interval);
            }
            Mode::Everything => {
                let stolen = std::mem::take(&mut self.comparing) && applied.added > 0;
                self.resync = if stolen {
                    (self.resync / 4).max(self.cadence.resync_floor).min(self.cadence.resync)
                } else {
                    (self.resync * 2).min(self.cadence.resync)
                };
                self.suspicions += u32::from(stolen);
                next.warn_of_theft = stolen && self.suspicions == 2;
                (self.doubt, self.unconfirmed) = (None, None);
                self.highest_id = highest_id.unwrap_or(0);
                self.next_full = now.saturating_add(self.resync.mul_f64(1.0 - spread.clamp(0.0, 1.0) / 10.0));
            }
        }
        next
    }

    /// After a request failed.
    pub fn failed(&mut self, may_have_reached_lapi: bool) {
        if may_have_reached_lapi && self.doubt.is_none() {
            self.doubt = Some(Doubt::LostAnswer);
        }
        self.comparing = false;
    }

    /// The current time between full pulls.
    pub fn resync_interval(&self) -> Duration {
        self.resync
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn settled() -> Schedule {
        let mut schedule = Schedule::new(Cadence::default());
        assert_eq!(schedule.ask(at(0)), (Ask::Everything, Some(Doubt::Start)));
        let none = Applied::default();
        let next = schedule.answered(at(0), Mode::Everything, 5, Some(100), none, 0.0);
        assert_eq!(next.wait, Duration::from_secs(10));
        schedule
    }

    #[test]
    fn deltas_follow_the_first_full_pull() {
        assert_eq!(settled().ask(at(10)), (Ask::Changes, None));
    }

    #[test]
    fn doubt_is_answered_with_everything() {
        let mut lost = settled();
        lost.failed(true);
        assert_eq!(lost.ask(at(10)), (Ask::Everything, Some(Doubt::LostAnswer)));
        let mut unreachable = settled();
        unreachable.failed(false);
        assert_eq!(unreachable.ask(at(11)), (Ask::Changes, None));
        assert_eq!(unreachable.ask(at(50)), (Ask::Everything, Some(Doubt::Gap)));
        let mut restored = settled();
        let next = restored.answered(at(10), Mode::Changes, 1, Some(3), Applied::default(), 0.0);
        assert_eq!(
            (next.wait, restored.ask(at(10))),
            (Duration::ZERO, (Ask::Everything, Some(Doubt::OtherDatabase)))
        );
    }

    #[test]
    fn one_empty_answer_is_not_believed_two_are() {
        let mut schedule = settled();
        assert_eq!(schedule.mode(Ask::Everything, 0, 5), Mode::Additions);
        assert_eq!(schedule.mode(Ask::Everything, 1, 5), Mode::Everything, "small tables change fast");
        assert_eq!(schedule.mode(Ask::Everything, 400, 1000), Mode::Additions);
        schedule.answered(at(10), Mode::Additions, 0, None, Applied::default(), 0.0);
        assert_eq!(schedule.ask(at(15)), (Ask::Everything, Some(Doubt::Unconfirmed)));
        assert_eq!(schedule.mode(Ask::Everything, 0, 5), Mode::Everything);
        assert_eq!(
            schedule.mode(Ask::Everything, 900, 1000),
            Mode::Everything,
            "recovered on the second try"
        );
    }

    #[test]
    fn stolen_deltas_are_told_once_and_shorten_the_resync() {
        let mut schedule = settled();
        let stolen = Applied { added: 2, ..Applied::default() };
        let mut warnings = 0;
        for hour in 1..4 {
            let now = at(hour * 3600);
            schedule.last_answer = Some(now);
            assert_eq!(schedule.ask(now).0, Ask::Changes);
            let next = schedule.answered(now, Mode::Changes, 0, None, Applied::default(), 0.0);
            assert_eq!(next.wait, Duration::ZERO);
            assert_eq!(schedule.ask(now), (Ask::Everything, Some(Doubt::Timer)));
            let next = schedule.answered(now, Mode::Everything, 5, Some(9), stolen, 0.0);
            warnings += u32::from(next.warn_of_theft);
        }
        assert_eq!(warnings, 1);
        assert_eq!(schedule.resync_interval(), Duration::from_secs(60));
        schedule.comparing = true;
        schedule.answered(at(20_000), Mode::Everything, 5, Some(9), Applied::default(), 0.0);
        assert_eq!(schedule.resync_interval(), Duration::from_secs(120), "trust returns slowly");
    }
}
