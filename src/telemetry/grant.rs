//! What is told of one grant.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tracing::Span;

use super::{
    GrantListener, Unauthorized,
    metric::{
        self, ACCESS_TOKEN_LEFT, EXCHANGE_SECONDS, EXCHANGES, REAUTHORIZATIONS, REFRESH_TOKEN_LEFT,
        SAVE_FAILURES, UNAUTHORIZED,
    },
};
use crate::{
    error::Error,
    token::{Generation, ReauthorizationReason, TenantId},
};

/// Tells of one grant, by every way that was asked for.
pub(crate) struct Telemetry {
    tenant: TenantId,
    audience: Arc<Audience>,
}

/// Who hears of it, and how much.
pub(crate) struct Audience {
    /// Whether the tenant stands in what is told.
    pub(crate) records_tenant: bool,
    pub(crate) listener: Option<Arc<dyn GrantListener>>,
}

impl Telemetry {
    pub(crate) fn new(tenant: TenantId, audience: Arc<Audience>) -> Self {
        Self { tenant, audience }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    fn label(&self) -> Option<&TenantId> {
        self.audience.records_tenant.then_some(&self.tenant)
    }

    /// The same, as a field.
    fn field(&self) -> Option<&str> {
        self.label().map(TenantId::as_str)
    }

    /// Around an exchange's task, which is nobody's child: it outlives whoever set it off.
    pub(crate) fn exchange(&self, cause: &'static str) -> Span {
        let span = tracing::debug_span!(
            target: "tower_oauth2_client",
            parent: None,
            "token.exchange",
            cause,
            tenant = self.field()
        );
        span.follows_from(Span::current());
        span
    }

    pub(crate) fn exchanged(&self, cause: &'static str, outcome: &'static str, took: Duration) {
        let tenant = self.label();
        metric::count(EXCHANGES, &[("cause", cause), ("outcome", outcome)], tenant);
        metric::record(EXCHANGE_SECONDS, &[("outcome", outcome)], tenant, took);
    }

    pub(crate) fn refreshed(&self, generation: Generation, lifetime: Duration) {
        tracing::debug!(
            name: "token.refreshed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            lifetime_seconds = lifetime.as_secs(),
            "a new token set is stored"
        );
        self.listen(|listener| listener.refreshed(&self.tenant, generation));
    }

    pub(crate) fn adopted(&self, generation: Generation) {
        tracing::debug!(
            name: "token.adopted",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            "took over what is stored"
        );
    }

    pub(crate) fn invalidated(&self, generation: Generation) {
        tracing::debug!(
            name: "token.invalidated",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            "the held token is not used any more"
        );
    }

    pub(crate) fn unauthorized(&self, found: Unauthorized) {
        let answer = match found {
            Unauthorized::Newer => "newer",
            Unauthorized::Renewed => "renewed",
            Unauthorized::Nothing => "none",
        };
        metric::count(UNAUTHORIZED, &[("answer", answer)], self.label());
    }

    pub(crate) fn exchange_failed(&self, cause: &'static str, error: &Error) {
        tracing::warn!(
            name: "exchange.failed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            cause,
            kind = ?error.kind(),
            error = %error,
            "no new token"
        );
    }

    pub(crate) fn response_lost(&self, error: &Error, is_replayed: bool) {
        tracing::warn!(
            name: "exchange.response_lost",
            target: "tower_oauth2_client",
            tenant = self.field(),
            error = %error,
            is_replayed,
            "the answer to an exchange was lost: whether the refresh token was used up is not known"
        );
    }

    pub(crate) fn reauthorization_required(&self, reason: ReauthorizationReason) {
        tracing::warn!(
            name: "grant.reauthorization_required",
            target: "tower_oauth2_client",
            tenant = self.field(),
            reason = reason.as_str(),
            "reauthorization required: the provider has ended the grant"
        );
        metric::count(
            REAUTHORIZATIONS,
            &[("reason", reason.as_str())],
            self.label(),
        );
        self.listen(|listener| {
            if reason == ReauthorizationReason::RotationLost {
                listener.rotation_lost(&self.tenant);
            }
        });
        self.listen(|listener| listener.reauthorization_required(&self.tenant, reason));
    }

    pub(crate) fn replaced(&self, generation: Generation) {
        tracing::info!(
            name: "grant.replaced",
            target: "tower_oauth2_client",
            tenant = self.field(),
            generation = generation.as_u64(),
            "a new consent has begun"
        );
    }

    pub(crate) fn revoked(&self) {
        self.lives(Duration::ZERO, Some(Duration::ZERO));
        tracing::info!(
            name: "grant.revoked",
            target: "tower_oauth2_client",
            tenant = self.field(),
            "the grant was ended on purpose"
        );
    }

    pub(crate) fn expiring(&self, days_left: u64) {
        tracing::warn!(
            name: "refresh_token.expiring",
            target: "tower_oauth2_client",
            tenant = self.field(),
            days_left,
            "the refresh token ends soon, and renewing it has not worked so far"
        );
        self.listen(|listener| listener.refresh_token_running_out(&self.tenant, days_left));
    }

    pub(crate) fn save_failed(&self, error: &Error, unsaved: Duration) {
        metric::count(SAVE_FAILURES, &[], self.label());
        tracing::error!(
            name: "store.save_failed",
            target: "tower_oauth2_client",
            tenant = self.field(),
            error = %error,
            unsaved_seconds = unsaved.as_secs(),
            "what an exchange brought could not be stored, and would be lost in a crash: check the store"
        );
    }

    pub(crate) fn clock_corrected(&self, by: Duration) {
        tracing::debug!(
            name: "clock.corrected",
            target: "tower_oauth2_client",
            tenant = self.field(),
            seconds = by.as_secs(),
            "the wall clock is ahead of the monotonic one, as after a suspend: the token ends earlier"
        );
    }

    /// What is left of both tokens. Only where each grant has a label of its own.
    pub(crate) fn lives(&self, access_token: Duration, refresh_token: Option<Duration>) {
        const DAY: f64 = 86_400.0;
        if self.audience.records_tenant {
            let tenant = self.label();
            metric::set(ACCESS_TOKEN_LEFT, &[], tenant, access_token.as_secs_f64());
            if let Some(left) = refresh_token {
                metric::set(REFRESH_TOKEN_LEFT, &[], tenant, left.as_secs_f64() / DAY);
            }
        }
    }

    /// What a listener does wrong is its own affair.
    fn listen(&self, tell: impl FnOnce(&dyn GrantListener)) {
        if let Some(listener) = &self.audience.listener {
            let _ = catch_unwind(AssertUnwindSafe(|| tell(&**listener)));
        }
    }
}
