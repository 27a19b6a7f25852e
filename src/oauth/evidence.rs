//! Whether a response proves that the provider did not use the code or refresh token.
//!
//! The [module page](super#outcomes-of-a-token-request) has the table of all outcomes.

use http::StatusCode;

use crate::error::{Error, OAuthErrorCode};

/// Adds to the error of a response whether the code or refresh token is certainly unused. If not,
/// the response counts as lost.
pub(super) fn added_to(error: Error) -> Error {
    if error.refresh_token().is_some() || error.is_token_unused() {
        // The response contains the token that replaces the one sent, or is defined as a refusal.
        error
    } else if proves_unused(error.status(), error.oauth_code()) {
        error.with_token_unused()
    } else {
        error.with_response_lost()
    }
}

fn proves_unused(status: Option<StatusCode>, code: Option<OAuthErrorCode>) -> bool {
    match status {
        // The endpoint has put the request off.
        Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => true,
        // The gateway has sent the request on, or the server has received only a part of it.
        Some(StatusCode::REQUEST_TIMEOUT) | None => false,
        // A gateway or firewall may also inspect the response, so only a code of RFC 6749 proves
        // that the authorization server has rejected the request.
        Some(status) if status.is_client_error() => code.is_some_and(is_rejection),
        Some(_) => false,
    }
}

/// Whether the code means that the request was rejected, rather than that it failed halfway.
fn is_rejection(code: OAuthErrorCode) -> bool {
    code != OAuthErrorCode::ServerError
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, ResponseDetails};

    fn is_lost(status: u16, code: Option<&str>) -> bool {
        let error = Error::new(ErrorKind::Unavailable, "").with_response(ResponseDetails {
            status: StatusCode::from_u16(status).ok(),
            code: code.and_then(OAuthErrorCode::parse),
            ..ResponseDetails::default()
        });
        let error = added_to(error);
        assert_ne!(error.is_response_lost(), error.is_token_unused());
        error.is_response_lost()
    }

    #[test]
    fn p11_only_a_deferral_and_a_rejection_prove_that_a_token_is_unused() {
        for status in (100..600).filter(|status| ![429, 503].contains(status)) {
            assert!(is_lost(status, None), "{status}");
        }
        for status in [429, 503] {
            assert!(!is_lost(status, None), "{status}");
            assert!(!is_lost(status, Some("server_error")), "{status}");
        }
        for code in [
            "invalid_grant",
            "invalid_client",
            "invalid_request",
            "invalid_scope",
            "unauthorized_client",
            "unsupported_grant_type",
            "access_denied",
            "temporarily_unavailable",
        ] {
            for status in [400, 401, 403, 422] {
                assert!(!is_lost(status, Some(code)), "{status} {code}");
            }
            for status in [200, 302, 408, 500, 502, 504] {
                assert!(is_lost(status, Some(code)), "{status} {code}");
            }
        }
        assert!(is_lost(400, Some("server_error")));
        assert!(is_lost(400, Some("no_known_code")));
    }
}
