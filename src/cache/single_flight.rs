//! Single flight: one task does the work, and any number of waiters get its result.
//!
//! The [`Leader`] belongs to the task. It reports a result, or several, of which each waiter takes
//! the first that is of use to it. A waiter that joins can raise how much depends on the result.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

/// A waiter's handle to work in flight.
#[derive(Clone)]
pub(crate) struct SingleFlight<T> {
    report: watch::Receiver<Option<T>>,
    demand: Arc<Demand>,
}

/// The working task's side of a [`SingleFlight`].
pub(crate) struct Leader<T> {
    report: watch::Sender<Option<T>>,
    demand: Arc<Demand>,
}

/// How much depends on work in flight.
#[derive(Default)]
struct Demand {
    is_awaited: AtomicBool,
    is_urgent: AtomicBool,
    changed: Notify,
}

impl<T: Clone> SingleFlight<T> {
    /// Begins work that no caller waits for yet.
    pub(crate) fn start() -> (Leader<T>, Self) {
        let (sender, receiver) = watch::channel(None);
        let demand = Arc::<Demand>::default();
        let leader = Leader {
            report: sender,
            demand: Arc::clone(&demand),
        };
        let flight = Self {
            report: receiver,
            demand,
        };
        (leader, flight)
    }

    /// Raises how much depends on the result. It is never lowered.
    pub(crate) fn raise(&self, is_awaited: bool, is_urgent: bool) {
        self.demand
            .is_awaited
            .fetch_or(is_awaited, Ordering::Relaxed);
        self.demand.is_urgent.fetch_or(is_urgent, Ordering::Relaxed);
        self.demand.changed.notify_one();
    }

    /// Whether both are handles to the same work.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.report.same_channel(&other.report)
    }

    /// Waits for the first report that `is_result` accepts. `None` if the leader was dropped
    /// without one.
    ///
    /// Dropping this future does not stop the work.
    pub(crate) async fn wait(&self, is_result: impl Fn(&T) -> bool) -> Option<T> {
        let mut report = self.report.clone();
        let report = report.wait_for(|report| report.as_ref().is_some_and(&is_result));
        report.await.ok().and_then(|report| report.clone())
    }
}

impl<T> Leader<T> {
    /// Wakes the waiters with a result.
    pub(crate) fn report(&self, report: T) {
        self.report.send_replace(Some(report));
    }

    /// Wakes the waiters with a result, unless `is_final` accepts an earlier one.
    pub(crate) fn report_unless(&self, is_final: impl Fn(&T) -> bool, report: T) {
        self.report.send_if_modified(|current| {
            let is_open = !current.as_ref().is_some_and(is_final);
            if is_open {
                *current = Some(report);
            }
            is_open
        });
    }

    /// Whether a caller waits for the result.
    pub(crate) fn is_awaited(&self) -> bool {
        self.demand.is_awaited.load(Ordering::Relaxed)
    }

    /// Whether a caller cannot do without the result.
    pub(crate) fn is_urgent(&self) -> bool {
        self.demand.is_urgent.load(Ordering::Relaxed)
    }

    /// Completes when a caller waits for the result.
    pub(crate) async fn until_awaited(&self) {
        while !self.is_awaited() {
            self.demand_changed().await;
        }
    }

    /// Completes when a caller has joined. One task at a time may wait for this.
    pub(crate) async fn demand_changed(&self) {
        self.demand.changed.notified().await;
    }
}
