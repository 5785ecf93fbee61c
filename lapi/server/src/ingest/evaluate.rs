//! From what was posted to what is stored: validate, normalise, look at the allowlists, ask the profiles. Pure but
//! for the history that profiles may ask for; the time is an argument.

use palisade_profiles::{History, Profiles};
use palisade_store::{AllowlistIndex, NewAlert, NewDecision};
use palisade_wire::{Alert, Decision, GoDuration, PostedAlert, Scope, UnixMillis};
use uuid::Uuid;

use super::digest;

/// The origin of imports; they pause retention.
pub(crate) const IMPORT_ORIGIN: &str = "cscli-import";

/// What judging a batch needs to know.
pub(crate) struct IngestContext<'a> {
    /// When the request came.
    pub(crate) now: UnixMillis,
    /// Who posts.
    pub(crate) machine: &'a str,
    /// Who is never to be banned by an alert that asks the profiles.
    pub(crate) allowlists: &'a AllowlistIndex,
    /// What becomes of an alert without decisions.
    pub(crate) profiles: &'a Profiles,
    /// What profiles may ask for.
    pub(crate) history: &'a dyn History,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct EvaluatedBatch {
    /// To be stored, in the order of the batch.
    pub(crate) alerts: Vec<NewAlert>,
    /// Refused, each with its reason. The others are stored nevertheless: one bad alert must not hold up the queue
    /// of its log processor for ever.
    pub(crate) refused: Vec<Refusal>,
    /// Alerts passed over because their source is allowlisted.
    pub(crate) allowlisted: Vec<Allowlisted>,
    /// Decisions passed over because their value is no address.
    pub(crate) invalid: Vec<InvalidDecision>,
    /// Alerts of which nothing is left, because all their decisions are invalid.
    pub(crate) emptied: usize,
    /// Whether it holds an import.
    pub(crate) import: bool,
}

/// An alert that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its place in the batch, from 0.
    pub(crate) index: usize,
    /// Its scenario and source, as far as it has any.
    pub(crate) alert: String,
    /// In the words of the stock server.
    pub(crate) reason: String,
}

/// An alert whose source stands on an allowlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowlisted {
    /// Its scenario and source.
    pub(crate) alert: String,
    /// The items that cover it.
    pub(crate) reason: String,
}

/// A decision about no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidDecision {
    /// The alert's place in the batch, from 0.
    pub(crate) index: usize,
    /// What stands there instead.
    pub(crate) value: String,
}

impl EvaluatedBatch {
    /// The stock server's answer when nothing of a batch could be taken: the reason of the first refusal.
    pub(crate) fn all_refused(&self, posted: usize) -> Option<&str> {
        let first = self.refused.first()?;
        (self.refused.len() == posted).then_some(first.reason.as_str())
    }
}

/// Judges a whole batch. Nothing is stored yet.
pub(crate) fn evaluate(posted: Vec<PostedAlert>, context: &IngestContext<'_>) -> EvaluatedBatch {
    let mut batch = EvaluatedBatch::default();
    for (index, posted) in posted.into_iter().enumerate() {
        let name = posted.name();
        let alert = match posted.validate(index) {
            Ok(alert) => alert,
            Err(failure) => {
                batch.refused.push(Refusal { index, alert: name, reason: failure.to_string() });
                continue;
            }
        };
        if let Err(reason) = batch.into_alert(index, &name, alert, context) {
            batch.refused.push(Refusal { index, alert: name, reason });
        }
    }
    batch
}

impl EvaluatedBatch {
    fn into_alert(
        &mut self,
        index: usize,
        name: &str,
        mut alert: Alert,
        context: &IngestContext<'_>,
    ) -> Result<(), String> {
        let digest = digest::of(context.machine, &alert);
        normalise(&mut alert.source.scope);
        alert.machine_id = context.machine.to_owned();
        alert.uuid = new_uuid().to_string();
        let own = std::mem::take(&mut alert.decisions);
        let start = UnixMillis::parse_rfc3339(&alert.stop_at).unwrap_or(context.now);
        let decisions = if own.is_empty() {
            if let Some(reason) = allowlisted(&alert, context) {
                self.allowlisted.push(Allowlisted { alert: name.to_owned(), reason });
                return Ok(());
            }
            from_profiles(&alert, start, context)?
        } else {
            let import = own.first().is_some_and(|decision| decision.origin == IMPORT_ORIGIN);
            let simulated = alert.simulated;
            let decisions =
                own.into_iter().map(|d| from_own(d, start, simulated)).collect::<Result<Vec<_>, _>>()?;
            self.import |= import;
            decisions
        };
        let wanted = decisions.len();
        let decisions = self.drop_invalid(index, decisions);
        if decisions.is_empty() && wanted > 0 {
            self.emptied += 1;
            return Ok(());
        }
        self.alerts.push(NewAlert { alert, decisions, digest: Some(digest) });
        Ok(())
    }

    /// Passes over decisions about addresses that are none.
    fn drop_invalid(&mut self, index: usize, mut decisions: Vec<NewDecision>) -> Vec<NewDecision> {
        decisions.retain(|decision| {
            let valid =
                !matches!(palisade_active::target_prefix(&decision.scope, &decision.value), Some(Err(_)));
            if !valid {
                self.invalid.push(InvalidDecision { index, value: decision.value.clone() });
            }
            valid
        });
        decisions
    }
}

/// Why an alert is passed over: its source is an address or a range that an allowlist covers. A source that cannot
/// be read is on no list.
fn allowlisted(alert: &Alert, context: &IngestContext<'_>) -> Option<String> {
    let net = palisade_active::target_prefix(&alert.source.scope, &alert.source.value)?.ok()?;
    let reasons = context.allowlists.reasons(&net, context.now);
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

fn from_profiles(
    alert: &Alert,
    start: UnixMillis,
    context: &IngestContext<'_>,
) -> Result<Vec<NewDecision>, String> {
    let outcome = context.profiles.evaluate(alert, context.history).map_err(|error| error.to_string())?;
    let decide = |decision: palisade_profiles::ProfileDecision| NewDecision {
        until: start.plus(decision.duration),
        origin: decision.origin,
        scenario: decision.scenario,
        scope: Scope::parse(&decision.scope).as_str().to_owned(),
        kind: decision.kind,
        value: decision.value,
        simulated: decision.simulated || alert.simulated,
        uuid: Some(new_uuid()),
    };
    Ok(outcome.decisions.into_iter().map(decide).collect())
}

/// A decision that came with its alert: taken as it is. Its own flag counts as well as the alert's.
fn from_own(decision: Decision, start: UnixMillis, simulated: bool) -> Result<NewDecision, String> {
    let text = &decision.duration;
    let duration: GoDuration = text.parse().map_err(|error| {
        format!("unable to create alerts: decision duration '{text}' : {error}: unable to parse duration")
    })?;
    let mut scope = decision.scope;
    normalise(&mut scope);
    Ok(NewDecision {
        until: start.plus(duration),
        origin: decision.origin,
        scenario: decision.scenario,
        scope,
        kind: decision.kind,
        value: decision.value,
        simulated: simulated || decision.simulated,
        uuid: Some(new_uuid()),
    })
}

/// Brings a known scope into its canonical spelling.
fn normalise(scope: &mut String) {
    let canonical = Scope::parse(scope).as_str();
    if canonical != scope.as_str() {
        *scope = canonical.to_owned();
    }
}

/// A random name. It is no secret, so it need not cost a system call: an import makes a hundred thousand.
fn new_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_le_bytes()).into_uuid()
}
