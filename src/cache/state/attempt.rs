//! One refresh, as a sequence of steps.
//!
//! A step is one variant of [`Next`]: an operation that its driver performs, such as a load or a
//! token request. The step takes the result, decides with the state at hand, and returns the step
//! that follows. A step is used up by its result, so that no result is handled twice or at the
//! wrong place.
//!
//! ```text
//! Wait → Load ──→ AcquireLease → Enter → Load → Save ──→ Fetch ──→ Persist → Done
//!          ↑            │                      (intent)    │ ↑
//!          └─── Wait ───┘                            lost: │ │
//!        another process has it                     Wait → Save (replay)
//! ```
//!
//! A response with a refresh token, but without a usable access token, also leads to `Persist`, and
//! the job fails. A rejected refresh token leads to another load and to the save of the end; any
//! other failure to the save that removes the intent. A store check is a load, and the retry of a
//! failed save.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    CacheState,
    conflict::Conflict,
    event::Event,
    intent::{Intent, awaiting_expiry, is_awaiting_expiry, replay_limit},
    job::{Done, Job, Report, unsaved},
    moment::Moment,
    next_generation,
    reason::Reason,
    snapshot::{Outcome, Snapshot},
    stands_still,
};
use crate::{
    cache::bearer_token::BearerToken,
    error::{Error, ErrorKind},
    later::Later,
    store::{LeaseOutcome, SaveOutcome},
    token::{
        Failure, Generation, Grant, GrantState, HistoryEvent, ReauthorizationReason, TokenSet,
    },
};

/// How often saving an intent is retried after a lost race.
const INTENT_ATTEMPTS: u32 = 4;

/// How long to wait for a lease that another process holds: at least `LEASE_WAIT`, and
/// `BEYOND_LEASE` longer than a lease lasts without being extended.
const LEASE_WAIT: Duration = Duration::from_secs(15);
const BEYOND_LEASE: Duration = Duration::from_secs(2);

/// The pause between two attempts to save doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long a save may take before requests use the token set unsaved, if no other token serves.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// How long a save is retried after the last handle of the cache was dropped.
const ABANDONED_SAVE_LIMIT: Duration = Duration::from_secs(30);

/// The next step of a job.
#[derive(Clone, Debug)]
#[must_use = "the job ends with `Done` only"]
pub(crate) enum Next {
    Wait(Wait),
    Load(Load),
    AcquireLease(AcquireLease),
    Enter(Enter),
    Save(Save),
    Fetch(Fetch),
    Persist(Persist),
    SaveRevocation(SaveRevocation),
    Discard(Discard),
    Done(Done),
}

impl Next {
    /// The first step of a job.
    pub(crate) fn first(job: Job, state: &CacheState, m: Moment<'_>) -> Self {
        if let Some(error) = job.denied.clone() {
            return Load::then(AfterLoad::CheckStore(job, error));
        }
        // Before the load, so that the loaded grant is not outdated when the request is sent.
        match state.until_next_request(m) {
            Some(pause) => Wait::then(pause, AfterWait::Begin(job)),
            None => Load::then(AfterLoad::Begin(job)),
        }
    }

    /// Whether no command may run until the step is complete: from the load to the save of the
    /// intent.
    pub(crate) fn excludes_commands(&self) -> bool {
        match self {
            Self::Load(load) => matches!(load.then, AfterLoad::Confirm(_)),
            Self::Save(save) => matches!(save.then, AfterSave::Intent { .. }),
            _ => false,
        }
    }

    /// Whether the outcome of the last token request is known, so that the permit is returned.
    pub(crate) fn is_after_response(&self) -> bool {
        let is_replaying = match self {
            Self::Wait(wait) => matches!(wait.then, AfterWait::Replay(..)),
            Self::Save(save) => matches!(save.then, AfterSave::Replay(..)),
            Self::Fetch(_) => true,
            _ => false,
        };
        !is_replaying
    }

    fn done(job: Job, outcome: Outcome) -> Self {
        Self::Done(Done::new(job, outcome))
    }
}

/// Wait, then continue.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pause: Duration,
    then: AfterWait,
}

#[derive(Clone, Debug)]
enum AfterWait {
    /// The shortest time between two refreshes has passed.
    Begin(Job),
    /// Another process holds the lease.
    Lease { job: Job, begun: Instant },
    /// The response was lost, with this error, and may be replayed.
    Replay(Refresh, Error),
}

impl Wait {
    fn then(pause: Duration, then: AfterWait) -> Next {
        Next::Wait(Self { pause, then })
    }

    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether the wait also ends when the store may hold a newer grant.
    pub(crate) fn ends_on_store_change(&self) -> bool {
        matches!(self.then, AfterWait::Lease { .. })
    }

