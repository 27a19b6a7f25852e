//! `GET` or `POST /start`: redirects the browser to the provider.
//!
//! Some providers redirect back at once if the customer has consented before. A page of another
//! site could therefore replace the grant by a link. So a request that another site may have caused
//! changes nothing: it gets a page with a button.

use axum::response::Response;
use http::{Method, header::SET_COOKIE, request::Parts};

use super::{
    ConnectFailure, ConnectFailureKind, ConnectHandler, origin, page, state::ConnectState,
};
use crate::{
    error::{Error, ErrorKind},
    token::{NamedValues, TenantId},
};

pub(super) async fn start<H: ConnectHandler>(state: &ConnectState<H>, request: &Parts) -> Response {
    let is_own = match request.method {
        Method::POST => origin::is_same_origin(&request.headers, &state.origin),
        _ => origin::is_own_link(&request.headers, &state.origin),
    };
    if !is_own {
        return page::confirm(state.handler.texts(request));
    }
    let tenant = match state.handler.tenant(request).await {
        Ok(tenant) => tenant,
        Err(response) => return response,
    };
    let values = match state.handler.connect_values(request, &tenant).await {
        Ok(values) => values,
        Err(response) => return response,
    };
    let response = redirect_to_provider(state, request, &tenant, &values).await;
    response.unwrap_or_else(|error| {
        let kind = match error.kind() {
            ErrorKind::KeptValue => ConnectFailureKind::InvalidValue,
            ErrorKind::Refused | ErrorKind::Unavailable | ErrorKind::InvalidResponse => {
                ConnectFailureKind::AuthorizationRequest
            }
            _ => ConnectFailureKind::Program,
        };
        state.failed(
            request,
            &ConnectFailure::new(kind).of(&tenant).because(error),
        )
    })
}

/// Stores nothing on the server: a flow that the customer abandons leaves nothing behind. At a
/// provider with an endpoint for it, the authorization request is pushed.
async fn redirect_to_provider<H>(
    state: &ConnectState<H>,
    request: &Parts,
    tenant: &TenantId,
    values: &NamedValues,
) -> Result<Response, Error> {
    let (url, pending) = state.oauth.start_authorization_with(values).await?;
    let cookies = state.flows.start(tenant, &pending, &request.headers)?;
    let mut response = page::redirect(&url).ok_or_else(|| {
        Error::new(
            ErrorKind::Configuration,
            "the authorization URL is not a valid header value; check the provider's authorization \
             endpoint and the redirect URI",
        )
    })?;
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
