//! The lease of this process, as far as it knows.

use std::time::{Instant, SystemTime};

use super::Moment;
use crate::{
    error::{Error, ErrorKind},
    later::Later,
    store::LeaseOutcome,
};

/// How many refreshes use the lease, and until when it is certainly held.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    /// There are two if the grant was replaced during a refresh.
    users: u32,
    /// By both clocks. Boxed, because an idle grant has none.
    until: Option<Box<(Instant, SystemTime)>>,
}

impl Lease {
    pub(super) fn begin_use(&mut self) {
        self.users += 1;
    }

    pub(super) fn end_use(&mut self) {
        self.users -= 1;
    }

    pub(super) fn is_used(&self) -> bool {
        self.users > 0
    }

    /// Records the result of a request for the lease that was made at `requested`: the time counts
    /// from before the call.
    pub(super) fn acquired(&mut self, outcome: LeaseOutcome, requested: Moment<'_>) {
        let lease = requested.policy.lease;
        self.until = match outcome {
            LeaseOutcome::Acquired => Some(Box::new((
                requested.now.later(lease),
                requested.wall.later(lease),
            ))),
            LeaseOutcome::HeldByAnother => None,
        };
    }

    /// Records the result of a request to extend the lease.
    ///
    /// A lease that had expired stays lost, even if it was free again: another process may have
    /// held it meanwhile, and refreshed the grant.
    pub(super) fn extended(&mut self, outcome: LeaseOutcome, requested: Moment<'_>) {
        let outcome = match self.check(requested) {
            Ok(()) => outcome,
            Err(_) => LeaseOutcome::HeldByAnother,
        };
        self.acquired(outcome, requested);
    }

    pub(super) fn released(&mut self) {
        self.until = None;
    }

    /// Fails unless the lease is certainly held.
    ///
    /// A process that was stopped, or cut off from the store, may have lost the lease without
    /// noticing. Each critical step therefore checks it first. The conditional save protects
    /// against the rest.
    pub(super) fn check(&self, m: Moment<'_>) -> Result<(), Error> {
        let until = self.until.as_deref();
        if until.is_some_and(|(until, wall)| m.now < *until && m.wall < *wall) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the lease expired before the token request was sent; retry",
        ))
    }
}
