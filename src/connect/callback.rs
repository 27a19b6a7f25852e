//! `GET /callback`: back from the provider.

use std::{borrow::Cow, sync::Arc};

use axum::response::Response;
use http::request::Parts;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler, Shared,
    claim::{Claim, is_connected_meanwhile},
    flow::Flow,
};
use crate::{
    cache::{CompletionError, exchange_and_save},
    error::{Error, ErrorKind, OAuthErrorCode},
    oauth::{AcceptedCode, OAuthClient},
    tenants::Tenants,
    token::TenantId,
};

/// Far more than a code is long; what is longer is not read.
const LONGEST_QUERY: usize = 16 * 1024;

pub(super) async fn callback<A: ConnectHandler>(shared: &Shared<A>, request: &Parts) -> Response {
    let query = request.uri.query().unwrap_or_default();
    let unknown = || ConnectFailure::new(ConnectFailureKind::NotPending);
    let Some(state) = state_of(query) else {
        return shared.failed(&unknown());
    };
    let Some(flow) = shared.flows.find(&request.headers, &state) else {
        let mut response = shared.failed(&unknown());
        shared
            .flows
            .end(&request.headers, &state, response.headers_mut());
        return response;
    };
    let (mut response, then) = answer(shared, request, &flow, query).await;
    if then == Then::Over {
        shared
            .flows
            .end(&request.headers, &state, response.headers_mut());
    }
    response
}

/// The callback's state, if there is one, and one alone.
fn state_of(query: &str) -> Option<Cow<'_, str>> {
    if query.len() > LONGEST_QUERY {
        return None;
    }
    let mut states = form_urlencoded::parse(query.as_bytes())
        .filter_map(|(name, value)| (name == "state").then_some(value));
    let state = states.next()?;
    states.next().is_none().then_some(state)
}

/// What becomes of the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Over,
    /// Nothing was sent: the same callback may come again.
    GoesOn,
}

async fn answer<A: ConnectHandler>(
    shared: &Shared<A>,
    request: &Parts,
    flow: &Flow,
    query: &str,
) -> (Response, Then) {
    let application = &shared.application;
    if let Err(response) = application.allows(request, &flow.tenant).await {
        return (response, Then::Over);
    }
    let code = match flow.pending(&shared.oauth).accept(query) {
        Ok(code) => code,
        Err(error) if error.oauth_code() == Some(OAuthErrorCode::AccessDenied) => {
            return (application.denied(&flow.tenant), Then::Over);
        }
        Err(error) => {
            let failure = failure(ConnectFailureKind::Provider, &flow.tenant, error);
            return (shared.failed(&failure), Then::Over);
        }
    };
    match connect(shared, flow, code).await {
        Outcome::Connected => (application.connected(&flow.tenant), Then::Over),
        Outcome::Failed(failure) => (shared.failed(&failure), Then::Over),
        Outcome::NotBegun(failure) => (shared.failed(&failure), Then::GoesOn),
        Outcome::Elsewhere => {
            if is_connected_meanwhile(shared.tenants.settings(), flow).await {
                return (application.connected(&flow.tenant), Then::Over);
            }
            let under_way = ConnectFailure::new(ConnectFailureKind::InProgress);
            (shared.failed(&under_way.of(&flow.tenant)), Then::Over)
        }
    }
}

/// What has become of a code.
enum Outcome {
    Connected,
    /// Another request has the flow's claim.
    Elsewhere,
    Failed(ConnectFailure),
    /// It was not sent.
    NotBegun(ConnectFailure),
}

/// In a task of its own: a browser that goes away must not take the tokens of a used code with it.
async fn connect<A>(shared: &Shared<A>, flow: &Flow, code: AcceptedCode) -> Outcome {
    let ending = || failure(ConnectFailureKind::Program, &flow.tenant, interrupted());
    let (Ok(work), Ok(runtime)) = (
        Arc::clone(&shared.work).acquire_owned().await,
        Handle::try_current(),
    ) else {
        return Outcome::NotBegun(ending());
    };
    let settings = Arc::clone(shared.tenants.settings());
    let (oauth, tenants) = (shared.oauth.clone(), shared.tenants.clone());
    let (tenant, state) = (flow.tenant.clone(), flow.state.clone());
    let (sender, told) = oneshot::channel();
    runtime.spawn(async move {
        let claim = match Claim::take(&settings, &state).await {
            Ok(Some(claim)) => claim,
            Ok(None) => {
                let _ = sender.send(Outcome::Elsewhere);
                return;
            }
            Err(error) => {
                let failure = failure(ConnectFailureKind::Store, &tenant, error);
                let _ = sender.send(Outcome::NotBegun(failure));
                return;
            }
        };
        let done = complete(&oauth, &tenants, &tenant, code).await;
        drop((work, oauth, tenants));
        let _ = sender.send(done.map_or_else(Outcome::Failed, |()| Outcome::Connected));
        claim.end().await;
    });
    told.await.unwrap_or_else(|_| Outcome::Failed(ending()))
}

async fn complete(
    oauth: &OAuthClient,
    tenants: &Tenants,
    tenant: &TenantId,
    code: AcceptedCode,
) -> Result<(), ConnectFailure> {
    exchange_and_save(oauth, code, |tokens| tenants.set_tokens(tenant, tokens))
        .await
        .map_err(|error| match error {
            CompletionError::Exchange(error) => {
                failure(ConnectFailureKind::Exchange, tenant, error)
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
        "the process is about to end, or a store panicked: start again",
    )
}
