//! Owners of leases.

use std::fmt;

#[cfg(feature = "axum")]
use crate::token::digest;

/// The owner of a lease: one cache in one process.
///
/// Owners are random, so that no two are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseOwner([u8; 32]);

impl LeaseOwner {
    /// Creates an owner.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // An owner must be unique, but it is not a secret.
            bytes = fastrand::u128(..).to_ne_bytes();
        }
        let mut digits = [0; 32];
        digits.copy_from_slice(format!("{:032x}", u128::from_ne_bytes(bytes)).as_bytes());
        Self(digits)
    }

    /// The owner of this name. All replicas that use the name are one owner.
    #[cfg(feature = "axum")]
    pub(crate) fn named(name: &str) -> Self {
        let mut digits = [0; 32];
        digits.copy_from_slice(&digest(None, name).as_bytes()[..32]);
        Self(digits)
    }

    /// Returns 32 hexadecimal digits.
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

/// The result of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third outcome would break every store, so the compiler must report it"
)]
pub enum LeaseOutcome {
    /// The owner has the lease. The requested duration starts now.
    Acquired,
    /// Another owner has the lease, which has not expired.
    HeldByAnother,
}
