//! Which requests may carry a token.

use http::{
    Request,
    header::{AUTHORIZATION, HOST},
    uri::Authority,
};

use crate::{
    error::{Error, ErrorKind},
    origin::Origin,
};

/// Where a request goes, as far as its token is concerned.
pub(super) enum Destination {
    /// To one of the token's origins.
    Own,
    /// Elsewhere, with what to say of it.
    Elsewhere(&'static str),
}

/// Refuses a request that brings an authorization of its own to where the token should go.
pub(super) fn check<B>(request: &Request<B>, origins: &[Origin]) -> Result<Destination, Error> {
    let destination = destination(request, origins);
    if matches!(destination, Destination::Own) && request.headers().contains_key(AUTHORIZATION) {
        return Err(refuse(
            "the request brings an Authorization header of its own: remove it, or send the request past this layer",
        ));
    }
    Ok(destination)
}

fn destination<B>(request: &Request<B>, origins: &[Origin]) -> Destination {
    let uri = request.uri();
    let Some(origin) = origins.iter().find(|origin| origin.is_origin_of(uri)) else {
        return Destination::Elsewhere(if uri.authority().is_none() {
            "the request's URI is relative, so nobody can tell where the token would go: make it absolute"
        } else {
            "the request goes to an origin that the token is not meant for: see TokenCacheBuilder::origin"
        });
    };
    // Some stacks route by this header, not by the URI.
    let is_same_host = request.headers().get_all(HOST).iter().all(|host| {
        Authority::try_from(host.as_bytes()).is_ok_and(|host| origin.is_authority(&host))
    });
    if is_same_host {
        Destination::Own
    } else {
        Destination::Elsewhere(
            "the request's Host header names another origin than its URI: remove it",
        )
    }
}

pub(super) fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::Request, message)
}
