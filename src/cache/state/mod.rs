//! The decisions of a cache, as values with methods.
//!
//! Nothing here waits, locks, reads a clock or emits telemetry. Each method gets the current
//! [`Moment`], and its result says what is to be done:
//!
//! | a method | decides | its driver |
//! | --- | --- | --- |
//! | [`CacheState::request`] | whether a caller gets the held token or an error, or joins or starts a refresh | `request.rs` |
//! | [`Next`] | the next step of one refresh, from the result of the last one | `refresh.rs` |
//! | [`CacheState::retry`] | the token for the retry after a 401, and the pause before it | `acquire.rs` |
//! | [`CacheState::adopt`] | whether requests use a stored grant | `core.rs` publishes it |
//! | [`CacheState::finish`] | the backoff after a refresh | `refresh.rs` |
//! | [`CacheState::consented`] | what a new consent does to the stored grant | `command.rs` |
//! | [`CacheState::plan`] | what the background task does, and when it is due again | `worker.rs` |
//! | [`CacheState::status`] | what the program sees | `mod.rs` |
//!
//! The tests run the same values through every interleaving of three replicas, with crashes, lost
//! responses and store failures: see `explore`.

use std::{
    mem,
    sync::Arc,
    time::{Instant, SystemTime},
};

mod attempt;
mod backoff;
mod commands;
mod conflict;
mod consent;
mod event;
mod eviction;
mod finish;
mod forced;
mod grant_command;
mod intent;
mod job;
mod lease;
mod lost_response;
mod moment;
mod offer;
mod plan;
mod propagation;
mod reason;
mod refresh_token_expiry;
mod refresh_window;
mod rejection;
mod reported;
mod request;
mod schedule;
mod snapshot;
mod status;
mod status_as_data;
mod stuck;
mod suspicion;
#[cfg(test)]
mod tests;
mod unrefreshable;

pub(crate) use self::{
    attempt::{GRACE, Next, Persist, contended},
    commands::{NotInstalled, Sequence},
    consent::{
        About, Consent, Decided, missing_refresh_token, other_addresses, refresh_token_missing,
    },
    event::Event,
    job::{Conditions, Done, Job, Report, interrupted},
    moment::{Moment, Policy},
    propagation::ApiPropagation,
    reason::Reason,
    refresh_token_expiry::RefreshTokenExpiry,
    refresh_window::RefreshWindow,
    request::Admission,
    snapshot::{ADVISORY_REQUEST_INTERVAL, Outcome, Snapshot},
};
use self::{
    backoff::Backoff, commands::Commands, forced::Forced, job::InFlight, lease::Lease,
    reported::Reported, suspicion::Suspicion,
};
pub use self::{
    lost_response::LostResponse,
    status::{Status, TokenState},
};
use crate::{
    error::{Error, ErrorKind},
    store::LeaseOutcome,
    token::Generation,
};

/// The mutable state of one cache. Rare values are boxed, because each of many idle grants has a
/// state.
#[derive(Clone, Debug)]
pub(crate) struct CacheState {
    /// The newest known grant. Requests read the same snapshot.
    held: Arc<Snapshot>,
    /// The refresh in flight. No other one starts meanwhile.
    refresh: Option<Box<InFlight>>,
    is_checking_store: bool,
    /// When the last store check ended.
    store_checked_at: Option<Instant>,
    backoff: Backoff,
    reported: Reported,
    /// Whether the end of the grant could not be saved when this process detected it.
    is_end_unsaved: bool,
    /// When the last token request was started.
    refresh_started_at: Option<Instant>,
    /// The last successful refresh after a 401. Boxed, because most caches have none.
    forced: Option<Box<Forced>>,
    /// The start time in the intent that this process saved. Another process may still be working
    /// on any other intent.
    own_intent: Option<SystemTime>,
    /// The generation that the API rejected last.
    rejected: Option<Generation>,
    /// The first rejection of a token that cannot be replaced. Boxed, because few caches have one.
    suspicion: Option<Box<Suspicion>>,
    /// The last expiry event: when the refresh token expires, and how many days were left.
    reported_expiry: Option<Box<(SystemTime, u64)>>,
    commands: Commands,
    lease: Lease,
    /// Whether new work is rejected.
    is_shut_down: bool,
    /// How many refreshes, store checks and commands are running.
    work: u32,
    /// How many refreshes were given up because their runtimes stood still.
    stalls: u32,
    /// The changes that telemetry has not reported yet, oldest first.
    events: Vec<Event>,
}

