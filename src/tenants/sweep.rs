//! Keeps the grants of tenants alive that are not resident.
//!
//! Of all processes that share a store, the owner of the sweep lease scans all tenants, page by
//! page, and collects the grants that are due. It then refreshes them, one per second, ordered by
//! when they expire. The process extends the lease and makes the next sweep too; if it ends,
//! another process acquires the lease within a minute.
//!
//! A process that cannot do the whole work hands over: it releases the lease, and another process
//! sweeps at once. Reasons are a grant that it cannot read (it may lack a key), a store that it
//! cannot list or write, or a rejected client secret. It tries again after an interval, if no
//! other process has the lease by then. If no process can do the whole work, each sweeps once in an
//! interval.
//!
//! Each [identity](crate::token::ClientIdentity) has a lease of its own, because a sweep skips the
//! grants of others.
//!
//! No progress is stored. A grant that was kept alive is no longer due, so an interrupted sweep is
//! simply started again.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    state::TenantsState,
    sweep_report::{ExpiringGrant, SweepReport},
};
use crate::{
    cache::TokenCache,
    error::{Error, ErrorKind},
    later::Later,
    store::LeaseOutcome,
    telemetry::{self, SweepCounts},
    token::{Grant, GrantState, TenantId},
};

/// The purpose of the lease that permits a sweep, in its name.
const LEASE: &str = "sweep";
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// How often the lease is extended, or another process tries to acquire it.
const LEASE_INTERVAL: Duration = Duration::from_secs(20);

/// The tenants that are listed at once, and how long a page takes at least: the store has other
/// work.
const PAGE_SIZE: usize = 1_000;
const PAGE_INTERVAL: Duration = Duration::from_secs(1);

/// Between the starts of two refreshes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// For one refresh, including all waiting.
const REFRESH_DEADLINE: Duration = Duration::from_secs(60);

/// How often a page is requested from a failing store, [`LEASE_INTERVAL`] apart.
const PAGE_ATTEMPTS: u32 = 6;

/// The pause after a sweep that failed.
const RETRY_AFTER: Duration = Duration::from_secs(300);

/// The background task: sweeps at each interval, unless another process does.
pub(super) async fn sweep_periodically(tenants: Weak<TenantsState>) {
    let mut next = Instant::now();
    let mut keeps_lease = false;
    let mut last_failure = None;
    loop {
        let Ok(state) = upgrade(&tenants) else {
            return;
        };
        let interval = state.sweep_interval;
        drop(state);
        let is_due = Instant::now() >= next;
        if is_due || keeps_lease {
            // In a task of its own, so that a panic in the store does not prevent the next sweep.
            let mut task = JoinSet::new();
            task.spawn(sweep_or_extend_lease(Weak::clone(&tenants), is_due));
            let result = task.join_next().await.unwrap_or(Ok(Ok(Lease::Kept)));
            match result.unwrap_or_else(|error| Err(interrupted().with_source(error))) {
                // If the lease was lost, the next sweep finds out.
                _ if !is_due => {}
                Ok(lease) => {
                    last_failure = None;
                    keeps_lease = lease == Lease::Kept;
                    next = Instant::now().later(interval);
                }
                Err(error) => {
                    keeps_lease = false;
                    if !is_leased_elsewhere(&error) {
                        if let Ok(state) = upgrade(&tenants) {
                            let settings = &state.settings;
                            let now = settings.clock.monotonic();
                            let store = &settings.store_telemetry;
                            telemetry::sweep_failed(&error, last_failure, store, now);
                        }
                        last_failure = Some(error.kind());
                        next = Instant::now().later(RETRY_AFTER);
                    }
                }
            }
        }
        sleep(LEASE_INTERVAL).await;
    }
}

/// Whether this process makes the next sweep too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    Kept,
    HandedOver,
}

async fn sweep_or_extend_lease(tenants: Weak<TenantsState>, is_due: bool) -> Result<Lease, Error> {
    if is_due {
        let swept = locked_sweep(&tenants, Caller::Background).await;
        swept.map(|(_, lease)| lease)
    } else {
        let state = upgrade(&tenants)?;
        acquire_lease(&state).await.map(|()| Lease::Kept)
    }
}

