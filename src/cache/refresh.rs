//! The task of one refresh or store check.
//!
//! It performs each [step](super::state::Next) and hands the result back. What follows is decided
//! there.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{sleep, timeout, timeout_at},
};
use tracing::Instrument;

use super::{
    core::{Core, Progress},
    lease::LeaseUse,
    overwrite::save_end,
    single_flight::Leader,
    state::{Done, GRACE, Job, Next, Persist, Report},
};
use crate::{
    caught::caught_call,
    error::Error,
    oauth::{BackgroundPermit, Permit},
};

/// A job and the waiters of its result. Completes the job also if the task panics or its runtime
/// shuts down, so that every waiter is woken.
pub(super) struct JobTask {
    core: Arc<Core>,
    leader: Leader<Report>,
    job: Job,
    progress: Arc<Progress>,
    is_complete: bool,
}

impl JobTask {
    pub(super) fn new(
        core: &Arc<Core>,
        leader: Leader<Report>,
        job: Job,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            leader,
            job,
            progress,
            is_complete: false,
        }
    }

    pub(super) fn spawn(self, runtime: &Handle) {
        let span = self.core.telemetry.refresh_span(self.job.label());
        let run = async move {
            let done = tokio::select! {
                biased;
                done = run(&self) => done,
                never = self.progress.liveness.beat() => match never {},
            };
            self.complete(&done);
        };
        runtime.spawn(run.instrument(span));
    }

    fn complete(mut self, done: &Done) {
        self.finish(done);
        self.leader.report(Report::Done(done.outcome().clone()));
    }

    fn finish(&mut self, done: &Done) {
        self.is_complete = true;
        let core = &self.core;
        core.end_work(|state, m| state.finish(done, m));
        if !self.job.is_store_check() && !done.is_deferred() {
            // The worker plans its next run by the backoff.
            core.wake_worker();
        }
    }

    /// Completes when the held token no longer serves requests.
    async fn until_needed(&self) {
        let leader = &self.leader;
        while self
            .core
            .read(|state, m| state.can_wait(leader.is_urgent(), m))
        {
            let snapshot = self.core.snapshot();
            let Some((_, schedule)) = snapshot.token() else {
                return;
            };
            let _ = timeout_at(schedule.expires.into(), leader.demand_changed()).await;
        }
    }
}

impl Drop for JobTask {
    fn drop(&mut self) {
        if !self.is_complete {
            let done = Done::interrupted(self.job.clone(), thread::panicking());
            // If the clock panics again, the waiters notice that the job stands still.
            let _ = caught_call(|| self.finish(&done));
            // Waiters that have a result keep it. Those that ignored the deferral start again.
            let report = done.report();
            let is_final = |report: &Report| matches!(report, Report::Done(_));
            self.leader.report_unless(is_final, report);
        }
    }
}

async fn run(task: &JobTask) -> Done {
    let JobTask {
        core, leader, job, ..
    } = task;
    let mut background = None;
    // First of all, so that background work that has to wait does not load the store meanwhile.
    if let Some(gate) = core.settings.source.gate()
        && !job.is_store_check()
        && !leader.is_awaited()
    {
        let permit = gate.acquire_background(core.gate_key(), leader.until_awaited());
        match permit.await {
            Ok(permit) => background = permit,
            Err(error) => return Done::failed(job.clone(), error),
        }
    }
    let first = core.change(|state, m| Next::first(job.clone(), state, m));
    let lease = LeaseUse::new(core);
    let work = perform(task, first, background, &lease);
    let done = lease.extended_during(work).await;
    lease.end().await;
    done
}