    pub(crate) fn waited(self, state: &mut CacheState, m: Moment<'_>) -> Next {
        match self.then {
            AfterWait::Begin(job) => Load::then(AfterLoad::Begin(job)),
            AfterWait::Lease { job, begun } => Next::AcquireLease(AcquireLease { job, begun }),
            AfterWait::Replay(refresh, error) => refresh.save_replay(error, state, m),
        }
    }
}

/// Load the grant.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    then: AfterLoad,
}

#[derive(Clone, Debug)]
enum AfterLoad {
    /// Another replica may have refreshed the grant already. This load is a read: to find that out
    /// under the lease would take two durable writes and a permit, and fail if either is refused.
    Begin(Job),
    /// Another process holds the lease, and may have saved what is needed.
    Lease { job: Job, begun: Instant },
    /// This process holds the lease, and is about to send the refresh token.
    Confirm(Job),
    /// The provider rejected the refresh token with this error.
    End(Refresh, Error),
    /// A refresh was denied with this error.
    CheckStore(Job, Error),
}

impl Load {
    fn then(then: AfterLoad) -> Next {
        Next::Load(Self { then })
    }

    pub(crate) fn loaded(
        self,
        stored: Result<Option<Grant>, Error>,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        match stored {
            Ok(stored) => self.then.loaded(stored.as_ref(), state, m),
            Err(error) => self.then.failed(error, state, m),
        }
    }
}

impl AfterLoad {
    fn loaded(self, stored: Option<&Grant>, state: &mut CacheState, m: Moment<'_>) -> Next {
        match self {
            Self::Begin(job) => {
                state.adopt(stored, m);
                match state.without_request(job.reason, m) {
                    Some(outcome) => Next::done(job, outcome),
                    None => Next::AcquireLease(AcquireLease { job, begun: m.now }),
                }
            }
            Self::Lease { job, begun } => {
                state.adopt(stored, m);
                if let Some(outcome) = state.without_request(job.reason, m) {
                    return Next::done(job, outcome);
                }
                let waited = m.now.saturating_duration_since(begun);
                if waited >= LEASE_WAIT.max(m.policy.lease.saturating_add(BEYOND_LEASE)) {
                    return Next::done(job, Err(leased_elsewhere()));
                }
                let jitter = Duration::from_millis(150).mul_f64(m.jitter);
                let pause = Duration::from_millis(100).saturating_add(jitter);
                Wait::then(pause, AfterWait::Lease { job, begun })
            }
            Self::Confirm(job) => Refresh::begin(job, stored, state, m),
            Self::End(refresh, refusal) => refresh.end(stored, refusal, state, m),
            Self::CheckStore(job, error) => {
                state.adopt(stored, m);
                let expected = stored.map(|grant| grant.generation);
                match state.held.grant() {
                    // The end could not be saved when it was detected. If it fails again, the next
                    // store check retries it.
                    Some(grant)
                        if state.held.ended().is_some() && Some(grant.generation) > expected =>
                    {
                        let grant = grant.clone();
                        Save::then(expected, grant, AfterSave::CheckStore(job, error))
                    }
                    grant => {
                        if state.is_end_unsaved && grant == stored {
                            // The save was committed although it failed.
                            state.end_of_grant_saved(true);
                        }
                        state.store_checked(job, error, m)
                    }
                }
            }
        }
    }

    fn failed(self, error: Error, state: &CacheState, m: Moment<'_>) -> Next {
        match self {
            // A grant is not ended without another load. But the response was not lost.
            Self::End(refresh, _) => refresh.restore(error, state, m),
            Self::Begin(job)
            | Self::Lease { job, .. }
            | Self::Confirm(job)
            | Self::CheckStore(job, _) => Next::done(job, Err(error)),
        }
    }
}

/// Acquire the lease of the grant.
#[derive(Clone, Debug)]
pub(crate) struct AcquireLease {
    job: Job,
    begun: Instant,
}

impl AcquireLease {
    pub(crate) fn acquired(self, outcome: Result<LeaseOutcome, Error>) -> Next {
        let Self { job, begun } = self;
        match outcome {
            Ok(LeaseOutcome::Acquired) => Next::Enter(Enter { job }),
            Ok(LeaseOutcome::HeldByAnother) => Load::then(AfterLoad::Lease { job, begun }),
            Err(error) => Next::done(job, Err(error)),
        }
    }
}

/// Acquire a permit of the token endpoint, and then exclude commands.
#[derive(Clone, Debug)]
pub(crate) struct Enter {
    job: Job,
}

