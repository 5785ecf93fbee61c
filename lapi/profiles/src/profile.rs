//! A profile: its filters, decisions and error handling.

use palisade_expr::{CompileError, EvalError, Limits, Program};
use palisade_wire::{Alert, GoDuration, Scope};
use serde_saphyr::Spanned;

use crate::{
    EvaluationError, FilterResult, NoHistory, ProfileDecision, ProfilesError,
    environment::{Context, needs_history, vocabulary},
    file::{ProfileFile, Source, Template},
};

/// The default duration of a decision, as documented by CrowdSec.
const DEFAULT: GoDuration = GoDuration::from_nanos(4 * 3600 * 1_000_000_000);

/// What happens when a filter fails, for alerts without decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The whole request fails. Also for unknown values.
    Fail,
    /// The profile is skipped.
    Skip,
    /// The profile counts as matched.
    Apply,
    /// No further profile is evaluated, if an earlier filter of the profile was true.
    Break,
}

#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) debug: bool,
    pub(crate) filters: Vec<Program>,
    pub(crate) notifications: Vec<String>,
    pub(crate) stops: bool,
    pub(crate) on_error: OnError,
    /// Whether an expression calls a function that is not available here: it fails for every alert, which was logged
    /// when the file was read.
    pub(crate) incomplete: bool,
    decisions: Vec<Decided>,
    duration: Option<Program>,
}

/// A checked template.
#[derive(Debug)]
struct Decided {
    kind: String,
    duration: GoDuration,
    scope: Option<String>,
    origin: String,
    simulated: bool,
}

pub(crate) struct ProfileEvaluation {
    pub(crate) filters: Vec<FilterResult>,
    pub(crate) matched: bool,
    pub(crate) decisions: Vec<ProfileDecision>,
    pub(crate) notes: Vec<String>,
    /// A filter failed: later filters were not run and there are no decisions.
    pub(crate) failed: Option<EvaluationError>,
}

impl Profile {
    /// Checks a document.
    pub(crate) fn check(source: Source<'_>, written: ProfileFile) -> Result<Self, ProfilesError> {
        let name = written.name.unwrap_or_default();
        let on_success = word(source, "on_success", written.on_success, &["continue", "break"])?;
        // Accepted and without effect, as in the reference.
        word(source, "on_failure", written.on_failure, &["continue", "break", "apply"])?;
        let on_error = match written.on_error.as_deref() {
            Some("apply") => OnError::Apply,
            Some("break") => OnError::Break,
            Some("continue" | "ignore") => OnError::Skip,
            Some("") | None => OnError::Fail,
            Some(other) => {
                tracing::warn!(
                    profile = name,
                    on_error = other,
                    "unknown value: a failing filter refuses the alert"
                );
                OnError::Fail
            }
        };
        let written_filters = written.filters.unwrap_or_default();
        let filters = written_filters
            .iter()
            .map(|filter| compiled(source, filter, true))
            .collect::<Result<Vec<_>, _>>()?;
        let mut incomplete = false;
        for (filter, program) in written_filters.iter().zip(&filters) {
            let Some(error) = program.unavailable() else { continue };
            let error = unusable(source, filter, "filter", error);
            // `on_error` decides about an alert when a filter fails; without it every alert would be refused.
            if on_error == OnError::Fail {
                return Err(error);
            }
            incomplete = true;
            let on_error = written.on_error.as_deref();
            tracing::warn!(profile = name, on_error, "a filter will fail for every alert: {error}");
        }
        // Only a warning: such a profile is useless and harmless.
        if filters.is_empty() {
            tracing::warn!(profile = name, "a profile without filters never matches");
        }
        let duration = match &written.duration_expr {
            None => None,
            Some(expression) => {
                let program = compiled(source, expression, false)?;
                if let Some(error) = program.unavailable() {
                    incomplete = true;
                    let error = unusable(source, expression, "duration_expr", error);
                    tracing::warn!(profile = name, "the fixed duration is used for every alert: {error}");
                }
                Some(program)
            }
        };
        let decisions = written
            .decisions
            .unwrap_or_default()
            .into_iter()
            .map(|template| Decided::check(source, &name, template, duration.is_some()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            debug: written.debug.unwrap_or_default(),
            notifications: written.notifications.unwrap_or_default(),
            stops: on_success.as_deref() == Some("break"),
            name,
            filters,
            on_error,
            incomplete,
            decisions,
            duration,
        })
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.filters.iter().chain(&self.duration)
    }

    /// Whether an expression uses decision history.
    pub(crate) fn needs_history(&self) -> bool {
        self.programs().any(needs_history)
    }

    /// Whether an expression reads the decisions attached by an earlier profile.
    pub(crate) fn reads_decisions(&self) -> bool {
        self.programs().any(|program| program.reads("Decisions"))
    }

    /// Runs the filters. Each true filter makes the decisions again, as in the reference.
    pub(crate) fn evaluate(&self, context: &Context<'_>) -> ProfileEvaluation {
        let mut evaluation = ProfileEvaluation {
            filters: Vec::new(),
            matched: false,
            decisions: Vec::new(),
            notes: Vec::new(),
            failed: None,
        };
        for filter in &self.filters {
            let result = filter.test(context, Limits::default()).map_err(|error| error.to_string());
            if self.debug {
                tracing::info!(profile = self.name, filter = filter.source(), ?result, "filter");
            }
            evaluation
                .filters
                .push(FilterResult { filter: filter.source().to_owned(), result: result.clone() });
            match result {
                Ok(true) => {
                    evaluation.matched = true;
                    self.decide(context, &mut evaluation);
                }
                Ok(false) => {}
                Err(reason) => {
                    // Those of earlier filters are lost too, as in the reference.
                    evaluation.decisions.clear();
                    evaluation.failed = Some(EvaluationError {
                        profile: self.name.clone(),
                        filter: filter.source().to_owned(),
                        reason,
                    });
                    break;
                }
            }
        }
        evaluation
    }

