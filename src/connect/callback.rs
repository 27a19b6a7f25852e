//! `GET /callback`: the browser comes back from the provider.

use std::{borrow::Cow, sync::Arc};

use axum::response::Response;
use http::request::Parts;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler,
    callback_lease::{CallbackLease, wait_until_connected},
    decide::HandlerDecides,
    pending_flow::PendingFlow,
    state::ConnectState,
};
use crate::{
    cache::{CompletionError, Decide, exchange_code_and_save},
    error::{Error, ErrorKind, OAuthErrorCode},
    oauth::{AcceptedCode, OAuthClient},
    tenants::{InProgress, Tenants},
    token::TenantId,
};

/// Far longer than any code. A longer query is not parsed.
const MAX_QUERY_LENGTH: usize = 16 * 1024;

pub(super) async fn callback<H: ConnectHandler>(
    state: &ConnectState<H>,
    request: &Parts,
) -> Response {
    let query = request.uri.query().unwrap_or_default();
    let not_pending = || ConnectFailure::new(ConnectFailureKind::NotPending);
    let Some(state_parameter) = state_parameter(query) else {
        return state.failed(&not_pending());
    };
    let Some(flow) = state.flows.find(&request.headers, &state_parameter) else {
        let mut response = state.failed(&not_pending());
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
fn state_parameter(query: &str) -> Option<Cow<'_, str>> {
    if query.len() > MAX_QUERY_LENGTH {
        return None;
    }
    let mut states = form_urlencoded::parse(query.as_bytes())
        .filter_map(|(name, value)| (name == "state").then_some(value));
    let state = states.next()?;
    states.next().is_none().then_some(state)
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
            return (handler.denied(&flow.tenant), FlowCookie::Remove);
        }
        Err(error) => {
            let failure = failure(ConnectFailureKind::Provider, &flow.tenant, error);
            return (state.failed(&failure), FlowCookie::Remove);
        }
    };
    match complete_in_task(state, flow, code).await {
        Completion::Connected => (handler.connected(&flow.tenant), FlowCookie::Remove),
        Completion::Failed(failure) => (state.failed(&failure), FlowCookie::Remove),
        Completion::NotStarted(failure) => (state.failed(&failure), FlowCookie::Keep),
        Completion::LeasedElsewhere => {
            if wait_until_connected(state.tenants.settings(), flow).await {
                return (handler.connected(&flow.tenant), FlowCookie::Remove);
            }
            let in_progress = ConnectFailure::new(ConnectFailureKind::InProgress);
            let response = state.failed(&in_progress.of(&flow.tenant));
            (response, FlowCookie::Remove)
        }
    }
}

/// The result of completing a flow with its code.
enum Completion {
    Connected,
    /// Another request has acquired the lease of this callback.
    LeasedElsewhere,
    Failed(ConnectFailure),
    /// The code was not sent.
    NotStarted(ConnectFailure),
}

/// Completes a flow in a task of its own, which outlives the request: if the browser disconnects,
/// the tokens of a used code must not be lost.
async fn complete_in_task<H: ConnectHandler>(
    state: &ConnectState<H>,
    flow: &PendingFlow,
    code: AcceptedCode,
) -> Completion {
    let consent = match state.tenants.begin_consent(&flow.tenant, &flow.state) {
        Ok(consent) => consent,
        Err(InProgress::SameFlow) => return Completion::LeasedElsewhere,
        Err(InProgress::OtherFlow) => {
            let failure = ConnectFailure::new(ConnectFailureKind::InProgress);
            return Completion::NotStarted(failure.of(&flow.tenant));
        }
    };
    let not_completed = || failure(ConnectFailureKind::Program, &flow.tenant, interrupted());
    let (Ok(permit), Ok(runtime)) = (
        Arc::clone(&state.permits).acquire_owned().await,
        Handle::try_current(),
    ) else {
        return Completion::NotStarted(not_completed());
    };
    let settings = Arc::clone(state.tenants.settings());
    let (oauth, tenants) = (state.oauth.clone(), state.tenants.clone());
    let (tenant, state_parameter) = (flow.tenant.clone(), flow.state.clone());
    let decide: Arc<dyn Decide> = Arc::new(HandlerDecides::new(&state.handler, &flow.tenant));
    let (sender, receiver) = oneshot::channel();
    runtime.spawn(async move {
        let issuer = oauth.identity();
        if let Err(error) = settings.store.check_consent(&tenant, &issuer).await {
            let failure = failure(ConnectFailureKind::Program, &tenant, error);
            let _ = sender.send(Completion::NotStarted(failure));
            return;
        }
        let lease = match CallbackLease::acquire(&settings, &state_parameter).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                let _ = sender.send(Completion::LeasedElsewhere);
                return;
            }
            Err(error) => {
                let failure = failure(ConnectFailureKind::Store, &tenant, error);
                let _ = sender.send(Completion::NotStarted(failure));
                return;
            }
        };
        let completed = complete(&oauth, &tenants, &tenant, code, decide).await;
        drop((permit, consent, oauth, tenants));
        let completion = completed.map_or_else(Completion::Failed, |()| Completion::Connected);
        let _ = sender.send(completion);
        lease.release_after_expiry().await;
    });
    let completion = receiver.await;
    completion.unwrap_or_else(|_| Completion::Failed(not_completed()))
}

async fn complete(
    oauth: &OAuthClient,
    tenants: &Tenants,
    tenant: &TenantId,
    code: AcceptedCode,
    decide: Arc<dyn Decide>,
) -> Result<(), ConnectFailure> {
    let save = |tokens| tenants.install(tenant, tokens, Arc::clone(&decide));
    exchange_code_and_save(oauth, code, save)
        .await
        .map_err(|error| match error {
            CompletionError::Exchange(error) => {
                failure(ConnectFailureKind::CodeExchange, tenant, error)
            }
            CompletionError::Save(error) if error.kind() == ErrorKind::RefreshTokenMissing => {
                failure(ConnectFailureKind::Rejected, tenant, error)
            }
            CompletionError::Save(error) => failure(ConnectFailureKind::Store, tenant, error),
        })
}

fn failure(kind: ConnectFailureKind, tenant: &TenantId, error: Error) -> ConnectFailure {
    ConnectFailure::new(kind).of(tenant).because(error)
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "connecting was interrupted: the process is shutting down, or a token store panicked; \
         start again",
    )
}
