//! Error responses of the token and revocation endpoints.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{content_encoding, date, members::has_member};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode, ResponseDetails},
    provider::{Refusal, RefusalMeaning},
    token::unescaped,
};

/// The longest `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

/// An error response (RFC 6749 section 5.2). [`provider_text`](super::provider_text) reads its
/// descriptions, in which a server may repeat secrets. The error is decoded here, because a JSON
/// parser decodes escapes in a buffer that it does not wipe.
#[derive(Deserialize)]
struct Body<'a> {
    /// Optional, because an error of the parser reads the text again for its line and column, and
    /// may leave a part of it on the stack.
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Converts a response without success to an error. `endpoint` is the name of the endpoint.
///
/// The error is [`Refused`](ErrorKind::Refused), and so permanent, only for a 4xx status with a
/// known code. Any other response may be transient.
/// A response that matches one of the `refusals` has the meaning that the provider's data give it.
pub(super) fn to_error(
    endpoint: &str,
    response: &Response<Bytes>,
    now: SystemTime,
    refusals: &[Refusal],
) -> Error {
    if let Some(error) = refused(endpoint, response, now, refusals) {
        return error;
    }
    let status = response.status();
    let details = ResponseDetails {
        status: Some(status),
        code: None,
        retry_after: retry_after(response.headers(), now),
        ..ResponseDetails::default()
    };
    if status.is_redirection() {
        return Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "{endpoint} responded with a redirect ({}), which is not followed; check its URL",
                status.as_u16()
            ),
        )
        .with_response(details);
    }
    let is_transient = !status.is_client_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    if is_transient {
        return Error::new(
            ErrorKind::Unavailable,
            format!(
                "{endpoint} is unavailable ({}); try again later",
                status.as_u16()
            ),
        )
        .with_response(details);
    }
    match code(response.body()) {
        Some(code) => rejection(endpoint, code).with_response(ResponseDetails {
            code: Some(code),
            is_dead: code == OAuthErrorCode::InvalidGrant,
            ..details
        }),
        None => Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "{endpoint} responded with {} and no known OAuth error code ({}); \
                 check its URL, and any proxy before it",
                status.as_u16(),
                describe(response)
            ),
        )
        .with_response(details),
    }
}

/// The error that the provider's data define for a response, if they do.
pub(super) fn refused(
    endpoint: &str,
    response: &Response<Bytes>,
    now: SystemTime,
    refusals: &[Refusal],
) -> Option<Error> {
    let status = response.status();
    let body = response.body();
    let refusal = refusals.iter().find(|refusal| {
        refusal.matches(status.as_u16(), |path, value| {
            has_member(body, path, |text| value.matches(text))
        })
    })?;
    let (kind, meaning) = match refusal.meaning() {
        RefusalMeaning::Dead => (
            ErrorKind::Refused,
            "the code or refresh token was used, has expired or was revoked",
        ),
        RefusalMeaning::NotDead => (
            ErrorKind::Refused,
            "not because of the grant; check the configuration of the client",
        ),
        RefusalMeaning::Transient => (ErrorKind::Unavailable, "try again later"),
    };
    let code = code(body);
    let name = code.map_or_else(|| status.as_u16().to_string(), |code| code.to_string());
    let error = Error::new(
        kind,
        format!("{endpoint} rejected the request: {name} ({meaning})"),
    );
    let error = error.with_response(ResponseDetails {
        status: Some(status),
        code,
        retry_after: retry_after(response.headers(), now),
        is_dead: refusal.meaning() == RefusalMeaning::Dead,
        is_not_dead: refusal.meaning() == RefusalMeaning::NotDead,
        ..ResponseDetails::default()
    });
    // The authorization server has written this response.
    Some(error.with_token_unused())
}

/// The error code in a body, if it is a known one.
pub(super) fn code(body: &[u8]) -> Option<OAuthErrorCode> {
    let error = object::<Body<'_>>(body)?.error?.get();
    let error = error.strip_prefix('"')?.strip_suffix('"')?;
    OAuthErrorCode::parse(&unescaped(error.as_bytes())?)
}

/// Parses a JSON object. By itself, serde would also accept an array with the members in their
/// order.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    body.trim_ascii_start()
        .starts_with(b"{")
        .then(|| serde_json::from_slice(body).ok())?
}