impl Enter {
    pub(crate) fn entered(
        self,
        permit: Result<(), Error>,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        let Self { job } = self;
        // The permit or the store may have taken a while.
        if let Err(error) = permit.and_then(|()| state.may_send(&job, m)) {
            return Next::done(job, Err(error));
        }
        if !state.is_of_this_grant(job.conditions) {
            // The refresh was started for a grant that has been replaced.
            return Next::done(job, state.adopted(m));
        }
        // Load again before the refresh token is sent: another replica may have refreshed the
        // grant, and an unavailable store is detected here.
        Load::then(AfterLoad::Confirm(job))
    }
}

/// Save a grant, if the store holds the expected generation.
#[derive(Clone, Debug)]
pub(crate) struct Save {
    expected: Option<Generation>,
    grant: Grant,
    then: AfterSave,
}

#[derive(Clone, Debug)]
enum AfterSave {
    /// The intent, before the refresh token is sent.
    Intent {
        refresh: Refresh,
        intent: Intent,
        attempts: u32,
    },
    /// The intent to replay a response that was lost with this error.
    Replay(Refresh, Error),
    /// The grant without the intent, because the refresh failed with this error.
    Restore(Refresh, Error),
    /// The end of the grant, after the provider's refusal.
    End(Refresh, Error),
    /// The end of the grant, which could not be saved before.
    CheckStore(Job, Error),
}

impl Save {
    fn then(expected: Option<Generation>, grant: Grant, then: AfterSave) -> Next {
        Next::Save(Self {
            expected,
            grant,
            then,
        })
    }

    pub(crate) fn expected(&self) -> Option<Generation> {
        self.expected
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether a failure of the save has an event of its own.
    pub(crate) fn is_of_end(&self) -> bool {
        matches!(self.then, AfterSave::End(..))
    }

    /// Why the grant is saved, for its record.
    pub(crate) fn event(&self) -> HistoryEvent {
        match (&self.then, &self.grant.state) {
            (AfterSave::Replay(_, error), _) => HistoryEvent::ResponseLost(Failure::of(error)),
            (
                AfterSave::Intent { .. },
                GrantState::Refreshing {
                    is_replayed: true, ..
                },
            ) => HistoryEvent::SentAgain,
            (AfterSave::Intent { .. }, _) => HistoryEvent::Sent,
            (
                AfterSave::End(_, error) | AfterSave::CheckStore(_, error),
                GrantState::ReauthorizationRequired { reason, .. },
            ) => HistoryEvent::Ended {
                reason: *reason,
                refusal: Failure::of(error),
            },
            (AfterSave::CheckStore(..), GrantState::Revoked { .. }) => HistoryEvent::Revoked,
            (
                AfterSave::Restore(_, error)
                | AfterSave::End(_, error)
                | AfterSave::CheckStore(_, error),
                _,
            ) => HistoryEvent::Failed(Failure::of(error)),
        }
    }

    pub(crate) fn saved(
        self,
        outcome: Result<SaveOutcome, Error>,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        let Self {
            expected,
            grant,
            then,
        } = self;
        match then {
            AfterSave::Intent {
                refresh,
                intent,
                attempts,
            } => refresh.intent_saved(intent, attempts, expected, outcome, state, m),
            AfterSave::Replay(refresh, error) => match outcome {
                Ok(SaveOutcome::Committed) => {
                    state.publish(Snapshot::of_stored(grant, m), m);
                    refresh.replay(error, state, m)
                }
                Ok(SaveOutcome::Superseded(stored))
                    if stored.as_ref().map(|stored| stored.generation) > Some(grant.generation) =>
                {
                    // Another replica has saved a newer grant.
                    state.response_lost(error, false);
                    state.adopt(stored.as_ref(), m);
                    refresh.adopted(state, m)
                }
                Ok(SaveOutcome::Superseded(_)) | Err(_) => refresh.not_replayed(error, state),
            },
            AfterSave::Restore(refresh, error) => {
                // If this failed, the next start assumes a lost response, which is safe.
                state.publish(Snapshot::of_stored(grant, m), m);
                if let Ok(SaveOutcome::Superseded(stored)) = outcome {
                    state.adopt(stored.as_ref(), m);
                }
                refresh.done(Err(error))
            }
            AfterSave::End(refresh, refusal) => {
                let is_saved = match outcome {
                    Ok(SaveOutcome::Superseded(stored)) => {
                        state.adopt(stored.as_ref(), m);
                        return refresh.adopted(state, m);
                    }
                    Ok(SaveOutcome::Committed) => true,
                    Err(error) => {
                        state.events.push(Event::SaveFailed {
                            error,
                            unsaved: Duration::ZERO,
                            is_first: true,
                        });
                        false
                    }
                };
                state.publish_end(Snapshot::of_stored(grant, m), &refusal, m);
                state.end_of_grant_saved(is_saved);
                let ended = state.held.ended();
                let ended = ended.map(|ended| ended.with_provider_text_of(&refusal));
                refresh.done(Err(ended.unwrap_or(refusal)))
            }
            AfterSave::CheckStore(job, error) => {
                match outcome {
                    Ok(SaveOutcome::Superseded(stored)) => state.adopt(stored.as_ref(), m),
                    Ok(SaveOutcome::Committed) if state.is_end_unsaved => {
                        state.end_of_grant_saved(true);
                    }
                    Ok(SaveOutcome::Committed) | Err(_) => {}
                }
                state.store_checked(job, error, m)
            }
        }
    }
}

/// Send the token request.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    refresh: Refresh,
    /// Whether this attempt has sent the same request before.
    pub(super) is_replay: bool,
    until: Option<SystemTime>,
}

