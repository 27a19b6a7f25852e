//! The part of a cache that all its handles and tasks share.

use std::{
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedMutexGuard},
    task::JoinHandle,
    time::timeout,
};

use super::{
    liveness::Liveness,
    published::Published,
    record::Record,
    settings::{Maintenance, Settings},
    single_flight::SingleFlight,
    state::{CacheState, Conditions, Event, Moment, Report, Snapshot},
};
use crate::{
    error::{Error, ErrorKind},
    oauth::{EndpointGate, GateKey},
    store::{LeaseOutcome, LeaseOwner, SaveOutcome},
    telemetry::{End, GrantTelemetry, Reported},
    token::{Failure, Generation, Grant, History, HistoryEntry, HistoryEvent, TenantId, TokenSet},
};

/// Starts the background task of a cache in a runtime. It is woken when the snapshot has changed.
pub(super) type StartWorker = fn(&Arc<Core>, changed: &Arc<Notify>, &Handle) -> JoinHandle<()>;

/// How long to wait for a command or a save of an intent to end. Each has shorter deadlines, which
/// fail only in a runtime that stands still.
const EXCLUSION_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Core {
    /// The snapshot that requests read. Only [`change`](Self::change) replaces it.
    pub(super) published: Published,
    locked: Mutex<Locked>,
    /// `None` if one task maintains many caches.
    own_worker: Option<Box<OwnWorker>>,
    /// Wakes those that wait for the end of the last work.
    pub(super) idle: Notify,
    pub(super) settings: Arc<Settings>,
    pub(super) telemetry: GrantTelemetry,
    /// Identifies this cache as the owner of its leases.
    owner: LeaseOwner,
    key: GateKey,
}

/// The background task of one cache.
struct OwnWorker {
    /// Wakes the task when the snapshot has changed.
    changed: Arc<Notify>,
    start: StartWorker,
}

/// Locked briefly, never across an await.
#[derive(Default)]
pub(super) struct Locked {
    pub(super) state: CacheState,
    /// The handles of the jobs that are in flight by the state.
    pub(super) refresh: Option<Arc<JobHandle>>,
    pub(super) store_check: Option<Arc<JobHandle>>,
    worker: Option<JoinHandle<()>>,
    record: Record,
    /// Exists while some work holds it.
    locks: Weak<Locks>,
}

/// Excludes commands while it exists.
pub(super) struct CommandGuard {
    _guard: OwnedMutexGuard<()>,
    /// The exclusion is for those that find the same locks.
    _locks: Arc<Locks>,
}

/// The exclusion among the work of one cache. Replaced if a holder stands still.
#[derive(Default)]
pub(super) struct Locks {
    /// Makes commands run one after another.
    commands: Arc<tokio::sync::Mutex<()>>,
    /// Makes lease operations run one after another.
    pub(super) lease: tokio::sync::Mutex<()>,
}

/// A job in flight, for callers that join it.
pub(super) struct JobHandle {
    pub(super) reports: SingleFlight<Report>,
    pub(super) conditions: Conditions,
    pub(super) progress: Arc<Progress>,
}

/// The part of a job that its waiters can see.
#[derive(Default)]
pub(super) struct Progress {
    /// Whether the job has called the token source.
    pub(super) has_sent: AtomicBool,
    pub(super) liveness: Liveness,
}

impl Core {
    pub(super) fn new(
        settings: Arc<Settings>,
        tenant: TenantId,
        start_worker: StartWorker,
    ) -> Self {
        let locked = Locked::default();
        Self {
            published: Published::new(&locked.state),
            locked: Mutex::new(locked),
            own_worker: (settings.maintenance == Maintenance::Own).then(|| {
                Box::new(OwnWorker {
                    changed: Arc::default(),
                    start: start_worker,
                })
            }),
            idle: Notify::new(),
            telemetry: settings.telemetry(tenant),
            settings,
            owner: LeaseOwner::random(),
            key: GateKey::random(),
        }
    }

