//! Which cause the evidence points to.

use std::time::SystemTime;

use http::StatusCode;

use super::Cause;
use crate::{
    cache::state::{Status, TokenState},
    error::{Error, ErrorKind},
    oauth::{CircuitState, EndpointStatus},
    telemetry::is_of_one_grant,
    token::{
        Failure, Generation, Grant, GrantState, History, HistoryEntry, HistoryEvent,
        ReauthorizationReason,
    },
};

/// The known facts about a grant and its surroundings.
pub(super) struct Evidence<'a> {
    /// The grant in the store.
    pub(super) loaded: Result<Option<&'a Grant>, &'a Error>,
    /// Its last events.
    pub(super) history: &'a History,
    /// Its state, as this process knows it.
    pub(super) status: &'a Status,
    /// The generation that this process held before the load.
    pub(super) held: Option<Generation>,
    pub(super) endpoint: Option<&'a EndpointStatus>,
}

/// A cause, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) cause: Cause,
    pub(super) since: Option<SystemTime>,
}

impl Evidence<'_> {
    /// The most likely cause. What prevents everything else comes first: the store, then the end of
    /// the grant, then the token endpoint, then the API.
    pub(super) fn finding(&self) -> Finding {
        let found = self
            .of_store()
            .or_else(|| self.of_grant())
            .or_else(|| self.of_endpoint())
            .or_else(|| self.of_failure())
            .or_else(|| self.of_api());
        found.unwrap_or(Finding {
            cause: Cause::None,
            since: None,
        })
    }

    fn of_store(&self) -> Option<Finding> {
        let error = match self.loaded {
            Err(error) => error,
            Ok(stored) => return self.of_stored_generation(stored),
        };
        let cause = match error.kind() {
            ErrorKind::ForeignGrant => Cause::OtherClient,
            ErrorKind::Store if is_of_one_grant(error) => Cause::StoreUnreadable,
            ErrorKind::Store => Cause::StoreUnreachable,
            _ => Cause::Interrupted,
        };
        let since = self.failing(|event| matches!(event, HistoryEvent::StoreFailed(_)));
        Some(Finding { cause, since })
    }

    /// The store has an older grant than this process had: its save fails, or the store has lost
    /// one.
    fn of_stored_generation(&self, stored: Option<&Grant>) -> Option<Finding> {
        let held = self.held?;
        if stored.is_some_and(|stored| stored.generation >= held) {
            return None;
        }
        let since = self.failing(|event| matches!(event, HistoryEvent::StoreFailed(_)));
        let cause = if since.is_some() {
            Cause::StoreNotWritable
        } else if self.status.is_refreshing {
            // The save of the newest one is running: requests use it meanwhile.
            return None;
        } else {
            Cause::StoreWentBack
        };
        Some(Finding { cause, since })
    }

    fn of_grant(&self) -> Option<Finding> {
        let stored = self.loaded.ok().flatten();
        let (cause, since) = match stored.map(|grant| &grant.state) {
            None if self.is_empty() => (Cause::NeverConnected, None),
            Some(GrantState::Revoked { since }) => (Cause::Disconnected, Some(*since)),
            Some(&GrantState::ReauthorizationRequired { reason, since, .. }) => {
                let cause = match reason {
                    ReauthorizationReason::InvalidGrant => Cause::RevokedAtProvider,
                    ReauthorizationReason::RefreshTokenExpired => Cause::RefreshTokenExpired,
                    ReauthorizationReason::NoRefreshToken => Cause::NoRefreshToken,
                    ReauthorizationReason::RotationLost => self.of_lost_rotation(),
                };
                (cause, Some(since))
            }
            None | Some(GrantState::Active(_) | GrantState::Refreshing { .. }) => return None,
        };
        Some(Finding { cause, since })
    }

    /// Whether there is no grant, and none was requested: a source without a consent has its first
    /// grant after its first request.
    fn is_empty(&self) -> bool {
        let has_failed = self.last_failure().is_some();
        self.status.state == TokenState::Absent && !has_failed
    }

    /// Whether the replica that sent the refresh token has left nothing but that. Without a record,
    /// as of a store that drops it, nothing points to a crash.
    fn of_lost_rotation(&self) -> Cause {
        let mut before_end = self.history.entries().iter().rev().skip_while(|entry| {
            matches!(
                entry.event,
                HistoryEvent::Ended { .. }
                    | HistoryEvent::SentAgain
                    | HistoryEvent::Failed(_)
                    | HistoryEvent::StoreFailed(_)
                    | HistoryEvent::Rejected
            )
        });
        let sent = before_end.next().map(|entry| &entry.event);
        if sent == Some(&HistoryEvent::Sent) {
            Cause::ReplicaCrashed
        } else {
            Cause::ResponseLost
        }
    }

    fn of_endpoint(&self) -> Option<Finding> {
        let endpoint = self.endpoint?;
        let error = endpoint.last_error.as_ref()?;
        if endpoint.circuit == CircuitState::Closed {
            return None;
        }
        Some(Finding {
            cause: of_error(&Failure::of(error)),
            since: self.failing(|event| matches!(event, HistoryEvent::Failed(_))),
        })
    }

    fn of_failure(&self) -> Option<Finding> {
        let (cause, since) = match (self.last_failure(), self.status.state) {
            (Some((entry, failure)), _) => (of_error(failure), entry.first_at),
            // No replica has seen the response.
            (None, TokenState::Uncertain { since }) => (Cause::ReplicaCrashed, since),
            (None, _) => return None,
        };
        Some(Finding {
            cause,
            since: Some(since),
        })
    }

    /// Whether the API has rejected the newest token, which was issued for a rejection before.
    fn of_api(&self) -> Option<Finding> {
        let last = self.history.entries().last()?;
        (last.event == HistoryEvent::Rejected).then_some(Finding {
            cause: Cause::TokensRejected,
            since: Some(last.first_at),
        })
    }

    /// The last failure since the last success.
    fn last_failure(&self) -> Option<(&HistoryEntry, &Failure)> {
        let since = self.since_success();
        since
            .rev()
            .find_map(|entry| Some((entry, entry.event.failure()?)))
    }

    /// Since when such events happen without a success in between.
    fn failing(&self, is_one: impl Fn(&HistoryEvent) -> bool) -> Option<SystemTime> {
        let first = self.since_success().find(|entry| is_one(&entry.event));
        first.map(|entry| entry.first_at)
    }

    fn since_success(&self) -> impl DoubleEndedIterator<Item = &HistoryEntry> {
        let entries = self.history.entries();
        let last_success = entries.iter().rposition(|entry| {
            matches!(
                entry.event,
                HistoryEvent::Connected | HistoryEvent::Refreshed
            )
        });
        entries
            .iter()
            .skip(last_success.map_or(0, |index| index + 1))
    }
}

/// The cause of a failed token request.
fn of_error(failure: &Failure) -> Cause {
    let is_invalid_client = failure.code.as_deref() == Some("invalid_client");
    match (failure.kind, failure.status) {
        _ if is_invalid_client => Cause::ClientRejected,
        (_, Some(StatusCode::TOO_MANY_REQUESTS)) => Cause::RateLimited,
        (ErrorKind::NoGrant, _) => Cause::NeverConnected,
        (ErrorKind::Refused, _) => Cause::Refused,
        // A code that neither the specifications nor the provider's data define.
        (ErrorKind::InvalidResponse, _) if failure.code.is_some() => Cause::Refused,
        (ErrorKind::InvalidResponse, _) => Cause::ResponseUnusable,
        (ErrorKind::Unavailable, Some(_)) => Cause::EndpointFailing,
        (ErrorKind::Unavailable, None) => Cause::EndpointUnreachable,
        (ErrorKind::Store, _) => Cause::StoreNotWritable,
        (ErrorKind::Configuration, _) => Cause::Misconfigured,
        (ErrorKind::KeptValue, _) => Cause::ValueMissing,
        _ => Cause::Interrupted,
    }
}
