//! The outcome of a flow, for the replicas that have not completed it.
//!
//! The grant of a tenant does not tell which flow it came of: another tab, or an earlier flow, may
//! have installed it. So the replica that has completed a flow records its outcome, in the only
//! other thing that every store keeps: a lease, named after the flow and the outcome. It is held
//! from then on, so it cannot be acquired.
//!
//! A replica reads the outcome by acquiring the lease of each outcome for a moment: if it is held,
//! that is the outcome. All readers have the same owner, so that no reader takes another reader for
//! the outcome. If the writer meets a reader, it tries again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    cache::GrantStore,
    error::Error,
    later::Later,
    store::{LeaseOutcome, LeaseOwner},
    token::{TenantId, digest},
};

/// How long a reader that cannot release the lease is in the way of the writer.
const READ_DURATION: Duration = Duration::from_secs(1);

/// How often the writer tries, if it meets a reader or the store fails.
const ATTEMPTS: u32 = 10;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(500);

/// How long a request waits for the outcome, and how often it reads.
const WAIT: Duration = Duration::from_secs(5);
const READ_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowOutcome {
    /// The flow has installed a grant.
    Connected,
    Failed,
}

impl FlowOutcome {
    const ALL: [Self; 2] = [Self::Connected, Self::Failed];

    fn lease_name(self, flow: &str) -> TenantId {
        let outcome = match self {
            Self::Connected => "connected",
            Self::Failed => "failed",
        };
        TenantId::reserved(&format!("callback-{outcome}/{flow}"))
    }
}

/// A recorded outcome.
pub(super) struct OutcomeLease {
    name: TenantId,
    owner: LeaseOwner,
}

impl OutcomeLease {
    /// Records the outcome of a flow. `None` if the store fails: the other replicas then cannot
    /// know it.
    pub(super) async fn record(
        store: &GrantStore,
        flow: &str,
        outcome: FlowOutcome,
        expires_at: Instant,
    ) -> Option<Self> {
        let lease = Self {
            name: outcome.lease_name(flow),
            owner: LeaseOwner::random(),
        };
        for _ in 0..ATTEMPTS {
            let duration = expires_at.saturating_duration_since(Instant::now());
            let acquired = store.acquire(&lease.name, &lease.owner, duration).await;
            if let Ok(LeaseOutcome::Acquired) = acquired {
                return Some(lease);
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
        None
    }

    pub(super) async fn release(self, store: &GrantStore) {
        // If this fails, the lease has expired nevertheless, and only its row stays.
        let _ = store.release(&self.name, &self.owner).await;
    }
}

/// Waits until the outcome of the flow with this `state` is recorded. `None` if it is not recorded
/// within 5 seconds: another replica is still completing the flow, or has ended, or its store
/// fails.
pub(super) async fn wait_for_outcome(store: &GrantStore, state: &str) -> Option<FlowOutcome> {
    let flow = digest(None, state);
    let reader = LeaseOwner::named(&format!("reader of {flow}"));
    let deadline = Instant::now().later(WAIT);
    loop {
        for outcome in FlowOutcome::ALL {
            if let Ok(true) = is_recorded(store, &flow, outcome, &reader).await {
                return Some(outcome);
            }
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(READ_INTERVAL).await;
    }
}

async fn is_recorded(
    store: &GrantStore,
    flow: &str,
    outcome: FlowOutcome,
    reader: &LeaseOwner,
) -> Result<bool, Error> {
    let name = outcome.lease_name(flow);
    match store.acquire(&name, reader, READ_DURATION).await? {
        LeaseOutcome::HeldByAnother => Ok(true),
        LeaseOutcome::Acquired => {
            let _ = store.release(&name, reader).await;
            Ok(false)
        }
    }
}
