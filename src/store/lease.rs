//! The right to make an exchange for one grant, across processes.

use std::fmt;

/// Who holds a lease: one cache of one process. Made at random, so that no two are the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseOwner([u8; 32]);

impl LeaseOwner {
    /// A new owner.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // Not a secret, only not somebody else's.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        let mut digits = [0; 32];
        digits.copy_from_slice(format!("{:032x}", u128::from_ne_bytes(bytes)).as_bytes());
        Self(digits)
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseOwner({self})")
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
