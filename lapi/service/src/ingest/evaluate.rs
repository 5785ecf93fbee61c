//! Turns posted alerts into alerts to store: validates, normalises, applies allowlists and profiles. Pure, except for
//! the history that profiles may query; the time is an argument.

use palisade_go_compat::quote;
use palisade_model::{NewDecision, SharedTexts, Target};
use palisade_net::InvalidAddress;
use palisade_profiles::{History, Profiles};
use palisade_store::{AllowlistIndex, NewAlert};
use palisade_wire::{
    Alert, BodyError, GoDuration, PostedAlert, Scope, UnixMillis, ValidAlert, ValidDecision,
};
use uuid::Uuid;

use super::digest;

/// The origin of imported decisions; imports pause retention.
const IMPORT_ORIGIN: &str = "cscli-import";

/// What evaluating a batch depends on.
pub(super) struct IngestContext<'a> {
    pub(super) now: UnixMillis,
    pub(super) machine: &'a str,
    /// Applied to alerts without decisions of their own.
    pub(super) allowlists: &'a AllowlistIndex,
    /// Decide for alerts without decisions of their own.
    pub(super) profiles: &'a Profiles,
    pub(super) history: &'a dyn History,
}

#[derive(Debug, Default)]
pub(super) struct EvaluatedBatch {
    /// Alerts to store, in the order of the batch.
    pub(super) alerts: Vec<NewAlert>,
    /// Alerts that are refused, with reasons. The others are stored nevertheless, so that one bad alert does not block
    /// its log processor's queue forever.
    pub(super) refused: Vec<Refusal>,
    /// Alerts dropped because their source is allowlisted.
    pub(super) allowlisted: Vec<Allowlisted>,
    /// Decisions dropped because their value is not an address.
    pub(super) invalid: Vec<InvalidDecision>,
    /// Decisions that are over already: they are stored and never in force.
    pub(super) ended: EndedDecisions,
    /// Number of alerts dropped because all their decisions are invalid.
    pub(super) emptied: usize,
    /// Whether the batch contains an import.
    pub(super) import: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Index of the alert in the batch.
    pub(super) index: usize,
    /// Its scenario and source, as far as present.
    pub(super) alert: String,
    /// The stock server's text.
    pub(super) reason: String,
    /// Whether a text is longer than this server takes.
    pub(super) is_too_long: bool,
}

/// An alert whose source is on an allowlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowlisted {
    /// Its scenario and source.
    pub(super) alert: String,
    /// The allowlist items that cover the source.
    pub(super) reason: String,
}

/// A decision whose value is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvalidDecision {
    /// Index of the alert in the batch.
    pub(super) index: usize,
    pub(super) value: String,
}

/// Decisions whose end lies before their arrival: their duration is not positive, or their alert is older.
#[derive(Debug, Default)]
pub(super) struct EndedDecisions {
    pub(super) count: u64,
    /// The first of them.
    pub(super) example: Option<EndedDecision>,
}

#[derive(Debug)]
pub(super) struct EndedDecision {
    pub(super) value: String,
    pub(super) scenario: String,
    /// The end of its alert, from which it counts.
    pub(super) stopped: UnixMillis,
    pub(super) until: UnixMillis,
}

impl EndedDecisions {
    fn note(&mut self, decisions: &[NewDecision], stopped: UnixMillis, now: UnixMillis) {
        for decision in decisions.iter().filter(|decision| decision.until <= now) {
            self.count += 1;
            self.example.get_or_insert_with(|| EndedDecision {
                value: decision.target.value.text(),
                scenario: decision.scenario.to_string(),
                stopped,
                until: decision.until,
            });
        }
    }
}

impl EvaluatedBatch {
    /// The first refusal when the whole batch was refused: the stock server's response then.
    pub(super) fn all_refused(&self, posted: usize) -> Option<&Refusal> {
        let first = self.refused.first()?;
        (self.refused.len() == posted).then_some(first)
    }
}

/// Evaluates a batch. Stores nothing.
pub(super) fn evaluate(posted: Vec<PostedAlert<'_>>, context: &IngestContext<'_>) -> EvaluatedBatch {
    let mut batch = EvaluatedBatch::default();
    for (index, posted) in posted.into_iter().enumerate() {
        let name = posted.name();
        let alert = match posted.validate(index) {
            Ok(alert) => alert,
            Err(failure) => {
                let is_too_long = matches!(failure, BodyError::TooLong(_));
                let reason = failure.to_string();
                batch.refused.push(Refusal { index, alert: name, reason, is_too_long });
                continue;
            }
        };
        if let Err(reason) = batch.add_alert(index, &name, alert, context) {
            batch.refused.push(Refusal { index, alert: name, reason, is_too_long: false });
        }
    }
    batch
}

