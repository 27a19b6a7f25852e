//! Events, the span and metrics of one grant.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tracing::Span;

use super::{
    GrantListener,
    metric::{
        self, ACCESS_TOKEN_REMAINING, REAUTHORIZATIONS, RECOVERIES, REFRESH_DURATION,
        REFRESH_TOKEN_REMAINING, REFRESHES, SAVE_FAILURES, STUCK, UNAUTHORIZED,
    },
};
use crate::{
    error::Error,
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
        tracing::debug!(
            name: "token.refreshed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            lifetime_seconds = lifetime.map(|lifetime| lifetime.as_secs()),
            "a new token set was saved"
        );
        self.call_listener(|listener| listener.refreshed(&self.tenant, generation));
    }

    pub(crate) fn adopted(&self, generation: Generation) {
        tracing::debug!(
            name: "token.adopted",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            "a token set was adopted from the store"
        );
    }

    pub(crate) fn invalidated(&self, generation: Generation) {
        tracing::debug!(
            name: "token.invalidated",
            target: "tower_oauth2_client",
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
        tracing::warn!(
            name: "token.rejected_again",
            target: "tower_oauth2_client",
            tenant = self.field(),
            times,
            pause_seconds = pause.as_secs(),
            "the API rejects each new token soon after it was issued; no 401 causes a refresh \
             during the pause"
        );
    }

    pub(crate) fn refresh_failed(&self, reason: &'static str, error: &Error) {
        tracing::warn!(
            name: "refresh.failed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            reason,
            kind = error.kind().as_str(),
            error = %error,
            provider_code = error.provider_code(),
            "the refresh brought no new token"
        );
    }

    pub(crate) fn response_lost(&self, error: &Error, is_replayed: bool) {
        tracing::warn!(
            name: "refresh.response_lost",
            target: "tower_oauth2_client",
            tenant = self.field(),
            error = %error,
            is_replayed,
            "the token response was lost; the provider may have rotated the refresh token"
        );
    }

    pub(crate) fn reauthorization_required(&self, reason: ReauthorizationReason) {
        tracing::warn!(
            name: "grant.reauthorization_required",
            target: "tower_oauth2_client",
            tenant = self.field(),
            reason = reason.as_str(),
            "the provider has ended the grant; the customer has to consent again"
        );
        metric::count(
            REAUTHORIZATIONS,
            &[("reason", reason.as_str())],
            self.label(),
        );
        self.call_listener(|listener| {
            if reason == ReauthorizationReason::RotationLost {
                listener.rotation_lost(&self.tenant);
            }
        });
        self.call_listener(|listener| listener.reauthorization_required(&self.tenant, reason));
    }

    pub(crate) fn stuck(&self, error: &Error, attempts: u32, lasts: Duration) {
        let kind = error.kind().as_str();
        tracing::warn!(
            name: "grant.stuck",
            target: "tower_oauth2_client",
            tenant = self.field(),
            kind,
            error = %error,
            provider_code = error.provider_code(),
            provider_message = error.provider_message(),
            attempts,
            failing_seconds = lasts.as_secs(),
            "the refreshes of the grant fail again and again, and the provider has not ended it; \
             they are retried at long intervals"
        );
        metric::count(STUCK, &[("kind", kind)], self.label());
        self.call_listener(|listener| listener.stuck(&self.tenant, error));
    }

    pub(crate) fn recovered(&self, lasted: Duration) {
        tracing::info!(
            name: "grant.recovered",
            target: "tower_oauth2_client",
            tenant = self.field(),
            failing_seconds = lasted.as_secs(),
            "a grant that was stuck has been refreshed or replaced"
        );
        metric::count(RECOVERIES, &[], self.label());
        self.call_listener(|listener| listener.recovered(&self.tenant));
    }

    pub(crate) fn installed(&self, generation: Generation) {
        tracing::info!(
            name: "grant.installed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            "the tokens of a new consent were saved"
        );
    }

    pub(crate) fn consent_rejected(&self, by: &'static str) {
        tracing::warn!(
            name: "grant.consent_rejected",
            target: "tower_oauth2_client",
            tenant = self.field(),
            by,
            "a new consent was rejected, and its tokens were not saved"
        );
    }

    pub(crate) fn refresh_token_missing(&self, decision: ConsentDecision) {
        tracing::warn!(
            name: "grant.refresh_token_missing",
            target: "tower_oauth2_client",
            tenant = self.field(),
            decision = decision.as_str(),
            "a new consent brought no refresh token"
        );
        self.call_listener(|listener| listener.refresh_token_missing(&self.tenant, decision));
    }

    pub(crate) fn revoked(&self) {
        self.remaining(Some(Duration::ZERO), Some(Duration::ZERO));
        tracing::info!(
            name: "grant.revoked",
            target: "tower_oauth2_client",
            tenant = self.field(),
            "the program revoked the grant"
        );
    }

    pub(crate) fn refresh_token_expiring(&self, days_left: u64) {
        tracing::warn!(
            name: "refresh_token.expiring",
            target: "tower_oauth2_client",
            tenant = self.field(),
            days_left,
            "the refresh token expires soon and could not be refreshed so far"
        );
        self.call_listener(|listener| listener.refresh_token_expiring(&self.tenant, days_left));
    }

    pub(crate) fn save_failed(&self, error: &Error, unsaved: Duration) {
        metric::count(SAVE_FAILURES, &[], self.label());
        tracing::error!(
            name: "store.save_failed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            error = %error,
            unsaved_seconds = unsaved.as_secs(),
            "the result of a refresh could not be saved and would be lost in a crash; check the \
             store"
        );
    }

    pub(crate) fn expiry_corrected(&self, by: Duration) {
        tracing::debug!(
            name: "token.expiry_corrected",
            target: "tower_oauth2_client",
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
