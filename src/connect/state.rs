//! The state that all handles of a [`ConnectRouter`](super::ConnectRouter) and its routes share.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;
use tokio::sync::Semaphore;

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler, completion::Completions,
    pending_flow::FlowCookies,
};
use crate::{oauth::OAuthClient, origin::Origin, telemetry, tenants::Tenants};

pub(super) struct ConnectState<H> {
    pub(super) oauth: OAuthClient,
    pub(super) tenants: Tenants,
    /// Shared with the tasks that complete flows.
    pub(super) handler: Arc<H>,
    pub(super) flows: FlowCookies,
    pub(super) completions: Arc<Completions>,
    /// The origin of the redirect URI, and so of the program's own pages.
    pub(super) origin: Origin,
    /// Limits the code exchanges in flight. A shutdown acquires all permits.
    pub(super) permits: Arc<Semaphore>,
}

impl<H: ConnectHandler> ConnectState<H> {
    pub(super) fn failed(&self, request: &Parts, failure: &ConnectFailure) -> Response {
        let kind = failure.kind();
        match kind {
            ConnectFailureKind::NotPending
            | ConnectFailureKind::InProgress
            | ConnectFailureKind::FailedElsewhere
            | ConnectFailureKind::CrossSite => telemetry::connect_rejected(kind.as_str()),
            _ => telemetry::connect_failed(kind.as_str(), failure.tenant(), failure.error()),
        }
        self.handler.failed(request, failure)
    }

    /// The response to a repeated request. The event of the failure was emitted for the first one.
    pub(super) fn failed_again(&self, request: &Parts, failure: &ConnectFailure) -> Response {
        telemetry::connect_rejected(failure.kind().as_str());
        self.handler.failed(request, failure)
    }
}
