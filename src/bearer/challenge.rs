//! Reads the challenge of a response: whether the token may be its cause.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header::WWW_AUTHENTICATE};

/// The challenges that count: those of a token with a DPoP key, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Schemes {
    /// `Bearer` (RFC 6750).
    Bearer,
    /// `Bearer` and `DPoP` (RFC 9449 section 7.1).
    BearerAndDpop,
}

/// Whether the token may be the cause of a 401, so that a newer one may help.
///
/// A challenge (RFC 9110 section 11.6.1) does not have to name a cause, and servers spell it in
/// many ways or leave it out. So this is true unless a challenge names another cause (RFC 6750
/// section 3.1, RFC 9449 section 7.1) and none names the token.
pub(super) fn concerns_token(headers: &HeaderMap, schemes: Schemes) -> bool {
    let names = |cause| names(headers, cause, schemes);
    let names_other = || {
        names("insufficient_scope")
            || names("invalid_request")
            || schemes == Schemes::BearerAndDpop && concerns_proof(headers)
    };
    names("invalid_token") || !names_other()
}

/// Whether a challenge names the DPoP proof of the request (RFC 9449 section 7.1). The API may not
/// have looked at the token.
pub(super) fn concerns_proof(headers: &HeaderMap) -> bool {
    let names = |cause| names(headers, cause, Schemes::BearerAndDpop);
    names("invalid_dpop_proof") || names("use_dpop_nonce")
}

/// Whether a challenge names this cause.
pub(super) fn names(headers: &HeaderMap, cause: &str, schemes: Schemes) -> bool {
    let values = headers.get_all(WWW_AUTHENTICATE);
    values
        .iter()
        .flat_map(|value| causes(value, schemes))
        .any(|named| named == cause)
}

/// Whether a response to a request with a DPoP proof asks for a proof with another nonce (RFC 9449
/// section 9). It says nothing about the token.
pub(super) fn asks_for_nonce<R>(response: &Response<R>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        && names(response.headers(), "use_dpop_nonce", Schemes::BearerAndDpop)
}

/// The `error` of each such challenge in one header, which may hold several.
fn causes(value: &HeaderValue, schemes: Schemes) -> Vec<String> {
    let counts = |scheme: &str| {
        scheme.eq_ignore_ascii_case("bearer")
            || schemes == Schemes::BearerAndDpop && scheme.eq_ignore_ascii_case("dpop")
    };
    let challenges = value
        .to_str()
        .ok()
        // An unreadable challenge names no other cause.
        .and_then(|value| http_auth::parse_challenges(value).ok())
        .unwrap_or_default();
    challenges
        .iter()
        .filter(|challenge| counts(challenge.scheme))
        .flat_map(|challenge| &challenge.params)
        .filter(|(name, _)| name.eq_ignore_ascii_case("error"))
        .map(|(_, value)| value.to_unescaped())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let headers = values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, HeaderValue::from_static(value)));
        headers.collect()
    }

    fn concerns(values: &[&'static str]) -> bool {
        concerns_token(&headers(values), Schemes::Bearer)
    }

    #[test]
    fn p07_challenge_about_the_proof_is_not_about_the_token() {
        for (values, concerns_token_of_a_key, asks) in [
            (&["DPoP"] as &[_], true, false),
            (&["DPoP algs=\"ES256 PS256\""], true, false),
            (
                &["DPoP error=\"invalid_token\", algs=\"ES256\""],
                true,
                false,
            ),
            (&["DPoP error=\"insufficient_scope\""], false, false),
            (&["Bearer error=\"insufficient_scope\""], false, false),
            (&["DPoP error=\"invalid_dpop_proof\""], false, false),
            (&["dpop ERROR=invalid_dpop_proof"], false, false),
            (&["Bearer, DPoP error=\"invalid_dpop_proof\""], false, false),
            (
                &[
                    "Bearer error=\"invalid_token\"",
                    "DPoP error=\"invalid_dpop_proof\"",
                ],
                true,
                false,
            ),
            (
                &["DPoP error=\"use_dpop_nonce\", error_description=\"x\""],
                false,
                true,
            ),
            (&["Basic error=\"use_dpop_nonce\""], true, false),
        ] {
            let headers = headers(values);
            let of_key = concerns_token(&headers, Schemes::BearerAndDpop);
            assert_eq!(of_key, concerns_token_of_a_key, "{values:?}");
            let mut response = Response::new(());
            *response.headers_mut() = headers;
            assert!(!asks_for_nonce(&response), "a success");
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            assert_eq!(asks_for_nonce(&response), asks, "{values:?}");
        }
        // Without keys, another scheme says nothing.
        assert!(concerns(&["DPoP error=\"invalid_dpop_proof\""]));
        assert!(concerns(&["DPoP error=\"insufficient_scope\""]));
    }

    #[test]
    fn p07_challenge_that_names_another_cause_is_not_about_the_token() {
        for values in [
            &[] as &[_],
            &["Bearer"],
            &["bearer"],
            &["Basic realm=\"x\""],
            &[
                "Bearer realm=\"a, b\", error=\"invalid_token\", error_description=\"it \\\"expired\\\"\"",
            ],
            &["BEARER ERROR=invalid_token"],
            &["Basic realm=\"x\", Bearer error=\"invalid_token\""],
            &["Basic realm=\"x\"", "Bearer error=\"invalid_token\""],
            &["Bearer error=\"expired_token\""],
            &["Bearer error=\"insufficient_scope\", Bearer error=\"invalid_token\""],
            &["Basic error=\"insufficient_scope\""],
            &["Bearer realm=\"error=insufficient_scope\""],
            &[""],
            &[",,"],
            &["Bearer error=\"insufficient_scope"],
            &["no challenge ; at=all"],
        ] {
            assert!(concerns(values), "{values:?}");
        }
        for values in [
            &["Bearer error=\"insufficient_scope\""] as &[_],
            &["bearer Error=insufficient_scope, scope=\"a b\""],
            &["Bearer error=\"invalid_request\""],
            &["Basic realm=\"x\", Bearer realm=\"y\", error=\"insufficient_scope\""],
            &["Basic realm=\"x\"", "Bearer error=\"insufficient_scope\""],
            &["Bearer error=\"insufficient\\_scope\""],
        ] {
            assert!(!concerns(values), "{values:?}");
        }
    }

    #[test]
    fn p07_unreadable_challenge_names_no_other_cause() {
        let value = HeaderValue::from_bytes(b"Bearer error=\"insufficient_scope\xff\"").unwrap();
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
        assert!(concerns_token(&headers, Schemes::Bearer));
    }
}
