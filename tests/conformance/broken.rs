//! A store in memory with one flaw.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex as SaveLock, Notify},
    time::Instant,
};
use tower_oauth2_client::{
    Error,
    store::{Announcer, LeaseOutcome, LeaseOwner, SaveOutcome, Subscription, TokenStore},
    token::{Generation, Grant, GrantState, TenantId},
};

use crate::{
    flaws::{Flaw, altered, is_as_expected},
    lists::page,
};

/// The contents of the store, shared by all handles.
#[derive(Default)]
pub(crate) struct Database {
    handles: AtomicUsize,
    tables: Mutex<Tables>,
    /// One save at a time, also where a flaw splits a save into steps.
    save_lock: SaveLock<()>,
    changed: Notify,
    announcer: Announcer,
}

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) leases: HashMap<String, (LeaseOwner, Instant)>,
    former_owners: HashSet<LeaseOwner>,
    locked: HashSet<TenantId>,
    /// Every token that was to be saved.
    tokens: HashSet<String>,
    /// The handle that saved each grant last.
    pub(crate) savers: HashMap<String, usize>,
    pub(crate) save_order: Vec<String>,
    /// Since the last page.
    pub(crate) has_new_tenant: bool,
}

impl Database {
    pub(crate) fn tokens(&self) -> HashSet<String> {
        self.tables().tokens.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }
}

pub(crate) struct Broken {
    flaw: Flaw,
    number: usize,
    database: Arc<Database>,
}

