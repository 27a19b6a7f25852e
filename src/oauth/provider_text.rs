//! The text of a provider about an error, for logs and support.

use std::cell::RefCell;

use bytes::Bytes;
use http::Response;
use zeroize::Zeroizing;

use super::{members::has_member, scrub::Secrets};
use crate::{
    error::{Error, OAuthErrorCode, ProviderText},
    provider::Refusal,
};

/// The longest code and description, in characters.
const LONGEST_CODE: usize = 64;
const LONGEST_MESSAGE: usize = 200;

/// The members that may contain the code, and those that may contain the description. The first one
/// with a text counts. The value that a refusal matched comes after `error`.
const CODES: [&str; 6] = [
    "error.code",
    "error.type",
    "code",
    "error_code",
    "errorCode",
    "status",
];
const MESSAGES: [&str; 5] = [
    "error_description",
    "error_message",
    "error.message",
    "errorSummary",
    "message",
];

/// Adds what the body of a response says about the error. `secrets` are those of the request.
pub(super) fn added_to(
    error: Error,
    response: &Response<Bytes>,
    refusals: &[Refusal],
    secrets: impl FnOnce() -> Secrets,
) -> Error {
    let body = response.body();
    // Documentation in a web page contains examples. Beside a token, nothing is harmless.
    let is_page = body.trim_ascii_start().starts_with(b"<");
    let has_token = || ["access_token", "refresh_token"].map(|name| text(body, name).is_some());
    if body.is_empty() || is_page || has_token().contains(&true) {
        return error;
    }
    let secrets = secrets();
    let code = text(body, "error")
        .or_else(|| matched(response, refusals))
        .or_else(|| CODES.iter().find_map(|name| text(body, name)))
        .and_then(|code| match OAuthErrorCode::parse(&code) {
            Some(known) => Some(known.as_str().to_owned()),
            None => secrets.removed_from(&code, LONGEST_CODE),
        });
    let message = MESSAGES
        .iter()
        .find_map(|name| text(body, name))
        .and_then(|message| secrets.removed_from(&message, LONGEST_MESSAGE));
    if code.is_none() && message.is_none() {
        return error;
    }
    error.with_provider_text(ProviderText {
        code: code.map(Box::from),
        message: message.map(Box::from),
    })
}

/// The value of the first member that a matching refusal names.
fn matched(response: &Response<Bytes>, refusals: &[Refusal]) -> Option<Zeroizing<String>> {
    let (status, body) = (response.status().as_u16(), response.body());
    let refusal = refusals.iter().find(|refusal| {
        refusal.matches(status, |path, value| {
            has_member(body, path, |text| value.matches(text))
        })
    })?;
    refusal.member_names().find_map(|path| text(body, path))
}

