//! Device authorization responses (RFC 8628 section 3.2).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind, ResponseDetails},
    oauth::{endpoint_error, members::text_at},
    origin::Origin,
};

pub(super) const ENDPOINT: &str = "device authorization endpoint";

/// The interval of a response that names none (RFC 8628 section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// The shortest interval, whatever the provider responds.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The longest lifetime of the codes. No user takes longer.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest user code and URL that are shown to a user.
const LONGEST_USER_CODE: usize = 128;
const LONGEST_URL: usize = 2_048;

pub(super) struct Parsed {
    pub(super) device_code: Zeroizing<String>,
    pub(super) user_code: String,
    pub(super) verification_uri: String,
    pub(super) verification_uri_complete: Option<String>,
    pub(super) expires_in: Duration,
    pub(super) interval: Duration,
}

/// Parses a successful response.
///
/// A user acts on what it contains, so a text that a terminal or a page could misinterpret is an
/// error, and so is a URL without `https`.
pub(super) fn parse(response: &Response<Bytes>) -> Result<Parsed, Error> {
    let body = response.body();
    let fail = |problem: &str| Err(invalid(response, problem));
    let Some(device_code) = text_at(body, "device_code") else {
        return fail("contains no device_code");
    };
    let Some(user_code) = text_at(body, "user_code") else {
        return fail("contains no user_code");
    };
    if !is_shown(&user_code, LONGEST_USER_CODE) {
        return fail("contains a user_code that cannot be shown to a user");
    }
    // Some providers use the name of an early draft.
    let uri = ["verification_uri", "verification_url"];
    let Some(uri) = uri.iter().find_map(|name| text_at(body, name)) else {
        return fail("contains no verification_uri");
    };
    if !is_url(&uri) {
        return fail("contains a verification_uri that is not an absolute https URL");
    }
    let complete = text_at(body, "verification_uri_complete");
    if complete.as_ref().is_some_and(|complete| !is_url(complete)) {
        return fail("contains a verification_uri_complete that is not an absolute https URL");
    }
    let Some(expires_in) = seconds(body, "expires_in").filter(|time| !time.is_zero()) else {
        return fail("contains no expires_in, which is a number of seconds");
    };
    let interval = seconds(body, "interval").unwrap_or(INTERVAL);
    Ok(Parsed {
        device_code,
        user_code: user_code.to_string(),
        verification_uri: uri.to_string(),
        verification_uri_complete: complete.map(|complete| complete.to_string()),
        expires_in: expires_in.min(LONGEST_LIFETIME),
        interval: interval.clamp(SHORTEST_INTERVAL, LONGEST_LIFETIME),
    })
}

/// Seconds, as a number or as text. `None` if the member is missing or no number from zero on.
fn seconds(body: &[u8], name: &str) -> Option<Duration> {
    let seconds: f64 = text_at(body, name)?.trim().parse().ok()?;
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn is_shown(text: &str, longest: usize) -> bool {
    text.len() <= longest && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

fn is_url(text: &str) -> bool {
    is_shown(text, LONGEST_URL) && Origin::parse("verification_uri", text).is_ok()
}

fn invalid(response: &Response<Bytes>, problem: &str) -> Error {
    Error::new(
        ErrorKind::InvalidResponse,
        format!(
            "{ENDPOINT}'s response {problem} ({} {}); check its URL",
            response.status().as_u16(),
            endpoint_error::describe(response)
        ),
    )
    .with_response(ResponseDetails {
        status: Some(response.status()),
        ..ResponseDetails::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(change: Value) -> Result<Parsed, String> {
        let mut body = json!({
            "device_code": "d1",
            "user_code": "WDJB-MJHT",
            "verification_uri": "https://id.example.com/device",
            "expires_in": 1800,
        });
        let Value::Object(change) = change else {
            panic!("no object");
        };
        body.as_object_mut().unwrap().extend(change);
        parse_text(&body.to_string())
    }

    fn parse_text(body: &str) -> Result<Parsed, String> {
        let response = Response::new(Bytes::from(body.to_owned()));
        parse(&response).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_response_omits_has_a_default() {
        let plain = parsed(json!({})).unwrap();
        assert_eq!(*plain.device_code, "d1");
        assert_eq!(plain.user_code, "WDJB-MJHT");
        assert_eq!(plain.verification_uri_complete, None);
        assert_eq!(plain.expires_in, Duration::from_secs(1800));
        assert_eq!(plain.interval, Duration::from_secs(5));

        let draft = json!({
            "verification_uri": null,
            "verification_url": "https://id.example.com/d",
            "expires_in": "60",
            "interval": "7",
        });
        let draft = parsed(draft).unwrap();
        assert_eq!(draft.verification_uri, "https://id.example.com/d");
        assert_eq!(draft.expires_in, Duration::from_secs(60));
        assert_eq!(draft.interval, Duration::from_secs(7));
    }

    #[test]
    fn p16_times_of_a_response_are_limited() {
        for (interval, expected) in [
            (json!(0), 1),
            (json!(0.2), 1),
            (json!(-3), 5),
            (json!("soon"), 5),
            (json!([]), 5),
            (json!(1e300), 86_400),
        ] {
            let parsed = parsed(json!({ "interval": interval })).unwrap();
            assert_eq!(parsed.interval.as_secs(), expected, "{interval}");
        }
        let long = parsed(json!({ "expires_in": 1e300 })).unwrap();
        assert_eq!(long.expires_in, LONGEST_LIFETIME);
    }

    #[test]
    fn response_that_would_mislead_a_user_is_an_error() {
        for (change, problem) in [
            (json!({"device_code": ""}), "no device_code"),
            (json!({"user_code": null}), "no user_code"),
            (json!({"user_code": "A\u{1b}[2J"}), "cannot be shown"),
            (json!({"user_code": "A\u{202e}B"}), "cannot be shown"),
            (json!({"user_code": "A".repeat(129)}), "cannot be shown"),
            (json!({"verification_uri": ""}), "no verification_uri"),
            (json!({"verification_uri": "/device"}), "absolute https"),
            (
                json!({"verification_uri": "http://id.example.com/d"}),
                "absolute https",
            ),
            (
                json!({"verification_uri": "javascript:alert(1)"}),
                "absolute https",
            ),
            (
                json!({"verification_uri": "https://a@b.example/"}),
                "absolute https",
            ),
            (
                json!({"verification_uri": "https://b.example/\n"}),
                "absolute https",
            ),
            (
                json!({"verification_uri_complete": "data:text/html,x"}),
                "verification_uri_complete that is not",
            ),
            (json!({"expires_in": 0}), "no expires_in"),
            (json!({"expires_in": null}), "no expires_in"),
            (json!({"expires_in": "never"}), "no expires_in"),
        ] {
            let error = parsed(change.clone()).err().unwrap_or_default();
            assert!(error.contains(problem), "{change}: {error}");
            assert!(!error.contains("d1"), "{error}");
        }
        for body in ["", "[]", "<html>", "\"device_code\""] {
            let error = parse_text(body).err().unwrap_or_default();
            assert!(error.contains("no device_code"), "{body}: {error}");
        }
    }
}