impl Fetch {
    /// Until when the request may be sent, by the wall clock. `None` for no limit.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        self.until
    }

    /// The token set whose refresh token is sent. `None` if there is no grant yet.
    pub(crate) fn tokens(&self) -> Option<&TokenSet> {
        self.refresh.held.tokens()
    }

    pub(crate) fn fetched(
        self,
        response: Result<TokenSet, Error>,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        let Self {
            refresh, is_replay, ..
        } = self;
        match response {
            Ok(tokens) => refresh.persist(tokens, state, m),
            // The response was unusable, but the refresh token in it replaces the one sent (P24).
            Err(error) if error.issued_refresh_token().is_some() => {
                refresh.persist_refresh_token(&error, state, m)
            }
            Err(error) if error.is_response_lost() && !is_replay => {
                refresh.response_lost(error, state, m)
            }
            Err(error) if error.is_response_lost() => refresh.done(Err(error)),
            Err(error) if error.is_invalid_grant() || state.ends_with_access_token(&error, m) => {
                Load::then(AfterLoad::End(refresh, error))
            }
            Err(error) => refresh.restore(error, state, m),
        }
    }
}

/// A refresh that holds the lease, and the grant that it refreshes.
#[derive(Clone, Debug)]
struct Refresh {
    job: Job,
    held: Arc<Snapshot>,
    /// The generation that the next save has to expect.
    expected: Option<Generation>,
    /// `None` if nothing can be lost.
    intent: Option<Intent>,
    /// When the last token request was sent.
    sent: Option<Instant>,
}

impl Refresh {
    /// Saves the intent to refresh the grant that has just been loaded.
    fn begin(job: Job, stored: Option<&Grant>, state: &mut CacheState, m: Moment<'_>) -> Next {
        state.adopt(stored, m);
        if let Some(outcome) = state.without_request(job.reason, m) {
            return Next::done(job, outcome);
        }
        if let Err(error) = state.may_send(&job, m) {
            return Next::done(job, Err(error));
        }
        let held = Arc::clone(&state.held);
        if is_awaiting_expiry(&held, job.reason, m) {
            // This process holds the lease, so no other process is working on that intent.
            state.own_intent = held.intent_since();
            let mut done = Done::new(job, Err(awaiting_expiry()));
            done.is_deferred = true;
            return Next::Done(done);
        }
        if let Err(error) = state.may_be_accepted(job.reason, m) {
            let mut done = Done::new(job, Err(error));
            done.is_deferred = true;
            return Next::Done(done);
        }
        let intent = Intent::to_refresh(&held, m);
        let refresh = Self {
            job,
            held,
            expected: stored.map(|grant| grant.generation),
            intent: None,
            sent: None,
        };
        match intent {
            Some(intent) => refresh.save_intent(intent, INTENT_ATTEMPTS, state),
            None => refresh.send(state, m),
        }
    }

    fn save_intent(self, intent: Intent, attempts: u32, state: &mut CacheState) -> Next {
        state.own_intent = Some(intent.since());
        let (expected, grant) = (self.expected, intent.grant());
        Save::then(
            expected,
            grant,
            AfterSave::Intent {
                refresh: self,
                intent,
                attempts,
            },
        )
    }

