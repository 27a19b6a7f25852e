use http::header::DATE;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// 2026-01-01T00:00:00Z.
fn sent() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn response(status: u16, body: &str, date: Option<SystemTime>) -> Response<Bytes> {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if let Some(date) = date {
        response = response.header(DATE, httpdate::fmt_http_date(date));
    }
    response
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}

fn parse_with(members: &str, date: Option<SystemTime>) -> Result<TokenSet, Error> {
    let body = format!(r#"{{"access_token":"a1"{members}}}"#);
    parse(&response(200, &body, date), sent(), sent(), DAY)
}

fn lifetime_of(members: &str, date: Option<SystemTime>) -> Duration {
    parse_with(members, date).unwrap().lifetime()
}

#[test]
fn p18_expires_at_is_parsed_in_every_valid_format() {
    for text in [
        "2026-01-01T01:00:00Z",
        "2026-01-01t01:00:00z",
        "2026-01-01 01:00:00Z",
        "2026-01-01T01:00:00+00:00",
        "2025-12-31T20:00:00-05:00",
        "2026-01-01T06:30:00+05:30",
        "2026-01-01T01:00:00.000000000Z",
        "2026-01-01T01:00:00",
        " 2026-01-01T01:00:00Z ",
        "1767229200",
    ] {
        let members = format!(r#","expires_at":"{text}""#);
        assert_eq!(lifetime_of(&members, Some(sent())), HOUR, "{text}");
    }
    assert_eq!(
        lifetime_of(r#","expires_at":1767229200"#, Some(sent())),
        HOUR
    );
    assert_eq!(
        lifetime_of(
            r#","expires_at":"2026-01-01T00:59:59.999999999Z""#,
            Some(sent())
        ),
        Duration::from_millis(3_599_999)
    );
}

#[test]
fn p18_expires_at_wins_over_expires_in_over_the_default() {
    let at = r#","expires_at":"2026-01-01T01:00:00Z""#;
    let two_hours = Some(sent());
    assert_eq!(
        lifetime_of(&format!(r#"{at},"expires_in":7200"#), two_hours),
        HOUR
    );
    for (members, seconds) in [
        (r#","expires_in":7200"#, 7_200),
        (r#","expires_in":"7200""#, 7_200),
        (r#","expires_in":7200.0"#, 7_200),
        (r#","expires_at":null,"expires_in":7200"#, 7_200),
        (r#","expires_at":"soon","expires_in":7200"#, 7_200),
        (r#","expires_at":{"x":["y"]},"expires_in":7200"#, 7_200),
        (r#","expires_in":0"#, 0),
        (r#","expires_in":-5"#, 0),
        ("", 86_400),
        (r#","expires_in":null"#, 86_400),
        (r#","expires_in":"soon""#, 86_400),
        (r#","expires_in":true"#, 86_400),
        (r#","expires_in":"NaN""#, 86_400),
    ] {
        assert_eq!(lifetime_of(members, None).as_secs(), seconds, "{members}");
    }
}

#[test]
fn p18_clock_skew_does_not_lengthen_the_lifetime() {
    let at = |time: SystemTime| {
        let time = Timestamp::try_from(time).unwrap();
        format!(r#","expires_at":"{time}""#)
    };
    for skew in [Duration::ZERO, 2 * HOUR, 400 * DAY] {
        let fast = sent() + skew;
        assert_eq!(lifetime_of(&at(fast + HOUR), Some(fast)), HOUR);
        let slow = sent() - skew;
        assert_eq!(lifetime_of(&at(slow + HOUR), Some(slow)), HOUR);
    }
    // An end in the past is a lifetime of zero, not an error and not a very long lifetime.
    assert_eq!(
        lifetime_of(&at(sent() - HOUR), Some(sent())),
        Duration::ZERO
    );
    assert_eq!(lifetime_of(&at(sent() + HOUR), None), HOUR);
}

#[test]
fn p18_absurd_lifetimes_are_limited() {
    let year = 366 * DAY;
    for members in [
        r#","expires_in":1e300"#,
        r#","expires_in":18446744073709551615"#,
        r#","expires_in":"inf""#,
        r#","expires_at":"9999-12-30T00:00:00Z""#,
        r#","expires_at":99999999999"#,
    ] {
        assert_eq!(lifetime_of(members, Some(sent())), year, "{members}");
    }
    for members in [
        r#","expires_at":1e300"#,
        r#","expires_at":18446744073709551615"#,
        r#","expires_at":-1"#,
        r#","expires_at":"10000-01-01T00:00:00Z""#,
    ] {
        assert_eq!(lifetime_of(members, Some(sent())), DAY, "{members}");
    }
}

#[test]
fn token_type_is_bearer_in_any_case_or_absent() {
    for good in [
        "",
        r#","token_type":"bearer""#,
        r#","token_type":"BEARER""#,
        r#","token_type":null"#,
    ] {
        assert!(parse_with(good, None).is_ok(), "{good}");
    }
    for bad in [
        r#","token_type":"mac""#,
        r#","token_type":"""#,
        r#","token_type":1"#,
    ] {
        let error = parse_with(bad, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{bad}");
    }
}

#[test]
fn refresh_token_that_is_omitted_empty_or_no_text_is_none() {
    for none in [
        "",
        r#","refresh_token":"""#,
        r#","refresh_token":null"#,
        r#","refresh_token":[]"#,
    ] {
        assert!(
            parse_with(none, None).unwrap().refresh_token().is_none(),
            "{none}"
        );
    }
    let tokens = parse_with(r#","refresh_token":"r1","scope":"one two""#, None).unwrap();
    assert_eq!(tokens.refresh_token().unwrap().expose(), "r1");
    assert_eq!(tokens.refresh_token_issued_at(), Some(sent()));
    assert_eq!(tokens.scope(), Some("one two"));
}

#[test]
fn p22_errors_of_bad_responses_name_the_problem_without_secrets() {
    for (body, problem) in [
        ("", "not a JSON object"),
        ("<html>seeded</html>", "not a JSON object"),
        (r#"["seeded"]"#, "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "no access token"),
        (r#"{"access_token":null,"x":"seeded"}"#, "no access token"),
        (r#"{"access_token":["seeded"]}"#, "no access token"),
        (r#"{"access_token":"see ded"}"#, "no header can carry"),
        (r#"{"access_token":"seeded","refr"#, "not a JSON object"),
        (
            r#"{"error":"invalid_grant","error_description":"seeded"}"#,
            "invalid_grant in a success",
        ),
        (
            r#"{"error":"seeded","access_token":"seeded"}"#,
            "unknown error",
        ),
        (
            r#"{"error":{"x":"seeded"},"access_token":"seeded"}"#,
            "unknown error",
        ),
        (
            r#"{"access_token":"seeded","access_token":"seeded"}"#,
            "not a JSON object",
        ),
    ] {
        let error = parse(&response(200, body, None), sent(), sent(), DAY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{body}");
        assert!(error.to_string().contains(problem), "{body}: {error}");
        assert!(!format!("{error} {error:?}").contains("seeded"), "{error}");
        assert_eq!(error.oauth_code(), None, "{body}");
    }
    let error = parse(&response(302, "", None), sent(), sent(), DAY).unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
}
