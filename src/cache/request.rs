//! Requests a refresh: joins the one in flight, or spawns a task for a new one.
//!
//! [`request_refresh`] is the only way to start a refresh. The state
//! [decides](super::state::CacheState::request).

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
};

use tokio::time::Instant;

use super::{
    core::{Core, JobHandle, Progress},
    liveness,
    refresh::JobTask,
    single_flight::SingleFlight,
    state::{Admission, Outcome, Reason, Report, interrupted},
};
use crate::error::{Error, ErrorKind};

/// The jobs that one caller waits for at most. One is usual. A second follows a background
/// job that gave up, a new consent, or the end or standstill of a runtime.
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
                let settings = &core.settings;
                let runtime = if reason.is_background() {
                    settings.background_runtime()
                } else {
                    settings.runtime()
                };
                let Some(runtime) = runtime else {
                    let error = Error::outside_of_a_runtime();
                    return (Requested::Done(Err(error)), None);
                };
                core.ensure_worker(locked);
                let (leader, reports) = SingleFlight::start();
                reports.raise(demand.is_awaited, demand.is_urgent);
                let handle = JobHandle {
                    reports,
                    conditions: job.conditions(),
                    progress: Arc::default(),
                };
                locked.state.start(&job);
                let in_flight = if job.is_store_check() {
                    &mut locked.store_check
                } else {
                    &mut locked.refresh
                };
                *in_flight = Some(Box::new(handle.clone()));
                let task = JobTask::new(core, leader, job, Arc::clone(&handle.progress));
                (joined(Some(&handle), false), Some((runtime, task)))
            }
        }
    });
    if let Some((runtime, task)) = task {
        task.spawn(&runtime);
    }
    requested
}

/// Waits for a job that was joined for `reason`, for as long as a caller waits.
pub(super) async fn outcome_of(core: &Arc<Core>, joined: Joined, reason: Reason) -> Outcome {
    let settings = &core.settings;
    let outcome = conclusive_outcome_of(core, joined, reason);
    let outcome = settings.wait(settings.acquire_timeout, outcome);
    outcome.await?.unwrap_or_else(|| Err(still_refreshing()))
}

/// Waits for a job that was joined for `reason`. Requests another one if the job was started under
/// conditions that do not hold for `reason`, or if its runtime ended or stands still.
pub(super) async fn conclusive_outcome_of(
    core: &Arc<Core>,
    mut joined: Joined,
    reason: Reason,
) -> Outcome {
    let mut attempts = 1;
    loop {
        let mut conditions = joined.job.conditions;
        let progress = Arc::clone(&joined.job.progress);
        let outcome = joined.outcome(core).await;
        if progress.has_sent.load(Ordering::Relaxed) {
            conditions = conditions.after_request();
        }
        let is_conclusive = outcome.as_ref().is_some_and(|outcome| {
            core.read(|state, m| state.is_conclusive(conditions, outcome, m.secret_epoch))
        });
        if is_conclusive || attempts == MAX_JOBS {
            return outcome.unwrap_or_else(|| Err(interrupted()));
        }
        joined = match request_refresh(core, reason) {
            Requested::Done(outcome) => return outcome,
            Requested::Joined(joined) => joined,
        };
        attempts += 1;
    }
}

impl Joined {
    /// `None` if the job was interrupted, or given up because its runtime stands still.
    async fn outcome(self, core: &Arc<Core>) -> Option<Outcome> {
        let Self {
            job,
            ignores_deferral,
        } = self;
        let is_result = |report: &Report| match report {
            Report::Deferred(_) => !ignores_deferral,
            Report::Done(_) | Report::Interrupted => true,
        };
        let stands_still = until_standstill(core, &job.progress);
        let report = tokio::select! {
            biased;
            report = job.reports.wait(is_result) => report,
            () = stands_still => {
                core.job_stalled(&job.progress);
                None
            }
        };
        match report? {
            Report::Done(outcome) => Some(outcome),
            Report::Deferred(error) => Some(Err(error)),
            Report::Interrupted => None,
        }
    }
}

async fn until_standstill(core: &Core, progress: &Progress) {
    while !progress.liveness.check(Instant::now()) {
        let pause = core.settings.wait(liveness::CHECK, pending::<()>());
        if pause.await.is_err() {
            // Outside of a runtime there is no timer.
            return pending().await;
        }
    }
}

fn still_refreshing() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the refresh has not ended within the acquire timeout, and continues; retry later",
    )
}