fn rejection(endpoint: &str, code: OAuthErrorCode) -> Error {
    let advice = match code {
        OAuthErrorCode::InvalidGrant => {
            "the code or refresh token was used, has expired or was revoked"
        }
        OAuthErrorCode::InvalidClient => {
            "check the client id, the secret or key, and Provider::client_authentication"
        }
        OAuthErrorCode::InvalidScope => "request only scopes that the client is registered for",
        OAuthErrorCode::UnauthorizedClient | OAuthErrorCode::UnsupportedGrantType => {
            "this client may not use this grant type"
        }
        OAuthErrorCode::InvalidDpopProof => {
            "set ProviderBuilder::dpop if the client sends no proofs, and let the customers of \
             earlier grants consent again; otherwise compare the machine's clock with the \
             provider's, and the URL that the provider sees with the endpoint's"
        }
        OAuthErrorCode::UseDpopNonce => {
            "set ProviderBuilder::dpop if the client sends no proofs, and let the customers of \
             earlier grants consent again; otherwise the provider rejected a proof with the nonce \
             that it had just issued, or issued none"
        }
        OAuthErrorCode::InvalidTarget => {
            "the provider issues no token for this resource or audience; correct it"
        }
        OAuthErrorCode::UnsupportedTokenType => "the provider does not revoke tokens of this type",
        _ => "see the provider's documentation",
    };
    let kind = match code {
        OAuthErrorCode::ServerError | OAuthErrorCode::TemporarilyUnavailable => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Refused,
    };
    Error::new(
        kind,
        format!("{endpoint} rejected the request: {code} ({advice})"),
    )
}

/// Describes a response for an error message, without quoting it.
pub(super) fn describe(response: &Response<Bytes>) -> String {
    let media_type = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase);
    let media_type = match media_type.as_deref() {
        Some(media_type) if media_type.contains("json") => "JSON",
        Some(media_type) if media_type.contains("html") => "HTML",
        Some(media_type) if media_type.starts_with("text/") => "text",
        Some(_) => "unknown type",
        None => "no type",
    };
    let length = response.body().len();
    match content_encoding::name(response.headers()) {
        Some(encoding) => format!("{length} bytes, {media_type}, {encoding}"),
        None => format!("{length} bytes, {media_type}"),
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), at most [`MAX_RETRY_AFTER`].
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let time = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = date::parse(value)?;
        // The date is by the server's clock, which `Date` shows.
        let now = date::of_response(headers).unwrap_or(now);
        until.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(time.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &'static str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .body(Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    fn kind(status: u16, body: &'static str) -> ErrorKind {
        to_error(
            "token endpoint",
            &response(status, body),
            SystemTime::UNIX_EPOCH,
            &[],
        )
        .kind()
    }

    #[test]
    fn p15_only_a_known_error_code_is_permanent() {
        assert_eq!(
            kind(400, r#"{"error":"invalid_grant"}"#),
            ErrorKind::Refused
        );
        assert_eq!(
            kind(401, r#"{"error":"invalid_client","x":[1]}"#),
            ErrorKind::Refused
        );
        for (status, body) in [
            (400, ""),
            (400, "{}"),
            (400, "invalid_grant"),
            (400, r#"["invalid_grant"]"#),
            (400, "<html>invalid_grant</html>"),
            (400, r#"{"error":"INVALID_GRANT"}"#),
            (400, r#"{"error":{"code":"invalid_grant"}}"#),
            (400, r#"{"error":"invalid_grant""#),
            (403, "Forbidden by a firewall"),
            (302, ""),
            (307, r#"{"error":"invalid_grant"}"#),
        ] {
            assert_eq!(
                kind(status, body),
                ErrorKind::InvalidResponse,
                "{status} {body}"
            );
        }
        for status in [408, 429, 500, 502, 503, 199] {
            assert_eq!(
                kind(status, r#"{"error":"invalid_grant"}"#),
                ErrorKind::Unavailable,
                "{status}"
            );
        }
    }

    /// The circuit breaker would stop the refreshes of all grants for the death of one.
    #[test]
    fn p15_dead_grant_is_no_rejection_of_the_client() {
        let body = r#"{"error":"invalid_client","error_description":"Refresh token revoked"}"#;
        let revoked = |meaning| {
            Refusal::new(meaning)
                .member("error", "invalid_client")
                .member("error_description", "*revoked*")
        };
        for (refusals, is_dead, is_of_client) in [
            (vec![], false, true),
            (vec![revoked(RefusalMeaning::Dead)], true, false),
            (vec![revoked(RefusalMeaning::NotDead)], false, true),
        ] {
            let now = SystemTime::UNIX_EPOCH;
            let error = to_error("token endpoint", &response(401, body), now, &refusals);
            assert_eq!(error.is_invalid_grant(), is_dead, "{refusals:?}");
            assert_eq!(error.is_invalid_client(), is_of_client, "{refusals:?}");
        }
    }

    #[test]
    fn p21_errors_do_not_quote_the_response() {
        for body in [
            "<html>seeded</html>",
            r#"{"error":"invalid_grant","error_description":"seeded"}"#,
            r#"{"error":"seeded"}"#,
            "seeded",
        ] {
            let mut response = response(400, body);
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, "text/seeded".parse().unwrap());
            let error = to_error("token endpoint", &response, SystemTime::UNIX_EPOCH, &[]);
            assert!(!format!("{error} {error:?}").contains("seeded"));
        }
    }

    #[test]
    fn p16_retry_after_is_seconds_or_a_date_within_a_limit() {
        let now = date::parse("Tue, 24 Nov 2026 10:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("31536000", Some(600)),
            ("99999999999999999999999999", Some(600)),
            ("Tue, 24 Nov 2026 10:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 09:00:00 GMT", Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(600)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(600)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
