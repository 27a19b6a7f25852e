//! Which requests may carry a token.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, HOST},
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
    let Some(origin) = origins.iter().find(|origin| origin.is_of(uri)) else {
        return Destination::CrossOrigin(if uri.authority().is_none() {
            "request URI has no authority; use an absolute URI"
        } else {
            "request goes to an origin that the token is not meant for; see TokenCacheBuilder::origin"
        });
    };
    // Some stacks route by this header instead of the URI.
    if has_same_host(request.headers(), origin) {
        Destination::Permitted
    } else {
        Destination::CrossOrigin(
            "request has a Host header that names another origin than its URI; remove the header",
        )
    }
}

/// How many names are compared with `Host` one by one. To compare more costs more than a lookup.
const FEW: usize = 8;

/// Whether each `Host` header names this origin. Costs usual requests less than
/// [`Origin::is_each_host`].
#[expect(
    clippy::inline_always,
    reason = "counted: a twentieth of what a request costs"
)]
#[inline(always)]
fn has_same_host(headers: &HeaderMap, origin: &Origin) -> bool {
    let names = headers.keys_len();
    if names <= FEW && !headers.keys().any(|name| *name == HOST) {
        return true;
    }
    // RFC 9110 section 7.2 recommends it as the first header.
    let host = match headers.iter().next() {
        Some((name, host)) if *name == HOST => host,
        _ => match headers.get(HOST) {
            Some(host) => host,
            None => return true,
        },
    };
    // No name has two values if there are as many values as names.
    let is_only = names == headers.len();
    origin.is_authority(host.as_bytes()) && (is_only || origin.is_each_host(headers))
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

/// Adds a header that a request must not have yet.
#[inline]
pub(super) fn insert<B>(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap()
    }

    fn is_permitted(request: &Request<()>, origin: &str) -> bool {
        let origins = [
            "https://other.example.com".parse().unwrap(),
            origin.parse().unwrap(),
        ];
        matches!(destination(request, &origins), Destination::Permitted)
    }

    #[test]
    fn p20_each_host_header_names_the_origin_wherever_it_is() {
        const API: &str = "https://api.example.com";
        let own = ["api.example.com", "API.example.com", "api.example.com:443"];
        let foreign = [
            "evil.example.com",
            "other.example.com",
            "api.example.com:80",
            "api.example.com:8443",
            "api.example.com.evil.example",
            "user@api.example.com",
            "https://api.example.com",
            "api.example.com, evil.example.com",
            " api.example.com",
            "",
        ];
        // Before and after few and many other headers.
        for others in [0, 1, FEW - 1, FEW, FEW + 1, 40] {
            let names: Vec<_> = (0..others).map(|number| format!("x-{number}")).collect();
            let others: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
            let with = |before: &[&str], after: &[&str]| {
                let host = |values: &[&str]| -> Vec<(&str, String)> {
                    values
                        .iter()
                        .map(|value| ("host", (*value).to_owned()))
                        .collect()
                };
                let (before, after) = (host(before), host(after));
                let before = before.iter().map(|(name, value)| (*name, value.as_str()));
                let after = after.iter().map(|(name, value)| (*name, value.as_str()));
                let headers: Vec<_> = before.chain(others.iter().copied()).chain(after).collect();
                is_permitted(&request("https://api.example.com/v1", &headers), API)
            };
            assert!(with(&[], &[]));
            for own in own {
                assert!(with(&[own], &[]), "{own}");
                assert!(with(&[], &[own]), "{own}");
                assert!(with(&[own], &[own]), "{own}");
            }
            for foreign in foreign {
                assert!(!with(&[foreign], &[]), "{foreign}");
                assert!(!with(&[], &[foreign]), "{foreign}");
                assert!(!with(&[own[0]], &[foreign]), "{foreign}");
                assert!(!with(&[foreign], &[own[0]]), "{foreign}");
                assert!(!with(&[own[0], foreign], &[own[0]]), "{foreign}");
            }
        }
    }

    #[test]
    fn p20_spellings_of_an_authority_are_compared_by_their_parts() {
        for (origin, uri, host, expected) in [
            ("http://[::1]", "http://[::1]/", "[::1]", true),
            ("http://[::1]", "http://[::1]:80/", "[::1]:80", true),
            ("http://[::1]:8080", "http://[::1]:8080/", "[::1]", false),
            (
                "https://a.example:8443",
                "https://a.example:8443",
                "a.example:8443",
                true,
            ),
            (
                "https://a.example:8443",
                "https://a.example:8443",
                "a.example",
                false,
            ),
            (
                "https://a.example:8443",
                "https://a.example",
                "a.example",
                false,
            ),
            (
                "https://a.example",
                "https://A.EXAMPLE:443/",
                "A.Example:443",
                true,
            ),
            ("https://a.example", "http://a.example/", "a.example", false),
            (
                "http://127.0.0.1:80",
                "http://127.0.0.1/",
                "127.0.0.1:80",
                true,
            ),
        ] {
            let request = request(uri, &[("host", host)]);
            assert_eq!(
                is_permitted(&request, origin),
                expected,
                "{origin} {uri} {host}"
            );
        }
    }
}
