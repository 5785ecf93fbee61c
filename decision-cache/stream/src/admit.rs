//! Admission: parses the decisions of a response once, and refuses and counts those that cannot be used.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use palisade_cache::{Batch, Reason, Timestamp};
use palisade_net::canonical;
use palisade_wire::{ElementFault, GoDuration, Scope, StreamDecision, StreamItem};
use tracing::{info, warn};

/// Why a decision was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Valid JSON, but not a decision.
    Unreadable,
    /// Scope `Ip` or `Range` with a value that is neither an address nor a prefix.
    BadAddress,
    /// The duration is malformed.
    BadDuration,
    /// An empty scope, value or type.
    Empty,
    /// The entry is longer than [`MAX_VALUE_BYTES`](palisade_wire::MAX_VALUE_BYTES), or its scope, value, type or
    /// origin is longer than [`MAX_FIELD_BYTES`].
    TooLong,
}

/// The longest scope, value, type or origin that is admitted, in bytes.
pub const MAX_FIELD_BYTES: usize = 1024;
/// The highest id accepted: the largest integer that every JSON reader represents exactly. A higher id would make all
/// later ids look like those of another database.
pub const MAX_ID: i64 = (1 << 53) - 1;
/// How much of a scenario is kept, in bytes. Scenarios are only displayed, so longer ones are truncated.
pub const MAX_SCENARIO_BYTES: usize = 1024;
/// Ends older than this are not repeated by the next response: a stock LAPI repeats those of the 2 s before the last
/// request.
const REPEATED_END: Duration = Duration::from_secs(60);
/// Maximum number of ended ids kept from one response to the next.
const MAX_ENDED_IDS: usize = 100_000;
/// How many characters of a refused decision's fields are logged.
const LOGGED_CHARS: usize = 80;

impl Refusal {
    /// The reason as a metric label and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::BadAddress => "bad_address",
            Self::BadDuration => "bad_duration",
            Self::Empty => "empty_field",
            Self::TooLong => "too_long",
        }
    }
}

/// A decision's target, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted<'a> {
    /// An address or range without host bits; IPv4-mapped addresses as IPv4.
    Net {
        /// The address or range.
        net: IpNet,
        /// Whether host bits were set and have been cleared.
        host_bits: bool,
    },
    /// A value of another scope, in canonical form.
    Name(Cow<'a, str>),
}

/// Parses the value of a decision.
///
/// An address and a prefix are both accepted under `Ip` and `Range`, as LAPIs send both. Country codes are
/// upper-cased; a leading `AS` is removed from AS numbers.
pub fn admit<'a>(scope: Scope<'_>, value: &'a str) -> Result<Admitted<'a>, Refusal> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Refusal::Empty);
    }
    match scope {
        Scope::Ip | Scope::Range => {
            // By notation, not by scope: stored values may be `192.0.2.1/32` under `Ip` or an address under `Range`.
            let net = if value.contains('/') {
                value.parse::<IpNet>().map_err(|_| Refusal::BadAddress)?
            } else {
                IpNet::from(value.parse::<IpAddr>().map_err(|_| Refusal::BadAddress)?)
            };
            Ok(Admitted::Net { net: canonical(net), host_bits: net.addr() != net.network() })
        }
        Scope::Country => Ok(Admitted::Name(Cow::Owned(value.to_ascii_uppercase()))),
        Scope::As => {
            let digits =
                value.get(..2).filter(|two| two.eq_ignore_ascii_case("as")).map_or(value, |_| &value[2..]);
            Ok(Admitted::Name(Cow::Borrowed(digits)))
        }
        _ => Ok(Admitted::Name(Cow::Borrowed(value))),
    }
}

/// Admits decisions, counts refusals, and logs each kind of refusal once.
#[derive(Debug, Default)]
pub struct Admission {
    /// Admitted remediation types; `None` admits all.
    types: Option<Vec<String>>,
    refused: BTreeMap<Refusal, u64>,
    other_types: u64,
    host_bits: u64,
    /// Ids of the ends in the last response of a stock LAPI. The next response may repeat them, and a repeated end must
    /// not remove a newer decision under another notation of the same address.
    ended: HashSet<i64>,
    /// Ids of the ends in the current response.
    ending: HashSet<i64>,
}

