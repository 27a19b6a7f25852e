//! The changes that telemetry reports.

use std::time::Duration;

use crate::{
    error::Error,
    token::{ConsentDecision, Generation, ReauthorizationReason},
};

/// A change that telemetry reports. The driver emits it once the state is unlocked.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A newer grant was adopted from the store.
    Adopted(Generation),
    /// A consent was not stored: by the program's decision, or for lack of one.
    ConsentRejected(&'static str),
    ExpiryCorrected(Duration),
    Installed(Generation),
    Invalidated(Generation),
    /// This process has saved the end of the grant.
    EndSaved(ReauthorizationReason),
    /// The provider has ended the grant. `refusal` is its response, if this process got it.
    ReauthorizationRequired {
        reason: ReauthorizationReason,
        refusal: Option<Error>,
    },
    /// A grant that was stuck has been refreshed or replaced. Its refreshes failed for this long.
    Recovered {
        lasted: Duration,
    },
    RefreshCompleted {
        label: &'static str,
        result: &'static str,
        duration: Duration,
    },
    RefreshFailed {
        label: &'static str,
        error: Error,
        /// Whether this kind of failure was not reported since the last refresh.
        is_news: bool,
    },
    /// The token set of a consent contains no refresh token, and this was decided.
    RefreshTokenMissing(ConsentDecision),
    RefreshTokenExpiring {
        days_left: u64,
    },
    Refreshed {
        generation: Generation,
        lifetime: Option<Duration>,
    },
    RejectedAgain {
        times: u32,
        pause: Duration,
    },
    Remaining {
        access_token: Option<Duration>,
        refresh_token: Option<Duration>,
    },
    ResponseLost {
        error: Error,
        is_replayed: bool,
        is_news: bool,
    },
    Revoked,
    SaveFailed {
        error: Error,
        unsaved: Duration,
        /// Whether it is the first attempt to save this grant.
        is_first: bool,
    },
    /// The grant became stuck: refreshes failed for this long, the last one with this error.
    Stuck {
        error: Error,
        attempts: u32,
        lasts: Duration,
    },
}