    fn intent_saved(
        mut self,
        intent: Intent,
        attempts: u32,
        expected: Option<Generation>,
        outcome: Result<SaveOutcome, Error>,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        match outcome {
            Ok(SaveOutcome::Committed) => {
                state.publish(Snapshot::of_stored(intent.grant(), m), m);
                self.expected = Some(intent.generation());
                self.intent = Some(intent);
                self.send(state, m)
            }
            Ok(SaveOutcome::Superseded(stored)) => {
                let found = stored.as_ref().map(|grant| grant.generation);
                if found >= Some(intent.generation()) && found != expected {
                    // Another replica has saved a newer grant.
                    state.adopt(stored.as_ref(), m);
                    return self.adopted(state, m);
                }
                if attempts <= 1 {
                    return self.done(Err(contended()));
                }
                // The store has gone back to an older state, for example from a backup. That is
                // overwritten.
                self.expected = found;
                self.save_intent(intent, attempts - 1, state)
            }
            Err(error) => self.done(Err(error)),
        }
    }

    fn send(self, state: &mut CacheState, m: Moment<'_>) -> Next {
        if let Some(error) = state.held.ended() {
            // Revoked meanwhile.
            return self.done(Err(error));
        }
        if let Err(error) = state.may_send(&self.job, m) {
            return self.done(Err(error));
        }
        // Saving the intent takes time, in which the reuse grace may have ended.
        let until = self.replayed_until(false, m);
        if until.is_some_and(|until| m.wall > until) {
            return self.done(Err(awaiting_expiry()));
        }
        self.fetch(false, state, m)
    }

    fn fetch(mut self, is_replay: bool, state: &mut CacheState, m: Moment<'_>) -> Next {
        state.refresh_started_at = Some(m.now);
        if state.is_of_this_grant(self.job.conditions)
            && let Some(refresh) = &mut state.refresh
        {
            refresh.has_sent = true;
        }
        self.sent = Some(m.now);
        // Signing the request takes time, too.
        let until = self.replayed_until(is_replay, m);
        Next::Fetch(Fetch {
            refresh: self,
            is_replay,
            until,
        })
    }

    /// Until when the request may be sent, by the wall clock. `None` if it is no replay, or one
    /// that is permitted at any time, such as after the access token's expiry.
    fn replayed_until(&self, is_replay: bool, m: Moment<'_>) -> Option<SystemTime> {
        let intent = self.intent.as_ref()?;
        let first_sent = match self.job.reason {
            // The intent has the time of this request, unless there is a reuse grace.
            Reason::LostResponse(first_sent) => first_sent,
            Reason::Advisory | Reason::KeepAlive(_) if intent.is_in_grace(m) => intent.since(),
            _ if is_replay => intent.since(),
            _ => return None,
        };
        first_sent.checked_add(replay_limit(m))
    }

    /// Replays the refresh token, if that is permitted.
    fn response_lost(self, error: Error, state: &mut CacheState, m: Moment<'_>) -> Next {
        let Some(intent) = &self.intent else {
            return self.done(Err(error));
        };
        // The pause also gives the first connection time to close.
        let pause = state.until_next_request(m).max(error.retry_after());
        let pause = pause.unwrap_or(Duration::ZERO);
        if !intent.may_be_replayed(pause, m) {
            self.not_replayed(error, state)
        } else if pause.is_zero() {
            self.save_replay(error, state, m)
        } else {
            Wait::then(pause, AfterWait::Replay(self, error))
        }
    }

    /// Saves that the refresh token is sent again, with the time of the first request.
    fn save_replay(mut self, error: Error, state: &mut CacheState, m: Moment<'_>) -> Next {
        let intent = match self.intent.take() {
            Some(intent) if state.may_send(&self.job, m).is_ok() => intent.into_replay(),
            intent => {
                self.intent = intent;
                return self.not_replayed(error, state);
            }
        };
        let grant = intent.grant();
        let expected = Some(intent.generation());
        self.intent = Some(intent);
        Save::then(expected, grant, AfterSave::Replay(self, error))
    }

    fn replay(self, error: Error, state: &mut CacheState, m: Moment<'_>) -> Next {
        // Saving the replay also takes time.
        let is_possible = self
            .intent
            .as_ref()
            .is_some_and(|intent| intent.is_recent(m))
            && state.held.ended().is_none()
            && state.may_send(&self.job, m).is_ok();
        if !is_possible {
            return self.not_replayed(error, state);
        }
        state.response_lost(error, true);
        self.fetch(true, state, m)
    }

    fn not_replayed(self, error: Error, state: &mut CacheState) -> Next {
        state.response_lost(error.clone(), false);
        self.done(Err(error))
    }

    /// Removes the intent, because the refresh token was not used.
    fn restore(mut self, error: Error, state: &CacheState, m: Moment<'_>) -> Next {
        // Without the lease, the store may hold the intent of another process.
        let has_lease = state.may_send(&self.job, m).is_ok();
        let intent = self.intent.take().filter(|_| has_lease);
        match intent.and_then(Intent::removed) {
            Some(grant) => Save::then(
                Some(grant.generation),
                grant,
                AfterSave::Restore(self, error),
            ),
            None => self.done(Err(error)),
        }
    }

