//! The state that all handles, services and connections of a sandbox share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    authority::Authority,
    behavior::Behavior,
    clock::{Clock, Moment},
    event::{EventKind, truncated},
    event_log::{ActiveRequest, EventLog},
    fault_queue::FaultQueue,
    persona::Persona,
    records::Records,
    trusted_issuer::TrustedIssuer,
};

pub(super) struct SharedState {
    pub(super) status_page: bool,
    pub(super) persona: Option<Persona>,
    state: Mutex<SandboxState>,
}

/// Everything that changes, behind the only lock of a sandbox. No task holds it across an await.
pub(super) struct SandboxState {
    pub(super) clock: Clock,
    pub(super) behavior: Behavior,
    pub(super) authority: Authority,
    pub(super) faults: FaultQueue,
    pub(super) log: EventLog,
    pub(super) records: Records,
    /// The origin of every endpoint, without a trailing slash.
    pub(super) url: String,
    pub(super) trusted_issuers: Vec<TrustedIssuer>,
    /// The tenant of a consent for which the address of the authorization request names none.
    pub(super) tenant: String,
    #[cfg(feature = "dpop")]
    pub(super) proofs: super::dpop::ProofLog,
}

impl SharedState {
    pub(super) fn new(state: SandboxState, status_page: bool, persona: Option<Persona>) -> Self {
        Self {
            status_page,
            persona,
            state: Mutex::new(state),
        }
    }

    /// Locks the state. Poisoning is ignored, because no invariant spans two statements here.
    pub(super) fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(super) fn start_request(self: &Arc<Self>, method: &str, path: &str) -> InFlight {
        let mut state = self.lock();
        let request = ActiveRequest {
            method: truncated(method),
            path: truncated(path),
            since: state.now(),
        };
        InFlight {
            number: state.log.start_request(request),
            shared: Arc::clone(self),
        }
    }
}

impl SandboxState {
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn wall_time(&self) -> Timestamp {
        self.clock.wall(self.now())
    }

    pub(super) fn record(&mut self, kind: EventKind) {
        let at = self.wall_time();
        self.log.record(at, kind);
    }
}

/// A request without a response head. Dropping this guard ends it, also if it is cancelled.
pub(super) struct InFlight {
    number: u64,
    shared: Arc<SharedState>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.lock().log.finish_request(self.number);
    }
}