/// Performs one step after another.
async fn perform(
    task: &JobTask,
    mut next: Next,
    mut background: Option<BackgroundPermit>,
    lease: &LeaseUse<'_>,
) -> Done {
    let core = &task.core;
    // Excludes commands while it is held.
    let mut commands = None;
    let mut permit: Option<Permit> = None;
    let mut response = None;
    loop {
        if !next.excludes_commands() {
            drop(commands.take());
        }
        if next.is_after_response()
            && let Some(response) = response.take()
            && let Some(permit) = permit.take()
        {
            permit.record::<()>(&response);
        }
        next = match next {
            Next::Wait(wait) => {
                if wait.ends_on_store_change() {
                    let _ = timeout(wait.pause(), core.store_changed()).await;
                } else {
                    sleep(wait.pause()).await;
                }
                core.change(|state, m| wait.waited(state, m))
            }
            Next::Load(load) => {
                let stored = core.load_to_save().await;
                core.change(|state, m| load.loaded(stored, state, m))
            }
            Next::AcquireLease(acquire) => acquire.acquired(lease.acquire().await),
            Next::Enter(enter) => {
                let entered = match acquire_permit(task, background.take()).await {
                    Ok(acquired) => {
                        permit = acquired;
                        core.exclude_commands()
                            .await
                            .map(|guard| commands = Some(guard))
                    }
                    Err(error) => Err(error),
                };
                core.change(|state, m| enter.entered(entered, state, m))
            }
            Next::Save(save) => {
                let (expected, event) = (save.expected(), save.event());
                let grant = save.grant().clone();
                let outcome = if save.is_of_end() {
                    core.save_reported(expected, grant, event).await
                } else {
                    core.save(expected, grant, event).await
                };
                core.change(|state, m| save.saved(outcome, state, m))
            }
            Next::Fetch(fetch) => {
                task.progress.has_sent.store(true, Ordering::Relaxed);
                let fetched = core.settings.fetch(fetch.tokens(), fetch.until()).await;
                response = Some(
                    fetched
                        .as_ref()
                        .map(drop)
                        .map_err(Error::without_refresh_token),
                );
                let next = core.change(|state, m| fetch.fetched(fetched, state, m));
                if !next.is_after_response()
                    && let (Some(permit), Some(Err(error))) = (&mut permit, &response)
                {
                    permit.record_retry_after(error);
                }
                next
            }
            Next::Persist(persist) => save_token_set(task, persist).await,
            Next::SaveRevocation(revocation) => {
                // No consent is installed between the check and the save.
                let saved = match core.exclude_commands().await {
                    Ok(_guard) => {
                        let saved = save_end(core, |state| revocation.is_needed(state));
                        saved.await.map(drop)
                    }
                    Err(error) => Err(error),
                };
                core.change(|state, _| revocation.saved(saved, state))
            }
            Next::Discard(discard) => {
                if let Some(tokens) = discard.tokens() {
                    let _ = core.revoke_at_provider(tokens).await;
                }
                core.change(|state, _| discard.discarded(state))
            }
            Next::Done(done) => return done,
        };
    }
}

async fn acquire_permit(
    task: &JobTask,
    background: Option<BackgroundPermit>,
) -> Result<Option<Permit>, Error> {
    let core = &task.core;
    // A refresh that a caller waits for needs no background permit.
    let background = background.filter(|_| !task.leader.is_awaited());
    match core.settings.source.gate() {
        Some(gate) => gate.acquire(core.gate_key(), background).await.map(Some),
        None => Ok(None),
    }
}

/// Saves a new token set once. As soon as no other token serves, requests use it meanwhile.
async fn save_token_set(task: &JobTask, mut persist: Persist) -> Next {
    let JobTask { core, leader, .. } = task;
    if let Some(report) = persist.take_report() {
        leader.report(report);
    }
    if !persist.pause().is_zero() {
        let pause = Box::pin(sleep(persist.pause()));
        unless_needed(task, &mut persist, Duration::ZERO, pause).await;
    }
    let (expected, grant) = (persist.expected(), persist.grant().clone());
    let save = Box::pin(core.save_reported(expected, grant, persist.event()));
    // A working store is faster than the grace.
    let saved = unless_needed(task, &mut persist, GRACE, save).await;
    let is_abandoned = Arc::strong_count(core) == 1;
    core.change(|state, m| {
        // Callers join under the same lock.
        persist.saved(saved, leader.is_urgent(), is_abandoned, state, m)
    })
}

/// Waits for `work`. If no other token serves after the grace, requests use the new one meanwhile.
async fn unless_needed<T: Future + Unpin>(
    task: &JobTask,
    persist: &mut Persist,
    grace: Duration,
    mut work: T,
) -> T::Output {
    if !persist.is_used() {
        let needed = async {
            if !grace.is_zero() {
                sleep(grace).await;
            }
            task.until_needed().await;
        };
        tokio::select! {
            biased;
            output = &mut work => return output,
            () = needed => {}
        }
        let report = task.core.change(|state, m| persist.use_unsaved(state, m));
        task.leader.report(report);
    }
    work.await
}