/// Makes one sweep.
pub(super) async fn sweep(tenants: &Weak<TenantsState>) -> Result<Arc<SweepReport>, Error> {
    let swept = locked_sweep(tenants, Caller::Program).await;
    swept.map(|(report, _)| report)
}

/// Which task waits for a sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Program,
    Background,
}

async fn locked_sweep(
    tenants: &Weak<TenantsState>,
    caller: Caller,
) -> Result<(Arc<SweepReport>, Lease), Error> {
    let sweep_lock = Arc::clone(&upgrade(tenants)?.sweep_lock);
    let _guard = sweep_lock.lock().await;
    let mut sweep = Sweep::start(tenants).await?;
    let swept = sweep.run(caller).await;
    if (swept.is_err() || sweep.is_handing_over)
        && let Ok(state) = upgrade(tenants)
    {
        // If this fails, another process waits until the lease has expired.
        let _ = release_lease(&state).await;
    }
    swept?;
    let lease = if sweep.is_handing_over {
        Lease::HandedOver
    } else {
        Lease::Kept
    };
    Ok((sweep.finish()?, lease))
}

/// The state is upgraded for one step at a time, so that a sweep does not keep it in memory after
/// the last handle was dropped.
struct Sweep<'a> {
    tenants: &'a Weak<TenantsState>,
    started: Instant,
    lease_extended: Instant,
    report: SweepReport,
    /// Why a grant could not be read.
    unreadable: Option<(TenantId, Error)>,
    /// Whether another process may be able to do what this one could not.
    is_handing_over: bool,
    /// The grants to refresh, ordered by when their refresh tokens expire.
    due: BTreeSet<(SystemTime, TenantId)>,
    expiring: BTreeSet<(SystemTime, TenantId)>,
}

impl<'a> Sweep<'a> {
    async fn start(tenants: &'a Weak<TenantsState>) -> Result<Self, Error> {
        let state = upgrade(tenants)?;
        state.ensure_running()?;
        acquire_lease(&state).await?;
        Ok(Self {
            tenants,
            started: Instant::now(),
            lease_extended: Instant::now(),
            report: SweepReport {
                started_at: state.settings.clock.wall(),
                duration: Duration::ZERO,
                active: 0,
                ended: 0,
                unreadable: 0,
                foreign: 0,
                kept_alive: 0,
                failed: 0,
                oldest_refresh: None,
                expiring: Vec::new(),
            },
            unreadable: None,
            is_handing_over: false,
            due: BTreeSet::new(),
            expiring: BTreeSet::new(),
        })
    }

    async fn run(&mut self, caller: Caller) -> Result<(), Error> {
        self.scan().await?;
        if caller == Caller::Background {
            self.until_process_stays().await?;
        }
        self.refresh_due().await?;
        // If this fails, the next sweep tries again.
        let state = self.next_step().await?;
        let _ = state.settings.store.delete_expired_leases().await;
        Ok(())
    }

    /// Loads every grant in the store, and collects those that are due or expire soon.
    async fn scan(&mut self) -> Result<(), Error> {
        let mut after = None;
        let (mut pages, mut checkpoint) = (0_u64, None);
        loop {
            let page_started = Instant::now();
            let page = self.page(after.as_ref()).await?;
            let Some(last) = page.last().cloned() else {
                return Ok(());
            };
            // Brent's algorithm: however long the cycle is, the checkpoint lies on it before long.
            if checkpoint.as_ref() == Some(&last) {
                return Err(Error::new(
                    ErrorKind::Store,
                    "the token store lists the same tenants repeatedly; test it with \
                     `store_conformance_tests!`",
                ));
            }
            pages += 1;
            if pages.is_power_of_two() {
                checkpoint = Some(last.clone());
            }
            for tenant in page {
                let state = self.next_step().await?;
                match state.settings.load_for_sweep(&tenant).await {
                    Ok(Some(grant)) => self.classify(&state, tenant, &grant),
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::ForeignGrant => {
                        self.report.foreign += 1;
                    }
                    Err(error) => {
                        self.unreadable.get_or_insert((tenant, error));
                        self.report.unreadable += 1;
                        self.is_handing_over = true;
                    }
                }
            }
            after = Some(last);
            sleep_until(page_started.later(PAGE_INTERVAL)).await;
        }
    }

