//! Requests a refresh: joins the one in flight, or spawns a task for a new one.
//!
//! [`request_refresh`] is the only way to start a refresh. The state
//! [decides](super::state::CacheState::request).

use std::sync::{Arc, atomic::Ordering};

use tokio::runtime::Handle;

use super::{
    core::{Core, JobHandle},
    refresh::JobTask,
    single_flight::SingleFlight,
    state::{Admission, Outcome, Reason, Report, interrupted},
};
use crate::error::Error;

/// The jobs that one caller waits for at most. One is usual. A second follows a background
/// job that gave up, or a new consent.
const MAX_JOBS: u32 = 4;

/// The result of requesting a refresh.
pub(super) enum Requested {
    /// No refresh is needed, or none is permitted.
    Done(Outcome),
    /// A refresh or store check is in flight.
    Joined(Joined),
}

/// A waiter of a job in flight.
pub(super) struct Joined {
    job: JobHandle,
    /// Whether this waiter has no use for [`Report::Deferred`].
    ignores_deferral: bool,
}

/// Returns the held token or an error at once, or joins or starts a refresh.
pub(super) fn request_refresh(core: &Arc<Core>, reason: Reason) -> Requested {
    let (requested, task) = core.change_locked(|locked, m| {
        let joined = |job: Option<&JobHandle>, ignores_deferral| match job {
            Some(job) => Requested::Joined(Joined {
                job: job.clone(),
                ignores_deferral,
            }),
            // The state and the handles change together.
            None => Requested::Done(Err(interrupted())),
        };
        match locked.state.request(reason, m) {
            Admission::Done(outcome) => (Requested::Done(outcome), None),
            Admission::JoinStoreCheck => (joined(locked.store_check.as_deref(), false), None),
            Admission::JoinRefresh {
                demand,
                ignores_deferral,
            } => {
                let job = locked.refresh.as_deref();
                if let Some(job) = job {
                    job.reports.raise(demand.is_awaited, demand.is_urgent);
                }
                (joined(job, ignores_deferral), None)
            }
            Admission::Start(job, demand) => {
                let Ok(runtime) = Handle::try_current() else {
                    let error = Error::outside_of_a_runtime();
                    return (Requested::Done(Err(error)), None);
                };
                core.ensure_worker(locked);
                let (leader, reports) = SingleFlight::start();
                reports.raise(demand.is_awaited, demand.is_urgent);
                let handle = JobHandle {
                    reports,
                    conditions: job.conditions(),
                    has_sent: Arc::default(),
                };
                locked.state.start(&job);
                let in_flight = if job.is_store_check() {
                    &mut locked.store_check
                } else {
                    &mut locked.refresh
                };
                *in_flight = Some(Box::new(handle.clone()));
                let task = JobTask::new(core, leader, job, Arc::clone(&handle.has_sent));
                (joined(Some(&handle), false), Some((runtime, task)))
            }
        }
    });
    if let Some((runtime, task)) = task {
        task.spawn(&runtime);
    }
    requested
}

/// Waits for a job that was joined for `reason`, and requests another one if the job was started
/// under conditions that do not hold for `reason`.
pub(super) async fn outcome_of(core: &Arc<Core>, mut joined: Joined, reason: Reason) -> Outcome {
    let mut attempts = 1;
    loop {
        let mut conditions = joined.job.conditions;
        let has_sent = Arc::clone(&joined.job.has_sent);
        let outcome = joined.outcome().await;
        if has_sent.load(Ordering::Relaxed) {
            conditions = conditions.after_request();
        }
        let is_conclusive =
            core.read(|state, m| state.is_conclusive(conditions, &outcome, m.secret_epoch));
        if is_conclusive || attempts == MAX_JOBS {
            return outcome;
        }
        joined = match request_refresh(core, reason) {
            Requested::Done(outcome) => return outcome,
            Requested::Joined(joined) => joined,
        };
        attempts += 1;
    }
}

impl Joined {
    async fn outcome(self) -> Outcome {
        let ignores_deferral = self.ignores_deferral;
        let is_result = |report: &Report| match report {
            Report::Deferred(_) => !ignores_deferral,
            Report::Done(_) => true,
        };
        match self.job.reports.wait(is_result).await {
            Some(Report::Done(outcome)) => outcome,
            Some(Report::Deferred(error)) => Err(error),
            None => Err(interrupted()),
        }
    }
}
