//! The admission of a request for a refresh. This is the only way to start one.

use std::time::{Duration, Instant};

use super::{
    CacheState,
    backoff::Urgency,
    intent::{awaiting_expiry, has_grace, is_awaiting_expiry, replayed_recently},
    job::{Conditions, InFlight, Job, Report, unsaved},
    moment::{Moment, is_within},
    propagation::propagating,
    reason::Reason,
    rejection::rejected_again,
    shut_down,
    snapshot::{Outcome, Snapshot},
};
use crate::error::{Error, ErrorKind, ResponseDetails};

/// The shortest time between two store checks while requests fail.
const STORE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two store checks while no request depends on the result.
const BACKGROUND_STORE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// The result of requesting a refresh.
#[derive(Clone, Debug)]
pub(crate) enum Admission {
    /// No refresh is needed, or none is permitted.
    Done(Outcome),
    /// Wait for the refresh in flight.
    JoinRefresh {
        demand: Demand,
        /// Whether the held token is of no use to this waiter, so that a
        /// [`Deferred`](Report::Deferred) result is none.
        ignores_deferral: bool,
    },
    /// Wait for the store check in flight.
    JoinStoreCheck,
    /// Start a job, unless there is no runtime.
    Start(Job, Demand),
}

/// How much depends on a job in flight. Callers that join raise it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Whether a caller waits for the result.
    pub(crate) is_awaited: bool,
    /// Whether the held token was rejected, so that it is no reason to defer the new one.
    pub(crate) is_urgent: bool,
}

impl CacheState {
    /// Decides whether a caller gets the held token or an error at once, or joins or starts a
    /// refresh.
    pub(crate) fn request(&mut self, reason: Reason, m: Moment<'_>) -> Admission {
        self.backoff.observe(m.recoveries);
        if self.commands.is_revoked_locally()
            && let Some(error) = self.held.ended()
        {
            return Admission::Done(Err(error));
        }
        // A refresh may have completed since the caller looked.
        if let Some(token) = self.held.token_for(reason, m.now) {
            return Admission::Done(Ok(token.clone()));
        }
        if let Reason::Rejected(rejected) = reason
            && self.held.is_token_of(rejected)
            && !self.held.is_propagating(rejected, m.now)
        {
            self.record_rejection(rejected, m);
        }
        let held = &*self.held;
        // A refresh of a grant that has ended meanwhile yields no token.
        if let Some(refresh) = &self.refresh
            && held.ended().is_none()
        {
            if let Reason::Rejected(rejected) = reason
                && held.is_propagating(rejected, m.now)
            {
                // The refreshed token would be even newer.
                return Admission::Done(Err(propagating(m.policy)));
            }
            return join(held, refresh.report.as_ref(), reason, m.now);
        }
        if self.is_shut_down {
            return Admission::Done(Err(held.ended().unwrap_or_else(shut_down)));
        }
        let denied = match self.denied(reason, m) {
            Ok(()) => None,
            Err((error, None)) => return Admission::Done(Err(error)),
            Err(_) if self.is_checking_store => return Admission::JoinStoreCheck,
            Err((error, Some(interval))) if is_within(interval, self.store_checked_at, m.now) => {
                return Admission::Done(Err(error));
            }
            Err((error, Some(_))) => Some(error),
        };
        let job = Job {
            reason,
            label: self.label(reason, m.now),
            since: m.now,
            conditions: Conditions {
                is_background: reason.is_background(),
                consent: self.commands.consent_epoch(),
                secret_epoch: m.secret_epoch,
                stalls: self.stalls,
            },
            denied,
        };
        let demand = Demand {
            is_awaited: !reason.is_background(),
            is_urgent: matches!(reason, Reason::Rejected(_)),
        };
        Admission::Start(job, demand)
    }

    /// Records that the job of an [`Admission::Start`] is in flight.
    pub(crate) fn start(&mut self, job: &Job) {
        self.work += 1;
        if job.is_store_check() {
            self.is_checking_store = true;
        } else {
            self.refresh = Some(Box::new(InFlight {
                label: job.label,
                ..InFlight::default()
            }));
        }
    }

    /// Whether the result of a job holds for a waiter that joined it, although the job was started
    /// under these conditions.
    pub(crate) fn is_conclusive(
        &self,
        conditions: Conditions,
        outcome: &Outcome,
        secret_epoch: u64,
    ) -> bool {
        // The client secret or the signer may have been replaced meanwhile.
        let is_outdated = secret_epoch != conditions.secret_epoch
            && outcome.as_ref().is_err_and(Error::is_of_credentials);
        // Another replica may have saved a new consent, whose access token has expired.
        let is_replaced = outcome.as_ref().is_err_and(Error::is_end_of_grant)
            && self
                .held
                .grant()
                .is_some_and(|grant| grant.state.is_refreshable());
        // A background refresh may give up where another one would not, unless it sent a request.
        self.is_of_this_grant(conditions)
            && !conditions.is_background
            && !is_outdated
            && !is_replaced
    }

