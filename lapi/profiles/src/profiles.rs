//! Loads the profiles and evaluates alerts against them.

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use palisade_wire::{Alert, Decision};

use crate::{
    EvaluationError, History, Outcome, ProfileDecision, ProfilesError, Step, StepResult,
    environment::Context,
    file::Source,
    profile::{OnError, Profile, ProfileEvaluation},
};

/// The profiles of a file and its `.local`, compiled. Immutable.
#[derive(Debug)]
pub struct Profiles {
    list: Vec<Profile>,
}

impl Profiles {
    /// Loads `path` and, if it exists, the same path with `.local` appended; the documents of the latter come first.
    pub fn load(path: &Path) -> Result<Self, ProfilesError> {
        let unreadable = |path: &Path, cause| ProfilesError::Unreadable { path: path.to_owned(), cause };
        let main = std::fs::read_to_string(path).map_err(|cause| unreadable(path, cause))?;
        let local_path = local_of(path);
        let local = match std::fs::read_to_string(&local_path) {
            Ok(text) => Some(text),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(unreadable(&local_path, cause)),
        };
        let local = local.as_deref().map(|text| Source { path: &local_path, text });
        Self::from_sources(local, Source { path, text: &main })
    }

    /// The same from a text; `name` is the file name in errors.
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self, ProfilesError> {
        Self::from_sources(None, Source { path: name.as_ref(), text })
    }

    fn from_sources(local: Option<Source<'_>>, main: Source<'_>) -> Result<Self, ProfilesError> {
        let mut list = Vec::new();
        // Documents are added, not merged key by key as in other `.local` files.
        for source in local.into_iter().chain([main]) {
            for document in source.documents()? {
                list.push(Profile::check(source, document)?);
            }
        }
        if list.is_empty() {
            return Err(ProfilesError::Empty { path: main.path.to_owned() });
        }
        Ok(Self { list })
    }

    /// Whether any expression queries earlier decisions. If not, [`Self::evaluate`] never calls its [`History`].
    pub fn needs_history(&self) -> bool {
        self.list.iter().any(Profile::needs_history)
    }

    /// The names of all notifications that profiles reference, each once, in order.
    pub fn notifications(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.list.iter().flat_map(|profile| &profile.notifications) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The profiles' names in evaluation order; some may be empty.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|profile| profile.name.as_str())
    }

    /// Evaluates an alert. An alert that carries decisions keeps them: then profiles only select notifications, and a
    /// profile whose filter fails is logged and skipped. For other alerts, a failing filter refuses the alert unless
    /// the profile's `on_error` says otherwise.
    pub fn evaluate(&self, alert: &Alert, history: &dyn History) -> Result<Outcome, EvaluationError> {
        let own = !alert.decisions.is_empty();
        let mut alert = Cow::Borrowed(alert);
        let mut outcome = Outcome::default();
        for (index, profile) in self.list.iter().enumerate() {
            let evaluation = profile.evaluate(&Context { alert: &alert, history });
            let result =
                if own { filter_result(profile, &evaluation) } else { apply_on_error(profile, &evaluation)? };
            let matched = matches!(result, StepResult::Matched | StepResult::MatchedWithoutDecisions);
            // A failing filter stops the profiles only after an earlier filter matched: see `matched` below.
            let broken = !own && evaluation.failed.is_some() && profile.on_error == OnError::Break;
            let stopped = matched && (profile.stops || broken);
            outcome.trace.push(Step {
                profile: profile.name.clone(),
                filters: evaluation.filters,
                result,
                decisions: evaluation.decisions.len(),
                notes: evaluation.notes,
                stopped,
            });
            if matched {
                if !own && outcome.decisions.is_empty() && !evaluation.decisions.is_empty() {
                    outcome.decisions = evaluation.decisions;
                    // Later profiles see the alert with these decisions; the copy is made only if one of them reads
                    // decisions.
                    if self.list[index + 1..].iter().any(Profile::reads_decisions) {
                        alert.to_mut().decisions = outcome.decisions.iter().map(to_wire).collect();
                    }
                }
                for name in &profile.notifications {
                    if !outcome.notify.contains(name) {
                        outcome.notify.push(name.clone());
                    }
                }
            }
            if stopped {
                break;
            }
        }
        Ok(outcome)
    }
}

/// For an alert that carries decisions: a failing filter is skipped, whatever `on_error` is.
fn filter_result(profile: &Profile, evaluation: &ProfileEvaluation) -> StepResult {
    match (&evaluation.failed, evaluation.matched) {
        (Some(error), _) => {
            profile.log_failure(&format_args!("a filter failed, the profile is skipped: {error}"));
            StepResult::Skipped
        }
        (None, true) => StepResult::Matched,
        (None, false) => StepResult::NotMatched,
    }
}

/// For an alert without decisions. If an earlier filter of the profile was true, the profile counts as matched,
/// although its decisions are lost.
fn apply_on_error(profile: &Profile, evaluation: &ProfileEvaluation) -> Result<StepResult, EvaluationError> {
    let Some(error) = &evaluation.failed else {
        return Ok(if evaluation.matched { StepResult::Matched } else { StepResult::NotMatched });
    };
    if profile.on_error == OnError::Fail {
        return Err(error.clone());
    }
    let matched = evaluation.matched || profile.on_error == OnError::Apply;
    let effect = if matched { "counts as matched, without decisions" } else { "is skipped" };
    profile.log_failure(&format_args!("a filter failed, the profile {effect}: {error}"));
    Ok(if matched { StepResult::MatchedWithoutDecisions } else { StepResult::Skipped })
}

fn to_wire(decision: &ProfileDecision) -> Decision {
    Decision {
        duration: decision.duration.to_string(),
        origin: decision.origin.clone(),
        scenario: decision.scenario.clone(),
        scope: decision.scope.clone(),
        simulated: decision.simulated,
        kind: decision.kind.clone(),
        value: decision.value.clone(),
        ..Decision::default()
    }
}

fn local_of(path: &Path) -> PathBuf {
    let mut local = path.as_os_str().to_owned();
    local.push(".local");
    local.into()
}
