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

/// Where a request goes, as far as its token is concerned.
pub(super) enum Destination {
    /// To one of the token's origins.
    Own,
    /// CrossOrigin, with what to say of it.
    CrossOrigin(&'static str),
}

/// Whether a request goes to where its token may go.
#[inline]
pub(super) fn destination<B>(request: &Request<B>, origins: &[Origin]) -> Destination {
    let uri = request.uri();
    let Some(origin) = origins.iter().find(|origin| origin.matches(uri)) else {
        return Destination::CrossOrigin(if uri.authority().is_none() {
            "the request's URI is relative, so nobody can tell where the token would go: make it absolute"
        } else {
            "the request goes to an origin that the token is not meant for: see TokenCacheBuilder::origin"
        });
    };
    // Some stacks route by this header, not by the URI.
    if !request.headers().keys().any(|name| name == HOST) || is_same_host(request, origin) {
        Destination::Own
    } else {
        Destination::CrossOrigin(
            "the request's Host header names another origin than its URI: remove it",
        )
    }
}

#[cold]
fn is_same_host<B>(request: &Request<B>, origin: &Origin) -> bool {
    request.headers().get_all(HOST).iter().all(|host| {
        Authority::try_from(host.as_bytes()).is_ok_and(|host| origin.is_authority(&host))
    })
}

/// Puts a token on a request that brings no authorization of its own.
#[inline]
pub(super) fn authorize<B>(request: &mut Request<B>, token: BearerToken) -> Result<(), Error> {
    // One look into the map for both: what is there, if anything, is not sent in any case.
    match request
        .headers_mut()
        .try_insert(AUTHORIZATION, token.into_header_value())
    {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(brings_its_own()),
        Err(_) => Err(refuse(
            "the request has more headers than can be held, so that there is no room for the token: remove some",
        )),
    }
}

/// Refuses a request that brings an authorization of its own to where the token should go.
pub(super) fn check_authorization<B>(request: &Request<B>) -> Result<(), Error> {
    if request.headers().contains_key(AUTHORIZATION) {
        return Err(brings_its_own());
    }
    Ok(())
}

#[cold]
fn brings_its_own() -> Error {
    refuse(
        "the request brings an Authorization header of its own: remove it, or send the request past this layer",
    )
}

pub(super) fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::Request, message)
}
