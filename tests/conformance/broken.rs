//! A store in memory that is right but for one flaw.

use std::{
    future,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState, TenantId},
};

use crate::{
    altered::{altered, is_as_expected},
    flaws::Flaw,
    listed::page,
    world::{Tables, World},
};

pub(crate) struct Broken {
    number: usize,
    world: World,
}

impl Broken {
    pub(crate) fn open(world: &World) -> Self {
        Self {
            number: world.shared.handles.fetch_add(1, Ordering::Relaxed),
            world: world.clone(),
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.world.flaw == flaw
    }

    fn key(&self, tenant: &TenantId) -> String {
        let name = tenant.as_str();
        match self.world.flaw {
            Flaw::FoldsCase => name.to_lowercase(),
            Flaw::TruncatesNames => name.chars().take(64).collect(),
            Flaw::TrimsNames => name.trim().to_owned(),
            _ => name.to_owned(),
        }
    }

    fn grant_key(&self, tenant: &TenantId, tables: &Tables) -> String {
        let key = self.key(tenant);
        match self.world.flaw {
            Flaw::HandlesHaveTheirOwnGrants => format!("{} {key}", self.number),
            Flaw::TakesNamesForPatterns => {
                let Some(prefix) = key.strip_suffix('%') else {
                    return key;
                };
                let mut found = tables.grants.keys().filter(|key| key.starts_with(prefix));
                found.next().cloned().unwrap_or(key)
            }
            _ => key,
        }
    }

    fn lease_key(&self, tenant: &TenantId) -> String {
        match self.world.flaw {
            Flaw::HandlesHaveTheirOwnLeases => format!("{} {}", self.number, self.key(tenant)),
            Flaw::OneLeaseForAll => "everybody".into(),
            _ => self.key(tenant),
        }
    }

    /// In one step, unless the flaw has it in two.
    async fn write(&self, key: String, old: Option<Grant>, new: Option<Grant>) {
        match (self.world.flaw, old) {
            (Flaw::DeletesThenInserts, _) => {
                self.world.tables().grants.remove(&key);
                tokio::task::yield_now().await;
            }
            (Flaw::WritesTheGenerationFirst, Some(mut half)) => {
                half.generation = new.as_ref().unwrap().generation;
                self.world.tables().grants.insert(key.clone(), half);
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        let mut tables = self.world.tables();
        tables.somebody_is_new |= !tables.grants.contains_key(&key);
        tables.savers.insert(key.clone(), self.number);
        tables.order.retain(|other| *other != key);
        tables.order.push(key.clone());
        match new {
            Some(new) => tables.grants.insert(key, new),
            None => tables.grants.remove(&key),
        };
    }

    async fn lock(&self, tenant: &TenantId) -> Result<(), Error> {
        for _ in 0..100 {
            if self.world.tables().locked.insert(tenant.clone()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(Error::store("locked"))
    }
}

impl TokenStore for Broken {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        if self.is(Flaw::LoadHangs) {
            future::pending::<()>().await;
        }
        let tables = self.world.tables();
        let held = tables.grants.get(&self.grant_key(tenant, &tables));
        let made_up = || {
            let since = SystemTime::UNIX_EPOCH;
            self.is(Flaw::MakesUpGrants).then_some(Grant {
                generation: Generation::FIRST,
                state: GrantState::Revoked { since },
            })
        };
        Ok(held.cloned().or_else(made_up))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.note(grant);
        match self.world.flaw {
            Flaw::SaveHangs => future::pending().await,
            Flaw::LocksAndLeavesItLocked => {
                self.lock(tenant).await?;
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        let one_at_a_time = match self.world.flaw {
            Flaw::ChecksThenWrites => None,
            _ => Some(self.world.shared.gate.lock().await),
        };
        let (key, held) = {
            let tables = self.world.tables();
            let key = self.grant_key(tenant, &tables);
            let held = tables.grants.get(&key).cloned();
            (key, held)
        };
        if one_at_a_time.is_none() {
            tokio::task::yield_now().await;
        }
        let outcome = self.decide(tenant, key, held, expected, grant).await;
        self.world.tables().locked.remove(tenant);
        outcome
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        if self.is(Flaw::AcquireHangs) {
            future::pending::<()>().await;
        }
        let (key, now) = (self.lease_key(tenant), Instant::now());
        let held = self.world.tables().leases.get(&key).cloned();
        if self.is(Flaw::ChecksThenLeases) {
            tokio::task::yield_now().await;
        }
        let mut tables = self.world.tables();
        let grant = self.grant_key(tenant, &tables);
        let is_live = held
            .as_ref()
            .is_some_and(|(_, until)| now < *until || self.is(Flaw::LeaseNeverRunsOut));
        let is_own = held.as_ref().is_some_and(|(holder, _)| holder == owner);
        let is_refused = match self.world.flaw {
            Flaw::LeaseNeedsGrant if !tables.grants.contains_key(&grant) => true,
            Flaw::LeaseForEverybody => false,
            Flaw::LeaseForNobody => true,
            Flaw::LeaseIsReclaimed if tables.former.contains(owner) => false,
            Flaw::LeaseIsRefusedToItsOwner => is_live,
            _ => is_live && !is_own,
        };
        if is_refused {
            return Ok(LeaseOutcome::HeldByAnother);
        }
        if self.is(Flaw::LeaseWipesGrant) {
            tables.grants.remove(&grant);
        }
        tables.former.insert(owner.clone());
        if !(is_own && self.is(Flaw::LeaseIsNotExtended)) {
            tables.leases.insert(key, (owner.clone(), now + duration));
        }
        Ok(LeaseOutcome::Acquired)
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        if self.is(Flaw::ReleaseHangs) {
            future::pending::<()>().await;
        }
        let key = self.lease_key(tenant);
        let mut tables = self.world.tables();
        let held = tables.leases.get(&key);
        let is_own = held.is_some_and(|(holder, _)| holder == owner);
        let ends = match self.world.flaw {
            Flaw::AnybodyReleases => true,
            Flaw::NobodyReleases => false,
            _ => is_own,
        };
        if ends {
            tables.leases.remove(&key);
        }
        drop(tables);
        if !self.is(Flaw::TellsOfGrantsAlone) {
            self.world.shared.changed.notify_waiters();
        }
        Ok(())
    }

    async fn changed(&self, _: &TenantId) {
        if self.is(Flaw::NeverTells) {
            future::pending::<()>().await;
        }
        self.world.shared.changed.notified().await;
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        match self.world.flaw {
            Flaw::ListHangs => future::pending().await,
            Flaw::CannotList => Err(Error::store("as many stores")),
            flaw => {
                let after = after.map(TenantId::as_str);
                let mut tables = self.world.tables();
                Ok(page(flaw, self.number, &mut tables, after, limit))
            }
        }
    }
}

impl Broken {
    fn note(&self, grant: &Grant) {
        let mut tables = self.world.tables();
        if let Some(tokens) = grant.tokens() {
            let access = tokens.access_token().expose().to_owned();
            let refresh = tokens
                .refresh_token()
                .map(|token| token.expose().to_owned());
            tables.tokens.insert(access);
            tables.tokens.extend(refresh);
        }
    }

    async fn decide(
        &self,
        tenant: &TenantId,
        key: String,
        held: Option<Grant>,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let is_taken = is_as_expected(self.world.flaw, held.as_ref(), expected, grant.generation);
        if !is_taken && !self.is(Flaw::WritesThoughRefused) {
            return Ok(SaveOutcome::Superseded(match self.world.flaw {
                Flaw::SupersededBringsNothing => None,
                Flaw::SupersededBringsTheNewOne => Some(grant.clone()),
                _ => held,
            }));
        }
        let new = altered(self.world.flaw, grant)?;
        let is_same = Some(grant.generation) == expected;
        match self.world.flaw {
            Flaw::SaysCommittedButForgets => {}
            Flaw::IgnoresTheSameGeneration if is_same => {}
            _ => self.write(key, held.clone(), new).await,
        }
        if self.is(Flaw::SaveEndsLease) {
            self.world.tables().leases.remove(&self.lease_key(tenant));
        }
        self.world.shared.changed.notify_waiters();
        if !is_taken || self.is(Flaw::CommitsButSaysSuperseded) {
            return Ok(SaveOutcome::Superseded(held));
        }
        Ok(SaveOutcome::Committed)
    }
}