impl Admission {
    /// Admits only decisions of these types (compared case-insensitively), or of all types.
    pub fn new(types: Option<Vec<String>>) -> Self {
        Self { types, ..Self::default() }
    }

    /// Changes the admitted types; counters are kept.
    pub fn set_types(&mut self, types: Option<Vec<String>>) {
        self.types = types;
    }

    /// Refused decisions by reason.
    pub fn refused(&self) -> &BTreeMap<Refusal, u64> {
        &self.refused
    }

    /// Number of decisions skipped because of their type.
    pub fn other_types(&self) -> u64 {
        self.other_types
    }

    /// Begins a response.
    pub fn begin_answer(&mut self) {
        self.ending.clear();
    }

    /// The response was complete and has been applied. `stock`: it is from a LAPI that repeats ends.
    pub fn end_answer(&mut self, stock: bool) {
        let ending = std::mem::take(&mut self.ending);
        // Not before the response was applied: after a failed request the same ends are new ones.
        self.ended = if stock { ending } else { HashSet::new() };
    }

    /// Processes an item of a response received at `now`. Ends in a `full` response are skipped, since it replaces
    /// everything.
    pub fn take(&mut self, item: StreamItem<'_>, full: bool, now: Timestamp, batch: &mut Batch) {
        let (decision, announced) = match item {
            StreamItem::New(decision) => (decision, true),
            // A stock LAPI lists every expired row it still stores in a full response. Only the recent ones can be
            // repeated by the next response; keeping all would fill the set with ids that never come again.
            StreamItem::Deleted(decision) if full => {
                let left = decision.duration.parse::<GoDuration>();
                let oldest = -i128::try_from(REPEATED_END.as_nanos()).unwrap_or(i128::MAX);
                if left.is_ok_and(|left| i128::from(left.nanos()) >= oldest) {
                    self.note_end(decision.id);
                }
                return;
            }
            StreamItem::Deleted(decision) => (decision, false),
            StreamItem::Unreadable { list, fault, reason } => {
                let refusal = match fault {
                    ElementFault::NoDecision => Refusal::Unreadable,
                    ElementFault::TooLong => Refusal::TooLong,
                };
                if self.is_first(refusal) {
                    warn!(
                        reason = refusal.as_str(),
                        list,
                        error = reason,
                        "the LAPI sent an entry that cannot be read; it is counted and skipped (logged once per reason)"
                    );
                }
                return;
            }
        };
        if let Err(refusal) = self.stage(&decision, announced, now, batch)
            && self.is_first(refusal)
        {
            warn!(
                reason = refusal.as_str(),
                id = decision.id,
                r#type = %shortened(&decision.kind),
                scope = %shortened(&decision.scope),
                value = %shortened(&decision.value),
                duration = %shortened(&decision.duration),
                origin = %shortened(&decision.origin),
                scenario = %shortened(&decision.scenario),
                "the LAPI sent a decision that cannot be admitted; it is counted and skipped (logged once per reason)"
            );
        }
    }