    async fn page(&mut self, after: Option<&TenantId>) -> Result<Vec<TenantId>, Error> {
        let mut attempts = 1;
        loop {
            let state = self.next_step().await?;
            match state.settings.store.tenants(after, PAGE_SIZE).await {
                Err(error) if error.kind() == ErrorKind::Store && attempts < PAGE_ATTEMPTS => {
                    attempts += 1;
                }
                result => return result,
            }
            drop(state);
            sleep(LEASE_INTERVAL).await;
        }
    }

    fn classify(&mut self, state: &TenantsState, tenant: TenantId, grant: &Grant) {
        let keepalive = state.settings.keepalive(&tenant, grant);
        if keepalive.as_ref().is_none_or(|keepalive| !keepalive.is_due) {
            // It was refreshed, replaced or ended since, perhaps by another process.
            state.sweep_failures().clear(&tenant);
        }
        let oldest = &mut self.report.oldest_refresh;
        *oldest = oldest.iter().copied().chain(grant.refreshed_at()).min();
        match grant.state {
            GrantState::Active(_) => self.report.active += 1,
            GrantState::Refreshing { .. } => {
                self.report.active += 1;
                // A process may have died during a refresh. The replay is possible for 30 seconds.
                if !state.sweep_failures().contains(&tenant)
                    && let Ok(cache) = state.resident_or_new(&tenant, Some(grant))
                {
                    cache.maintain();
                }
            }
            GrantState::ReauthorizationRequired { .. } | GrantState::Revoked { .. } => {
                self.report.ended += 1;
            }
        }
        let Some(keepalive) = keepalive else {
            return;
        };
        let expires_at = keepalive.expires_at;
        if keepalive.is_expiring {
            self.expiring.insert((expires_at, tenant.clone()));
        }
        if keepalive.is_due {
            self.due.insert((expires_at, tenant));
        }
    }

    /// A refresh that the program does not wait for does not start in a process that may be about
    /// to end.
    async fn until_process_stays(&mut self) -> Result<(), Error> {
        while !self.next_step().await?.settings.presence.is_staying() {
            sleep(REFRESH_INTERVAL).await;
        }
        Ok(())
    }