    /// The provider rejected the refresh token, or there is none: ends the grant, unless another
    /// process has refreshed it.
    fn end(
        self,
        stored: Option<&Grant>,
        refusal: Error,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        if stored.map(|grant| grant.generation) > self.expected.max(self.held.generation()) {
            state.adopt(stored, m);
            return self.adopted(state, m);
        }
        let Some(tokens) = self.held.tokens() else {
            return self.done(Err(refusal));
        };
        let grant = Grant::new(
            self.next_generation(),
            GrantState::ReauthorizationRequired {
                tokens: state.tokens_at_end(tokens),
                reason: self.reason_of_end(&refusal, m.wall),
                since: m.wall,
            },
        );
        Save::then(self.expected, grant, AfterSave::End(self, refusal))
    }

    fn reason_of_end(&self, refusal: &Error, wall: SystemTime) -> ReauthorizationReason {
        if refusal.kind() == ErrorKind::NoGrant {
            return ReauthorizationReason::NoRefreshToken;
        }
        if self.intent.as_ref().is_some_and(Intent::is_replay) {
            ReauthorizationReason::RotationLost
        } else if self
            .held
            .refresh_token()
            .is_some_and(|expiry| expiry.left(wall).is_zero())
        {
            ReauthorizationReason::RefreshTokenExpired
        } else {
            ReauthorizationReason::InvalidGrant
        }
    }

    fn persist(self, tokens: TokenSet, state: &mut CacheState, m: Moment<'_>) -> Next {
        let sent = self.sent.unwrap_or(m.now);
        if let Reason::Rejected(_) = self.job.reason {
            // Only after a success: a failure has its own backoff, and is no reason to keep a
            // rejected token in use.
            state.record_forced_refresh(sent, self.next_generation());
        }
        let of_new = |grant| Snapshot::of_new(grant, sent, m);
        self.save_token_set(tokens, of_new, None, m)
    }

    /// Saves the refresh token of a response whose access token cannot be used. The held access
    /// token stays, with its own expiry, and the refresh has failed.
    fn persist_refresh_token(self, error: &Error, state: &CacheState, m: Moment<'_>) -> Next {
        let failure = error.without_refresh_token();
        let (Some(held), Some((refresh_token, issued_at))) =
            (self.held.tokens(), error.issued_refresh_token())
        else {
            // Without a grant there is no access token to keep.
            return self.restore(failure, state, m);
        };
        let tokens = held.with_rotated(refresh_token, issued_at);
        let is_in_use = self.held.is_in_use();
        let of_held = |grant| {
            let fresh = Snapshot::of_stored(grant, m);
            if is_in_use {
                fresh.mark_used();
            }
            fresh
        };
        self.save_token_set(tokens, of_held, Some(failure), m)
    }

    fn save_token_set(
        self,
        tokens: TokenSet,
        snapshot: impl FnOnce(Grant) -> Snapshot,
        failure: Option<Error>,
        m: Moment<'_>,
    ) -> Next {
        let generation = self.next_generation();
        let token = BearerToken::new(&tokens, generation, m.delivery);
        let grant = Grant::new(generation, GrantState::Active(tokens));
        Next::Persist(Persist {
            refresh: self,
            fresh: snapshot(grant.clone()),
            grant,
            token,
            since: m.now,
            pause: Duration::ZERO,
            is_used: false,
            report: None,
            failure,
        })
    }

    fn next_generation(&self) -> Generation {
        next_generation(self.held.generation(), self.expected)
    }

    /// Another replica's grant was adopted.
    fn adopted(self, state: &CacheState, m: Moment<'_>) -> Next {
        Next::done(self.job, state.adopted(m))
    }

    fn done(self, outcome: Outcome) -> Next {
        let mut done = Done::new(self.job, outcome);
        done.has_sent = self.sent.is_some();
        Next::Done(done)
    }
}

/// Save a new token set before requests use it. If no other token serves, it is used before it is
/// saved.
#[derive(Clone, Debug)]
pub(crate) struct Persist {
    refresh: Refresh,
    fresh: Snapshot,
    grant: Grant,
    token: BearerToken,
    /// When the response arrived.
    since: Instant,
    /// The pause before this attempt.
    pause: Duration,
    /// Whether requests use the token set already.
    is_used: bool,
    report: Option<Report>,
    /// Why the access token of the response cannot be used. `None` if it can.
    failure: Option<Error>,
}