    /// Reads the state. No decision without a change depends on the jitter, so none is drawn.
    pub(super) fn read<T>(&self, read: impl FnOnce(&CacheState, Moment<'_>) -> T) -> T {
        let m = self.moment_with(0.0);
        read(&self.lock().state, m)
    }

    /// As [`read`](Self::read), for what does not depend on the time.
    pub(super) fn look<T>(&self, look: impl FnOnce(&CacheState) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes the state. Then lets requests read the new snapshot, and emits the events.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut CacheState, Moment<'_>) -> T,
    ) -> T {
        self.change_locked(|locked, m| change(&mut locked.state, m))
    }

    /// As [`change`](Self::change), with the handles of the jobs in flight.
    pub(super) fn change_locked<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Locked, Moment<'_>) -> T,
    ) -> T {
        let m = self.moment();
        let mut locked = self.lock();
        let result = change(&mut locked, m);
        if !locked.state.is_refreshing() {
            locked.refresh = None;
        }
        if !locked.state.is_checking_store() {
            locked.store_check = None;
        }
        if self.published.update(&mut locked.state) {
            self.wake_worker();
            self.ensure_worker(&mut locked);
        }
        let events = locked.state.take_events();
        drop(locked);
        for event in events {
            if let Some(noted) = noted(&event) {
                self.note(noted);
            }
            self.emit(event);
        }
        result
    }

    /// Ends a refresh, store check or command. Wakes a shutdown if that was the last work.
    pub(super) fn end_work(self: &Arc<Self>, end: impl FnOnce(&mut CacheState, Moment<'_>)) {
        self.change(end);
        // Locked, so that no work begins and loads the record in between.
        let mut locked = self.lock();
        if locked.state.is_idle() {
            locked.record.rest();
            drop(locked);
            self.idle.notify_waiters();
        }
    }

    /// Completes when no refresh, store check or command is running.
    pub(super) async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.look(CacheState::is_idle) {
                return;
            }
            idle.await;
        }
    }

    /// Starts the worker if it is not running. It may have ended with its runtime.
    pub(super) fn ensure_worker(self: &Arc<Self>, locked: &mut Locked) {
        let Some(worker) = &self.own_worker else {
            return;
        };
        let has_ended = locked.worker.as_ref().is_none_or(JoinHandle::is_finished);
        if has_ended && !locked.state.is_shut_down() {
            let runtime = self.settings.runtime();
            locked.worker = runtime.map(|runtime| (worker.start)(self, &worker.changed, &runtime));
        }
    }

    /// As [`ensure_worker`](Self::ensure_worker), for a request that needs the worker.
    pub(super) fn ensure_worker_runs(self: &Arc<Self>) {
        self.ensure_worker(&mut self.lock());
    }

    /// The locks of the work that is running.
    pub(super) fn locks(&self) -> Arc<Locks> {
        let mut locked = self.lock();
        locked.locks.upgrade().unwrap_or_else(|| {
            let locks = Arc::default();
            locked.locks = Arc::downgrade(&locks);
            locks
        })
    }

    /// Excludes commands, and the saves of intents, until the guard is dropped.
    pub(super) async fn exclude_commands(&self) -> Result<CommandGuard, Error> {
        let locks = self.locks();
        let acquired = Arc::clone(&locks.commands).lock_owned();
        let Ok(guard) = timeout(EXCLUSION_TIMEOUT, acquired).await else {
            let mut locked = self.lock();
            if ptr::eq(locked.locks.as_ptr(), Arc::as_ptr(&locks)) {
                locked.locks = Weak::new();
            }
            return Err(Error::new(
                ErrorKind::Interrupted,
                "a command of this grant has been running for 60 seconds: its runtime stands still",
            ));
        };
        Ok(CommandGuard {
            _guard: guard,
            _locks: locks,
        })
    }

    /// Gives up the job with this progress, if it is still in flight: its runtime stands still.
    pub(super) fn job_stalled(self: &Arc<Self>, progress: &Arc<Progress>) {
        self.change_locked(|locked, m| {
            let is_it = |job: &Option<Arc<JobHandle>>| {
                let job = job.as_ref();
                job.is_some_and(|job| Arc::ptr_eq(&job.progress, progress))
            };
            if is_it(&locked.refresh) {
                locked.state.refresh_stalled();
                locked.locks = Weak::new();
            } else if is_it(&locked.store_check) {
                locked.state.store_check_stalled(m);
            }
        });
    }

    pub(super) fn wake_worker(&self) {
        if let Some(worker) = &self.own_worker {
            worker.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        // No decision panics, and the next one does not depend on how far another came.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: Event) {
        let telemetry = &self.telemetry;
        match event {
            Event::Adopted(generation) => telemetry.adopted(generation),
            Event::ConsentRejected(by) => telemetry.consent_rejected(by),
            Event::ExpiryCorrected(by) => telemetry.expiry_corrected(by),
            Event::Installed(generation) => telemetry.installed(generation),
            Event::Invalidated(generation) => telemetry.invalidated(generation),
            Event::EndSaved(reason) => telemetry.end_saved(reason),
            Event::ReauthorizationRequired { reason, refusal } => {
                telemetry.reauthorization_required(End {
                    reason,
                    refusal: refusal.as_ref(),
                });
            }
            Event::Recovered { lasted } => telemetry.recovered(lasted),
            Event::RefreshCompleted {
                label,
                result,
                duration,
            } => telemetry.refresh_completed(label, result, duration),
            Event::RefreshFailed {
                label,
                error,
                is_news,
            } => {
                let reported = telemetry.refresh_failed(label, &error, is_news);
                if is_news && reported == Reported::AsOutage {
                    // If the grant still fails afterwards, that is news.
                    self.lock().state.failure_not_reported(&error);
                }
            }
            Event::RefreshTokenMissing(decision) => telemetry.refresh_token_missing(decision),
            Event::RefreshTokenExpiring { days_left } => {
                telemetry.refresh_token_expiring(days_left);
            }
            Event::Refreshed {
                generation,
                lifetime,
            } => telemetry.refreshed(generation, lifetime),
            Event::RejectedAgain { times, pause } => telemetry.rejected_again(times, pause),
            Event::Remaining {
                access_token,
                refresh_token,
            } => telemetry.remaining(access_token, refresh_token),
            Event::ResponseLost {
                error,
                is_replayed,
                is_news,
            } => telemetry.response_lost(&error, is_replayed, is_news),
            Event::Revoked => telemetry.revoked(),
            Event::SaveFailed {
                error,
                unsaved,
                is_first,
            } => telemetry.save_failed(&error, unsaved, is_first),
            Event::Stuck {
                error,
                attempts,
                lasts,
            } => telemetry.stuck(&error, attempts, lasts),
        }
    }
}

