//! Counters, the event log, and the requests at work.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::clock::{Moment, system_time};
use super::event::{Event, EventKind, GrantType};

/// What has happened so far, in numbers. All start at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Requests of any sort, to any path, the pages included.
    pub requests: u64,
    /// Exchanges that gave out tokens, whether or not the answer arrived.
    pub tokens_issued: u64,
    /// Those of them made by an authorization code.
    pub code_exchanges: u64,
    /// Those of them made by a refresh token.
    pub refreshes: u64,
    /// Requests to the token endpoint that were refused. Scripted answers are not counted.
    pub token_requests_refused: u64,
    /// Presentations of a refresh token that had been replaced, whatever they were answered.
    pub refresh_tokens_reused: u64,
    /// Grants ended because a refresh token or code of theirs was presented twice.
    pub grants_revoked: u64,
    /// Requests to the revocation endpoint answered with 200.
    pub revocations: u64,
    /// Consents given.
    pub consents: u64,
    /// Consents denied.
    pub denials: u64,
    /// Resource requests let through.
    pub authorized: u64,
    /// Resource requests answered with 401. Scripted answers are not counted.
    pub unauthorized: u64,
    /// Resource requests answered with 403. Scripted answers are not counted.
    pub forbidden: u64,
    /// Deductions created.
    pub deductions_created: u64,
    /// Faults played.
    pub faults_triggered: u64,
    /// Requests being worked on: those whose answer has not begun.
    pub in_flight: u64,
    /// The most requests that were ever being worked on at once.
    pub max_in_flight: u64,
}

/// Everything the sandbox remembers for those who watch it.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    counters: Counters,
    events: VecDeque<Event>,
    live: BTreeMap<u64, LiveRequest>,
}

/// A request whose answer has not begun.
#[derive(Clone, Debug)]
pub(super) struct LiveRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) since: Moment,
}

impl EventLog {
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &LiveRequest> {
        self.live.values()
    }

    /// Notes that a request has come, and gives the number to [`finish`](Self::finish) it by.
    pub(super) fn begin(&mut self, request: LiveRequest) -> u64 {
        let counters = &mut self.counters;
        counters.requests += 1;
        counters.in_flight += 1;
        counters.max_in_flight = counters.max_in_flight.max(counters.in_flight);
        self.live.insert(counters.requests, request);
        counters.requests
    }

    /// Notes that a request's answer has begun, or that its caller has gone.
    pub(super) fn finish(&mut self, number: u64) {
        if self.live.remove(&number).is_some() {
            self.counters.in_flight -= 1;
        }
    }

    /// Counts and keeps an event.
    pub(super) fn record(&mut self, at: Timestamp, what: EventKind) {
        self.count(&what);
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            at: system_time(at),
            kind: what,
        });
    }

    fn count(&mut self, what: &EventKind) {
        let counters = &mut self.counters;
        let counter = match what {
            EventKind::ConsentGranted { .. } => &mut counters.consents,
            EventKind::ConsentDenied { .. } => &mut counters.denials,
            EventKind::TokensIssued { grant_type, .. } => {
                counters.tokens_issued += 1;
                match grant_type {
                    GrantType::AuthorizationCode => &mut counters.code_exchanges,
                    GrantType::RefreshToken => &mut counters.refreshes,
                }
            }
            EventKind::TokenRequestRefused { .. } => &mut counters.token_requests_refused,
            EventKind::RefreshTokenReused { .. } => &mut counters.refresh_tokens_reused,
            EventKind::GrantRevoked { .. } => &mut counters.grants_revoked,
            EventKind::RevocationRequested { .. } => &mut counters.revocations,
            EventKind::Authorized { .. } => &mut counters.authorized,
            EventKind::Unauthorized { .. } => &mut counters.unauthorized,
            EventKind::Forbidden { .. } => &mut counters.forbidden,
            EventKind::DeductionSubmitted { created: true, .. } => &mut counters.deductions_created,
            EventKind::DeductionSubmitted { created: false, .. } => return,
            EventKind::FaultTriggered { .. } => &mut counters.faults_triggered,
        };
        *counter += 1;
    }
}

/// A bound for sandboxes that run for days.
const EVENTS_KEPT: usize = 10_000;
