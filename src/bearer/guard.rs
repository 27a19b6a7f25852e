//! Which requests may carry a token.

use http::{
    HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, HOST},
    uri::Authority,
};

use crate::{
    cache::{BearerToken, Delivery},
    dpop::DPOP,
    error::{Error, ErrorKind},
    origin::Origin,
    token::KeptValues,
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

/// Why a request does not get a token.
pub(super) enum Refusal {
    /// It goes to another origin, for this reason.
    CrossOrigin(&'static str),
    Failed(Error),
}

impl Refusal {
    #[cold]
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::CrossOrigin(reason) => reject(reason),
            Self::Failed(error) => error,
        }
    }
}

/// Adds a token to a request that has no such header. `origins` are those of all grants.
///
/// The caller has compared the request with them, unless grants have origins of their own: then a
/// token has a [`Delivery`], and the comparison with the origins of exactly this token is made
/// here, for each attempt.
#[inline]
pub(super) fn authorize<B>(
    request: &mut Request<B>,
    token: BearerToken,
    origins: &[Origin],
) -> Result<(), Refusal> {
    let (value, delivery) = token.into_parts();
    match delivery {
        None => insert(request, AUTHORIZATION, value),
        Some(delivery) => deliver(request, value, &delivery, origins),
    }
}

/// Adds a token whose grant has origins, kept values, a key, or a header of its own. [`prove`] adds
/// the proof.
#[cold]
fn deliver<B>(
    request: &mut Request<B>,
    value: HeaderValue,
    delivery: &Delivery,
    origins: &[Origin],
) -> Result<(), Refusal> {
    let values = delivery.values().map_err(Refusal::Failed)?;
    if let Destination::CrossOrigin(reason) = destination_of(request, delivery, origins) {
        return Err(Refusal::CrossOrigin(reason));
    }
    check_authorization(request, delivery.header_name())?;
    if delivery.proofs().is_some() {
        check_authorization(request, &DPOP)?;
    }
    insert(request, delivery.header_name().clone(), value)?;
    if !values.is_empty() {
        request.extensions_mut().insert(values.clone());
    }
    Ok(())
}

/// Adds the proof of a request whose token is bound to a key. It is made when the request is sent:
/// servers accept proofs of the last seconds or minutes only (RFC 9449 section 11.1), and a request
/// may have waited for the inner service.
pub(super) fn prove<B>(request: &mut Request<B>, token: &BearerToken) -> Result<(), Error> {
    match token.dpop_proof(request.method(), request.uri())? {
        Some(proof) => insert(request, DPOP, proof).map_err(Refusal::into_error),
        None => Ok(()),
    }
}

#[inline]
fn insert<B>(
    request: &mut Request<B>,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), Refusal> {
    // One lookup inserts the token and finds an existing header; such a request is not sent.
    match request.headers_mut().try_insert(name, value) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(already_has(&AUTHORIZATION)),
        Err(_) => Err(too_many_headers()),
    }
}

/// Compares a request's target with the origins of one grant: those of all grants, and its own.
pub(super) fn destination_of<B>(
    request: &Request<B>,
    delivery: &Delivery,
    origins: &[Origin],
) -> Destination {
    let Destination::CrossOrigin(reason) = destination(request, origins) else {
        return Destination::Permitted;
    };
    match delivery.origins() {
        Ok([]) | Err(_) => Destination::CrossOrigin(reason),
        Ok(of_grant) => destination(request, of_grant),
    }
}

/// Removes what [`authorize`] has added, to add another token.
pub(super) fn remove_token<B>(request: &mut Request<B>, header_name: &HeaderName) {
    request.headers_mut().remove(header_name);
    request.extensions_mut().remove::<KeptValues>();
}

/// Rejects a request that already has the header of the token, or of a proof.
pub(super) fn check_authorization<B>(
    request: &Request<B>,
    header_name: &HeaderName,
) -> Result<(), Refusal> {
    if request.headers().contains_key(header_name) {
        return Err(already_has(header_name));
    }
    Ok(())
}

#[cold]
fn already_has(header_name: &HeaderName) -> Refusal {
    Refusal::Failed(Error::new(
        ErrorKind::Request,
        format!(
            "request already has the header {header_name}, which carries the token or its proof; \
             remove it, or call the service without this layer"
        ),
    ))
}

#[cold]
fn too_many_headers() -> Refusal {
    Refusal::Failed(reject(
        "request has too many headers to add the token; remove some",
    ))
}

/// The error of a request without a tenant, where there are many.
pub(super) fn names_no_tenant() -> Error {
    reject("request names no tenant; put a TenantId into its extensions")
}

pub(super) fn reject(message: &'static str) -> Error {
    Error::new(ErrorKind::Request, message)
}
