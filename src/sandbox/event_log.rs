//! Counters, the event log, and the requests in flight.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    clock::{Moment, system_time},
    event::{Event, EventKind, GrantType},
};

/// Counts of everything that happened so far. All start at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests to any path, the pages included.
    pub requests: u64,
    /// Token requests that issued tokens, even if the response was lost.
    pub tokens_issued: u64,
    /// Token requests with a code that issued tokens.
    pub code_exchanges: u64,
    /// Token requests with a refresh token that issued tokens.
    pub refreshes: u64,
    /// Token requests with the credentials of a client alone that issued tokens.
    pub client_credentials: u64,
    /// Token requests with an assertion that issued tokens.
    pub assertions: u64,
    /// Token exchanges that issued tokens.
    pub token_exchanges: u64,
    /// Token requests with a device code that issued tokens.
    pub device_logins: u64,
    /// Token requests that were refused. Responses of a fault are not counted.
    pub token_requests_refused: u64,
    /// Uses of a refresh token that a rotation had replaced, regardless of the response.
    pub refresh_tokens_reused: u64,
    /// Grants revoked because a refresh token or code was reused.
    pub grants_revoked: u64,
    /// Requests to a host that does not serve them, or that have a code or a token of another
    /// tenant's host.
    pub misdirected: u64,
    /// Requests to the revocation endpoint that got 200.
    pub revocations: u64,
    /// Authorization requests that were pushed.
    pub authorization_requests_pushed: u64,
    /// Consents granted.
    pub consents: u64,
    /// Consents denied.
    pub denials: u64,
    /// API requests whose access token was accepted.
    pub authorized: u64,
    /// API requests that got 401. Responses of a fault are not counted.
    pub unauthorized: u64,
    /// Token and API requests that were refused because of their DPoP proof. Those without the
    /// nonce that a proof needs are counted too, and not as refused token requests.
    pub proofs_refused: u64,
    /// API requests that got 403. Responses of a fault are not counted.
    pub forbidden: u64,
    /// Deductions created.
    pub deductions_created: u64,
    /// Faults triggered.
    pub faults_triggered: u64,
    /// Requests without a response head at this moment.
    pub in_flight: u64,
    /// The highest value that `in_flight` had.
    pub max_in_flight: u64,
}

/// Everything that the sandbox records about its clients.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    counters: Counters,
    events: VecDeque<Event>,
    active: BTreeMap<u64, ActiveRequest>,
    changed: Arc<Notify>,
}

/// A request without a response head.
#[derive(Clone, Debug)]
pub(super) struct ActiveRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) since: Moment,
}

impl EventLog {
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// Is notified after each change of the counters.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &ActiveRequest> {
        self.active.values()
    }

    /// Records a request, and returns its number for [`finish_request`](Self::finish_request).
    pub(super) fn start_request(&mut self, request: ActiveRequest) -> u64 {
        let counters = &mut self.counters;
        counters.requests += 1;
        counters.in_flight += 1;
        counters.max_in_flight = counters.max_in_flight.max(counters.in_flight);
        self.active.insert(counters.requests, request);
        self.changed.notify_waiters();
        counters.requests
    }

    /// Records that a request has a response head, or was cancelled.
    pub(super) fn finish_request(&mut self, number: u64) {
        if self.active.remove(&number).is_some() {
            self.counters.in_flight -= 1;
            self.changed.notify_waiters();
        }
    }

    /// Counts an event and keeps it.
    pub(super) fn record(&mut self, at: Timestamp, kind: EventKind) {
        self.count(&kind);
        self.changed.notify_waiters();
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            at: system_time(at),
            kind,
        });
    }

    fn count(&mut self, kind: &EventKind) {
        let counters = &mut self.counters;
        let counter = match kind {
            EventKind::AuthorizationRequestPushed { .. } => {
                &mut counters.authorization_requests_pushed
            }
            EventKind::ConsentGranted { .. } => &mut counters.consents,
            EventKind::ConsentDenied { .. } => &mut counters.denials,
            EventKind::TokensIssued { grant_type, .. } => {
                counters.tokens_issued += 1;
                match grant_type {
                    GrantType::AuthorizationCode => &mut counters.code_exchanges,
                    GrantType::RefreshToken => &mut counters.refreshes,
                    GrantType::ClientCredentials => &mut counters.client_credentials,
                    GrantType::Assertion => &mut counters.assertions,
                    GrantType::SubjectToken => &mut counters.token_exchanges,
                    GrantType::DeviceCode => &mut counters.device_logins,
                }
            }
            EventKind::TokenRequestRefused { .. } => &mut counters.token_requests_refused,
            EventKind::RefreshTokenReused { .. } => &mut counters.refresh_tokens_reused,
            EventKind::GrantRevoked { .. } => &mut counters.grants_revoked,
            EventKind::Misdirected { .. } => &mut counters.misdirected,
            EventKind::RevocationRequested { .. } => &mut counters.revocations,
            EventKind::Authorized { .. } => &mut counters.authorized,
            EventKind::Unauthorized { .. } => &mut counters.unauthorized,
            EventKind::ProofRefused { .. } => &mut counters.proofs_refused,
            EventKind::Forbidden { .. } => &mut counters.forbidden,
            EventKind::DeductionSubmitted { created: true, .. } => &mut counters.deductions_created,
            EventKind::DeductionSubmitted { created: false, .. } => return,
            EventKind::FaultTriggered { .. } => &mut counters.faults_triggered,
        };
        *counter += 1;
    }
}

/// A bound for sandboxes that run for days.
const MAX_EVENTS: usize = 10_000;
