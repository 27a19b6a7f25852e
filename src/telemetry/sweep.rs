//! Events and metrics of a sweep over all tenants in a store.

use std::time::{Duration, Instant};

use super::{
    causes::Causes,
    event::{Level, event_at},
    metric::{self, GRANTS, GRANTS_EXPIRING},
    store::StoreTelemetry,
};
use crate::{
    error::{Error, ErrorKind},
    token::TenantId,
};

/// The result of a sweep, in numbers of grants.
pub(crate) struct SweepCounts {
    pub(crate) active: u64,
    pub(crate) ended: u64,
    pub(crate) unreadable: u64,
    pub(crate) foreign: u64,
    pub(crate) kept_alive: u64,
    pub(crate) failed: u64,
    pub(crate) expiring: u64,
}

/// `unreadable` is the error of a grant that could not be read, if there is one.
pub(crate) fn sweep_finished(
    counts: &SweepCounts,
    duration: Duration,
    unreadable: Option<&(TenantId, Error)>,
    store: &StoreTelemetry,
    now: Instant,
) {
    let is_any_readable = counts.active > 0 || counts.ended > 0;
    let (level, message) = if counts.unreadable == 0 {
        (Level::Info, "all stored grants were checked")
    } else if is_any_readable {
        (
            Level::Warn,
            "some stored grants cannot be read, and are not kept alive; restore them, or let their \
             customers connect again",
        )
    } else {
        (
            store.no_grant_readable(now),
            "no stored grant can be read, so none is kept alive; check the encryption key and the \
             grant store",
        )
    };
    event_at!(
        level,
        "sweep.finished",
        active = counts.active,
        ended = counts.ended,
        unreadable = counts.unreadable,
        foreign = counts.foreign,
        kept_alive = counts.kept_alive,
        failed = counts.failed,
        expiring = counts.expiring,
        duration_seconds = duration.as_secs(),
        kind = unreadable.map(|(_, error)| error.kind().as_str()),
        error = unreadable
            .map(|(tenant, error)| store.causes(Some(tenant), error).to_string())
            .as_deref(),
        "{message}"
    );
    for (state, count) in [
        ("active", counts.active),
        ("ended", counts.ended),
        ("unreadable", counts.unreadable),
        ("foreign", counts.foreign),
    ] {
        metric::set(GRANTS, &[("state", state)], None, as_gauge(count));
    }
    metric::set(GRANTS_EXPIRING, &[], None, as_gauge(counts.expiring));
}

/// `last` is the kind of the error of the last sweep, if that failed too.
pub(crate) fn sweep_failed(
    error: &Error,
    last: Option<ErrorKind>,
    store: &StoreTelemetry,
    now: Instant,
) {
    let is_reported = store.failed(None, error, now) || last == Some(error.kind());
    let level = if is_reported {
        Level::Debug
    } else if error.is_misuse() {
        Level::Error
    } else {
        Level::Warn
    };
    event_at!(
        level,
        "sweep.failed",
        kind = error.kind().as_str(),
        error = Causes::of_all(error).to_string().as_str(),
        "not all stored grants could be checked; idle ones expire if this goes on for days"
    );
}

/// Saturates where an `f64` could no longer represent every integer.
fn as_gauge(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
