//! One spawned piece of work: a refresh, or a store check.

use std::time::Instant;

use super::{commands::Sequence, reason::Reason, snapshot::Outcome};
use crate::error::{Error, ErrorKind};

/// The work that a [request](super::CacheState::request) starts.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(super) reason: Reason,
    /// The reason, as telemetry reports it.
    pub(super) label: &'static str,
    pub(super) since: Instant,
    pub(super) conditions: Conditions,
    /// The error with which a refresh was denied, if the job only loads what another replica may
    /// have saved.
    pub(super) denied: Option<Error>,
}

/// The conditions under which a job was started. A waiter may have joined under other ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Conditions {
    /// Whether the job was started for a background reason, for which it may give up earlier.
    pub(super) is_background: bool,
    /// The consent that the grant stems from. The job changes nothing of a later grant.
    pub(super) consent: Sequence,
    pub(super) secret_epoch: u64,
    /// How many refreshes had stalled.
    pub(super) stalls: u32,
}

impl Conditions {
    /// The conditions for the result of a job that sent a token request: it did not give up
    /// earlier than another one.
    pub(crate) fn after_request(self) -> Self {
        Self {
            is_background: false,
            ..self
        }
    }
}

/// A refresh in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    /// Why it was started, as telemetry reports it.
    pub(super) label: &'static str,
    /// Its report so far.
    pub(super) report: Option<Report>,
    /// Whether the refresh token was sent.
    pub(super) has_sent: bool,
}

/// A report of a job to its waiters.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// There is a new token that could not be saved, for this reason. The held token serves as long
    /// as it can.
    Deferred(Error),
    Done(Outcome),
    /// The runtime of the job ended. Another one may continue.
    Interrupted,
}

/// The end of a job.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
    /// Whether the token source was called.
    pub(super) has_sent: bool,
    /// Whether the refresh was put off: until the access token expires, after a lost response, or
    /// until the provider accepts it.
    pub(super) is_deferred: bool,
    /// Whether the runtime of the job ended.
    pub(super) is_interrupted: bool,
}

impl Done {
    pub(super) fn new(job: Job, outcome: Outcome) -> Self {
        Self {
            job,
            outcome,
            has_sent: false,
            is_deferred: false,
            is_interrupted: false,
        }
    }

    /// A job whose task panicked, or whose runtime ended.
    pub(crate) fn interrupted(job: Job, has_panicked: bool) -> Self {
        Self {
            is_interrupted: !has_panicked,
            ..Self::new(job, Err(interrupted()))
        }
    }

    /// A job that failed before its first step.
    pub(crate) fn failed(job: Job, error: Error) -> Self {
        Self::new(job, Err(error))
    }

    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// The report to the waiters.
    pub(crate) fn report(&self) -> Report {
        if self.is_interrupted {
            Report::Interrupted
        } else {
            Report::Done(self.outcome.clone())
        }
    }
}

impl Job {
    pub(crate) fn label(&self) -> &'static str {
        self.label
    }

    pub(crate) fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// Whether the job is a store check: a load without a refresh.
    pub(crate) fn is_store_check(&self) -> bool {
        self.denied.is_some()
    }
}

pub(super) fn unsaved() -> Error {
    Error::new(
        ErrorKind::Store,
        "the newest token set could not be saved yet, and no refresh starts before it is; check the token store",
    )
}

pub(crate) fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "a refresh was interrupted: its runtime ended, or it panicked; retry",
    )
}