    fn stage(
        &mut self,
        decision: &StreamDecision<'_>,
        announced: bool,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        // The value is checked by `admit`, after it was trimmed.
        if decision.kind.is_empty() || decision.scope.is_empty() {
            return Err(Refusal::Empty);
        }
        let fields = [&decision.kind, &decision.scope, &decision.value, &decision.origin];
        if fields.iter().any(|field| field.len() > MAX_FIELD_BYTES) {
            return Err(Refusal::TooLong);
        }
        if let Some(types) = &self.types
            && !types.iter().any(|wanted| wanted.eq_ignore_ascii_case(&decision.kind))
        {
            // Ends of other types are not counted: their decisions were, when they were announced.
            self.other_types += u64::from(announced);
            return Ok(());
        }
        let scope = Scope::parse(&decision.scope);
        let target = admit(scope, &decision.value)?;
        if !announced {
            self.note_end(decision.id);
            // An end means that no decision on the target is left, whatever its id. A repeated end meant that at an
            // earlier time, and decisions with higher ids were made since.
            let newest = if self.ended.contains(&decision.id) { decision.id } else { i64::MAX };
            match target {
                Admitted::Net { net, .. } => batch.lift_net_up_to(net, &decision.kind, newest),
                Admitted::Name(value) => {
                    batch.lift_name_up_to(scope.as_str(), &value, &decision.kind, newest);
                }
            }
            return Ok(());
        }
        let left: GoDuration = decision.duration.parse().map_err(|_| Refusal::BadDuration)?;
        // The decision has ended in transit.
        let Some(left) = left.to_std().filter(|left| !left.is_zero()) else { return Ok(()) };
        let until = now.saturating_add(left);
        // The decision is kept, as its id serves only for display and to recognise another database.
        let id = if (0..=MAX_ID).contains(&decision.id) { decision.id } else { 0 };
        // Truncated and not refused: an over-long name must not keep an address from being banned.
        let scenario = &decision.scenario[..decision.scenario.floor_char_boundary(MAX_SCENARIO_BYTES)];
        let reason = Reason { remediation: &decision.kind, origin: &decision.origin, scenario };
        match target {
            Admitted::Net { net, host_bits } => {
                if host_bits {
                    self.host_bits += 1;
                    if self.host_bits == 1 {
                        info!(
                            value = %decision.value, enforced = %net,
                            "a decision's range has bits set behind its prefix length; the whole range is \
                             enforced (logged once)"
                        );
                    }
                }
                batch.announce_net(net, reason, until, id);
            }
            Admitted::Name(value) => {
                batch.announce_name(scope.as_str(), &value, reason, until, id);
            }
        }
        Ok(())
    }

    fn note_end(&mut self, id: i64) {
        // Id 0 means no id, which cannot identify an end.
        // Bounded, because a response can list any number of ends. Those beyond are treated as new ones.
        if id != 0 && self.ending.len() < MAX_ENDED_IDS {
            self.ending.insert(id);
        }
    }

    /// Counts a refusal; returns whether it is the first of its kind.
    fn is_first(&mut self, refusal: Refusal) -> bool {
        let count = self.refused.entry(refusal).or_default();
        *count += 1;
        *count == 1
    }
}

