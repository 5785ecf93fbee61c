//! The order of remediations: which one wins when several hold for one address.

use std::sync::Arc;

/// An order over remediation names, strongest first; a name it does not list is weaker than all it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    order: Arc<[String]>,
}

impl Policy {
    /// An order given by the operator. Names are compared without regard to letter case; only the first
    /// 254 count.
    pub fn new<S: AsRef<str>>(strongest_first: impl IntoIterator<Item = S>) -> Self {
        // A rank is a byte in each row, and names that are not listed need one above all others.
        Self { order: strongest_first.into_iter().take(254).map(|n| n.as_ref().to_lowercase()).collect() }
    }

    /// No remediation is stronger than another: of several decisions on one prefix the one that ends last wins. For
    /// enforcers that do the same for every remediation they admit.
    pub fn longest_wins() -> Self {
        Self { order: Arc::default() }
    }

    /// Whether the operator's order names this remediation.
    pub(crate) fn lists(&self, remediation: &str) -> bool {
        self.order.iter().any(|name| name.eq_ignore_ascii_case(remediation))
    }

    /// The rank of a remediation: a smaller number is stronger.
    pub fn rank(&self, remediation: &str) -> u8 {
        let position = self.order.iter().position(|name| name.eq_ignore_ascii_case(remediation));
        u8::try_from(position.unwrap_or(self.order.len())).unwrap_or(u8::MAX)
    }
}

impl Default for Policy {
    /// A ban over a captcha over everything else.
    fn default() -> Self {
        Self::new(["ban", "captcha"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_remediations_rank_below_known_ones() {
        let policy = Policy::default();
        assert!(policy.rank("ban") < policy.rank("Captcha"));
        assert!(policy.rank("captcha") < policy.rank("throttle"));
        assert_eq!(policy.rank("throttle"), policy.rank("mfa"));
    }
}
