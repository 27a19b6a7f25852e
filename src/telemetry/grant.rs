//! Events, the span and metrics of one grant.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::Span;

use super::{
    GrantListener,
    causes::Causes,
    event::{Level, event, event_at},
    metric::{
        self, ACCESS_TOKEN_REMAINING, REAUTHORIZATIONS, RECOVERIES, REFRESH_DURATION,
        REFRESH_FAILURES, REFRESH_TOKEN_REMAINING, REFRESHES, SAVE_FAILURES, STUCK, UNAUTHORIZED,
    },
};
use crate::{
    error::{Error, ErrorKind},
    token::{ConsentDecision, Generation, ReauthorizationReason, TenantId},
};

/// Emits the telemetry of one grant, and calls the listener.
pub(crate) struct GrantTelemetry {
    tenant: TenantId,
    settings: Arc<TelemetrySettings>,
}

pub(crate) struct TelemetrySettings {
    /// Whether events, spans and metrics name the tenant.
    pub(crate) record_tenant: bool,
    pub(crate) listener: Option<Arc<dyn GrantListener>>,
    /// The URL of the token endpoint, without its query.
    pub(crate) endpoint: Option<String>,
    /// Whether the circuit breaker of a gate reports a rejected client.
    pub(crate) has_gate: bool,
    /// Whether the endpoint has failed since the last refresh of any grant.
    pub(crate) is_failing: AtomicBool,
}

/// The end of a grant, as one process observes it.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) reason: ReauthorizationReason,
    /// The provider's refusal. `None` if another process got it.
    pub(crate) refusal: Option<&'a Error>,
}

/// How a failed refresh was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reported {
    /// For this grant, now or before, or by another event.
    AsFailure,
    /// As a failure of the endpoint, for another grant.
    AsOutage,
}

/// The token that the cache had for the retry after a 401.
#[derive(Clone, Copy)]
pub(crate) enum Unauthorized {
    NewerToken,
    Refreshed,
    /// The rejected token, after a pause: the API may not have known it yet.
    SameToken,
    NoToken,
}