    async fn refresh_due(&mut self) -> Result<(), Error> {
        while let Some((expires_at, tenant)) = self.due.pop_first() {
            let refresh_started = Instant::now();
            let state = self.next_step().await?;
            // Loaded again: the grant may have been used since the scan.
            let Ok(stored) = state.settings.load(&tenant).await else {
                self.report.failed += 1;
                self.is_handing_over = true;
                drop(state);
                sleep_until(refresh_started.later(REFRESH_INTERVAL)).await;
                continue;
            };
            let keepalive = stored
                .as_ref()
                .and_then(|grant| state.settings.keepalive(&tenant, grant));
            let (Some(grant), true) = (stored, keepalive.is_some_and(|keepalive| keepalive.is_due))
            else {
                self.expiring.remove(&(expires_at, tenant));
                continue;
            };
            if state.sweep_failures().is_paused(&tenant, refresh_started) {
                self.report.failed += 1;
                continue;
            }
            let cache = cache_of(&state, &tenant, &grant);
            drop(state);
            // Also reports a refresh token that expires soon.
            cache.maintain();
            let kept_alive = timeout(REFRESH_DEADLINE, cache.keep_alive()).await;
            if let (Ok(state), Ok(kept_alive)) = (upgrade(self.tenants), &kept_alive) {
                let mut failures = state.sweep_failures();
                match kept_alive {
                    Ok(()) => failures.clear(&tenant),
                    Err(error) if error.is_of_grant() => failures.add(&tenant, refresh_started),
                    Err(_) => {}
                }
            }
            match kept_alive {
                Ok(Ok(())) => {
                    self.report.kept_alive += 1;
                    // A refresh does not prolong the lifetime of every refresh token.
                    if cache.status().refresh_token_expires_at != Some(expires_at) {
                        self.expiring.remove(&(expires_at, tenant));
                    }
                }
                Ok(Err(error)) if error.is_invalid_client() => {
                    // It rejects the refreshes of all other grants too.
                    self.is_handing_over = true;
                    self.report.failed += 1 + as_count(self.due.len());
                    return Ok(());
                }
                // The grant has ended for every process.
                Ok(Err(error)) if error.is_consent_required() => self.report.failed += 1,
                // The provider would refuse it in every process.
                Ok(Err(error)) if error.kind() == ErrorKind::Refused => self.report.failed += 1,
                // Another process may reach the token endpoint, or the store.
                Ok(Err(_)) | Err(_) => {
                    self.report.failed += 1;
                    self.is_handing_over = true;
                }
            }
            sleep_until(refresh_started.later(REFRESH_INTERVAL)).await;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Arc<SweepReport>, Error> {
        let state = upgrade(self.tenants)?;
        self.report.duration = self.started.elapsed();
        self.report.expiring = self
            .expiring
            .into_iter()
            .map(|(expires_at, tenant)| ExpiringGrant { tenant, expires_at })
            .collect();
        let report = Arc::new(self.report);
        let counts = SweepCounts {
            active: report.active,
            ended: report.ended,
            unreadable: report.unreadable,
            foreign: report.foreign,
            kept_alive: report.kept_alive,
            failed: report.failed,
            expiring: as_count(report.expiring.len()),
        };
        telemetry::sweep_finished(
            &counts,
            report.duration,
            self.unreadable.as_ref(),
            &state.settings.store_telemetry,
            state.settings.clock.monotonic(),
        );
        let mut last = state
            .last_sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(Arc::clone(&report));
        Ok(report)
    }

    /// Checks between two steps that the tenants still exist and are not shut down, and that this
    /// process still owns the lease.
    async fn next_step(&mut self) -> Result<Arc<TenantsState>, Error> {
        let state = upgrade(self.tenants)?;
        state.ensure_running()?;
        if self.lease_extended.elapsed() >= LEASE_INTERVAL {
            match acquire_lease(&state).await {
                Err(error) if is_leased_elsewhere(&error) => return Err(error),
                // A failing store is noticed by the step itself.
                _ => self.lease_extended = Instant::now(),
            }
        }
        Ok(state)
    }
}

/// The cache that refreshes a grant that is due: the resident one, or a new one.
fn cache_of(state: &TenantsState, tenant: &TenantId, grant: &Grant) -> TokenCache {
    // A resident cache would try again by itself, counting its failures from zero.
    let has_failed = state.sweep_failures().contains(tenant);
    let cache = if has_failed {
        state.residents.peek(tenant)
    } else {
        state.resident_or_new(tenant, Some(grant)).ok()
    };
    cache.unwrap_or_else(|| {
        let settings = Arc::clone(&state.settings);
        TokenCache::begin(settings, tenant.clone(), Some(grant))
    })
}

/// Acquires the lease, or extends it.
async fn acquire_lease(state: &TenantsState) -> Result<(), Error> {
    let store = &state.settings.store;
    let lease = store.lease_name(LEASE);
    match store
        .acquire(&lease, &state.sweep_owner, LEASE_DURATION)
        .await?
    {
        LeaseOutcome::Acquired => Ok(()),
        LeaseOutcome::HeldByAnother => Err(Error::new(
            ErrorKind::Unavailable,
            "another process sweeps the tenants of this store",
        )),
    }
}

/// Lets another process sweep at once.
pub(super) async fn release_lease(state: &TenantsState) -> Result<(), Error> {
    let store = &state.settings.store;
    store
        .release(&store.lease_name(LEASE), &state.sweep_owner)
        .await
}

fn as_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn is_leased_elsewhere(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
}

fn upgrade(tenants: &Weak<TenantsState>) -> Result<Arc<TenantsState>, Error> {
    tenants.upgrade().ok_or_else(|| {
        Error::new(
            ErrorKind::Interrupted,
            "the last handle of the tenants was dropped",
        )
    })
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the sweep was interrupted: the runtime shut down, or the token store panicked",
    )
}
