//! `GET /callback`: the browser comes back from the provider.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler, Consent,
    callback_lease::CallbackLease,
    completion::{Completing, Completion},
    decide::HandlerDecides,
    disconnect::is_revoked_in_store,
    outcome_lease::{FlowOutcome, wait_for_outcome},
    pending_flow::PendingFlow,
    state::ConnectState,
};
use crate::{
    cache::{Decisions, RejectedBy, Settings, exchange_code},
    error::{Error, ErrorKind, OAuthErrorCode},
    oauth::{AcceptedCode, OAuthClient},
    tenants::{InProgress, Tenants},
    token::{TenantId, form_decoded},
};

/// Far longer than any code. A longer query is not parsed.
pub(super) const MAX_QUERY_LENGTH: usize = 16 * 1024;

pub(super) async fn callback<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
) -> Response {
    let query = request.uri.query().unwrap_or_default();
    let not_pending = || ConnectFailure::new(ConnectFailureKind::NotPending);
    let Some(state_parameter) = state_parameter(query) else {
        return state.failed(request, &not_pending());
    };
    let Some(flow) = state.flows.find(&request.headers, &state_parameter) else {
        let mut response = state.failed(request, &not_pending());
        state
            .flows
            .remove(&request.headers, &state_parameter, response.headers_mut());
        return response;
    };
    let (mut response, cookie) = respond(state, request, &flow, query).await;
    if cookie == FlowCookie::Remove {
        state
            .flows
            .remove(&request.headers, &state_parameter, response.headers_mut());
    }
    response
}

/// The `state` parameter, if the query has exactly one.
pub(super) fn state_parameter(query: &str) -> Option<Zeroizing<String>> {
    if query.len() > MAX_QUERY_LENGTH {
        return None;
    }
    let mut states = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*form_decoded(name) == "state").then_some(value)
    });
    let state = states.next()?;
    states.next().is_none().then(|| form_decoded(state))
}

/// Whether the response removes the cookie of the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FlowCookie {
    Remove,
    /// The code was not sent, so the browser may repeat the callback.
    Keep,
}

async fn respond<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
    flow: &PendingFlow,
    query: &str,
) -> (Response, FlowCookie) {
    let handler = &state.handler;
    if let Err(response) = handler.allows(request, &flow.tenant).await {
        return (response, FlowCookie::Remove);
    }
    let code = match flow.authorization(&state.oauth).accept(query) {
        Ok(code) => code,
        Err(error) if error.oauth_code() == Some(OAuthErrorCode::AccessDenied) => {
            return (handler.denied(request, &flow.tenant), FlowCookie::Remove);
        }
        Err(error) => {
            let failure = failure(ConnectFailureKind::Provider, &flow.tenant, error);
            return (state.failed(request, &failure), FlowCookie::Remove);
        }
    };
    let (completion, is_repeated) = completion(state, flow, code).await;
    match completion {
        Completion::Connected if !is_repeated => {
            (handler.connected(request, &flow.tenant), FlowCookie::Remove)
        }
        Completion::Connected | Completion::ConnectedElsewhere => {
            let response = connected_before(state, request, flow).await;
            (response, FlowCookie::Remove)
        }
        Completion::Failed(failure) if is_repeated => {
            (state.failed_again(request, &failure), FlowCookie::Remove)
        }
        Completion::Failed(failure) => (state.failed(request, &failure), FlowCookie::Remove),
        Completion::NotStarted(failure) => (state.failed(request, &failure), FlowCookie::Keep),
    }
}

/// The response to a repeated callback, whose flow has connected the tenant.
async fn connected_before<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
    flow: &PendingFlow,
) -> Response {
    // The tenant may have been disconnected since.
    if is_revoked_in_store(state.tenants.settings(), &flow.tenant).await {
        let failure = ConnectFailure::new(ConnectFailureKind::NotPending);
        return state.failed(request, &failure.of(&flow.tenant));
    }
    state.handler.connected(request, &flow.tenant)
}

/// Completes the flow, or waits for the request that does. Returns whether the outcome is that of
/// an earlier request.
async fn completion<H: ConnectHandler>(
    state: &ConnectState<H>,
    flow: &PendingFlow,
    code: AcceptedCode,
) -> (Completion, bool) {
    let completing = loop {
        match state.completions.begin(&flow.state) {
            Ok(completing) => break completing,
            Err(earlier) => {
                if let Some(completion) = earlier.outcome().await {
                    return (completion, true);
                }
                // The browser has disconnected before anything has started.
            }
        }
    };
    let pending = completing.pending();
    complete_in_task(state, flow, code, completing).await;
    let not_completed = || Completion::Failed(not_completed(&flow.tenant));
    (pending.outcome().await.unwrap_or_else(not_completed), false)
}