/// The entry of the record for an event that no save is made for.
fn noted(event: &Event) -> Option<HistoryEvent> {
    match event {
        Event::RefreshFailed { error, .. } if error.kind() == ErrorKind::Store => {
            Some(HistoryEvent::StoreFailed(Failure::of(error)))
        }
        // Another event of this grant, or of another one, has the cause.
        Event::RefreshFailed { error, .. }
            if error.is_response_lost() || error.is_circuit_open() =>
        {
            None
        }
        Event::RefreshFailed { error, .. } => Some(HistoryEvent::Failed(Failure::of(error))),
        Event::ResponseLost { error, .. } => Some(HistoryEvent::ResponseLost(Failure::of(error))),
        Event::SaveFailed { error, .. } => Some(HistoryEvent::StoreFailed(Failure::of(error))),
        _ => None,
    }
}

/// The current conditions of a decision.
impl Core {
    pub(super) fn moment(&self) -> Moment<'_> {
        self.moment_with(self.settings.jitter())
    }

    fn moment_with(&self, jitter: f64) -> Moment<'_> {
        Moment {
            now: self.settings.clock.monotonic(),
            wall: self.settings.clock.wall(),
            jitter,
            secret_epoch: self.secret_epoch(),
            is_staying: self.settings.presence.is_staying(),
            recoveries: self
                .settings
                .source
                .gate()
                .map_or(0, EndpointGate::recoveries),
            policy: &self.settings.policy,
            delivery: &self.settings.delivery,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.settings.clock.monotonic()
    }

    /// The epoch of the client secret, from the source's gate. Constant without a gate.
    pub(super) fn secret_epoch(&self) -> u64 {
        self.settings.source.gate().map_or(0, EndpointGate::epoch)
    }

    /// How this cache identifies itself to the source's gate.
    pub(super) fn gate_key(&self) -> GateKey {
        let snapshot = self.published.snapshot();
        let is_overdue = snapshot.tokens().is_some() && snapshot.alive(self.now()).is_none();
        self.key.overdue(is_overdue)
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.snapshot())
    }

    pub(super) fn tenant(&self) -> &TenantId {
        self.telemetry.tenant()
    }
}

