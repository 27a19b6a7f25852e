//! A scripted store that checks the grants it gets.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, Subscription, TokenStore},
    token::{Generation, Grant, GrantState, TenantId, TokenSet},
};

use crate::{
    step::Fault,
    world::{State, World, number_in},
};

pub(crate) struct Store(pub(crate) World);

impl TokenStore for Store {
    async fn load(&self, _tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.wait().await;
        let outcome = {
            let state = self.0.lock();
            if state.store.has(Fault::LoadsFail) {
                return Err(Error::store("the grant cannot be loaded: scripted"));
            }
            state.store.grant.clone()
        };
        self.wait().await;
        Ok(outcome)
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.wait().await;
        let (outcome, hangs) = self.0.lock().save(expected, grant)?;
        if outcome == SaveOutcome::Committed {
            self.0
                .lock()
                .store
                .announcer
                .saved(tenant, grant.generation);
        }
        self.wait().await;
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(outcome)
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let leases = self.0.lock().store.leases.clone();
        leases.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let leases = self.0.lock().store.leases.clone();
        leases.release(tenant, owner).await
    }

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.0.lock().store.announcer.subscribe())
    }
}

impl Store {
    /// Waits for half of the duration of a call.
    async fn wait(&self) {
        let latency = self.0.lock().store.latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency / 2).await;
        }
    }
}

impl State {
    fn save(
        &mut self,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<(SaveOutcome, bool), Error> {
        let is_intent = expected == Some(grant.generation);
        if is_intent && self.store.has(Fault::IntentsFail) {
            return Err(Error::store("intents cannot be saved: scripted"));
        }
        if !is_intent && self.store.has(Fault::SavesFail) {
            return Err(Error::store("the grant cannot be saved: scripted"));
        }
        let hangs = !is_intent && self.store.has(Fault::SavesHang);
        let held = self.store.grant.clone();
        if held.as_ref().map(|held| held.generation) != expected {
            return Ok((SaveOutcome::Superseded(held), hangs));
        }
        self.inspect(held.as_ref(), grant);
        self.store.grant = Some(grant.clone());
        Ok((SaveOutcome::Committed, hangs))
    }

    fn inspect(&mut self, held: Option<&Grant>, new: &Grant) {
        if let Some(held) = held {
            let is_same = held.tokens().is_some() && held.tokens() == new.tokens();
            if new.generation < held.generation || (new.generation == held.generation && !is_same) {
                self.violated(format!("a save goes back: {held:?}, {new:?}"));
            }
        }
        let is_revoked = held.is_some_and(|held| matches!(held.state, GrantState::Revoked { .. }));
        match &new.state {
            GrantState::Active(tokens) => {
                let number = number_of(tokens);
                if is_revoked && self.sets[number].parent.is_some() {
                    self.violated("a refresh brings a revoked grant back");
                }
                self.sets[number].is_committed = true;
            }
            GrantState::Refreshing { tokens, .. } => {
                if is_revoked {
                    self.violated("an intent brings a revoked grant back");
                }
                self.sets[number_of(tokens)].intents += 1;
            }
            GrantState::ReauthorizationRequired { tokens, .. } => {
                let family = self.sets[number_of(tokens)].family;
                if !self.families[family].is_rejected {
                    self.violated("P15: an end is saved without a response");
                }
            }
            _ => {}
        }
    }
}

fn number_of(tokens: &TokenSet) -> usize {
    let token = tokens.refresh_token().unwrap();
    number_in(token.expose())
}