impl Default for CacheState {
    fn default() -> Self {
        Self {
            held: Arc::new(Snapshot::EMPTY),
            refresh: None,
            is_checking_store: false,
            store_checked_at: None,
            backoff: Backoff::default(),
            reported: Reported::default(),
            is_end_unsaved: false,
            refresh_started_at: None,
            forced: None,
            own_intent: None,
            rejected: None,
            suspicion: None,
            reported_expiry: None,
            commands: Commands::default(),
            lease: Lease::default(),
            is_shut_down: false,
            work: 0,
            stalls: 0,
            events: Vec::new(),
        }
    }
}

impl CacheState {
    pub(crate) fn held(&self) -> &Arc<Snapshot> {
        &self.held
    }

    /// Removes the events that were not emitted yet.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.events)
    }

    pub(crate) fn is_refreshing(&self) -> bool {
        self.refresh.is_some()
    }

    pub(crate) fn is_checking_store(&self) -> bool {
        self.is_checking_store
    }

    /// Whether the grant that a job was started for has not been replaced meanwhile.
    fn is_of_this_grant(&self, conditions: Conditions) -> bool {
        self.commands.consent_epoch() == conditions.consent
    }

    /// Whether a refresh was given up meanwhile, because its runtime stood still. If it continues,
    /// it has to behave like one in another process that lost its lease.
    fn has_stalled(&self, conditions: Conditions) -> bool {
        self.stalls != conditions.stalls
    }

    /// Whether a refresh is the one in flight.
    fn is_current(&self, conditions: Conditions) -> bool {
        self.is_of_this_grant(conditions) && !self.has_stalled(conditions)
    }

    /// Gives up the refresh in flight, because its runtime stands still. The next one may start.
    ///
    /// A refresh token that it has sent counts as lost, as after a crash.
    pub(crate) fn refresh_stalled(&mut self) {
        let Some(refresh) = self.refresh.take() else {
            return;
        };
        self.stalls = self.stalls.wrapping_add(1);
        // The stalled refresh counts as a user of the lease no longer.
        self.lease = Lease::default();
        let error = stands_still();
        let is_news = self.reported.is_news(&error);
        self.events.push(Event::RefreshFailed {
            label: refresh.label,
            error,
            is_news,
        });
    }

    /// Gives up the store check in flight, because its runtime stands still.
    pub(crate) fn store_check_stalled(&mut self, m: Moment<'_>) {
        self.is_checking_store = false;
        self.store_checked_at = Some(m.now);
    }
}

/// Work, and its end.
impl CacheState {
    /// Counts a command as running, unless the cache has shut down.
    pub(crate) fn begin_command(&mut self) -> Result<(), Error> {
        if self.is_shut_down {
            return Err(shut_down());
        }
        self.work += 1;
        Ok(())
    }

    pub(crate) fn end_command(&mut self) {
        self.work -= 1;
    }

    /// Whether no refresh, store check or command is running.
    pub(crate) fn is_idle(&self) -> bool {
        self.work == 0
    }

    /// Rejects new work from now on.
    pub(crate) fn shut_down(&mut self) {
        self.is_shut_down = true;
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }
}

/// The lease of this process on the grant.
impl CacheState {
    /// Counts a refresh as a user of the lease. Returns what [`owns_lease`](Self::owns_lease)
    /// needs.
    pub(crate) fn begin_lease_use(&mut self) -> u32 {
        self.lease.begin_use();
        self.stalls
    }

    pub(crate) fn end_lease_use(&mut self, begun: u32) {
        if self.owns_lease(begun) {
            self.lease.end_use();
        }
    }

    /// Whether a refresh that began to use the lease then may still extend and release it. It may
    /// not if it stalled: the lease is that of the next refresh.
    pub(crate) fn owns_lease(&self, begun: u32) -> bool {
        self.stalls == begun
    }

    pub(crate) fn is_lease_used(&self) -> bool {
        self.lease.is_used()
    }

    /// Records the result of a request for the lease that was made at `requested`.
    pub(crate) fn lease_acquired(&mut self, outcome: LeaseOutcome, requested: Moment<'_>) {
        self.lease.acquired(outcome, requested);
    }

    /// Records the result of a request to extend the lease that was made at `requested`.
    pub(crate) fn lease_extended(&mut self, outcome: LeaseOutcome, requested: Moment<'_>) {
        self.lease.extended(outcome, requested);
    }

    pub(crate) fn lease_released(&mut self) {
        self.lease.released();
    }
}

/// The generation after the held and the stored one.
pub(crate) fn next_generation(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}

fn stands_still() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "a refresh was given up after 10 seconds in which its runtime stood still; set a runtime that runs until the program ends",
    )
}

fn shut_down() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the token cache is shut down: it starts no refresh and no command",
    )
}
