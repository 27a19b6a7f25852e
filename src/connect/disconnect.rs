//! `POST /disconnect`: revokes a grant.

use axum::response::Response;
use http::request::Parts;

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler, origin::is_same_origin, state::ConnectState,
};
use crate::{
    cache::Settings,
    error::ErrorKind,
    token::{GrantState, TenantId},
};

pub(super) async fn disconnect<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
) -> Response {
    if !is_same_origin(&request.headers, &state.origin) {
        return state.failed(request, &ConnectFailure::new(ConnectFailureKind::CrossSite));
    }
    let tenant = match state.handler.tenant(request).await {
        Ok(tenant) => tenant,
        Err(response) => return response,
    };
    let error = match state.tenants.revoke(&tenant).await {
        Ok(()) => return state.handler.disconnected(request, &tenant),
        Err(error) if error.kind() == ErrorKind::NoGrant => {
            return state.handler.disconnected(request, &tenant);
        }
        Err(error) => error,
    };
    let kind = if is_revoked_in_store(state.tenants.settings(), &tenant).await {
        ConnectFailureKind::ProviderNotNotified
    } else {
        ConnectFailureKind::NotPersisted
    };
    state.failed(
        request,
        &ConnectFailure::new(kind).of(&tenant).because(error),
    )
}

/// Whether every replica sees that the grant has ended.
pub(super) async fn is_revoked_in_store(settings: &Settings, tenant: &TenantId) -> bool {
    let stored = settings.load(tenant).await;
    stored.is_ok_and(|grant| {
        grant.is_none_or(|grant| matches!(grant.state, GrantState::Revoked { .. }))
    })
}
