//! Keeps those alive whom nobody asks for.
//!
//! Of all processes that share a store, the one that has the sweep's lease goes through all tenants, page by page, and notes who
//! is due; then it makes their exchanges, one a second, those first who run out first. While it lives it keeps the lease, and so
//! goes on to be the one; if it dies, another has it within a minute.
//!
//! There are no notes of how far it has come: whoever was kept alive is no longer due, and reading past them takes moments.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Shared, Tenants};
use crate::{
    cache::{TokenCache, in_time},
    error::{Error, ErrorKind},
    store::LeaseOutcome,
    telemetry::{self, SweepCounts},
    token::{Grant, GrantState, TenantId},
};

/// Whose lease it is that allows to sweep. A tenant of that name would share nothing with it but the lease.
const LEASE_NAME: &str = "tower-oauth2-client/sweep";
const LEASE: Duration = Duration::from_secs(60);
/// How often it is extended, or asked for.
const BEAT: Duration = Duration::from_secs(20);

/// How many tenants the store is asked for at once, and how long a page takes at least: other work needs the store as well.
const PAGE: usize = 1_000;
const PAGE_TIME: Duration = Duration::from_secs(1);

/// Between the beginnings of two exchanges.
const EXCHANGE_TIME: Duration = Duration::from_secs(1);

/// For an exchange, with all that it may have to wait for.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(60);

/// How often a page is asked for that the store fails to give, a [`BEAT`] apart.
const PATIENCE: u32 = 6;

/// After a sweep that has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(300);

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What a sweep has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SweepReport {
    /// When it began, by this machine's wall clock.
    pub started_at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// How many tenants have a grant that lives, and how many have one that has ended, at the provider or on purpose.
    pub active: u64,
    /// See [`active`](Self::active).
    pub ended: u64,
    /// How many grants the store could not read.
    pub unreadable: u64,
    /// How many exchanges were made because they were due, and brought a new token set.
    pub kept_alive: u64,
    /// The same, and brought none, or could not be made since the store failed: another try follows within minutes, or with
    /// the next sweep.
    pub failed: u64,
    /// Whose refresh token ends within seven days, or within the last third of its life if that is less, the soonest first.
    /// Those who were kept alive in this sweep, or by others meanwhile, are not among them.
    pub expiring: Vec<ExpiringGrant>,
}

/// A refresh token that is about to end, because renewing it has not worked so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiringGrant {
    /// Whose.
    pub tenant: TenantId,
    /// When, by this machine's wall clock.
    pub expires_at: SystemTime,
}

impl Tenants {
    /// What the last sweep that this process has made has found. `None` if another process makes them, or none has ended yet.
    #[must_use]
    pub fn last_sweep(&self) -> Option<Arc<SweepReport>> {
        let last = self.shared.last_sweep.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sweeps now, if no other process does. What [`sweep_interval`](super::TenantsBuilder::sweep_interval) does by itself.
    ///
    /// Dropped before its end, it ends where it is; so it does after a [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if another process has the lease for it;
    /// [`Configuration`](ErrorKind::Configuration) if the store cannot list its tenants;
    /// [`Store`](ErrorKind::Store) if it could not be read for a while, or lists the same tenants again and again;
    /// [`Interrupted`](ErrorKind::Interrupted) after a shutdown.
    pub async fn sweep(&self) -> Result<Arc<SweepReport>, Error> {
        sweep(&Arc::downgrade(&self.shared)).await
    }

    /// Up to `limit` of all the tenants that the store knows, those that come behind `after` in the store's own order, as
    /// [`TokenStore::tenants`](crate::store::TokenStore::tenants) has it. An empty answer is the end.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if the store cannot list its tenants; [`Store`](ErrorKind::Store) if it
    /// cannot be read.
    pub async fn list(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        in_time(self.shared.settings.store.tenants(after, limit)).await
    }
}

/// Once in a while, if nobody else does.
pub(super) async fn sweeps(tenants: Weak<Shared>) {
    let mut next = Instant::now();
    loop {
        let Ok(shared) = upgraded(&tenants) else {
            return;
        };
        let every = shared.sweep_interval;
        drop(shared);
        let is_due = Instant::now() >= next;
        // In a task of its own, so that a panic in the store does not end all sweeps.
        let mut task = JoinSet::new();
        task.spawn(sweep_or_beat(Weak::clone(&tenants), is_due));
        let outcome = task.join_next().await.unwrap_or(Ok(Ok(())));
        match outcome.unwrap_or_else(|error| Err(cut_short().with_source(error))) {
            // Whether the lease is still this process's nobody needs to know.
            _ if !is_due => {}
            Ok(()) => next = Instant::now() + every,
            Err(error) if is_another_ones(&error) => {}
            Err(error) => {
                telemetry::sweep_failed(&error);
                next = Instant::now() + AFTER_FAILURE;
            }
        }
        sleep(BEAT).await;
    }
}

/// Sweeps, or keeps the lease where this process has it.
async fn sweep_or_beat(tenants: Weak<Shared>, is_due: bool) -> Result<(), Error> {
    if is_due {
        sweep(&tenants).await.map(drop)
    } else {
        beat(&*upgraded(&tenants)?).await
    }
}

/// Nothing keeps the tenants here for longer than one step takes.
async fn sweep(tenants: &Weak<Shared>) -> Result<Arc<SweepReport>, Error> {
    let sweeping = Arc::clone(&upgraded(tenants)?.sweeping);
    let _turn = sweeping.lock().await;
    let mut sweep = Sweep::begin(tenants).await?;
    sweep.survey().await?;
    sweep.keep_alive().await?;
    sweep.end()
}

struct Sweep<'a> {
    tenants: &'a Weak<Shared>,
    began: Instant,
    beaten: Instant,
    report: SweepReport,
    /// In the order in which they run out.
    due: BTreeSet<(SystemTime, TenantId)>,
    expiring: BTreeSet<(SystemTime, TenantId)>,
}