impl Persist {
    pub(crate) fn expected(&self) -> Option<Generation> {
        self.refresh.expected
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Why the grant is saved, for its record.
    pub(crate) fn event(&self) -> HistoryEvent {
        let failure = self.failure.as_ref().map(Failure::of);
        failure.map_or(HistoryEvent::Refreshed, HistoryEvent::Failed)
    }

    /// The pause before the save. Zero for the first attempt.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// Takes the report to the waiters before the save is complete.
    pub(crate) fn take_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// Whether requests use the token set already.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Lets requests use the token set unsaved, because no other token serves. Returns the
    /// report to the waiters.
    pub(crate) fn use_unsaved(&mut self, state: &mut CacheState, m: Moment<'_>) -> Report {
        self.is_used = true;
        state.publish(self.fresh.clone(), m);
        let outcome = if !self.is_held(state) {
            // The grant was revoked or replaced meanwhile.
            state.adopted(m)
        } else if let Some(failure) = &self.failure {
            Err(failure.clone())
        } else if state.held.alive(m.now).is_some() {
            Ok(self.token.clone())
        } else {
            Err(unsaved())
        };
        self.reported(Report::Done(outcome), state)
    }

    /// Takes the result of the save. `is_urgent` says whether a waiter has seen the held token
    /// rejected, and `is_abandoned` whether the last handle of the cache was dropped.
    pub(crate) fn saved(
        mut self,
        outcome: Result<SaveOutcome, Error>,
        is_urgent: bool,
        is_abandoned: bool,
        state: &mut CacheState,
        m: Moment<'_>,
    ) -> Next {
        let waited = m.now.saturating_duration_since(self.since);
        match outcome {
            Ok(SaveOutcome::Committed) => return self.committed(state, m),
            // An earlier attempt was committed although it failed.
            Ok(SaveOutcome::Superseded(Some(stored))) if stored == self.grant => {
                return self.committed(state, m);
            }
            Ok(SaveOutcome::Superseded(stored)) => {
                match Conflict::between(&self.refresh.held, &self.fresh, stored.as_ref()) {
                    Conflict::Overwrite => {}
                    Conflict::Adopt => {
                        state.adopt(stored.as_ref(), m);
                        return self.refresh.adopted(state, m);
                    }
                    Conflict::Discard => {
                        state.adopt(stored.as_ref(), m);
                        return self.discard();
                    }
                }
                self.refresh.expected = stored.map(|grant| grant.generation);
                let generation = self.refresh.next_generation();
                self.fresh = self.fresh.with_generation(generation);
                self.grant.generation = generation;
                self.token = self.token.with_generation(generation);
            }
            Err(error) => {
                state.events.push(Event::SaveFailed {
                    error: error.clone(),
                    unsaved: waited,
                    is_first: self.pause.is_zero(),
                });
                if self.is_used {
                    // All waiters have the token already.
                } else if state.can_wait(is_urgent, m) {
                    self.report = Some(self.reported(Report::Deferred(error), state));
                } else {
                    self.report = Some(self.use_unsaved(state, m));
                }
            }
        }
        if is_abandoned && waited > ABANDONED_SAVE_LIMIT {
            return self.refresh.done(Err(Error::new(
                ErrorKind::Store,
                "a new token set could not be saved before its cache was dropped; the customer may have to consent again",
            )));
        }
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        Next::Persist(self)
    }

    fn committed(self, state: &mut CacheState, m: Moment<'_>) -> Next {
        state.publish(self.fresh.clone(), m);
        if state.commands.is_revoked_locally() {
            // Saving the end failed before, and the store has just saved the opposite.
            return Next::SaveRevocation(SaveRevocation(self));
        }
        if !self.is_held(state) {
            // The grant was revoked or replaced meanwhile.
            return self.refresh.done(state.adopted(m));
        }
        if let Some(failure) = self.failure {
            return self.refresh.done(Err(failure));
        }
        let tokens = self.grant.tokens();
        state.events.push(Event::Refreshed {
            generation: self.grant.generation,
            lifetime: tokens.and_then(TokenSet::lifetime),
        });
        // A token that expired while it was being saved serves the waiters only if that was quick.
        let is_late = m.now.saturating_duration_since(self.since) > GRACE;
        if is_late && state.held.alive(m.now).is_none() {
            return self.refresh.done(Err(Error::new(
                ErrorKind::Unavailable,
                "the new access token expired while it was being saved; retry",
            )));
        }
        self.refresh.done(Ok(self.token))
    }

    /// Whether requests use the new token set. A grant that replaced the refreshed one may have the
    /// same generation.
    fn is_held(&self, state: &CacheState) -> bool {
        let held = &state.held;
        held.generation() == Some(self.grant.generation) && held.tokens() == self.grant.tokens()
    }

    fn discard(self) -> Next {
        Next::Discard(Discard(self))
    }

    /// Records a report to the waiters, for callers that join later.
    fn reported(&self, report: Report, state: &mut CacheState) -> Report {
        if state.is_current(self.refresh.job.conditions)
            && let Some(refresh) = &mut state.refresh
        {
            refresh.report = Some(report.clone());
        }
        report
    }
}

/// Save the end of a grant that was revoked while its refresh was being saved.
#[derive(Clone, Debug)]
pub(crate) struct SaveRevocation(Persist);

impl SaveRevocation {
    /// Whether the end is still to be saved, once no command runs. A consent that was installed
    /// meanwhile must not be overwritten, and neither one that was stored after the end.
    pub(crate) fn is_needed(&self, state: &CacheState) -> bool {
        state.is_of_this_grant(self.0.refresh.job.conditions) && state.commands.is_revoked_locally()
    }

