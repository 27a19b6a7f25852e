//! `GET /start`: off to the provider.

use axum::response::Response;
use http::{header::SET_COOKIE, request::Parts};

use super::{ConnectFailure, ConnectFailureKind, ConnectHandler, Shared, page};
use crate::{
    error::{Error, ErrorKind},
    token::TenantId,
};

pub(super) async fn start<A: ConnectHandler>(shared: &Shared<A>, request: &Parts) -> Response {
    let tenant = match shared.application.tenant(request).await {
        Ok(tenant) => tenant,
        Err(response) => return response,
    };
    begin(shared, request, &tenant).unwrap_or_else(|error| {
        let failure = ConnectFailure::new(ConnectFailureKind::Program);
        shared.failed(&failure.of(&tenant).because(error))
    })
}

/// Nothing is kept here or in the store: whoever goes no further has cost nothing.
fn begin<A>(shared: &Shared<A>, request: &Parts, tenant: &TenantId) -> Result<Response, Error> {
    let (url, pending) = shared.oauth.authorization_url()?;
    let cookies = shared.flows.begin(tenant, &pending, &request.headers)?;
    let mut response = page::redirect(&url).ok_or_else(|| {
        Error::new(
            ErrorKind::Configuration,
            "the authorization URL cannot stand in a header: check the provider's endpoint and the redirect URI",
        )
    })?;
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
