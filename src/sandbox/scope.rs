//! The scopes of the Partner API.

use std::{collections::BTreeSet, fmt};

/// Every scope of the Partner API.
pub const SCOPES: [&str; 15] = [
    "company.basic:read",
    "company.bank_account:read",
    "company.detail:read",
    "deductions:read",
    "deductions:write",
    "member.basic:read",
    "member.detail:read",
    "member.dob:read",
    "member.employment:read",
    "member.pay:read",
    "member.sex:read",
    "member.tax_id:read",
    "payroll:read",
    "paystub:read",
    "time_off:read",
];

/// The scopes that are granted only if the user ticks them on the consent page.
pub const SENSITIVE_SCOPES: [&str; 2] = ["member.dob:read", "member.sex:read"];

/// Pairs of scopes: the first includes the second.
const INCLUSIONS: [(&str, &str); 3] = [
    ("company.detail:read", "company.basic:read"),
    ("member.detail:read", "member.basic:read"),
    ("deductions:write", "deductions:read"),
];

/// A set of scopes, displayed as OAuth writes it: separated by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Parses a `scope` parameter. Order and repetition have no meaning.
    pub(super) fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    /// Whether the set contains `scope` or a scope that includes it.
    pub(super) fn allows(&self, scope: &str) -> bool {
        self.0.contains(scope)
            || INCLUSIONS
                .iter()
                .any(|(outer, inner)| *inner == scope && self.0.contains(*outer))
    }

    /// Whether every scope of `other` is allowed.
    pub(super) fn allows_all(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.allows(scope))
    }

    /// The scopes of this set that `limit` allows.
    pub(super) fn within(&self, limit: &Self) -> Self {
        self.iter().filter(|scope| limit.allows(scope)).collect()
    }

    /// The set without the sensitive scopes.
    pub(super) fn without_sensitive(&self) -> Self {
        self.iter()
            .filter(|scope| !SENSITIVE_SCOPES.contains(scope))
            .collect()
    }

    /// Whether the set has a sensitive scope.
    pub(super) fn any_sensitive(&self) -> bool {
        self.iter().any(|scope| SENSITIVE_SCOPES.contains(&scope))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes in alphabetical order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for Scopes {
    fn from_iter<I: IntoIterator<Item = S>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_three_scopes_include_another() {
        let mut inclusions = Vec::new();
        for outer in SCOPES {
            let held = Scopes::parse(outer);
            inclusions.extend(
                SCOPES
                    .iter()
                    .filter(|inner| **inner != outer && held.allows(inner))
                    .map(|inner| (outer, *inner)),
            );
        }
        inclusions.sort_unstable();
        let mut expected = INCLUSIONS.to_vec();
        expected.sort_unstable();
        assert_eq!(inclusions, expected);
    }

    #[test]
    fn parsing_ignores_extra_spaces_and_repetition() {
        let scopes = Scopes::parse("  payroll:read paystub:read  payroll:read ");
        assert_eq!(scopes.to_string(), "payroll:read paystub:read");
    }
}
