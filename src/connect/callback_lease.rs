//! The lease that permits one request, on one replica, to send the code of a callback.
//!
//! A code that is sent twice can end the whole grant (RFC 6749 section 4.1.2), and browsers repeat
//! callbacks. Before a request sends a code, it therefore acquires a lease in the store that is
//! named after the flow, and keeps it for as long as any browser could show the cookie of the flow
//! again. Then the lease is released, so that stores do not fill with such leases. Only a process
//! that ends earlier leaves the leases of its last ten minutes behind.
//!
//! The lease keeps the outcome for the other replicas: see [`outcome_lease`](super::outcome_lease).

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    outcome_lease::{FlowOutcome, OutcomeLease},
    pending_flow::{CLOCK_TOLERANCE, FLOW_LIFETIME},
};
use crate::{
    cache::Settings,
    error::Error,
    later::Later,
    store::{LeaseOutcome, LeaseOwner},
    token::{TenantId, digest},
};

/// A replica whose clock is behind accepts the cookie for longer.
const LEASE_DURATION: Duration = FLOW_LIFETIME.saturating_add(CLOCK_TOLERANCE.saturating_mul(2));

/// How often an acquisition is tried if the store fails.
const ATTEMPTS: u32 = 3;
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct CallbackLease {
    settings: Arc<Settings>,
    flow: String,
    name: TenantId,
    owner: LeaseOwner,
    expires_at: Instant,
}

impl CallbackLease {
    /// Returns `None` if another request has the lease, or had it and has not released it.
    pub(super) async fn acquire(
        settings: &Arc<Settings>,
        state: &str,
    ) -> Result<Option<Self>, Error> {
        // Random, so that no other application has the same one.
        let flow = digest(None, state);
        let mut lease = Self {
            settings: Arc::clone(settings),
            name: TenantId::reserved(&format!("callback/{flow}")),
            flow,
            owner: LeaseOwner::random(),
            expires_at: Instant::now(),
        };
        let mut attempts = 1;
        loop {
            // If an earlier attempt succeeded and its result was lost, the owner acquires it again.
            lease.expires_at = Instant::now().later(LEASE_DURATION);
            let store = &settings.store;
            match store
                .acquire(&lease.name, &lease.owner, LEASE_DURATION)
                .await
            {
                Ok(LeaseOutcome::Acquired) => return Ok(Some(lease)),
                Ok(LeaseOutcome::HeldByAnother) => return Ok(None),
                Err(error) if attempts == ATTEMPTS => {
                    // The code was not sent, so the next request may send it. If the release fails
                    // too, the customer has to start again.
                    let _ = store.release(&lease.name, &lease.owner).await;
                    return Err(error);
                }
                Err(_) => attempts += 1,
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
    }

    /// Records the outcome of the flow for the other replicas.
    pub(super) async fn record(&self, outcome: FlowOutcome) -> Option<OutcomeLease> {
        let store = &self.settings.store;
        OutcomeLease::record(store, &self.flow, outcome, self.expires_at).await
    }

    /// Releases the lease, and its outcome, once no browser can show the cookie of the flow any
    /// more.
    pub(super) async fn release_after_expiry(self, outcome: Option<OutcomeLease>) {
        sleep_until(self.expires_at).await;
        let store = &self.settings.store;
        // If a release fails, the lease has expired nevertheless, and only its row stays.
        let _ = store.release(&self.name, &self.owner).await;
        if let Some(outcome) = outcome {
            outcome.release(store).await;
        }
    }
}