/// Completes a flow in a task of its own, which outlives the request: if the browser disconnects,
/// the tokens of a used code must not be lost.
async fn complete_in_task<H: ConnectHandler>(
    state: &ConnectState<H>,
    flow: &PendingFlow,
    code: AcceptedCode,
    completing: Completing,
) {
    let settings = Arc::clone(state.tenants.settings());
    let consent = match state.tenants.begin_consent(&flow.tenant, &flow.state) {
        Ok(consent) => consent,
        Err(InProgress::SameFlow) => {
            // By another router of this process.
            let completion = completed_elsewhere(&settings, &flow.tenant, &flow.state).await;
            return completing.complete(completion);
        }
        Err(InProgress::OtherFlow) => {
            return completing.complete(Completion::NotStarted(in_progress(&flow.tenant)));
        }
    };
    let (Ok(permit), Ok(runtime)) = (
        Arc::clone(&state.permits).acquire_owned().await,
        Handle::try_current(),
    ) else {
        return completing.complete(Completion::NotStarted(not_completed(&flow.tenant)));
    };
    let (oauth, tenants) = (state.oauth.clone(), state.tenants.clone());
    let (tenant, flow) = (flow.tenant.clone(), flow.state.clone());
    let handler = Arc::clone(&state.handler);
    runtime.spawn(async move {
        let lease = match acquire(&settings, &oauth, &tenants, &tenant, &flow).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                drop((permit, consent, oauth, tenants));
                return completing.complete(completed_elsewhere(&settings, &tenant, &flow).await);
            }
            Err(failure) => return completing.complete(Completion::NotStarted(failure)),
        };
        // Boxed, because the task is kept for minutes after it.
        let completed = Box::pin(complete(&oauth, &tenants, &tenant, code, handler)).await;
        drop((consent, oauth, tenants));
        let (completion, outcome) = match completed {
            Ok(()) => (Completion::Connected, FlowOutcome::Connected),
            Err(failure) => (Completion::Failed(failure), FlowOutcome::Failed),
        };
        completing.complete(completion);
        let outcome = lease.record(outcome).await;
        drop(permit);
        lease.release_after_expiry(outcome).await;
        // Until now, the outcome is remembered.
        drop(completing);
    });
}

/// Acquires the lease of the callback. `None` if the code was sent before. After an error, it was
/// not sent.
async fn acquire(
    settings: &Arc<Settings>,
    oauth: &OAuthClient,
    tenants: &Tenants,
    tenant: &TenantId,
    flow: &str,
) -> Result<Option<CallbackLease>, ConnectFailure> {
    if let Err(error) = tenants.check_consent().await {
        return Err(failure(ConnectFailureKind::Store, tenant, error));
    }
    let issuer = oauth.identity();
    if let Err(error) = settings.store.check_consent(tenant, &issuer).await {
        return Err(failure(ConnectFailureKind::Program, tenant, error));
    }
    CallbackLease::acquire(settings, flow)
        .await
        .map_err(|error| failure(ConnectFailureKind::Store, tenant, error))
}

/// The outcome of a flow whose code another replica has sent.
async fn completed_elsewhere(settings: &Settings, tenant: &TenantId, flow: &str) -> Completion {
    match wait_for_outcome(&settings.store, flow).await {
        Some(FlowOutcome::Connected) => Completion::ConnectedElsewhere,
        Some(FlowOutcome::Failed) => {
            let failed = ConnectFailure::new(ConnectFailureKind::FailedElsewhere);
            Completion::Failed(failed.of(tenant))
        }
        None => Completion::Failed(in_progress(tenant)),
    }
}

async fn complete<H: ConnectHandler>(
    oauth: &OAuthClient,
    tenants: &Tenants,
    tenant: &TenantId,
    code: AcceptedCode,
    handler: Arc<H>,
) -> Result<(), ConnectFailure> {
    let parameters = code.parameters().clone();
    let response = exchange_code(oauth, code)
        .await
        .map_err(|error| failure(ConnectFailureKind::CodeExchange, tenant, error))?;
    let tokens = response.tokens().clone();
    let consent = Consent {
        tenant: tenant.clone(),
        tokens: tokens.clone(),
        members: response.members().clone(),
        parameters,
    };
    let decisions = Arc::new(Decisions::of(HandlerDecides { handler, consent }));
    let saved = tenants.set_tokens_of_code(tenant, tokens, Arc::clone(&decisions));
    saved.await.map_err(|error| {
        let kind = match (error.kind(), decisions.rejected_by()) {
            (ErrorKind::ConsentRejected, RejectedBy::Program) => ConnectFailureKind::Rejected,
            (ErrorKind::ConsentRejected, _) => ConnectFailureKind::Program,
            (ErrorKind::RefreshTokenMissing, _) => ConnectFailureKind::RefreshTokenMissing,
            _ => ConnectFailureKind::Store,
        };
        failure(kind, tenant, error)
    })
}

fn failure(kind: ConnectFailureKind, tenant: &TenantId, error: Error) -> ConnectFailure {
    ConnectFailure::new(kind).of(tenant).because(error)
}

fn in_progress(tenant: &TenantId) -> ConnectFailure {
    ConnectFailure::new(ConnectFailureKind::InProgress).of(tenant)
}

fn not_completed(tenant: &TenantId) -> ConnectFailure {
    let error = Error::new(
        ErrorKind::Interrupted,
        "connecting was interrupted: the process is shutting down, or a token store panicked; \
         start again",
    );
    failure(ConnectFailureKind::Program, tenant, error)
}