    /// Fails if no refresh is permitted for `reason` now.
    ///
    /// The duration in the error is the shortest time between two store checks. It is `None` if
    /// another replica cannot help.
    fn denied(&self, reason: Reason, m: Moment<'_>) -> Result<(), (Error, Option<Duration>)> {
        let held = &self.held;
        if let Some(error) = held.ended() {
            return Err((error, Some(STORE_CHECK_INTERVAL)));
        }
        if let Reason::Rejected(rejected) = reason
            && held.is_propagating(rejected, m.now)
        {
            // Another replica may have saved a newer token, or the end.
            return Err((propagating(m.policy), Some(STORE_CHECK_INTERVAL)));
        }
        if let Err(error) = self.may_be_accepted(reason, m) {
            // Another replica may have saved a newer token.
            return Err((error, Some(STORE_CHECK_INTERVAL)));
        }
        if matches!(reason, Reason::KeepAlive(_)) && held.grant().is_none() {
            return Err((grant_unknown(), Some(BACKGROUND_STORE_CHECK_INTERVAL)));
        }
        // Without the lease, another process may still be working on its intent.
        let is_lost = held
            .intent_since()
            .is_some_and(|since| !self.may_be_in_flight(since, m));
        if is_lost && is_awaiting_expiry(held, reason, m) {
            return Err((awaiting_expiry(), Some(BACKGROUND_STORE_CHECK_INTERVAL)));
        }
        let urgency = self.urgency(reason, m);
        let is_awaited = urgency == Urgency::Blocking && !reason.is_background();
        let interval = is_awaited.then_some(STORE_CHECK_INTERVAL);
        let is_replay = matches!(reason, Reason::LostResponse(_)) && held.is_replayed();
        if is_replay && !self.until_replay(m).is_zero() {
            return Err((replayed_recently(), None));
        }
        if matches!(reason, Reason::Rejected(_)) && self.is_forced_recently(m) {
            return Err((rejected_again(), interval));
        }
        self.backoff
            .check(m.now, m.secret_epoch, urgency)
            .map_err(|error| (error, interval))
    }

    /// Fails before the time at which the provider accepts a refresh.
    ///
    /// Also after a 401, and if the program requests the refresh: the provider would refuse it, and
    /// may count that against the application. A replay continues a refresh that was sent in time.
    pub(super) fn may_be_accepted(&self, reason: Reason, m: Moment<'_>) -> Result<(), Error> {
        let held = &self.held;
        if matches!(reason, Reason::LostResponse(_)) || !held.has_known_lifetime() {
            return Ok(());
        }
        let accepted_at = held
            .token()
            .and_then(|(_, schedule)| schedule.accepted_at(m.policy.refresh_window));
        match accepted_at.and_then(|at| at.checked_duration_since(m.now)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(pause) => Err(too_early(pause)),
        }
    }

    /// How much depends on a refresh now.
    fn urgency(&self, reason: Reason, m: Moment<'_>) -> Urgency {
        match reason {
            // The grace may be short, and the replays have pauses of their own.
            Reason::LostResponse(_) if has_grace(m) => Urgency::Blocking,
            Reason::Advisory | Reason::KeepAlive(_) | Reason::LostResponse(_) => Urgency::Advisory,
            Reason::Mandatory if self.held.alive(m.now).is_some() => Urgency::Mandatory,
            Reason::Mandatory | Reason::Rejected(_) => Urgency::Blocking,
            Reason::Manual(_) => Urgency::Manual,
        }
    }

    /// The reason, as telemetry reports it.
    fn label(&self, reason: Reason, now: Instant) -> &'static str {
        match reason {
            Reason::Advisory => "advisory",
            Reason::Mandatory if self.held.alive(now).is_some() => "mandatory",
            Reason::Mandatory => "expired",
            Reason::Rejected(_) => "rejected",
            Reason::Manual(_) => "manual",
            Reason::KeepAlive(_) => "keep_alive",
            Reason::LostResponse(_) => "lost_response",
        }
    }
}

/// Joins the refresh in flight. Its result may be known already while it is still being saved.
fn join(held: &Snapshot, report: Option<&Report>, reason: Reason, now: Instant) -> Admission {
    let is_held_useless = match reason {
        Reason::Rejected(rejected) => held.is_token_of(rejected),
        Reason::Mandatory => held.alive(now).is_none(),
        Reason::Advisory | Reason::Manual(_) | Reason::KeepAlive(_) | Reason::LostResponse(_) => {
            false
        }
    };
    match report {
        // An interrupted one is about to end.
        None | Some(Report::Interrupted) => {}
        // It was deferred in favor of a token that has become useless, and comes now.
        Some(Report::Deferred(_)) if is_held_useless => {}
        Some(Report::Deferred(error) | Report::Done(Err(error))) => {
            return Admission::Done(Err(error.clone()));
        }
        Some(Report::Done(Ok(_))) => return Admission::Done(Err(unsaved())),
    }
    Admission::JoinRefresh {
        demand: Demand {
            is_awaited: !reason.is_background(),
            // An expired token is no reason: another replica may have saved one that serves.
            is_urgent: is_held_useless && matches!(reason, Reason::Rejected(_)),
        },
        ignores_deferral: report.is_some(),
    }
}

fn too_early(pause: Duration) -> Error {
    let seconds = pause.as_secs().saturating_add(1);
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "the provider refuses a refresh long before the access token expires; retry in {seconds} seconds"
        ),
    )
    .with_response(ResponseDetails {
        retry_after: Some(pause),
        ..ResponseDetails::default()
    })
}

fn grant_unknown() -> Error {
    Error::new(
        ErrorKind::NoGrant,
        "no grant has been found in the store yet",
    )
}
