//! What a refusal of the token or revocation endpoint means.

use std::{borrow::Cow, time::Duration, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};
use serde::Deserialize;

use super::date;
use crate::error::{Answer, Error, ErrorKind, OAuthErrorCode};

/// A provider that asks for more is asked again after this time.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

/// The body of RFC 6749 section 5.2. Its free texts are not even read: a server may echo secrets in them.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
}

/// The error behind an answer that is no success. `endpoint` names who answered.
///
/// [`Refused`](ErrorKind::Refused), and so final, only on a 4xx with a code that is known; everything else may pass.
pub(super) fn read(endpoint: &str, response: &Response<Bytes>, now: SystemTime) -> Error {
    let status = response.status();
    let answer = Answer {
        status: Some(status),
        code: None,
        retry_after: retry_after(response.headers(), now),
        // The gateway gave up waiting for a server that has the request.
        is_lost: status == StatusCode::GATEWAY_TIMEOUT,
    };
    if status.is_redirection() {
        return Error::new(
            ErrorKind::InvalidResponse,
            format!("the {endpoint} answered with a redirect ({}), which is not followed: check its URL", status.as_u16()),
        )
        .with_answer(answer);
    }
    let may_pass = !status.is_client_error()
        || status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS;
    if may_pass {
        return Error::new(
            ErrorKind::Unavailable,
            format!(
                "the {endpoint} is not available at the moment ({})",
                status.as_u16()
            ),
        )
        .with_answer(answer);
    }
    match code(response.body()) {
        Some(code) => refusal(endpoint, code).with_answer(Answer {
            code: Some(code),
            ..answer
        }),
        None => Error::new(
            ErrorKind::InvalidResponse,
            format!(
                "the {endpoint} answered {} without an OAuth error that is known ({}): check its URL, and what stands before it",
                status.as_u16(),
                describe(response)
            ),
        )
        .with_answer(answer),
    }
}

/// The known error code of a body.
fn code(body: &[u8]) -> Option<OAuthErrorCode> {
    object::<Body<'_>>(body).and_then(|body| OAuthErrorCode::parse(&body.error))
}

/// Reads a JSON object. Serde by itself would also take an array for one, its items for the members in their order.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    body.trim_ascii_start()
        .starts_with(b"{")
        .then(|| serde_json::from_slice(body).ok())?
}

fn refusal(endpoint: &str, code: OAuthErrorCode) -> Error {
    let advice = match code {
        OAuthErrorCode::InvalidGrant => "the code or refresh token is used, expired or revoked",
        OAuthErrorCode::InvalidClient => {
            "check the client id and secret, and how the provider wants them sent"
        }
        OAuthErrorCode::InvalidScope => "ask for scopes that the application is registered for",
        OAuthErrorCode::UnauthorizedClient | OAuthErrorCode::UnsupportedGrantType => {
            "this application may not use this grant"
        }
        OAuthErrorCode::UnsupportedTokenType => "the provider does not revoke tokens of this sort",
        _ => "see the provider's documentation",
    };
    let kind = match code {
        OAuthErrorCode::ServerError | OAuthErrorCode::TemporarilyUnavailable => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Refused,
    };
    Error::new(kind, format!("the {endpoint} refused: {code} ({advice})"))
}

/// An answer's outward form, for an error message: nothing of its text.
pub(super) fn describe(response: &Response<Bytes>) -> String {
    let sort = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase);
    let sort = match sort.as_deref() {
        Some(sort) if sort.contains("json") => "JSON",
        Some(sort) if sort.contains("html") => "HTML",
        Some(sort) if sort.starts_with("text/") => "text",
        Some(_) => "of an unknown type",
        None => "without a type",
    };
    format!("{} bytes, {sort}", response.body().len())
}

/// `Retry-After` as seconds or as a date (RFC 9110 section 10.2.3), within reason.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = date::parse(value)?;
        // By the clock that it was written by, where that is told.
        let now = date::of(headers).unwrap_or(now);
        until.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Response<Bytes> {
        Response::builder()
            .status(status)
            .body(Bytes::from_static(body.as_bytes()))
            .unwrap()
    }

    fn kind(status: u16, body: &'static str) -> ErrorKind {
        read(
            "token endpoint",
            &answer(status, body),
            SystemTime::UNIX_EPOCH,
        )
        .kind()
    }

    #[test]
    fn p15_terminal_only_on_a_parsed_known_code() {
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

    #[test]
    fn p21_answers_are_told_but_not_quoted() {
        for body in [
            "<html>seeded</html>",
            r#"{"error":"invalid_grant","error_description":"seeded"}"#,
            r#"{"error":"seeded"}"#,
            "seeded",
        ] {
            let mut response = answer(400, body);
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, "text/seeded".parse().unwrap());
            let error = read("token endpoint", &response, SystemTime::UNIX_EPOCH);
            assert!(!format!("{error} {error:?}").contains("seeded"));
        }
    }

    #[test]
    fn p16_retry_after_as_seconds_or_date_within_reason() {
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
