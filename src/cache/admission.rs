//! Single flight: one refresh at a time, whatever the reason.
//!
//! [`request_refresh`](Core::request_refresh) is the only way to start a refresh. Under the state
//! lock it checks again that a refresh is needed and permitted, then joins the one in flight or
//! spawns a task for a new one.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::runtime::Handle;
use tracing::Instrument;

use super::{
    backoff::Urgency,
    cache_state::CacheState,
    core::Core,
    refresh,
    single_flight::{Leader, Outcome, SingleFlight},
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    token::Generation,
};

/// The shortest time between two refreshes of one grant that 401 responses cause.
pub(super) const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest time between two store checks while requests fail.
const STORE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two store checks while no request depends on the result.
const BACKGROUND_STORE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Why a refresh is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The token is in its advisory window.
    Advisory,
    /// The token is in its mandatory window, has expired, or is absent.
    Mandatory,
    /// A request with this generation got a 401.
    Rejected(Generation),
    /// The program requests a newer generation than this.
    Manual(Option<Generation>),
    /// The grant with this generation is idle, and its refresh token must be kept alive.
    KeepAlive(Option<Generation>),
    /// The response to the refresh that started at this time was lost, perhaps by another process.
    LostResponse(SystemTime),
}

impl Reason {
    /// Whether no caller waits for the result.
    pub(super) fn is_background(self) -> bool {
        matches!(
            self,
            Self::Advisory | Self::KeepAlive(_) | Self::LostResponse(_)
        )
    }
}

/// The work of a spawned task.
enum Task {
    Refresh,
    /// A refresh is denied with this error, so only load what another replica may have saved.
    CheckStore(Error),
}

/// The result of requesting a refresh.
pub(super) enum Admission {
    /// No refresh is needed, or none is permitted.
    Done(Outcome),
    /// A refresh or store check is in flight.
    Joined(SingleFlight),
}

impl Core {
    /// Returns the held token or an error at once, or joins or starts a refresh.
    pub(super) fn request_refresh(self: &Arc<Self>, reason: Reason) -> Admission {
        let now = self.now();
        let mut state = self.lock();
        let snapshot = self.snapshot();
        if state.is_revoked_locally
            && let Some(error) = snapshot.ended()
        {
            return Admission::Done(Err(error));
        }
        // A refresh may have completed between the caller's check and this lock.
        if let Some(token) = snapshot.token_for(reason, now) {
            return Admission::Done(Ok(token.clone()));
        }
        // A refresh of a grant that has ended meanwhile yields no token.
        if let Some(flight) = &state.refresh
            && snapshot.ended().is_none()
        {
            return flight.join(reason, &snapshot, now);
        }
        if state.is_shut_down {
            return Admission::Done(Err(snapshot.ended().unwrap_or_else(shut_down)));
        }
        if let Reason::Rejected(generation) = reason {
            state.rejected = Some(generation);
        }
        let task = match self.denied(&state, &snapshot, reason, now) {
            Ok(()) => Task::Refresh,
            Err((error, None)) => return Admission::Done(Err(error)),
            Err((error, Some(interval))) => {
                if let Some(flight) = &state.store_check {
                    return Admission::Joined(SingleFlight::clone(flight));
                }
                if is_within(interval, state.store_checked_at, now) {
                    return Admission::Done(Err(error));
                }
                Task::CheckStore(error)
            }
        };
        let Ok(runtime) = Handle::try_current() else {
            return Admission::Done(Err(Error::outside_of_a_runtime()));
        };
        self.ensure_worker(&mut state);
        let only_checks_store = matches!(task, Task::CheckStore(_));
        let label = self.label(reason, now);
        let (leader, flight) =
            Leader::start(self, label, reason, only_checks_store, state.consent_epoch);
        let in_flight = if only_checks_store {
            &mut state.store_check
        } else {
            &mut state.refresh
        };
        *in_flight = Some(Box::new(flight.clone()));
        state.work += 1;
        drop(state);
        let run = async move {
            let outcome = match task {
                Task::Refresh => refresh::refresh(&leader, reason).await,
                Task::CheckStore(error) => refresh::check_store(&leader.core, reason, error).await,
            };
            leader.complete(outcome);
        };
        runtime.spawn(run.instrument(self.telemetry.refresh_span(label)));
        Admission::Joined(flight)
    }

    /// Waits for a refresh that was joined for `reason`, and requests another one if it was started
    /// under conditions that do not hold for `reason`.
    pub(super) async fn outcome_of(
        self: &Arc<Self>,
        flight: SingleFlight,
        reason: Reason,
    ) -> Outcome {
        let (is_background, consent, secret_epoch) =
            (flight.is_background, flight.consent, flight.secret_epoch);
        let outcome = flight.outcome().await;
        // The grant may have been replaced meanwhile.
        let is_of_this_grant = self.lock().consent_epoch == consent;
        // The client secret may have been replaced meanwhile.
        let is_outdated = self.secret_epoch() != secret_epoch
            && outcome.as_ref().is_err_and(Error::is_invalid_client);
        // A background refresh may give up where another one would not.
        if is_of_this_grant && !is_background && !is_outdated {
            return outcome;
        }
        match self.request_refresh(reason) {
            Admission::Done(outcome) => outcome,
            Admission::Joined(flight) => flight.outcome().await,
        }
    }

    /// Fails if no refresh is permitted for `reason` now.
    ///
    /// The duration in the error is the shortest time between two store checks. It is `None` if
    /// another replica cannot help.
    fn denied(
        &self,
        state: &CacheState,
        snapshot: &Snapshot,
        reason: Reason,
        now: Instant,
    ) -> Result<(), (Error, Option<Duration>)> {
        if let Some(error) = snapshot.ended() {
            return Err((error, Some(STORE_CHECK_INTERVAL)));
        }
        if matches!(reason, Reason::KeepAlive(_)) && snapshot.grant().is_none() {
            return Err((
                refresh::grant_unknown(),
                Some(BACKGROUND_STORE_CHECK_INTERVAL),
            ));
        }
        if self.seems_awaiting_expiry(state, snapshot, reason, now) {
            return Err((
                refresh::awaiting_expiry(),
                Some(BACKGROUND_STORE_CHECK_INTERVAL),
            ));
        }
        let urgency = self.urgency(reason, now);
        let interval = (urgency == Urgency::Blocking).then_some(STORE_CHECK_INTERVAL);
        if matches!(reason, Reason::Rejected(_))
            && is_within(FORCED_REFRESH_INTERVAL, state.forced_refresh_at, now)
        {
            return Err((refresh::rejected_again(), interval));
        }
        state
            .backoff
            .check(now, self.secret_epoch(), urgency)
            .map_err(|error| (error, interval))
    }

    /// Counts a refresh, store check or command as ended.
    pub(super) fn finish_work(&self, state: &mut CacheState) {
        state.work -= 1;
        if state.work == 0 {
            self.idle.notify_waiters();
        }
    }
}

pub(super) fn is_within(interval: Duration, last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now < last + interval)
}

pub(super) fn shut_down() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the token cache is shut down: it starts no refresh and no command",
    )
}
