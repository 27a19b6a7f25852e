//! Requests a refresh: joins the one in flight, or spawns a task for a new one.
//!
//! [`request_refresh`] is the only way to start a refresh. The state
//! [decides](super::state::CacheState::request).

use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    core::{Core, JobHandle},
    liveness,
    refresh::JobTask,
    single_flight::SingleFlight,
    state::{Admission, Outcome, Reason, Report, interrupted},
};
use crate::{
    error::{Error, ErrorKind},
    later::Later,
};

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
    job: Arc<JobHandle>,
    /// Whether this waiter has no use for [`Report::Deferred`].
    ignores_deferral: bool,
}

/// Returns the held token or an error at once, or joins or starts a refresh.
pub(super) fn request_refresh(core: &Arc<Core>, reason: Reason) -> Requested {
    let (requested, task) = core.change_locked(|locked, m| {
        let joined = |job: Option<&Arc<JobHandle>>, ignores_deferral| match job {
            Some(job) => Requested::Joined(Joined {
                job: Arc::clone(job),
                ignores_deferral,
            }),
            // The state and the handles change together.
            None => Requested::Done(Err(interrupted())),
        };
        match locked.state.request(reason, m) {
            Admission::Done(outcome) => (Requested::Done(outcome), None),
            Admission::JoinStoreCheck => (joined(locked.store_check.as_ref(), false), None),
            Admission::JoinRefresh {
                demand,
                ignores_deferral,
            } => {
                let job = locked.refresh.as_ref();
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
                let handle = Arc::new(JobHandle {
                    reports,
                    conditions: job.conditions(),
                    progress: Arc::default(),
                });
                locked.state.start(&job);
                let in_flight = if job.is_store_check() {
                    &mut locked.store_check
                } else {
                    &mut locked.refresh
                };
                *in_flight = Some(Arc::clone(&handle));
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
pub(super) fn outcome_of(
    core: &Arc<Core>,
    joined: &mut Joined,
    reason: Reason,
) -> impl Future<Output = Outcome> {
    wait(core, joined, reason, Some(core.settings.acquire_timeout))
}

/// Waits for a job that was joined for `reason`, without a limit.
pub(super) fn conclusive_outcome_of(
    core: &Arc<Core>,
    joined: &mut Joined,
    reason: Reason,
) -> impl Future<Output = Outcome> {
    wait(core, joined, reason, None)
}

/// Waits for a job. Requests another one if the job was started under conditions that do not hold
/// for `reason`, or if its runtime ended or stands still.
///
/// Thousands of callers may wait at once. So this future borrows what it waits for, and has one
/// timer for all that it watches: it takes a third of the memory of nested timeouts.
async fn wait(
    core: &Arc<Core>,
    joined: &mut Joined,
    reason: Reason,
    limit: Option<Duration>,
) -> Outcome {
    let now = Instant::now();
    let deadline = limit.map(|limit| now.later(limit));
    let mut timer = pin!(core.settings.timer(next_look(now, deadline))?);
    let mut attempts = 1;
    loop {
        let outcome = match joined.waited(core, timer.as_mut(), deadline).await {
            Waited::Reported(Report::Done(outcome)) => Some(outcome),
            Waited::Reported(Report::Deferred(error)) => Some(Err(error)),
            Waited::Reported(Report::Interrupted) | Waited::Interrupted => None,
            Waited::Late => return Err(still_refreshing()),
        };
        let is_conclusive = outcome
            .as_ref()
            .is_some_and(|outcome| joined.is_conclusive(core, outcome));
        if is_conclusive || attempts == MAX_JOBS {
            return outcome.unwrap_or_else(|| Err(interrupted()));
        }
        *joined = match request_refresh(core, reason) {
            Requested::Done(outcome) => return outcome,
            Requested::Joined(joined) => joined,
        };
        attempts += 1;
    }
}

/// The end of a wait.
enum Waited {
    Reported(Report),
    /// The job ended without a report, or was given up because its runtime stands still.
    Interrupted,
    /// The deadline has passed.
    Late,
}

impl Joined {
    /// Waits until the job reports. `timer` is set to the [next look](next_look).
    async fn waited(
        &self,
        core: &Arc<Core>,
        mut timer: Pin<&mut Sleep>,
        deadline: Option<Instant>,
    ) -> Waited {
        let ignores_deferral = self.ignores_deferral;
        let is_result = move |report: &Report| match report {
            Report::Deferred(_) => !ignores_deferral,
            Report::Done(_) | Report::Interrupted => true,
        };
        let progress = &self.job.progress;
        let mut report = pin!(self.job.reports.wait(is_result));
        let mut now = Instant::now();
        while !progress.liveness.check(now) {
            tokio::select! {
                biased;
                report = &mut report => {
                    return report.map_or(Waited::Interrupted, Waited::Reported);
                }
                () = timer.as_mut() => {}
            }
            now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Waited::Late;
            }
            timer.as_mut().reset(next_look(now, deadline));
        }
        core.job_stalled(progress);
        Waited::Interrupted
    }

    /// Whether the result of the job holds for this waiter.
    fn is_conclusive(&self, core: &Core, outcome: &Outcome) -> bool {
        let JobHandle {
            conditions,
            progress,
            ..
        } = &*self.job;
        let conditions = if progress.has_sent.load(Ordering::Relaxed) {
            conditions.after_request()
        } else {
            *conditions
        };
        let secret_epoch = core.secret_epoch();
        core.look(|state| state.is_conclusive(conditions, outcome, secret_epoch))
    }
}

/// When a waiter looks whether the job stands still, or its deadline has passed.
fn next_look(now: Instant, deadline: Option<Instant>) -> Instant {
    let check = now.later(liveness::CHECK);
    deadline.map_or(check, |deadline| deadline.min(check))
}

fn still_refreshing() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the refresh has not ended within the acquire timeout, and continues; retry later",
    )
}
