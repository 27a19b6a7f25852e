//! Which responses reject the token of their request.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};

use super::challenge::{self, Schemes};
use crate::rejection::TokenRejection;

/// Decides which responses reject the token of their request, beside a 401 and what the provider's
/// data name. [`BearerAuthLayer::classifier`](crate::bearer::BearerAuthLayer::classifier) sets it.
///
/// A rejected token is refreshed, and the request is retried once, as after a 401. [`GrpcStatus`]
/// is the classifier for gRPC. The methods run once for each response, so they must not block. A
/// panic in them is a panic of the request, or of the response body for trailers.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use tower_oauth2_client::bearer::{Classified, ClassifyResponse};
///
/// /// An API that reports an expired token in a header.
/// struct ExpiredHeader;
///
/// impl ClassifyResponse for ExpiredHeader {
///     fn classify_head(&self, _: StatusCode, headers: &HeaderMap) -> Classified {
///         if headers.get("x-token-state").is_some_and(|state| state == "expired") {
///             Classified::Rejected
///         } else {
///             Classified::NotRejected
///         }
///     }
/// }
/// ```
pub trait ClassifyResponse: Send + Sync + 'static {
    /// Classifies a response by its head.
    fn classify_head(&self, status: StatusCode, headers: &HeaderMap) -> Classified;

    /// Whether the trailers reject the token, after [`Classified::InTrailers`]. False by default.
    fn classify_trailers(&self, trailers: &HeaderMap) -> bool {
        let _ = trailers;
        false
    }
}

/// The meaning of a response head for the token of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Classified {
    /// The response does not reject the token.
    NotRejected,
    /// The token was rejected: it is refreshed, and the request is retried if it can be.
    Rejected,
    /// Only the trailers say whether the token was rejected.
    ///
    /// If trailers follow within 100 milliseconds, and no data before them, the request is retried
    /// as after a rejection in the head. Otherwise the caller gets the response, because a part of
    /// it may have been used. If the trailers then reject the token, it is refreshed for the next
    /// requests.
    ///
    /// Such a response costs a few allocations, also while the token is fresh.
    InTrailers,
}

/// The classifier for gRPC: the status `UNAUTHENTICATED` (16) rejects the token.
///
/// A gRPC response has the HTTP status 200. Its gRPC status is in the head if the response has no
/// messages (*Trailers-Only*), and otherwise in the trailers. `PERMISSION_DENIED` (7) does not
/// reject the token.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GrpcStatus;

impl GrpcStatus {
    /// Creates the classifier.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

const GRPC_STATUS: &str = "grpc-status";
const UNAUTHENTICATED: &str = "16";

impl ClassifyResponse for GrpcStatus {
    fn classify_head(&self, status: StatusCode, headers: &HeaderMap) -> Classified {
        match headers.get(GRPC_STATUS) {
            Some(status)
                if status == UNAUTHENTICATED
                    && challenge::concerns_token(headers, Schemes::Bearer) =>
            {
                Classified::Rejected
            }
            None if status == StatusCode::OK => Classified::InTrailers,
            _ => Classified::NotRejected,
        }
    }

    fn classify_trailers(&self, trailers: &HeaderMap) -> bool {
        trailers
            .get(GRPC_STATUS)
            .is_some_and(|status| status == UNAUTHENTICATED)
            && challenge::concerns_token(trailers, Schemes::Bearer)
    }
}

/// The rules of one layer.
#[derive(Clone)]
pub(super) struct Classifier {
    /// Rules of the provider's data.
    rules: Arc<[TokenRejection]>,
    by_program: Option<Arc<dyn ClassifyResponse>>,
    /// Whether only a 401 rejects a token.
    is_default: bool,
}

impl Classifier {
    pub(super) fn new(
        rules: &[TokenRejection],
        by_program: Option<Arc<dyn ClassifyResponse>>,
    ) -> Self {
        Self {
            rules: rules.into(),
            is_default: rules.is_empty() && by_program.is_none(),
            by_program,
        }
    }

    /// Whether a response certainly does not reject its token. The hot path: false negatives are
    /// classified in full.
    #[inline]
    pub(super) fn is_plain(&self, status: StatusCode) -> bool {
        self.is_default && status != StatusCode::UNAUTHORIZED
    }