impl<'a> Sweep<'a> {
    async fn begin(tenants: &'a Weak<Shared>) -> Result<Self, Error> {
        let shared = upgraded(tenants)?;
        shared.attendant().attend(&shared)?;
        beat(&shared).await?;
        Ok(Self {
            tenants,
            began: Instant::now(),
            beaten: Instant::now(),
            report: SweepReport {
                started_at: shared.settings.clock.wall(),
                duration: Duration::ZERO,
                active: 0,
                ended: 0,
                unreadable: 0,
                kept_alive: 0,
                failed: 0,
                expiring: Vec::new(),
            },
            due: BTreeSet::new(),
            expiring: BTreeSet::new(),
        })
    }

    /// Looks at everybody.
    async fn survey(&mut self) -> Result<(), Error> {
        let mut after = None;
        let (mut pages, mut mark) = (0_u64, None);
        loop {
            let begun = Instant::now();
            let page = self.page(after.as_ref()).await?;
            let Some(last) = page.last().cloned() else {
                return Ok(());
            };
            // However many pages it is until they come again, the mark is among them before long.
            if mark.as_ref() == Some(&last) {
                return Err(Error::new(
                    ErrorKind::Store,
                    "the token store lists the same tenants over and over: test it with `store_conformance_tests!`",
                ));
            }
            pages += 1;
            if pages.is_power_of_two() {
                mark = Some(last.clone());
            }
            for tenant in page {
                let shared = self.go_on().await?;
                match shared.settings.read(&tenant).await {
                    Ok(Some(grant)) => self.judge(&shared, tenant, &grant),
                    Ok(None) => {}
                    Err(_) => self.report.unreadable += 1,
                }
            }
            after = Some(last);
            sleep_until(begun + PAGE_TIME).await;
        }
    }

    async fn page(&mut self, after: Option<&TenantId>) -> Result<Vec<TenantId>, Error> {
        let mut tries = 1;
        loop {
            let shared = self.go_on().await?;
            match in_time(shared.settings.store.tenants(after, PAGE)).await {
                Err(error) if error.kind() == ErrorKind::Store && tries < PATIENCE => tries += 1,
                outcome => return outcome,
            }
            drop(shared);
            sleep(BEAT).await;
        }
    }

    fn judge(&mut self, shared: &Arc<Shared>, tenant: TenantId, grant: &Grant) {
        match grant.state {
            GrantState::Active(_) => self.report.active += 1,
            GrantState::Exchanging { .. } => {
                self.report.active += 1;
                // A process may have died over it a moment ago: there is half a minute to ask for the answer once more.
                if let Ok(tokens) = shared.hold(&tenant, Some(grant)) {
                    tokens.look_after();
                }
            }
            GrantState::ReauthorizationRequired { .. } | GrantState::Revoked { .. } => {
                self.report.ended += 1;
            }
        }
        let Some((ends, is_due)) = shared.settings.keepalive(&tenant, grant) else {
            return;
        };
        let left = ends.duration_since(shared.settings.clock.wall());
        // A life that is no longer than that is not about to end from its beginning.
        let lifetime = shared.settings.refresh_token_lifetime;
        let few = lifetime.map_or(WEEK, |lifetime| WEEK.min(lifetime / 3));
        if left.is_ok_and(|left| left <= few) {
            self.expiring.insert((ends, tenant.clone()));
        }
        if is_due {
            self.due.insert((ends, tenant));
        }
    }

