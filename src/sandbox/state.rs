//! What all handles, services and connections of one sandbox share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::authority::Authority;
use super::behavior::Behavior;
use super::clock::{Clock, Moment};
use super::event::{EventKind, cut};
use super::event_log::{EventLog, LiveRequest};
use super::records::Records;
use super::script::Script;

/// One sandbox.
pub(super) struct Shared {
    pub(super) status_page: bool,
    state: Mutex<State>,
}

/// Everything that changes, behind the one lock of the sandbox. It is never held across an await.
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) behavior: Behavior,
    pub(super) authority: Authority,
    pub(super) script: Script,
    pub(super) evidence: EventLog,
    pub(super) records: Records,
}

impl Shared {
    pub(super) fn new(state: State, status_page: bool) -> Self {
        Self {
            status_page,
            state: Mutex::new(state),
        }
    }

    /// Locks the state. A poisoned lock is taken as it is: no invariant spans two statements here.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as live for as long as the answer is kept.
    pub(super) fn begin(self: &Arc<Self>, method: &str, path: &str) -> Live {
        let mut state = self.lock();
        let request = LiveRequest {
            method: cut(method),
            path: cut(path),
            since: state.now(),
        };
        Live {
            number: state.evidence.begin(request),
            shared: Arc::clone(self),
        }
    }
}

impl State {
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The calendar's present.
    pub(super) fn today(&self) -> Timestamp {
        self.clock.wall(self.now())
    }

    pub(super) fn record(&mut self, what: EventKind) {
        let today = self.today();
        self.evidence.record(today, what);
    }
}

/// A request whose answer has not begun; over when dropped, so that a caller who goes away is noticed.
pub(super) struct Live {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().evidence.finish(self.number);
    }
}