/// Truncates a text for the log.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LOGGED_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_into_canonical_targets() {
        let net = |text: &str, host_bits| Ok(Admitted::Net { net: text.parse().unwrap(), host_bits });
        let name = |text: &'static str| Ok(Admitted::Name(Cow::Borrowed(text)));
        for (scope, value, expected) in [
            ("Ip", "192.0.2.1", net("192.0.2.1/32", false)),
            ("ip", " 192.0.2.1 ", net("192.0.2.1/32", false)),
            ("Ip", "192.0.2.1/32", net("192.0.2.1/32", false)),
            ("Range", "192.0.2.77/24", net("192.0.2.0/24", true)),
            ("Range", "0.0.0.0", net("0.0.0.0/32", false)),
            ("Ip", "::ffff:192.0.2.1", net("192.0.2.1/32", false)),
            ("Range", "::ffff:192.0.2.0/120", net("192.0.2.0/24", false)),
            ("Ip", "2001:DB8:0::1", net("2001:db8::1/128", false)),
            ("Ip", "::1:0:3", net("::1:0:3/128", false)),
            ("Ip", "192.0.2", Err(Refusal::BadAddress)),
            ("Range", "192.0.2.0/33", Err(Refusal::BadAddress)),
            ("Ip", "fe80::1%eth0", Err(Refusal::BadAddress)),
            ("Ip", "example.org", Err(Refusal::BadAddress)),
            ("Ip", "", Err(Refusal::Empty)),
            ("country", "fr", name("FR")),
            ("AS", "AS64500", name("64500")),
            ("as", "64500", name("64500")),
            ("Username", "root", name("root")),
        ] {
            assert_eq!(admit(Scope::parse(scope), value), expected, "{scope} {value}");
        }
    }

    #[test]
    fn trouble_is_counted_and_the_rest_is_kept() {
        let decision = |value: &'static str, kind: &'static str, duration: &'static str| StreamDecision {
            id: 1,
            origin: "cscli".into(),
            scenario: "x".into(),
            scope: "Ip".into(),
            kind: kind.into(),
            value: value.into(),
            duration: duration.into(),
        };
        let unreadable = |fault| StreamItem::Unreadable { list: "new", fault, reason: "odd".to_owned() };
        let long: &'static str = "é".repeat(MAX_FIELD_BYTES / 2 + 1).leak();
        let mut admission = Admission::new(Some(vec!["ban".to_owned()]));
        let mut batch = Batch::new();
        let now = Timestamp::from_millis(0);
        for item in [
            StreamItem::New(decision("192.0.2.1", "Ban", "1h")),
            StreamItem::New(decision("192.0.2.2", "captcha", "1h")),
            StreamItem::New(decision("192.0.2.3", "ban", "soon")),
            StreamItem::New(decision("192.0.2.999", "ban", "1h")),
            StreamItem::New(decision("192.0.2.4", "ban", "-3s")),
            StreamItem::Deleted(decision("192.0.2.5", "ban", "")),
            unreadable(ElementFault::NoDecision),
            unreadable(ElementFault::TooLong),
            StreamItem::New(decision(long, "ban", "1h")),
            StreamItem::New(decision("192.0.2.6", long, "1h")),
            StreamItem::New(decision("192.0.2.7", "ban", long)),
        ] {
            admission.take(item, false, now, &mut batch);
        }
        assert_eq!((batch.announced(), batch.lifted(), admission.other_types()), (1, 1, 1));
        let refused: Vec<_> = admission.refused().iter().map(|(why, n)| (why.as_str(), *n)).collect();
        assert_eq!(refused, [("unreadable", 1), ("bad_address", 1), ("bad_duration", 2), ("too_long", 3)]);
    }

    #[test]
    fn an_id_out_of_range_does_not_make_later_ids_look_low() {
        let mut batch = Batch::new();
        for (id, value) in [(i64::MAX, "192.0.2.1"), (-7, "192.0.2.2"), (12, "192.0.2.3")] {
            let decision = StreamDecision {
                id,
                origin: "cscli".into(),
                scenario: "s".into(),
                scope: "Ip".into(),
                kind: "ban".into(),
                value: value.into(),
                duration: "1h".into(),
            };
            let now = Timestamp::from_millis(0);
            Admission::new(None).take(StreamItem::New(decision), true, now, &mut batch);
        }
        assert_eq!((batch.announced(), batch.highest_id()), (3, Some(12)));
    }

    #[test]
    fn a_ban_with_a_long_scenario_is_enforced_with_the_name_cut() {
        let mut batch = Batch::new();
        let decision = StreamDecision {
            id: 1,
            origin: "crowdsec".into(),
            scenario: "é".repeat(MAX_SCENARIO_BYTES).into(),
            scope: "Ip".into(),
            kind: "ban".into(),
            value: "192.0.2.1".into(),
            duration: "1h".into(),
        };
        let now = Timestamp::from_millis(0);
        Admission::new(None).take(StreamItem::New(decision), true, now, &mut batch);
        let mut ledger = palisade_cache::Ledger::new(palisade_cache::Policy::default(), 0);
        ledger.apply(palisade_cache::Mode::Everything, batch);
        let snapshot = ledger.snapshot();
        let held = snapshot.decisions().next().unwrap();
        assert_eq!((held.scenario.len(), shortened(held.scenario).chars().count()), (MAX_SCENARIO_BYTES, 81));
    }
}