/// The text or number at a path. `None` if it is blank or of another type.
fn text(body: &[u8], path: &str) -> Option<Zeroizing<String>> {
    let found = RefCell::new(None);
    has_member(body, path, |text| {
        let is_text = !matches!(text, "null" | "true" | "false")
            && !text.starts_with('{')
            && !text.trim().is_empty();
        if is_text {
            found.replace(Some(Zeroizing::new(text.to_owned())));
        }
        is_text
    });
    found.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, provider::RefusalMeaning};

    fn read(status: u16, body: &str, refusals: &[Refusal]) -> (Option<String>, Option<String>) {
        let response = Response::builder()
            .status(status)
            .body(Bytes::from(body.to_owned()))
            .unwrap();
        let secrets = || {
            let mut secrets = Secrets::default();
            secrets.add("seeded-refresh-token");
            secrets
        };
        let error = Error::new(ErrorKind::Refused, "refused");
        let error = added_to(error, &response, refusals, secrets);
        assert_eq!(error.to_string(), "refused");
        let text = |text: Option<&str>| text.map(str::to_owned);
        (text(error.provider_code()), text(error.provider_message()))
    }

    #[test]
    fn code_and_description_are_read_as_providers_write_them() {
        for (status, body, code, message) in [
            (
                400,
                r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}"#,
                Some("BAD_REFRESH_TOKEN"),
                Some("missing or unknown refresh token"),
            ),
            (
                200,
                r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired.","error_uri":"https://docs.github.com"}"#,
                Some("bad_refresh_token"),
                Some("The refresh token passed is incorrect or expired."),
            ),
            (
                200,
                r#"{"ok":false,"error":"invalid_refresh_token"}"#,
                Some("invalid_refresh_token"),
                None,
            ),
            (
                200,
                r#"{"error":"invalid_code"}"#,
                Some("invalid_code"),
                None,
            ),
            (
                403,
                r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
                Some("unauthorized_client"),
                Some("refresh_token is invalid"),
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"AADSTS9002313: Invalid request.","error_codes":[9002313],"trace_id":"x"}"#,
                Some("invalid_grant"),
                Some("AADSTS9002313: Invalid request."),
            ),
            (
                401,
                r#"{"error":{"code":"token_dead","message":"The token is dead"}}"#,
                Some("token_dead"),
                Some("The token is dead"),
            ),
            (
                400,
                r#"{"error":{"type":"OAuthException","message":"Session has expired"}}"#,
                Some("OAuthException"),
                Some("Session has expired"),
            ),
            (
                400,
                r#"{"errorCode":"E0000011","errorSummary":"Invalid token provided"}"#,
                Some("E0000011"),
                Some("Invalid token provided"),
            ),
            (
                400,
                "\u{feff}{\"error\":\"invalid_\\u0067rant\"}",
                Some("invalid_grant"),
                None,
            ),
            (400, r#"{"error":null,"code":17}"#, Some("17"), None),
            (
                400,
                r#"{"error":["first","second"],"message":["reason"]}"#,
                Some("first"),
                Some("reason"),
            ),
            (400, r#"{"error":"","error_description":" "}"#, None, None),
            (400, r#"{"error":true,"message":{"a":"b"}}"#, None, None),
            (400, "", None, None),
            (403, r#"<html>{"error":"invalid_grant"}</html>"#, None, None),
            (400, "Forbidden", None, None),
            // A new token came with the error.
            (
                200,
                r#"{"error":"x","error_description":"y","refresh_token":"r"}"#,
                None,
                None,
            ),
            (
                200,
                r#"{"error":"x","error_description":"y","access_token":"a"}"#,
                None,
                None,
            ),
        ] {
            let expected = (code.map(str::to_owned), message.map(str::to_owned));
            assert_eq!(read(status, body, &[]), expected, "{body}");
        }
    }

    #[test]
    fn value_that_a_refusal_matches_is_the_code() {
        let refusals = [
            Refusal::new(RefusalMeaning::NotDead).member("reason.name", "locked*"),
            Refusal::new(RefusalMeaning::Dead)
                .status(400)
                .member("result", "dead"),
        ];
        for (status, body, expected) in [
            (
                400,
                r#"{"code":1,"reason":{"name":"locked_by_owner"}}"#,
                "locked_by_owner",
            ),
            (400, r#"{"code":1,"result":"dead"}"#, "dead"),
            (403, r#"{"code":1,"result":"dead"}"#, "1"),
            (400, r#"{"error":"own","result":"dead"}"#, "own"),
        ] {
            let (code, _) = read(status, body, &refusals);
            assert_eq!(code.as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn p21_secrets_in_the_text_are_removed() {
        for (body, code, message) in [
            (r#"{"error":"seeded-refresh-token"}"#, None, None),
            (
                r#"{"error":"BAD_TOKEN","message":"seeded-refresh-token is unknown"}"#,
                Some("BAD_TOKEN"),
                Some("[removed] is unknown"),
            ),
            (
                r#"{"error":"no seeded%2Drefresh%2Dtoken","message":"seeded-ref"}"#,
                Some("no [removed]"),
                None,
            ),
            (
                r#"{"error":"\u0073eeded-refresh-token!","message":"of client 0123456789abcdef"}"#,
                None,
                Some("of client [removed]"),
            ),
        ] {
            let expected = (code.map(str::to_owned), message.map(str::to_owned));
            assert_eq!(read(400, body, &[]), expected, "{body}");
        }
        let long = format!(
            r#"{{"error":"{0}","message":"{0}"}}"#,
            "word ".repeat(100_000)
        );
        let (code, message) = read(400, &long, &[]);
        assert_eq!(code.unwrap().chars().count(), 64);
        assert_eq!(message.unwrap().chars().count(), 200);
    }
}