impl EvaluatedBatch {
    /// Evaluates one valid alert and adds it and its decisions, unless an allowlist covers it.
    fn add_alert(
        &mut self,
        index: usize,
        name: &str,
        valid: ValidAlert<'_>,
        context: &IngestContext<'_>,
    ) -> Result<(), String> {
        let ValidAlert { mut alert, decisions: own } = valid;
        // First, of the alert as posted: below it gets a new UUID, which would make every digest different.
        let digest = digest::of(context.machine, &alert, &own);
        normalise(&mut alert.source.scope);
        alert.machine_id = context.machine.to_owned();
        alert.uuid = new_uuid().to_string();
        // As in the stock server, decisions count from the end of the alert and not from its arrival, so those of old
        // logs may have ended already.
        let start = UnixMillis::parse_rfc3339(&alert.stop_at).unwrap_or(context.now);
        // An alert that brings decisions was made on purpose, by an administrator or an import: neither allowlists
        // nor profiles apply, as in the stock server.
        let decisions = if own.is_empty() {
            if let Some(reason) = allowlisted(&alert, context) {
                self.allowlisted.push(Allowlisted { alert: name.to_owned(), reason });
                return Ok(());
            }
            from_profiles(&alert, start, context)?
        } else {
            let import = own.first().is_some_and(|decision| decision.origin == IMPORT_ORIGIN);
            let simulated = alert.simulated;
            let texts = &mut SharedTexts::default();
            let decisions = own.into_iter().map(|decision| from_own(decision, start, simulated, texts));
            let decisions = decisions.collect::<Result<Vec<_>, _>>().map_err(|reason| {
                format!(
                    "machine {}: building decisions for alert {}: creating alert decisions: {reason}",
                    quote(context.machine),
                    alert.uuid
                )
            })?;
            self.import |= import;
            decisions
        };
        let wanted = decisions.len();
        let decisions = self.drop_invalid(index, decisions);
        // Such an alert was posted for the sake of its decisions. One that never had any is kept.
        if decisions.is_empty() && wanted > 0 {
            self.emptied += 1;
            return Ok(());
        }
        self.ended.note(&decisions, start, context.now);
        self.alerts.push(NewAlert { alert, decisions, digest: Some(digest) });
        Ok(())
    }

    /// Drops decisions of scope `Ip` and `Range` whose value is not an address.
    fn drop_invalid(&mut self, index: usize, decisions: Vec<Evaluated>) -> Vec<NewDecision> {
        // One wrong line of an import must not refuse all others, so it is dropped and counted.
        let invalid = &mut self.invalid;
        let valid = decisions.into_iter().filter_map(|decision| {
            decision.map_err(|InvalidAddress(value)| invalid.push(InvalidDecision { index, value })).ok()
        });
        valid.collect()
    }
}

/// A decision, or what it names instead of an address.
type Evaluated = Result<NewDecision, InvalidAddress>;

/// The allowlist items that cover the alert's source, joined; `None` when there is none or the source is not an
/// address.
fn allowlisted(alert: &Alert, context: &IngestContext<'_>) -> Option<String> {
    // Sources that are not addresses are never allowlisted.
    let net = Target::parse(&alert.source.scope, &alert.source.value).ok()?.prefix()?;
    let reasons = context.allowlists.reasons(&net, context.now);
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn from_profiles(
    alert: &Alert,
    start: UnixMillis,
    context: &IngestContext<'_>,
) -> Result<Vec<Evaluated>, String> {
    let outcome = context.profiles.evaluate(alert, context.history).map_err(|error| error.to_string())?;
    let decide = |decision: palisade_profiles::ProfileDecision| {
        Ok(NewDecision {
            target: Target::parse(&decision.scope, &decision.value)?,
            remediation: decision.kind.into(),
            until: start.plus(decision.duration),
            origin: decision.origin.into(),
            scenario: decision.scenario.into(),
            simulated: decision.simulated || alert.simulated,
            uuid: Some(new_uuid()),
        })
    };
    Ok(outcome.decisions.into_iter().map(decide).collect())
}

/// A decision posted with its alert is stored as it is; it is simulated when it or the alert is.
fn from_own(
    decision: ValidDecision<'_>,
    start: UnixMillis,
    simulated: bool,
    texts: &mut SharedTexts,
) -> Result<Evaluated, String> {
    // A wrong duration refuses the whole alert with the stock server's text.
    let text = &decision.duration;
    let duration: GoDuration = text
        .parse()
        .map_err(|error| format!("decision duration '{text}': {error}: unable to parse duration"))?;
    Ok(Target::parse(&decision.scope, &decision.value).map(|target| NewDecision {
        target,
        remediation: texts.get(&decision.kind),
        until: start.plus(duration),
        origin: texts.get(&decision.origin),
        scenario: texts.get(&decision.scenario),
        simulated: simulated || decision.simulated,
        uuid: Some(new_uuid()),
    }))
}

/// Replaces a known scope by its canonical spelling.
fn normalise(scope: &mut String) {
    let canonical = Scope::parse(scope).as_str();
    // Compared first, as nearly all are canonical and need no new text.
    if canonical != scope.as_str() {
        *scope = canonical.to_owned();
    }
}

/// UUIDs need not be unpredictable: a userspace generator avoids a hundred thousand system calls in an import.
fn new_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_le_bytes()).into_uuid()
}