    /// Logs that an expression failed for an alert; at debug level when that was to be expected.
    pub(crate) fn log_failure(&self, reason: &dyn std::fmt::Display) {
        if self.incomplete {
            tracing::debug!(profile = self.name, "{reason}");
        } else {
            tracing::warn!(profile = self.name, "{reason}");
        }
    }

    fn decide(&self, context: &Context<'_>, evaluation: &mut ProfileEvaluation) {
        for template in &self.decisions {
            let duration = match self.duration.as_ref().map(|program| computed(program, context)) {
                None => template.duration,
                Some(Ok(duration)) => duration,
                Some(Err(reason)) => {
                    let note = format!("duration_expr: {reason}; using {}", template.duration);
                    self.log_failure(&note);
                    evaluation.notes.push(note);
                    template.duration
                }
            };
            evaluation.decisions.push(template.decision(context.alert, duration));
        }
    }
}

impl Decided {
    fn check(
        source: Source<'_>,
        profile: &str,
        written: Spanned<Template>,
        computed: bool,
    ) -> Result<Self, ProfilesError> {
        let place = written.referenced;
        let template = written.value;
        let Some(kind) = template.kind.filter(|kind| !kind.is_empty()) else {
            return Err(source.invalid(place, "a decision needs a type, such as `type: ban`"));
        };
        let duration = match template.duration.filter(|duration| !duration.value.is_empty()) {
            Some(duration) => duration.value.parse().map_err(|error| {
                source.invalid(duration.referenced, format!("duration: {error}; write for example 4h or 7d"))
            })?,
            None => {
                // With `duration_expr` it is only the fallback.
                if !computed {
                    tracing::warn!(profile, "no duration specified for a decision: using 4h");
                }
                DEFAULT
            }
        };
        if duration.nanos() <= 0 {
            tracing::warn!(profile, %duration, "decisions of this duration are over before they begin");
        }
        Ok(Self {
            kind,
            duration,
            scope: template.scope.filter(|scope| !scope.is_empty()),
            origin: template.origin.map_or("crowdsec".to_owned(), |origin| format!("crowdsec/{origin}")),
            simulated: template.simulated.unwrap_or_default(),
        })
    }

    fn decision(&self, alert: &Alert, duration: GoDuration) -> ProfileDecision {
        let scope = self.scope.as_deref().unwrap_or(&alert.source.scope);
        ProfileDecision {
            duration,
            scope: Scope::parse(scope).as_str().to_owned(),
            kind: self.kind.clone(),
            value: alert.source.value.clone(),
            scenario: alert.scenario.clone(),
            origin: self.origin.clone(),
            simulated: self.simulated || alert.simulated,
        }
    }
}

/// The duration computed by an expression: its value as text, parsed.
fn computed(program: &Program, context: &Context<'_>) -> Result<GoDuration, String> {
    let value = program.evaluate(context, Limits::default()).map_err(|error| error.to_string())?;
    let text = match &value {
        palisade_expr::Value::Text(text) => text.to_string(),
        // As in the reference: any value is printed, and its text parsed.
        other => format!("{other:?}"),
    };
    text.parse().map_err(|_| {
        // The text may come from an alert, which may be large.
        let shown: String = text.chars().take(100).collect();
        format!("{shown:?} is no duration")
    })
}

fn compiled(
    source: Source<'_>,
    written: &Spanned<String>,
    condition: bool,
) -> Result<Program, ProfilesError> {
    let compile = if condition { Program::compile_condition } else { Program::compile };
    let what = if condition { "filter" } else { "duration_expr" };
    compile(&written.value, vocabulary()).map_err(|error| unusable(source, written, what, &error))
}

fn unusable(
    source: Source<'_>,
    written: &Spanned<String>,
    what: &str,
    error: &CompileError,
) -> ProfilesError {
    let reason = format!("{what} {:?}: {}", brief(&written.value), error.reason);
    source.invalid_inside(written.referenced, (error.line, error.column), reason)
}

/// Truncates long expressions for messages.
fn brief(text: &str) -> String {
    let text = text.trim_end();
    if text.chars().count() <= 120 {
        text.to_owned()
    } else {
        text.chars().take(117).collect::<String>() + "..."
    }
}

/// One of a set of values.
fn word(
    source: Source<'_>,
    key: &str,
    written: Option<Spanned<String>>,
    known: &[&str],
) -> Result<Option<String>, ProfilesError> {
    let Some(written) = written.filter(|written| !written.value.is_empty()) else { return Ok(None) };
    if known.contains(&written.value.as_str()) {
        return Ok(Some(written.value));
    }
    let reason = format!("{key}: {:?} is not known; write one of {}", written.value, known.join(", "));
    Err(source.invalid(written.referenced, reason))
}

/// A single filter, for checks and measurements.
#[derive(Debug)]
pub struct Filter(Program);

/// Compiles a filter as in a profile.
///
/// # Errors
///
/// The reason, with line and column in the expression.
pub fn compile_filter(expression: &str) -> Result<Filter, CompileError> {
    let program = Program::compile_condition(expression, vocabulary())?;
    match program.unavailable() {
        Some(error) => Err(error.clone()),
        None => Ok(Filter(program)),
    }
}

impl Filter {
    /// Evaluates it for an alert without history.
    ///
    /// # Errors
    ///
    /// Why it cannot be evaluated.
    pub fn test(&self, alert: &Alert) -> Result<bool, EvalError> {
        self.0.test(&Context { alert, history: &NoHistory }, Limits::default())
    }
}
