//! Determines how a program is called for an event. Pure.

use crate::event::{Entry, Event, EventKind};
use crate::sink::Message;

/// What a program is to do with a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Enforce it, or give it another end.
    Add,
    /// Lift it.
    Del,
}

impl Action {
    /// As passed to programs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
        }
    }
}

/// The calls for an event, in order.
pub(super) fn calls(event: &Event) -> impl Iterator<Item = (Action, &Entry)> {
    let replaced = match &event.kind {
        // Programs identify a decision by value and type, so one of another type is another decision to them.
        EventKind::Changed(old) if old.remediation != event.entry.remediation => Some((Action::Del, old)),
        _ => None,
    };
    let action = if event.kind.is_in_force() { Action::Add } else { Action::Del };
    replaced.into_iter().chain([(action, &event.entry)])
}

/// Logs the number of changes in the stock bouncer's words.
pub(super) fn log_counts(message: &Message) {
    let in_force = message.events.iter().filter(|event| event.kind.is_in_force()).count();
    for (verb, count) in [("deleting", message.events.len() - in_force), ("adding", in_force)] {
        tracing::info!("{verb} {count} decision{}", if count == 1 { "" } else { "s" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LiftCause;
    use crate::program::test_support::{entry, event};

    #[test]
    fn a_program_is_told_add_and_del_and_both_when_the_type_changes() {
        let calls = |kind: EventKind| -> Vec<(Action, String)> {
            let event = event("192.0.2.1/32", kind);
            calls(&event).map(|(action, entry)| (action, entry.remediation.to_string())).collect()
        };
        let ban = || "ban".to_owned();
        assert_eq!(calls(EventKind::Added), [(Action::Add, ban())]);
        assert_eq!(calls(EventKind::Present), [(Action::Add, ban())]);
        assert_eq!(calls(EventKind::Lifted(LiftCause::Expired)), [(Action::Del, ban())]);
        assert_eq!(calls(EventKind::Changed(entry("ban"))), [(Action::Add, ban())]);
        assert_eq!(
            calls(EventKind::Changed(entry("captcha"))),
            [(Action::Del, "captcha".to_owned()), (Action::Add, ban())]
        );
    }
}
