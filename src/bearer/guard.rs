//! Which requests may carry a token.

use http::{
    Request,
    header::{AUTHORIZATION, HOST},
    uri::Authority,
};

use crate::{
    cache::BearerToken,
    error::{Error, ErrorKind},
    origin::Origin,
};

/// Whether a token may go where a request goes.
pub(super) enum Destination {
    /// To one of the token's origins.
    Permitted,
    /// To another origin, for this reason.
    CrossOrigin(&'static str),
}

/// Compares a request's target with the origins that its token is meant for.
#[inline]
pub(super) fn destination<B>(request: &Request<B>, origins: &[Origin]) -> Destination {
    let uri = request.uri();
    let Some(origin) = origins.iter().find(|origin| origin.matches(uri)) else {
        return Destination::CrossOrigin(if uri.authority().is_none() {
            "request URI has no authority; use an absolute URI"
        } else {
            "request goes to an origin that the token is not meant for; see TokenCacheBuilder::origin"
        });
    };
    // Some stacks route by this header instead of the URI.
    if !request.headers().keys().any(|name| name == HOST) || is_same_host(request, origin) {
        Destination::Permitted
    } else {
        Destination::CrossOrigin(
            "request has a Host header that names another origin than its URI; remove the header",
        )
    }
}

#[cold]
fn is_same_host<B>(request: &Request<B>, origin: &Origin) -> bool {
    request.headers().get_all(HOST).iter().all(|host| {
        Authority::try_from(host.as_bytes()).is_ok_and(|host| origin.is_authority(&host))
    })
}

/// Adds a token to a request that has no `Authorization` header.
#[inline]
pub(super) fn authorize<B>(request: &mut Request<B>, token: BearerToken) -> Result<(), Error> {
    // One lookup inserts the token and finds an existing header; such a request is not sent.
    match request
        .headers_mut()
        .try_insert(AUTHORIZATION, token.into_header_value())
    {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(has_authorization()),
        Err(_) => Err(reject(
            "request has too many headers to add the token; remove some",
        )),
    }
}

/// Rejects a request that already has an `Authorization` header.
pub(super) fn check_authorization<B>(request: &Request<B>) -> Result<(), Error> {
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(has_authorization());
    }
    Ok(())
}

#[cold]
fn has_authorization() -> Error {
    reject(
        "request already has an Authorization header; remove it, or call the service without this layer",
    )
}

/// The error of a request without a tenant, where there are many.
pub(super) fn names_no_tenant() -> Error {
    reject("request names no tenant; put a TenantId into its extensions")
}

pub(super) fn reject(message: &'static str) -> Error {
    Error::new(ErrorKind::Request, message)
}
