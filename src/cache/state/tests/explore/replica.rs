//! One replica: the shipped state, the job in flight, and the history that the properties need.

use std::time::Duration;

use super::{
    properties::{Counts, Event},
    setting::{Setting, access_number},
};
use crate::{
    cache::state::{CacheState, Done, Job, Next, Reason},
    error::Error,
    store::{LeaseOutcome, SaveOutcome},
    token::{Grant, TokenSet},
};

/// A replica. Its clone is a copy of everything that it holds in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) state: CacheState,
    pub(super) job: Option<JobRun>,
    /// The token set whose refresh token it has presented, until the outcome is known and saved.
    pub(super) presenting: Option<u8>,
    /// The access token that was delivered to it and is not stored yet.
    pub(super) unsaved: Option<u8>,
    /// When it sent its last token request.
    pub(super) last_sent: Option<u64>,
    /// Whether requests have begun to arrive. They do not stop before it crashes.
    pub(super) is_awake: bool,
}

/// A job in flight, as its driver knows it.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct JobRun {
    /// `None` while a step is performed.
    pub(super) next: Option<Next>,
    pub(super) reason: Reason,
    /// Whether a waiter has seen the held token rejected.
    pub(super) is_urgent: bool,
    pub(super) is_store_check: bool,
    /// When the pending step goes on by itself: the end of a wait, or the deadline of a token
    /// request whose response does not come.
    pub(super) until: Option<u64>,
    /// Whether the pending token request was sent and gets no response.
    pub(super) is_hanging: bool,
    /// Whether the pause before the pending save is over.
    pub(super) has_paused: bool,
    /// When the wait for the lease began.
    pub(super) lease_wait: Option<u64>,
    /// The grant that was loaded last while another process held the lease.
    #[expect(clippy::option_option, reason = "nothing was loaded, or no grant")]
    pub(super) loaded: Option<Option<Grant>>,
    pub(super) is_counted: bool,
    /// Whether the store may hold a lease of this replica.
    pub(super) must_release: bool,
    /// When the process was stopped. `None` if it runs.
    pub(super) stalled_at: Option<u64>,
    /// Whether the process has been stopped during this job.
    pub(super) has_stalled: bool,
    /// The result of the pending step that arrived while the process did not run.
    pub(super) arrived: Option<Arrived>,
}

/// The result of an operation, before the replica handles it.
#[derive(Clone, Debug)]
pub(super) enum Arrived {
    Loaded(Result<Option<Grant>, Error>),
    Acquired(Result<LeaseOutcome, Error>),
    Saved(Result<SaveOutcome, Error>),
    Fetched(Result<TokenSet, Error>),
    Released { has_failed: bool },
}

impl JobRun {
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled_at.is_some()
    }

    /// Whether the store holds another grant than the one that was loaded last.
    fn is_outdated(&self, stored: Option<&Grant>) -> bool {
        self.loaded
            .as_ref()
            .is_none_or(|loaded| loaded.as_ref() != stored)
    }
}

/// The longest wait for a lease that another process holds.
const LEASE_WAIT: u64 = 17_000;

impl Replica {
    /// Starts the job of an admission.
    pub(super) fn start(
        &mut self,
        mut job: Job,
        reason: Reason,
        is_urgent: bool,
        setting: &Setting,
        now: u64,
    ) {
        self.is_awake = true;
        // Telemetry alone uses the start time.
        job.since = setting.moment(0).now;
        self.state.start(&job);
        let is_store_check = job.is_store_check();
        let next = Next::first(job, &self.state, setting.moment(now));
        self.job = Some(JobRun {
            next: Some(next),
            reason,
            is_urgent,
            is_store_check,
            until: None,
            is_hanging: false,
            has_paused: false,
            lease_wait: None,
            loaded: None,
            is_counted: false,
            must_release: false,
            stalled_at: None,
            has_stalled: false,
            arrived: None,
        });
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.job.as_ref().is_some_and(JobRun::is_stalled)
    }

    /// The job whose next step can be performed now.
    pub(super) fn ready(&self) -> Option<&JobRun> {
        self.job
            .as_ref()
            .filter(|job| !job.is_stalled() && job.until.is_none())
    }