impl GrantTelemetry {
    pub(crate) fn new(tenant: TenantId, settings: Arc<TelemetrySettings>) -> Self {
        Self { tenant, settings }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The span of a refresh task. It has no parent, because the task outlives the request that
    /// caused it.
    pub(crate) fn refresh_span(&self, reason: &'static str) -> Span {
        let span = tracing::debug_span!(
            target: "tower_oauth2_client",
            parent: None,
            "token.refresh",
            reason,
            tenant = self.field()
        );
        span.follows_from(Span::current());
        span
    }

    pub(crate) fn refresh_completed(
        &self,
        reason: &'static str,
        outcome: &'static str,
        duration: Duration,
    ) {
        let tenant = self.label();
        let labels = [("reason", reason), ("outcome", outcome)];
        metric::count(REFRESHES, &labels, tenant);
        metric::record(REFRESH_DURATION, &[("outcome", outcome)], tenant, duration);
    }

    pub(crate) fn refreshed(&self, generation: Generation, lifetime: Option<Duration>) {
        event!(
            debug,
            "token.refreshed",
            tenant = self.field(),
            generation = generation.as_u64(),
            lifetime_seconds = lifetime.map(|lifetime| lifetime.as_secs()),
            "a new token set was saved"
        );
        self.settings.is_failing.store(false, Ordering::Relaxed);
        self.call_listener(|listener| listener.refreshed(&self.tenant, generation));
    }

    pub(crate) fn adopted(&self, generation: Generation) {
        event!(
            debug,
            "token.adopted",
            tenant = self.field(),
            generation = generation.as_u64(),
            "a token set was adopted from the store"
        );
    }

    pub(crate) fn invalidated(&self, generation: Generation) {
        event!(
            debug,
            "token.invalidated",
            tenant = self.field(),
            generation = generation.as_u64(),
            "the program invalidated the token"
        );
    }

    pub(crate) fn unauthorized(&self, response: Unauthorized) {
        let outcome = match response {
            Unauthorized::NewerToken => "newer_token",
            Unauthorized::Refreshed => "refreshed",
            Unauthorized::SameToken => "same_token",
            Unauthorized::NoToken => "no_token",
        };
        metric::count(UNAUTHORIZED, &[("outcome", outcome)], self.label());
    }

    pub(crate) fn rejected_again(&self, times: u32, pause: Duration) {
        event!(
            warn,
            "token.rejected_again",
            tenant = self.field(),
            times,
            pause_seconds = pause.as_secs(),
            "the API rejects each new token soon after it was issued; no 401 causes a refresh \
             during the pause"
        );
    }

    /// `is_news` says whether this kind of failure was not reported for this grant since its last
    /// refresh.
    pub(crate) fn refresh_failed(
        &self,
        reason: &'static str,
        error: &Error,
        is_news: bool,
    ) -> Reported {
        let (level, reported) = self.level_of_failure(error, is_news);
        event_at!(
            level,
            "refresh.failed",
            tenant = self.field(),
            endpoint = self.endpoint(),
            reason,
            kind = error.kind().as_str(),
            provider_code = error.provider_code(),
            provider_message = error.provider_message(),
            error = self.causes(error).to_string().as_str(),
            "a customer's token could not be refreshed; this is tried again by itself"
        );
        // The operator corrects the client, and a customer most other refusals.
        let kind = if error.is_invalid_client() {
            "client_rejected"
        } else {
            error.kind().as_str()
        };
        metric::count(REFRESH_FAILURES, &[("kind", kind)], self.label());
        reported
    }

    fn level_of_failure(&self, error: &Error, is_news: bool) -> (Level, Reported) {
        let is_reported = error.is_end_of_grant()
            || error.is_circuit_open()
            || (error.is_invalid_client() && self.settings.has_gate)
            // The events `store.…` report it for all grants.
            || matches!(error.kind(), ErrorKind::Store | ErrorKind::ForeignGrant);
        // The endpoint fails for all grants.
        let is_repeated =
            error.is_of_endpoint() && self.settings.is_failing.swap(true, Ordering::Relaxed);
        if is_news && !is_reported && is_repeated {
            (Level::Debug, Reported::AsOutage)
        } else if is_news && !is_reported {
            (Level::Warn, Reported::AsFailure)
        } else {
            (Level::Debug, Reported::AsFailure)
        }
    }

    pub(crate) fn response_lost(&self, error: &Error, is_replayed: bool, is_news: bool) {
        event_at!(
            if is_news { Level::Warn } else { Level::Debug },
            "refresh.response_lost",
            tenant = self.field(),
            endpoint = self.endpoint(),
            kind = error.kind().as_str(),
            error = self.causes(error).to_string().as_str(),
            is_replayed,
            "{}",
            if is_replayed {
                "the response to a token request was lost, so the request is sent once more"
            } else {
                "the response to a token request was lost; the token is refreshed again later, and \
                 only if the provider then refuses, the customer has to connect again"
            }
        );
    }

    pub(crate) fn reauthorization_required(&self, end: End<'_>) {
        let End { reason, refusal } = end;
        // Where another process got the refusal, that process reports it.
        let level = if refusal.is_some() {
            Level::Warn
        } else {
            Level::Info
        };
        event_at!(
            level,
            "grant.reauthorization_required",
            tenant = self.field(),
            endpoint = self.endpoint(),
            reason = reason.as_str(),
            kind = refusal.map(|error| error.kind().as_str()),
            provider_code = refusal.and_then(Error::provider_code),
            provider_message = refusal.and_then(Error::provider_message),
            error = refusal
                .map(|error| self.causes(error).to_string())
                .as_deref(),
            "{}",
            explanation(reason)
        );
        // Each replica that uses the grant observes the end, and one has received it.
        if refusal.is_some() {
            let labels = [("reason", reason.as_str())];
            metric::count(REAUTHORIZATIONS, &labels, self.label());
        }
        self.call_listener(|listener| {
            if reason == ReauthorizationReason::RotationLost {
                listener.rotation_lost(&self.tenant);
            }
        });
        self.call_listener(|listener| listener.reauthorization_required(&self.tenant, reason));
    }

    /// This process has saved the end of the grant.
    pub(crate) fn end_saved(&self, reason: ReauthorizationReason) {
        self.call_listener(|listener| listener.reauthorization_saved(&self.tenant, reason));
    }

    pub(crate) fn stuck(&self, error: &Error, attempts: u32, lasts: Duration) {
        let kind = error.kind().as_str();
        event!(
            warn,
            "grant.stuck",
            tenant = self.field(),
            endpoint = self.endpoint(),
            kind,
            provider_code = error.provider_code(),
            provider_message = error.provider_message(),
            attempts,
            failing_seconds = lasts.as_secs(),
            error = self.causes(error).to_string().as_str(),
            "a customer's token cannot be refreshed although the provider is up and has not ended \
             the grant; look up the code, and ask the provider or define a refusal"
        );
        metric::count(STUCK, &[("kind", kind)], self.label());
        self.call_listener(|listener| listener.stuck(&self.tenant, error));
    }

    pub(crate) fn recovered(&self, lasted: Duration) {
        event!(
            info,
            "grant.recovered",
            tenant = self.field(),
            failing_seconds = lasted.as_secs(),
            "a customer's token, which could not be refreshed for a while, is fresh again"
        );
        metric::count(RECOVERIES, &[], self.label());
        self.call_listener(|listener| listener.recovered(&self.tenant));
    }

    pub(crate) fn installed(&self, generation: Generation) {
        event!(
            info,
            "grant.installed",
            tenant = self.field(),
            generation = generation.as_u64(),
            "customer connected"
        );
        self.call_listener(|listener| listener.connected(&self.tenant, generation));
    }

    pub(crate) fn consent_rejected(&self, by: &'static str) {
        event!(
            warn,
            "grant.consent_rejected",
            tenant = self.field(),
            by,
            "customer not connected: the program rejected the new consent, or did not decide about it"
        );
    }

    pub(crate) fn refresh_token_missing(&self, decision: ConsentDecision) {
        event!(
            warn,
            "grant.refresh_token_missing",
            tenant = self.field(),
            decision = decision.as_str(),
            "a customer connected, and the provider issued no refresh token"
        );
        self.call_listener(|listener| listener.refresh_token_missing(&self.tenant, decision));
    }

    pub(crate) fn revoked(&self) {
        self.remaining(Some(Duration::ZERO), Some(Duration::ZERO));
        event!(
            info,
            "grant.revoked",
            tenant = self.field(),
            "customer disconnected: the program revoked the grant"
        );
    }

    pub(crate) fn refresh_token_expiring(&self, days_left: u64) {
        event!(
            warn,
            "refresh_token.expiring",
            tenant = self.field(),
            days_left,
            "a customer has to connect again soon: the refresh token is about to expire, and could not \
             be refreshed so far"
        );
        self.call_listener(|listener| listener.refresh_token_expiring(&self.tenant, days_left));
    }

    pub(crate) fn save_failed(&self, error: &Error, unsaved: Duration, is_first: bool) {
        metric::count(SAVE_FAILURES, &[], self.label());
        event_at!(
            if is_first { Level::Error } else { Level::Debug },
            "store.save_failed",
            tenant = self.field(),
            kind = error.kind().as_str(),
            unsaved_seconds = unsaved.as_secs(),
            error = self.causes(error).to_string().as_str(),
            "a customer's new tokens could not be saved, and are lost if this process ends; check \
             the grant store, and do not restart this process before it works"
        );
    }

    pub(crate) fn expiry_corrected(&self, by: Duration) {
        event!(
            debug,
            "token.expiry_corrected",
            tenant = self.field(),
            correction_seconds = by.as_secs(),
            "the wall clock has advanced further than the monotonic clock, as after a suspend; the \
             token expires earlier"
        );
    }

    /// The remaining lifetime of both tokens. Recorded only with the tenant as a label, since the
    /// grants would otherwise overwrite each other's gauges.
    pub(crate) fn remaining(
        &self,
        access_token: Option<Duration>,
        refresh_token: Option<Duration>,
    ) {
        if self.settings.record_tenant {
            let tenant = self.label();
            if let Some(access_token) = access_token {
                let access_token = access_token.as_secs_f64();
                metric::set(ACCESS_TOKEN_REMAINING, &[], tenant, access_token);
            }
            if let Some(refresh_token) = refresh_token {
                let refresh_token = refresh_token.as_secs_f64();
                metric::set(REFRESH_TOKEN_REMAINING, &[], tenant, refresh_token);
            }
        }
    }

    fn endpoint(&self) -> Option<&str> {
        self.settings.endpoint.as_deref()
    }

    fn causes<'a>(&'a self, error: &'a Error) -> Causes<'a> {
        Causes::of(error, Some(&self.tenant), self.settings.record_tenant)
    }

    fn label(&self) -> Option<&TenantId> {
        self.settings.record_tenant.then_some(&self.tenant)
    }

    fn field(&self) -> Option<&str> {
        self.label().map(TenantId::as_str)
    }

    /// A panic in the listener must not end the task that calls it.
    fn call_listener(&self, call: impl FnOnce(&dyn GrantListener)) {
        if let Some(listener) = &self.settings.listener {
            let _ = catch_unwind(AssertUnwindSafe(|| call(&**listener)));
        }
    }
}

/// The message of an end: the cause, and what is to be done.
fn explanation(reason: ReauthorizationReason) -> &'static str {
    match reason {
        ReauthorizationReason::InvalidGrant => {
            "customer has to connect again: the provider ended the grant"
        }
        ReauthorizationReason::RefreshTokenExpired => {
            "customer has to connect again: the refresh token has expired"
        }
        ReauthorizationReason::RotationLost => {
            "customer has to connect again: after a lost response, the provider refused the refresh \
             token; most likely the response contained the next one"
        }
        ReauthorizationReason::NoRefreshToken => {
            "customer has to connect again: the access token has expired, and there is no refresh \
             token"
        }
    }
}
