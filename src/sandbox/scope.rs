//! The scopes of the Partner API, and the three that contain another.

use std::collections::BTreeSet;
use std::fmt;

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

/// The scopes a person has to tick on the consent page before they are granted.
pub const SENSITIVE_SCOPES: [&str; 2] = ["member.dob:read", "member.sex:read"];

/// Parent and child: whoever holds the parent may do what the child allows.
const INHERITANCE: [(&str, &str); 3] = [
    ("company.detail:read", "company.basic:read"),
    ("member.detail:read", "member.basic:read"),
    ("deductions:write", "deductions:read"),
];

/// A set of scopes, written as OAuth writes it: separated by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Reads a `scope` parameter. Order and repetition carry no meaning.
    pub(super) fn parse(text: &str) -> Self {
        text.split_ascii_whitespace().collect()
    }

    /// Whether `scope` may be used, itself or through its parent.
    pub(super) fn allows(&self, scope: &str) -> bool {
        self.0.contains(scope)
            || INHERITANCE
                .iter()
                .any(|(parent, child)| *child == scope && self.0.contains(*parent))
    }

    /// Whether every scope of `other` is allowed.
    pub(super) fn allows_all(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.allows(scope))
    }

    /// Those of these scopes that `limit` allows.
    pub(super) fn within(&self, limit: &Self) -> Self {
        self.iter().filter(|scope| limit.allows(scope)).collect()
    }

    /// These scopes without those that need a tick.
    pub(super) fn without_sensitive(&self) -> Self {
        self.iter()
            .filter(|scope| !SENSITIVE_SCOPES.contains(scope))
            .collect()
    }

    /// Whether a tick is needed.
    pub(super) fn any_sensitive(&self) -> bool {
        self.iter().any(|scope| SENSITIVE_SCOPES.contains(&scope))
    }

    /// Whether there are none.
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
    fn exactly_three_scopes_contain_another() {
        let mut inherited = Vec::new();
        for holds in SCOPES {
            let held = Scopes::parse(holds);
            inherited.extend(
                SCOPES
                    .iter()
                    .filter(|wanted| **wanted != holds && held.allows(wanted))
                    .map(|wanted| (holds, *wanted)),
            );
        }
        inherited.sort_unstable();
        let mut expected = INHERITANCE.to_vec();
        expected.sort_unstable();
        assert_eq!(inherited, expected);
    }

    #[test]
    fn spaces_and_repetition_carry_no_meaning() {
        let scopes = Scopes::parse("  payroll:read paystub:read  payroll:read ");
        assert_eq!(scopes.to_string(), "payroll:read paystub:read");
    }
}