    /// Goes on with the steps that neither use the store nor the provider, as far as time permits.
    /// They depend on this replica and the time only, so their order among replicas is of no
    /// importance. Waits for a lease end as soon as a poll of the store would find a change.
    pub(super) fn run(
        &mut self,
        setting: &Setting,
        now: u64,
        stored: Option<&Grant>,
        is_lease_free: bool,
        counts: &mut Counts,
    ) {
        let m = setting.moment(now);
        let Some(job) = self.job.as_mut().filter(|job| !job.is_stalled()) else {
            return;
        };
        loop {
            if job.is_hanging {
                return;
            }
            let next = job.next.take().unwrap();
            let next = match next {
                Next::Enter(enter) => enter.entered(Ok(()), &mut self.state, m),
                Next::Wait(wait) => {
                    let is_for_lease = wait.ends_on_store_change();
                    let until = match (job.until, is_for_lease) {
                        (Some(until), _) => until,
                        (None, false) => now + millis(wait.pause()),
                        (None, true) => job.lease_wait.unwrap_or(now) + LEASE_WAIT,
                    };
                    let is_changed = is_for_lease && (is_lease_free || job.is_outdated(stored));
                    if until > now && !is_changed {
                        job.until = Some(until);
                        job.next = Some(Next::Wait(wait));
                        return;
                    }
                    job.until = None;
                    wait.waited(&mut self.state, m)
                }
                Next::Persist(mut persist) => {
                    drop(persist.take_report());
                    let is_waiting = !persist.pause().is_zero() && !job.has_paused;
                    if is_waiting && job.until.is_none() {
                        job.until = Some(now + millis(persist.pause()));
                    }
                    let is_needed = !self.state.can_wait(job.is_urgent, m);
                    if is_waiting && is_needed && !persist.is_used() {
                        drop(persist.use_unsaved(&mut self.state, m));
                    }
                    if job.until.is_some_and(|until| until <= now) {
                        job.until = None;
                        job.has_paused = true;
                    }
                    job.next = Some(Next::Persist(persist));
                    return;
                }
                // Nothing to release.
                Next::Done(done) if !job.must_release => {
                    if job.is_counted {
                        self.state.end_lease_use(0);
                    }
                    self.state.finish(&done, m);
                    reach_end(job, &done, counts);
                    self.job = None;
                    return;
                }
                next => {
                    if matches!(next, Next::AcquireLease(_)) && job.lease_wait.is_none() {
                        job.lease_wait = Some(now);
                    }
                    job.next = Some(next);
                    return;
                }
            };
            job.next = Some(next);
        }
    }

    /// Whether [`run`](Self::run) changes anything.
    pub(super) fn is_due(
        &self,
        setting: &Setting,
        now: u64,
        stored: Option<&Grant>,
        is_lease_free: bool,
    ) -> bool {
        let Some(job) = self.job.as_ref().filter(|job| !job.is_stalled()) else {
            return false;
        };
        let is_over = job.until.is_none_or(|until| until <= now);
        match &job.next {
            Some(Next::Enter(_)) => true,
            Some(Next::Done(_)) => !job.must_release,
            Some(Next::AcquireLease(_)) => job.lease_wait.is_none(),
            Some(Next::Wait(wait)) => {
                is_over
                    || (wait.ends_on_store_change() && (is_lease_free || job.is_outdated(stored)))
            }
            Some(Next::Persist(persist)) => {
                let is_needed = !self.state.can_wait(job.is_urgent, setting.moment(now));
                !persist.pause().is_zero()
                    && !job.has_paused
                    && (is_over || (is_needed && !persist.is_used()))
            }
            _ => false,
        }
    }

    /// The access token that the replica is about to save.
    pub(super) fn persisting(&self) -> Option<&TokenSet> {
        let job = self.job.as_ref()?;
        match (&job.next, &job.arrived) {
            (_, Some(Arrived::Fetched(Ok(tokens)))) => Some(tokens),
            (Some(Next::Persist(persist)), _) => persist.grant().tokens(),
            _ => None,
        }
    }

    /// Whether the delivered token set is not lost.
    pub(super) fn keeps_unsaved(&self) -> bool {
        self.unsaved.is_none_or(|number| {
            self.persisting()
                .is_some_and(|tokens| access_number(tokens) == number)
        })
    }

    /// The pending step, such as `Load/Begin`.
    pub(super) fn step(&self) -> String {
        let Some(job) = &self.job else {
            return "idle".to_owned();
        };
        let next = format!("{:?}", job.next);
        let word =
            |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric()).collect() };
        let name = word(next.trim_start_matches("Some("));
        let then = next
            .split_once("then: ")
            .map_or(String::new(), |(_, then)| format!("/{}", word(then)));
        let stalled = if job.is_stalled() { " stalled" } else { "" };
        let hanging = if job.is_hanging { " hanging" } else { "" };
        let arrived = if job.arrived.is_some() {
            " arrived"
        } else {
            ""
        };
        format!("{name}{then}{stalled}{hanging}{arrived}")
    }
}

/// Counts how a job ended.
pub(super) fn reach_end(job: &JobRun, done: &Done, counts: &mut Counts) {
    match done.outcome() {
        Ok(_) if job.is_store_check => counts.reach(Event::StoreCheckAdopted),
        Ok(_) if done.has_sent => counts.reach(Event::Refreshed),
        Ok(_) => counts.reach(Event::Adopted),
        Err(error) => {
            if done.is_deferred() {
                counts.reach(Event::Deferred);
            }
            let message = error.to_string();
            if job.has_stalled && message.contains("lease expired") {
                counts.reach(Event::StalledReplicaStopped);
            }
            if message.contains("another process holds the lease") {
                counts.reach(Event::LeaseWaitTimedOut);
            }
        }
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_nanos().div_ceil(1_000_000)).unwrap()
}