    async fn keep_alive(&mut self) -> Result<(), Error> {
        while let Some((ends, tenant)) = self.due.pop_first() {
            let begun = Instant::now();
            let shared = self.go_on().await?;
            // It may have been used since.
            let Ok(stored) = shared.settings.read(&tenant).await else {
                self.report.failed += 1;
                drop(shared);
                sleep_until(begun + EXCHANGE_TIME).await;
                continue;
            };
            let keepalive = stored
                .as_ref()
                .and_then(|grant| shared.settings.keepalive(&tenant, grant));
            let (Some(grant), Some((_, true))) = (stored, keepalive) else {
                self.expiring.remove(&(ends, tenant));
                continue;
            };
            let tokens = shared.hold(&tenant, Some(&grant)).unwrap_or_else(|_| {
                TokenCache::begin(Arc::clone(&shared.settings), tenant.clone(), Some(&grant))
            });
            drop(shared);
            // Also tells who runs out.
            tokens.look_after();
            match timeout(EXCHANGE_DEADLINE, tokens.keep_alive()).await {
                Ok(Ok(())) => {
                    self.report.kept_alive += 1;
                    self.expiring.remove(&(ends, tenant));
                }
                _ => self.report.failed += 1,
            }
            sleep_until(begun + EXCHANGE_TIME).await;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Arc<SweepReport>, Error> {
        let shared = upgraded(self.tenants)?;
        self.report.duration = self.began.elapsed();
        self.report.expiring = self
            .expiring
            .into_iter()
            .map(|(expires_at, tenant)| ExpiringGrant { tenant, expires_at })
            .collect();
        let report = &self.report;
        let counts = SweepCounts {
            active: report.active,
            ended: report.ended,
            unreadable: report.unreadable,
            kept_alive: report.kept_alive,
            failed: report.failed,
            expiring: u64::try_from(report.expiring.len()).unwrap_or(u64::MAX),
        };
        telemetry::sweep_finished(&counts, report.duration);
        let report = Arc::new(self.report);
        let mut last = shared
            .last_sweep
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(Arc::clone(&report));
        Ok(report)
    }

    /// Between two steps: are the tenants still there, not shut down, and is it still this process that sweeps?
    async fn go_on(&mut self) -> Result<Arc<Shared>, Error> {
        let shared = upgraded(self.tenants)?;
        shared.attendant().attend(&shared)?;
        if self.beaten.elapsed() >= BEAT {
            match beat(&shared).await {
                Err(error) if is_another_ones(&error) => return Err(error),
                // A store that fails is found out by what it is needed for.
                _ => self.beaten = Instant::now(),
            }
        }
        Ok(shared)
    }
}

/// Takes the lease, or extends it.
async fn beat(shared: &Shared) -> Result<(), Error> {
    let store = &shared.settings.store;
    match in_time(store.acquire(&sweep_lease()?, &shared.owner, LEASE)).await? {
        LeaseOutcome::Acquired => Ok(()),
        LeaseOutcome::HeldByAnother => Err(Error::new(
            ErrorKind::Unavailable,
            "another process sweeps the tenants of this store",
        )),
    }
}

fn is_another_ones(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable
}

fn cut_short() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the sweep was cut short: its runtime shut down, or the store panicked",
    )
}

/// Lets another process sweep at once.
pub(super) async fn give_way(shared: &Shared) -> Result<(), Error> {
    let store = &shared.settings.store;
    in_time(store.release(&sweep_lease()?, &shared.owner)).await
}

fn sweep_lease() -> Result<TenantId, Error> {
    TenantId::new(LEASE_NAME)
}

fn upgraded(tenants: &Weak<Shared>) -> Result<Arc<Shared>, Error> {
    tenants.upgrade().ok_or_else(|| {
        Error::new(
            ErrorKind::Interrupted,
            "the last handle of the tenants is gone",
        )
    })
}