    pub(crate) fn saved(self, outcome: Result<(), Error>, state: &mut CacheState) -> Next {
        if let Err(error) = outcome {
            state.events.push(Event::SaveFailed {
                error,
                unsaved: Duration::ZERO,
                is_first: true,
            });
        }
        self.0.discard()
    }
}

/// Revoke tokens that arrived for a grant that was revoked meanwhile. No request may use them.
#[derive(Clone, Debug)]
pub(crate) struct Discard(Persist);

impl Discard {
    pub(crate) fn tokens(&self) -> Option<&TokenSet> {
        self.0.grant.tokens()
    }

    pub(crate) fn discarded(self, state: &CacheState) -> Next {
        let ended = state.held.ended();
        let error =
            ended.unwrap_or_else(|| Error::new(ErrorKind::Revoked, "the grant was revoked"));
        self.0.refresh.done(Err(error))
    }
}

impl CacheState {
    fn response_lost(&mut self, error: Error, is_replayed: bool) {
        let is_news = self.reported.is_news(&error);
        self.events.push(Event::ResponseLost {
            error,
            is_replayed,
            is_news,
        });
    }

    /// Fails unless this process certainly has the right to send a refresh token, and this is the
    /// refresh that may use it.
    fn may_send(&self, job: &Job, m: Moment<'_>) -> Result<(), Error> {
        if self.has_stalled(job.conditions) {
            return Err(stands_still());
        }
        self.lease.check(m)
    }

    /// The result of a refresh that need not or cannot send a request.
    fn without_request(&self, reason: Reason, m: Moment<'_>) -> Option<Outcome> {
        if let Some(token) = self.held.token_for(reason, m.now) {
            return Some(Ok(token.clone()));
        }
        self.held.ended().map(Err)
    }

    /// The result for the waiters after another replica's grant was adopted.
    fn adopted(&self, m: Moment<'_>) -> Outcome {
        match self.held.alive(m.now) {
            Some(token) => Ok(token.clone()),
            None => Err(self.held.ended().unwrap_or_else(|| {
                Error::new(
                    ErrorKind::Unavailable,
                    "the access token that another replica saved has already expired",
                )
            })),
        }
    }

    /// The end of a store check, after a refresh was denied with `error`.
    fn store_checked(&self, job: Job, error: Error, m: Moment<'_>) -> Next {
        let found = match job.reason {
            Reason::Mandatory => self.held.alive(m.now),
            reason => self.held.token_for(reason, m.now),
        };
        let outcome = found
            .cloned()
            .ok_or_else(|| self.held.ended().unwrap_or(error));
        Next::done(job, outcome)
    }

    /// How long until the next token request may be sent. `None` if it may be sent now.
    fn until_next_request(&self, m: Moment<'_>) -> Option<Duration> {
        let next = self
            .refresh_started_at?
            .later(m.policy.min_refresh_interval);
        next.checked_duration_since(m.now)
    }

    /// Whether the held token serves while a new one is being saved: it is alive, and no waiter has
    /// seen it rejected.
    pub(crate) fn can_wait(&self, is_urgent: bool, m: Moment<'_>) -> bool {
        !is_urgent && self.held.alive(m.now).is_some()
    }
}

fn leased_elsewhere() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "another process holds the lease on this grant, and has saved no newer token set in time",
    )
}

/// The error of a save that lost every race.
pub(crate) fn contended() -> Error {
    Error::new(
        ErrorKind::Store,
        "saving the grant failed: other processes change it all the time; check which programs share its store",
    )
}