impl Broken {
    pub(crate) fn open(flaw: Flaw, database: &Arc<Database>) -> Self {
        Self {
            flaw,
            number: database.handles.fetch_add(1, Ordering::Relaxed),
            database: Arc::clone(database),
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn key(&self, tenant: &TenantId) -> String {
        let name = tenant.as_str();
        match self.flaw {
            Flaw::FoldsCase => name.to_lowercase(),
            Flaw::TruncatesNames => name.chars().take(64).collect(),
            Flaw::TrimsNames => name.trim().to_owned(),
            _ => name.to_owned(),
        }
    }

    fn grant_key(&self, tenant: &TenantId, tables: &Tables) -> String {
        let key = self.key(tenant);
        match self.flaw {
            Flaw::HandlesHaveTheirOwnGrants => format!("{} {key}", self.number),
            Flaw::TreatsNamesAsPatterns => {
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
        match self.flaw {
            Flaw::HandlesHaveTheirOwnLeases => format!("{} {}", self.number, self.key(tenant)),
            Flaw::OneLeaseForAll => "all".into(),
            _ => self.key(tenant),
        }
    }

    /// Writes in one step, or in two if that is the flaw.
    async fn write(&self, key: String, old: Option<Grant>, new: Option<Grant>) {
        match (self.flaw, old) {
            (Flaw::DeletesThenInserts, _) => {
                self.database.tables().grants.remove(&key);
                tokio::task::yield_now().await;
            }
            (Flaw::WritesTheGenerationFirst, Some(mut half)) => {
                half.generation = new.as_ref().unwrap().generation;
                self.database.tables().grants.insert(key.clone(), half);
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        let mut tables = self.database.tables();
        tables.has_new_tenant |= !tables.grants.contains_key(&key);
        tables.savers.insert(key.clone(), self.number);
        tables.save_order.retain(|other| *other != key);
        tables.save_order.push(key.clone());
        match new {
            Some(new) => tables.grants.insert(key, new),
            None => tables.grants.remove(&key),
        };
    }

    async fn lock(&self, tenant: &TenantId) -> Result<(), Error> {
        for _ in 0..100 {
            if self.database.tables().locked.insert(tenant.clone()) {
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
        let tables = self.database.tables();
        let stored = tables.grants.get(&self.grant_key(tenant, &tables));
        let invented = || {
            let since = SystemTime::UNIX_EPOCH;
            self.is(Flaw::InventsGrants)
                .then_some(Grant::new(Generation::FIRST, GrantState::Revoked { since }))
        };
        Ok(stored.cloned().or_else(invented))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.record_tokens(grant);
        match self.flaw {
            Flaw::SaveHangs => future::pending().await,
            Flaw::KeepsItsLockWhenDropped => {
                self.lock(tenant).await?;
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        let one_at_a_time = match self.flaw {
            Flaw::ChecksThenWrites => None,
            _ => Some(self.database.save_lock.lock().await),
        };
        let (key, stored) = {
            let tables = self.database.tables();
            let key = self.grant_key(tenant, &tables);
            let stored = tables.grants.get(&key).cloned();
            (key, stored)
        };
        if one_at_a_time.is_none() {
            tokio::task::yield_now().await;
        }
        let outcome = self.decide(tenant, key, stored, expected, grant).await;
        self.database.tables().locked.remove(tenant);
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
        if self.is(Flaw::ParsesLeaseNames) {
            TenantId::new(tenant.as_str())?;
        }
        let (key, now) = (self.lease_key(tenant), Instant::now());
        let stored = self.database.tables().leases.get(&key).cloned();
        if self.is(Flaw::ChecksThenLeases) {
            tokio::task::yield_now().await;
        }
        let mut tables = self.database.tables();
        let grant = self.grant_key(tenant, &tables);
        let is_live = stored
            .as_ref()
            .is_some_and(|(_, until)| now < *until || self.is(Flaw::LeaseNeverExpires));
        let is_own = stored.as_ref().is_some_and(|(holder, _)| holder == owner);
        let is_refused = match self.flaw {
            Flaw::LeaseNeedsGrant if !tables.grants.contains_key(&grant) => true,
            Flaw::LeaseForEveryOwner => false,
            Flaw::LeaseForNoOwner => true,
            Flaw::LeaseIsReclaimed if tables.former_owners.contains(owner) => false,
            Flaw::LeaseIsRefusedToItsOwner => is_live,
            _ => is_live && !is_own,
        };
        if is_refused {
            return Ok(LeaseOutcome::HeldByAnother);
        }
        if self.is(Flaw::LeaseWipesGrant) {
            tables.grants.remove(&grant);
        }
        tables.former_owners.insert(owner.clone());
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
        let mut tables = self.database.tables();
        let stored = tables.leases.get(&key);
        let is_own = stored.is_some_and(|(holder, _)| holder == owner);
        let ends = match self.flaw {
            Flaw::EveryOwnerReleases => true,
            Flaw::ReleaseDoesNothing => false,
            _ => is_own,
        };
        if ends {
            tables.leases.remove(&key);
        }
        drop(tables);
        if !self.is(Flaw::ReportsSavesOnly) {
            self.database.changed.notify_waiters();
        }
        Ok(())
    }

    async fn changed(&self, _: &TenantId) {
        if self.is(Flaw::NeverReportsChanges) {
            future::pending::<()>().await;
        }
        self.database.changed.notified().await;
    }

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.database.announcer.subscribe())
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        match self.flaw {
            Flaw::ListHangs => future::pending().await,
            Flaw::CannotList => Err(Error::store("not supported")),
            flaw => {
                let after = after.map(TenantId::as_str);
                let mut tables = self.database.tables();
                Ok(page(flaw, self.number, &mut tables, after, limit))
            }
        }
    }
}

impl Broken {
    fn record_tokens(&self, grant: &Grant) {
        let mut tables = self.database.tables();
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
        stored: Option<Grant>,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let is_taken = is_as_expected(self.flaw, stored.as_ref(), expected, grant.generation);
        if !is_taken && !self.is(Flaw::WritesAndReturnsSuperseded) {
            return Ok(SaveOutcome::Superseded(match self.flaw {
                Flaw::SupersededIsEmpty => None,
                Flaw::SupersededContainsTheNewGrant => Some(grant.clone()),
                _ => stored,
            }));
        }
        let new = altered(self.flaw, grant)?;
        let is_same = Some(grant.generation) == expected;
        match self.flaw {
            Flaw::ReturnsCommittedWithoutWriting => {}
            Flaw::IgnoresTheSameGeneration if is_same => {}
            _ => self.write(key, stored.clone(), new).await,
        }
        if self.is(Flaw::SaveEndsLease) {
            self.database
                .tables()
                .leases
                .remove(&self.lease_key(tenant));
        }
        self.database.changed.notify_waiters();
        let generation = grant.generation;
        let is_first = self.database.tables().grants.len() == 1;
        let announced = match self.flaw {
            Flaw::AnnouncesNothing => None,
            Flaw::AnnouncesOneTenantOnly if !is_first => None,
            Flaw::AnnouncesTheReplacedGeneration => expected,
            Flaw::AnnouncesTooEarly => Some(generation.next()),
            _ => Some(generation),
        };
        if let Some(generation) = announced {
            self.database.announcer.saved(tenant, generation);
        }
        if !is_taken || self.is(Flaw::CommitsAndReturnsSuperseded) {
            return Ok(SaveOutcome::Superseded(stored));
        }
        Ok(SaveOutcome::Committed)
    }
}
