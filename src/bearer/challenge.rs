//! Reads the challenge of a response: whether the token may be its cause.

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

/// Whether the token may be the cause of a 401, so that a newer one may help.
///
/// A challenge (RFC 9110 section 11.6.1) does not have to name a cause, and servers spell it in
/// many ways or leave it out. So this is true unless a `Bearer` challenge names another cause (RFC
/// 6750 section 3.1) and none names the token.
pub(super) fn concerns_token(headers: &HeaderMap) -> bool {
    names(headers, "invalid_token")
        || !names(headers, "insufficient_scope") && !names(headers, "invalid_request")
}

/// Whether a `Bearer` challenge names this cause.
pub(super) fn names(headers: &HeaderMap, cause: &str) -> bool {
    let values = headers.get_all(WWW_AUTHENTICATE);
    values
        .iter()
        .flat_map(bearer_causes)
        .any(|named| named == cause)
}

/// The `error` of each `Bearer` challenge in one header, which may hold several.
fn bearer_causes(value: &HeaderValue) -> Vec<String> {
    let challenges = value
        .to_str()
        .ok()
        // An unreadable challenge names no other cause.
        .and_then(|value| http_auth::parse_challenges(value).ok())
        .unwrap_or_default();
    challenges
        .iter()
        .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"))
        .flat_map(|challenge| &challenge.params)
        .filter(|(name, _)| name.eq_ignore_ascii_case("error"))
        .map(|(_, value)| value.to_unescaped())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concerns(values: &[&'static str]) -> bool {
        let headers = values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, HeaderValue::from_static(value)));
        concerns_token(&headers.collect())
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
        assert!(concerns_token(&HeaderMap::from_iter([(
            WWW_AUTHENTICATE,
            value
        )])));
    }
}