    /// `schemes` are those of the token that the request carried.
    pub(super) fn classify<R>(&self, response: &Response<R>, schemes: Schemes) -> Classified {
        let (status, headers) = (response.status(), response.headers());
        let is_named = || {
            self.rules
                .iter()
                .any(|rule| is_rejected(rule, status, headers, schemes))
        };
        let concerns_token = || challenge::concerns_token(headers, schemes);
        if status == StatusCode::UNAUTHORIZED && concerns_token() || is_named() {
            return Classified::Rejected;
        }
        self.by_program
            .as_ref()
            .map_or(Classified::NotRejected, |by_program| {
                by_program.classify_head(status, headers)
            })
    }

    pub(super) fn classify_trailers(&self, trailers: &HeaderMap) -> bool {
        self.by_program
            .as_ref()
            .is_some_and(|by_program| by_program.classify_trailers(trailers))
    }
}

fn is_rejected(
    rule: &TokenRejection,
    status: StatusCode,
    headers: &HeaderMap,
    schemes: Schemes,
) -> bool {
    status == rule.status()
        && match rule.error() {
            Some(error) => challenge::names(headers, error, schemes),
            None => challenge::concerns_token(headers, schemes),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
        let response = Response::builder().status(status);
        let response = headers.iter().fold(response, |response, (name, value)| {
            response.header(*name, *value)
        });
        response.body(()).unwrap()
    }

    const INVALID: (&str, &str) = ("www-authenticate", "Bearer error=\"invalid_token\"");
    const SCOPE: (&str, &str) = ("www-authenticate", "Bearer error=\"insufficient_scope\"");

    #[test]
    fn p07_only_what_the_provider_names_rejects_a_token_beside_a_401() {
        let with_error = TokenRejection::new(StatusCode::BAD_REQUEST).with_error("invalid_token");
        let any = TokenRejection::new(StatusCode::FORBIDDEN);
        let default = Classifier::new(&[], None);
        let named = Classifier::new(&[with_error, any], None);
        for (status, headers, by_default, by_name) in [
            (401, &[] as &[_], true, true),
            (401, &[SCOPE], false, false),
            (200, &[INVALID], false, false),
            (400, &[], false, false),
            (400, &[INVALID], false, true),
            (400, &[SCOPE], false, false),
            (403, &[], false, true),
            (403, &[INVALID], false, true),
            (403, &[SCOPE], false, false),
            (404, &[INVALID], false, false),
        ] {
            let response = response(status, headers);
            let is = |classifier: &Classifier| {
                let classified =
                    classifier.classify(&response, Schemes::Bearer) == Classified::Rejected;
                assert!(!classified || !classifier.is_plain(response.status()));
                classified
            };
            assert_eq!(is(&default), by_default, "{status} {headers:?}");
            assert_eq!(is(&named), by_name, "{status} {headers:?}");
        }
    }

    #[test]
    fn p07_grpc_status_16_rejects_a_token_in_the_head_or_the_trailers() {
        let grpc = Classifier::new(&[], Some(Arc::new(GrpcStatus)));
        for (status, headers, expected) in [
            (200, &[("grpc-status", "16")] as &[_], Classified::Rejected),
            (
                200,
                &[("grpc-status", "16"), SCOPE],
                Classified::NotRejected,
            ),
            (200, &[("grpc-status", "0")], Classified::NotRejected),
            (200, &[("grpc-status", "7")], Classified::NotRejected),
            (200, &[], Classified::InTrailers),
            (401, &[], Classified::Rejected),
            (503, &[], Classified::NotRejected),
        ] {
            let response = response(status, headers);
            assert_eq!(
                grpc.classify(&response, Schemes::Bearer),
                expected,
                "{status} {headers:?}"
            );
            assert!(!grpc.is_plain(response.status()));
        }
        for (value, rejects) in [("16", true), ("0", false), ("7", false), ("", false)] {
            let trailers = response(200, &[("grpc-status", value)]);
            assert_eq!(grpc.classify_trailers(trailers.headers()), rejects);
        }
        assert!(!grpc.classify_trailers(&HeaderMap::new()));
    }
}
