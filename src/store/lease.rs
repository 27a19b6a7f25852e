//! The right to make an exchange for one grant, across processes.

use std::fmt;

/// Who holds a lease: one cache of one process. Made at random, so that no two are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseOwner(String);

impl LeaseOwner {
    /// A new owner.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Not a secret, only not somebody else's.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        Self(format!("{:032x}", u128::from_ne_bytes(bytes)))
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseOwner({})", self.0)
    }
}

/// What became of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third outcome would break every store, so it must not go unnoticed"
)]
pub enum LeaseOutcome {
    /// The owner has it, from now on for as long as it asked for.
    Acquired,
    /// Another owner has it, and its time has not run out.
    HeldByAnother,
}