/// Operations on the store and the source, each with a deadline.
impl Core {
    pub(super) async fn load(&self) -> Result<Option<Grant>, Error> {
        self.settings.load(self.tenant()).await
    }

    /// As [`load`](Self::load), for work that saves the grant afterwards, with its record.
    pub(super) async fn load_to_save(&self) -> Result<Option<Grant>, Error> {
        let loaded = self.settings.load_recorded(self.tenant()).await;
        loaded.map(|stored| self.recorded(stored))
    }

    /// Saves a grant, because of an event that its record gets.
    pub(super) async fn save(
        &self,
        expected: Option<Generation>,
        grant: Grant,
        event: HistoryEvent,
    ) -> Result<SaveOutcome, Error> {
        let saved = self.save_recorded(expected, grant, event).await;
        self.settings.written(Some(self.tenant()), &saved);
        saved
    }

    /// As [`save`](Self::save), for a grant whose failed save has an event of its own.
    pub(super) async fn save_reported(
        &self,
        expected: Option<Generation>,
        grant: Grant,
        event: HistoryEvent,
    ) -> Result<SaveOutcome, Error> {
        let saved = self.save_recorded(expected, grant, event).await;
        self.settings.saved(&saved);
        saved
    }

    async fn save_recorded(
        &self,
        expected: Option<Generation>,
        grant: Grant,
        event: HistoryEvent,
    ) -> Result<SaveOutcome, Error> {
        let entry = self.entry(event);
        let history = self.lock().record.with(entry);
        let grant = grant.with_history(history.clone());
        let saved = self.settings.save(self.tenant(), expected, grant).await;
        Ok(match saved? {
            SaveOutcome::Committed => {
                self.lock().record.saved(history);
                SaveOutcome::Committed
            }
            SaveOutcome::Superseded(stored) => SaveOutcome::Superseded(self.recorded(stored)),
        })
    }

    /// Takes the record out of a stored grant.
    fn recorded(&self, mut stored: Option<Grant>) -> Option<Grant> {
        if let Some(grant) = &mut stored {
            self.lock().record.take(grant);
        }
        stored
    }

    /// Notes an event of the grant that is not saved now.
    pub(super) fn note(&self, event: HistoryEvent) {
        let entry = self.entry(event);
        self.lock().record.note(entry);
    }

    /// The events of the grant that are not saved.
    pub(super) fn unsaved(&self) -> History {
        self.lock().record.unsaved()
    }

    fn entry(&self, event: HistoryEvent) -> HistoryEntry {
        HistoryEntry::new(self.settings.clock.wall(), &self.settings.replica, event)
    }

    pub(super) async fn acquire_lease(&self) -> Result<LeaseOutcome, Error> {
        let acquired = self
            .settings
            .acquire_lease(self.tenant(), &self.owner)
            .await;
        self.settings.written(Some(self.tenant()), &acquired);
        acquired
    }

    pub(super) async fn release_lease(&self) -> Result<(), Error> {
        self.settings
            .release_lease(self.tenant(), &self.owner)
            .await
    }

    /// Completes when the store may hold a newer grant. May never complete.
    pub(super) async fn store_changed(&self) {
        self.settings.store.changed(self.tenant()).await;
    }

    pub(super) async fn revoke_at_provider(&self, tokens: &TokenSet) -> Result<(), Error> {
        self.settings.revoke(tokens).await
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(worker) = self.lock().worker.take() {
            worker.abort();
        }
    }
}
