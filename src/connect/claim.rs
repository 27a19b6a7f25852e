//! Whose turn it is to send a code: that of one request, on one replica.
//!
//! A code that is sent twice may cost the whole grant (RFC 6749 section 4.1.2), and browsers do repeat callbacks. So whoever
//! is about to send one takes a lease in the store that is named for the flow, and keeps it for as long as the flow's cookie
//! could be shown again, anywhere. Then it is given back, so that stores do not fill with such leases; only a process that
//! ends before that leaves those of its last ten minutes behind.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    cookie::digest,
    flow::{APART, Flow, LIFE},
};
use crate::{
    cache::{Settings, in_time},
    error::Error,
    store::{LeaseOutcome, LeaseOwner},
    token::{Grant, GrantState, TenantId},
};

/// A tenant of that name would share nothing with it but the lease.
const LEASE_NAME: &str = "tower-oauth2-client/callback";

/// A replica whose clock is late takes the cookie for that much longer.
const LEASE: Duration = LIFE.saturating_add(APART.saturating_mul(2));

/// How often a store is asked that fails, a second apart.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// How long a request waits for the one that came first, and how often it looks.
const WAIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(250);

/// The right to send the code of one flow.
pub(super) struct Claim {
    settings: Arc<Settings>,
    name: TenantId,
    owner: LeaseOwner,
    until: Instant,
}

impl Claim {
    /// `None` if somebody has or had it.
    pub(super) async fn take(settings: &Arc<Settings>, state: &str) -> Result<Option<Self>, Error> {
        let digest = digest(state.as_bytes(), 32);
        let mut claim = Self {
            settings: Arc::clone(settings),
            name: TenantId::new(format!("{LEASE_NAME}/{digest}"))?,
            owner: LeaseOwner::random(),
            until: Instant::now(),
        };
        let mut attempts = 1;
        loop {
            // Whoever asks for what it has already, because it has not heard of it, gets it once more.
            claim.until = Instant::now() + LEASE;
            let store = &settings.store;
            match in_time(store.acquire(&claim.name, &claim.owner, LEASE)).await {
                Ok(LeaseOutcome::Acquired) => return Ok(Some(claim)),
                Ok(LeaseOutcome::HeldByAnother) => return Ok(None),
                Err(error) if attempts == ATTEMPTS => {
                    // Nothing was sent, so that the next one may. If this fails as well, they have to begin anew.
                    let _ = in_time(store.release(&claim.name, &claim.owner)).await;
                    return Err(error);
                }
                Err(_) => attempts += 1,
            }
            sleep(PAUSE).await;
        }
    }

    /// Keeps it until nobody can come with the same callback any more.
    pub(super) async fn end(self) {
        sleep_until(self.until).await;
        // If this fails, the lease has run out, and only its row is left.
        let _ = in_time(self.settings.store.release(&self.name, &self.owner)).await;
    }
}

/// Waits a little for whoever has the claim, and tells whether the tenant has tokens that are newer than the flow.
pub(super) async fn is_connected_meanwhile(settings: &Settings, flow: &Flow) -> bool {
    let until = Instant::now() + WAIT;
    loop {
        if let Ok(Some(grant)) = settings.read(&flow.tenant).await
            && is_newer(&grant, flow)
        {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK).await;
    }
}

fn is_newer(grant: &Grant, flow: &Flow) -> bool {
    match &grant.state {
        GrantState::Active(tokens) | GrantState::Exchanging { tokens, .. } => {
            tokens.issued_at() + APART >= flow.begun
        }
        GrantState::ReauthorizationRequired { .. } | GrantState::Revoked { .. } => false,
    }
}
