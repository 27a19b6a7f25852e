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

const BEARER: ExpectedType = ExpectedType::Bearer { or: None };

/// A provider whose usual lifetime is one day.
fn daily() -> Provider {
    let builder = Provider::builder("https://id.example.com/token");
    builder.access_token_lifetime(DAY).build().unwrap()
}

fn parse_with(members: &str, date: Option<SystemTime>) -> Result<TokenSet, Error> {
    let body = format!(r#"{{"access_token":"a1"{members}}}"#);
    parse(
        &response(200, &body, date),
        sent(),
        sent(),
        &daily(),
        BEARER,
    )
    .map(TokenResponse::into_tokens)
}

/// The lifetime of a token from a provider with a usual lifetime of one day.
fn lifetime_of(members: &str, date: Option<SystemTime>) -> Duration {
    parse_with(members, date).unwrap().lifetime().unwrap()
}

/// The lifetime of a token from a provider whose usual lifetime is unknown.
fn lifetime_without_usual(members: &str, date: Option<SystemTime>) -> Option<Duration> {
    let body = format!(r#"{{"access_token":"a1"{members}}}"#);
    let provider = Provider::builder("https://id.example.com/token").build();
    let tokens = parse(
        &response(200, &body, date),
        sent(),
        sent(),
        &provider.unwrap(),
        BEARER,
    )
    .map(TokenResponse::into_tokens);
    tokens.unwrap().lifetime()
}

fn expires_at(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap();
    format!(r#","expires_at":"{time}""#)
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
        (r#","expires_in":0"#, 86_400),
        (r#","expires_in":-5"#, 86_400),
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
    let at = expires_at;
    for skew in [Duration::ZERO, 2 * HOUR, 400 * DAY] {
        let fast = sent() + skew;
        assert_eq!(lifetime_of(&at(fast + HOUR), Some(fast)), HOUR);
        let slow = sent() - skew;
        assert_eq!(lifetime_of(&at(slow + HOUR), Some(slow)), HOUR);
    }
    assert_eq!(lifetime_of(&at(sent() + HOUR), None), HOUR);
    // This machine's clock is behind: not longer than usual.
    assert_eq!(lifetime_of(&at(sent() + 3 * DAY), None), DAY);
}

/// A new token whose expiry has passed already shows that a clock is wrong, or that the server
/// writes "never" in this way. It says nothing about the lifetime.
#[test]
fn p18_new_token_that_has_expired_already_has_no_stated_lifetime() {
    for passed in [Duration::ZERO, Duration::from_secs(1), HOUR, 400 * DAY] {
        for date in [None, Some(sent())] {
            let members = expires_at(sent() - passed);
            assert_eq!(lifetime_of(&members, date), DAY, "{members}");
            assert_eq!(lifetime_without_usual(&members, date), None, "{members}");
            let both = format!(r#"{members},"expires_in":7200"#);
            assert_eq!(lifetime_of(&both, date), 2 * HOUR, "{both}");
            assert_eq!(lifetime_without_usual(&both, date), Some(2 * HOUR));
        }
    }
    // The `Date` shows by how much this machine's clock is ahead.
    let members = expires_at(sent() - HOUR);
    let date = Some(sent() - 2 * HOUR);
    assert_eq!(lifetime_without_usual(&members, date), Some(HOUR));
}

#[test]
fn p18_lifetime_that_no_response_states_is_unknown() {
    for members in [
        "",
        r#","expires_at":null,"expires_in":null"#,
        r#","expires_at":"","expires_in":"""#,
        r#","expires_at":"never","expires_in":"never""#,
        r#","expires_at":0"#,
        r#","expires_at":"0""#,
        r#","expires_at":-1"#,
        r#","expires_at":"-1""#,
        r#","expires_at":"0001-01-01T00:00:00Z""#,
        r#","expires_at":"9999-12-31T23:59:59Z""#,
        r#","expires_at":1767229200000"#,
        r#","expires_in":0"#,
        r#","expires_in":-1"#,
        r#","expires_in":"0""#,
        r#","expires_in":9223372036854775807"#,
        r#","expires_in":1e300"#,
    ] {
        for date in [None, Some(sent()), Some(sent() - 2 * HOUR)] {
            assert_eq!(lifetime_without_usual(members, date), None, "{members}");
            assert_eq!(lifetime_of(members, date), DAY, "{members}");
        }
    }
    // Long is not unknown.
    let years = r#","expires_in":315360000"#;
    assert_eq!(lifetime_without_usual(years, None), Some(3_650 * DAY));
}

#[test]
fn p24_response_to_a_proof_needs_a_bound_token() {
    let parsed = |token_type: &str| {
        let body = format!(r#"{{"access_token":"a2","refresh_token":"r2"{token_type}}}"#);
        let response = response(200, &body, None);
        parse(
            &response,
            sent(),
            sent(),
            &daily(),
            ExpectedType::Dpop { or: None },
        )
    };
    for token_type in ["DPoP", "dpop", " DPOP\\n"] {
        let token_type = format!(r#","token_type":"{token_type}""#);
        let tokens = parsed(&token_type).unwrap().into_tokens();
        assert_eq!(tokens.access_token().expose(), "a2");
    }
    for (token_type, problem) in [
        (r#","token_type":"Bearer""#, "token_type is Bearer"),
        (r#","token_type":"bearer""#, "token_type is Bearer"),
        (r#","token_type":"mac""#, "token_type is not DPoP"),
        (r#","token_type":null"#, "token_type is not DPoP"),
        ("", "token_type is not DPoP"),
    ] {
        let error = parsed(token_type).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidResponse);
        assert!(!error.is_response_lost());
        assert_eq!(error.refresh_token().unwrap().expose(), "r2");
    }
}

#[test]
fn token_type_is_bearer_in_any_case_or_absent() {
    for good in [
        "",
        r#","token_type":"bearer""#,
        r#","token_type":"BEARER""#,
        r#","token_type":" Bearer\n""#,
        r#","token_type":["Bearer"]"#,
        r#","token_type":null"#,
        r#","token_type":"""#,
    ] {
        assert!(parse_with(good, None).is_ok(), "{good}");
    }
    for bad in [
        r#","token_type":"mac""#,
        r#","token_type":"DPoP""#,
        r#","token_type":["Bearer","mac"]"#,
        r#","token_type":{"type":"Bearer"}"#,
        r#","token_type":1"#,
    ] {
        let error = parse_with(bad, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{bad}");
        assert!(error.is_response_lost(), "{bad}");
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
        ("<style>a{color:seeded}</style>", "not a JSON object"),
        (
            r#"<pre>{"access_token":"seeded","refresh_token":"seeded"}</pre>"#,
            "not a JSON object",
        ),
        ("null", "not a JSON object"),
        ("{}", "no access token"),
        (r#"{"access_token":null,"x":"seeded"}"#, "no access token"),
        (r#"{"access_token":["seeded","x"]}"#, "no access token"),
        (r#"{"access_token":"see ded"}"#, "no header can carry"),
        (r#"{"access_token":"seeded","refr"#, "cut off or damaged"),
        (
            r#"{"error":"invalid_grant","error_description":"seeded"}"#,
            "invalid_grant in a success",
        ),
        (
            r#"{"error":"seeded","access_token":"seeded"}"#,
            "unknown error",
        ),
        (
            r#"{"error":{"x":"seeded"},"access_token":"seeded","refresh_token":"seeded"}"#,
            "unknown error",
        ),
        (
            r#"{"access_token":"seeded","access_token":"see ded"}"#,
            "no header can carry",
        ),
    ] {
        let error =
            parse(&response(200, body, None), sent(), sent(), &daily(), BEARER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{body}");
        assert!(error.to_string().contains(problem), "{body}: {error}");
        assert!(!format!("{error} {error:?}").contains("seeded"), "{error}");
        assert_eq!(error.oauth_code(), None, "{body}");
    }
    let error = parse(&response(302, "", None), sent(), sent(), &daily(), BEARER).unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
}

fn parse_bytes(body: &[u8]) -> Result<TokenSet, Error> {
    let response = response(200, "", None).map(|_| Bytes::copy_from_slice(body));
    parse(&response, sent(), sent(), &daily(), BEARER).map(TokenResponse::into_tokens)
}

/// The access and the refresh token of a response.
fn tokens_in(body: &[u8]) -> (Option<String>, Option<String>) {
    match parse_bytes(body) {
        Ok(tokens) => (
            Some(tokens.access_token().expose().to_owned()),
            tokens
                .refresh_token()
                .map(|token| token.expose().to_owned()),
        ),
        Err(error) => {
            let token = error.refresh_token();
            assert_eq!(error.kind(), ErrorKind::InvalidResponse);
            assert!(token.is_none() || !error.is_response_lost(), "{error}");
            (None, token.map(|token| token.expose().to_owned()))
        }
    }
}

#[test]
fn p24_odd_response_with_usable_tokens_is_a_token_set() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mixed = format!("{}1{}", r#"{"a":["#.repeat(5_000), "]}".repeat(5_000));
    let members = |more: &str| {
        format!(r#"{{"access_token":"a2",{more}"refresh_token":"r2","expires_in":3600}}"#)
    };
    let plain = members("");
    let mut bodies: Vec<Vec<u8>> = [
        // No error.
        r#""error":"","#,
        r#""error":null,"#,
        r#""error":false,"#,
        r#""error":0,"#,
        r#""error":{},"#,
        r#""error":[],"#,
        r#""error":" ","#,
        // A member given twice.
        r#""access_token":"a2","#,
        r#""refresh_token":"r1","#,
        r#""token_type":"mac","token_type":"Bearer","#,
        r#""error":"x","error":"","refresh_token":"r1","#,
        // Other members.
        r#""x":"\ud800","#,
        r#""x":"\q","#,
        r#""x":"a } ] \" b","#,
        r#""x":NaN,"#,
        r#""x":-Infinity,"y":undefined,"z":0x1f,"#,
        r#""x":1e999,"#,
        r#""x":99999999999999999999999999999999,"#,
        "\"x\":\"line\nbreak\u{0}\",",
        r#""x":,"y":01,"#,
        r#""":"","#,
        r#""x":{"refresh_token":"r1","access_token":"a1"},"#,
        r#""x":"{\"refresh_token\":\"r1\"}","#,
        // Scopes and lifetimes.
        r#""scope":7,"#,
        r#""scope":{"a":"b"},"#,
        r#""scope":["one","two"],"#,
        r#""expires_at":"soon","#,
        r#""expires_at":[],"#,
        r#""expires_in":"about an hour","#,
        r#""expires_in":"3600","#,
        ",,",
    ]
    .iter()
    .map(|more| members(more).into_bytes())
    .chain([&deep, &mixed].map(|nested| members(&format!(r#""x":{nested},"#)).into_bytes()))
    .collect();
    let invalid: [&[u8]; 3] = [b"\"x\":\"\xff\xfe\",", b"\"\xff\":\"x\",", b"\"x\":\xff,"];
    bodies.extend(invalid.map(|more| {
        [
            br#"{"access_token":"a2","#,
            more,
            &br#""refresh_token":"r2"}"#[..],
        ]
        .concat()
    }));
    // Text before and after the object.
    let around: [(&[u8], &[u8]); 8] = [
        (b"\xef\xbb\xbf", b""),
        (b"\xef\xbb\xbf \r\n", b"\n"),
        (b")]}',\n", b""),
        (b"Warning: {0} in token.php on line 3\n", b""),
        (b"", b"garbage"),
        (b"", b"<!-- 3 ms -->"),
        (b"", b"}{\"refresh_token\":\"r1\"}"),
        (b"", b"\0\0\xff"),
    ];
    bodies.extend(around.map(|(before, after)| [before, plain.as_bytes(), after].concat()));
    // White space around the access token, and tokens of another type.
    for access_token in [
        r#""a2\n""#,
        r#""\r\n a2\t""#,
        "\"a2\n\"",
        r#""\u00a0a2\u0000""#,
        r#"["a2"]"#,
        r#""\u00612""#,
    ] {
        bodies.push(
            format!(r#"{{"access_token":{access_token},"refresh_token":"r2"}}"#).into_bytes(),
        );
    }
    for refresh_token in [r#""r2\n""#, r#"["r2"]"#, r#""\u00722""#, "\"\tr2\r\n\""] {
        bodies.push(
            format!(r#"{{"access_token":"a2","refresh_token":{refresh_token}}}"#).into_bytes(),
        );
    }
    // Cut off behind the tokens.
    bodies.push(br#"{"access_token":"a2","refresh_token":"r2""#.to_vec());
    bodies.push(br#"{"access_token":"a2","refresh_token":"r2","expires_in":36"#.to_vec());
    bodies.push(br#"{"access_token":"a2","refresh_token":"r2","sco"#.to_vec());
    for body in bodies {
        let expected = (Some("a2".to_owned()), Some("r2".to_owned()));
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        assert_eq!(tokens_in(&body), expected, "{shown}");
    }
}

#[test]
fn p24_refresh_token_without_a_usable_access_token_is_in_the_error() {
    for members in [
        "",
        r#""access_token":null"#,
        r#""access_token":"""#,
        r#""access_token":" \n""#,
        r#""access_token":{"value":"a2"}"#,
        r#""access_token":["a2","a3"]"#,
        r#""access_token":true"#,
        r#""access_token":-1"#,
        r#""access_token":"a 2""#,
        r#""access_token":"ä2""#,
        r#""access_token":"a\n2""#,
        r#""access_token":"\ud800""#,
        r#""access_token":"a2","token_type":"mac""#,
        r#""access_token":"a2","token_type":1"#,
        r#""access_token":"a2","token_type":true"#,
        r#""access_token":"a2","error":"invalid_grant""#,
        r#""access_token":"a2","error":"temporarily_unavailable""#,
        r#""access_token":"a2","error":"out_of_luck""#,
        r#""access_token":"a2","error":{"code":1}"#,
        r#""access_token":"a2","error":true"#,
        r#""access_token":"a2","error":500"#,
        r#""error":"server_error""#,
    ] {
        let expected = (None, Some("r2".to_owned()));
        for body in [
            format!(r#"{{{members},"refresh_token":"r2"}}"#),
            format!(r#"{{"refresh_token":"r2",{members}}}"#),
            format!(r#"{{"refresh_token":"r2","refresh_token":null,{members}}}"#),
        ] {
            assert_eq!(tokens_in(body.as_bytes()), expected, "{body}");
        }
    }
}

#[test]
fn p24_refresh_token_of_any_length_is_kept() {
    let body = |access: usize, refresh: usize| {
        let (access, refresh) = ("a".repeat(access), "r".repeat(refresh));
        format!(r#"{{"access_token":"{access}","refresh_token":"{refresh}"}}"#)
    };
    let lengths_in = |body: String| {
        let (access, refresh) = tokens_in(body.as_bytes());
        (
            access.map(|token| token.len()),
            refresh.map(|token| token.len()),
        )
    };
    for refresh in [1, LONGEST_ACCESS_TOKEN + 1, 900 * 1024] {
        for access in [1, LONGEST_ACCESS_TOKEN] {
            let lengths = (Some(access), Some(refresh));
            assert_eq!(lengths_in(body(access, refresh)), lengths);
        }
        for access in [LONGEST_ACCESS_TOKEN + 1, 100 * 1024] {
            let lengths = (None, Some(refresh));
            assert_eq!(lengths_in(body(access, refresh)), lengths);
        }
    }
}

#[test]
fn p24_token_of_digits_is_used_as_it_is_written() {
    let body = br#"{"access_token":12345678901234567890123,"refresh_token":98765432109876543210}"#;
    let tokens = parse_bytes(body).unwrap();
    assert_eq!(tokens.access_token().expose(), "12345678901234567890123");
    assert_eq!(
        tokens.refresh_token().unwrap().expose(),
        "98765432109876543210"
    );
    for none in [
        "0",
        "-1",
        "1.5",
        "1e3",
        "true",
        "false",
        "{}",
        "[]",
        r#"["a","b"]"#,
    ] {
        let body = format!(r#"{{"access_token":"a2","refresh_token":{none}}}"#);
        assert_eq!(
            tokens_in(body.as_bytes()),
            (Some("a2".into()), None),
            "{none}"
        );
    }
}

#[test]
fn p24_spaces_of_a_refresh_token_are_kept() {
    // RFC 6749 appendix A.17 permits them.
    let body = br#"{"access_token":"a2","refresh_token":" r 2 \n"}"#;
    let tokens = parse_bytes(body).unwrap();
    assert_eq!(tokens.refresh_token().unwrap().expose(), " r 2 ");
}

#[test]
fn scope_of_several_texts_is_joined() {
    let scope = |members: &str| {
        parse_with(members, None)
            .unwrap()
            .scope()
            .map(str::to_owned)
    };
    assert_eq!(scope(r#","scope":["one","two"]"#), Some("one two".into()));
    for none in [
        "null",
        "7",
        "true",
        r#"{"one":1}"#,
        r#"["one",2]"#,
        r#"[["one"]]"#,
    ] {
        assert_eq!(scope(&format!(r#","scope":{none}"#)), None, "{none}");
    }
}

#[test]
fn p11_damaged_response_without_a_refresh_token_is_lost() {
    let whole = br#"{"access_token":"a2","expires_in":3600,"refresh_token":"r2"}"#;
    let end = whole.len() - 1;
    for length in 0..whole.len() {
        let outcome = parse_bytes(&whole[..length]);
        if length < end {
            let error = outcome.unwrap_err();
            assert!(error.is_response_lost(), "{length}");
            assert_eq!(error.refresh_token(), None, "{length}");
        } else {
            outcome.unwrap();
        }
    }
}

#[test]
fn p11_only_a_rejection_without_tokens_is_not_lost() {
    for (body, is_lost) in [
        (r#"{"error":"invalid_grant"}"#, false),
        (
            r#"{"error":"bad_refresh_token","error_description":"x"}"#,
            false,
        ),
        (r#"{"error":"invalid_grant","access_token":null}"#, false),
        (r#"{"error":"invalid_grant","access_token":"a2"}"#, true),
        (r#"{"error":"x","refresh_token":{}}"#, false),
        (r#"{"error":"x","refresh_token":["r2","r3"]}"#, true),
        (r#"{"error":"invalid_grant""#, true),
        (r#"{"error":""}"#, true),
        ("{}", true),
    ] {
        let error = parse_bytes(body.as_bytes()).unwrap_err();
        assert_eq!(error.is_response_lost(), is_lost, "{body}");
    }
}

mod paths;

mod properties {
    use proptest::prelude::*;

    use super::*;

    const REFRESH_TOKEN: &str = r#""refresh_token" : "r2-\u00e4/\\x""#;
    const BEFORE: &str = r#"{"access_token":"a2","token_type":"Bearer","x":{"y":[1,"z"]},"#;
    const AFTER: &str = r#","expires_in":3600,"scope":"one two","error":null}"#;

    /// A change of the bytes: what is removed, and what comes instead.
    type Edit = (prop::sample::Index, usize, Vec<u8>);

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"\"\\{}[],: \n0\xefnul"[..]),
        ];
        let edit = (
            any::<prop::sample::Index>(),
            0_usize..4,
            prop::collection::vec(byte, 0..4),
        );
        prop::collection::vec(edit, 0..4)
    }

    fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        for (at, removed, inserted) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted.iter().copied());
        }
        bytes
    }

    /// Whether the changes left the refresh token a member of the response. A backslash before it
    /// changes its name, and a brace can make it a member of a nested object.
    fn is_readable(before: &[u8], after: &[u8], body: &[u8]) -> bool {
        if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
            return json.get("refresh_token").is_some();
        }
        let has_name = |bytes: &[u8]| {
            bytes
                .windows(15)
                .any(|window| window == b"\"refresh_token\"")
        };
        let is_object = has_object(before) && !body.trim_ascii().starts_with(b"<");
        is_object && !before.ends_with(b"\\") && !has_name(before) && !has_name(after)
    }

    fn has_object(before: &[u8]) -> bool {
        before.windows(2).any(|window| window == b"{\"")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn p24_no_change_around_the_refresh_token_loses_it(before in edits(), after in edits()) {
            let before = edited(BEFORE, &before);
            let after = edited(AFTER, &after);
            let body = [&before[..], REFRESH_TOKEN.as_bytes(), &after[..]].concat();
            prop_assume!(is_readable(&before, &after, &body));
            let (_, refresh_token) = tokens_in(&body);
            prop_assert_eq!(
                refresh_token.as_deref(),
                Some("r2-\u{e4}/\\x"),
                "{}",
                String::from_utf8_lossy(&body)
            );
        }

        #[test]
        fn p24_any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let body = [&br#"{"refresh_token":"#[..], &body].concat();
            let _ = parse_bytes(&body);
        }

        #[test]
        fn p24_any_text_is_decoded_as_a_json_library_does(text in any::<String>()) {
            let body = serde_json::json!({"x": text, "access_token": "a2", "refresh_token": format!("r{text}.")});
            let (_, refresh_token) = tokens_in(body.to_string().as_bytes());
            prop_assert_eq!(refresh_token, Some(format!("r{text}.")));
        }
    }
}

mod data {
    //! The settings of a provider that change how a response is read.

    use crate::provider::{ProviderBuilder, Refusal, RefusalMeaning};

    use super::*;

    fn by(
        set: impl Fn(ProviderBuilder) -> ProviderBuilder,
        status: u16,
        body: &str,
    ) -> Result<TokenSet, Error> {
        let provider = set(Provider::builder("https://id.example.com/token"));
        let response = response(status, body, None);
        parse(
            &response,
            sent(),
            sent(),
            &provider.build().unwrap(),
            BEARER,
        )
        .map(TokenResponse::into_tokens)
    }

    fn outcome(status: u16, body: &str) -> &'static str {
        use RefusalMeaning::{Dead, NotDead, Transient};
        let refusals = [
            // GitHub App, Slack, HubSpot
            Refusal::new(Dead)
                .status(200)
                .member("error", "bad_refresh_token"),
            Refusal::new(Dead)
                .member("ok", "false")
                .member("error", "invalid_refresh_token"),
            Refusal::new(Dead).member("status", "BAD_REFRESH_TOKEN"),
            // Microsoft, Salesforce, Atlassian
            Refusal::new(NotDead)
                .member("error", "invalid_grant")
                .member("error_codes", "9002313"),
            Refusal::new(Transient)
                .member("error", "invalid_grant")
                .member("error_description", "*already being processed*"),
            Refusal::new(Dead)
                .member("error", "unauthorized_client")
                .member("error_description", "refresh_token is invalid"),
            Refusal::new(Dead).member("fault.detail.code", "revoked"),
        ];
        let set = |builder: ProviderBuilder| {
            refusals
                .iter()
                .cloned()
                .fold(builder, ProviderBuilder::refusal)
        };
        match by(set, status, body) {
            Ok(_) => "tokens",
            Err(error) if error.is_response_lost() => "lost",
            Err(error) if error.is_invalid_grant() => "dead",
            Err(error) if error.is_transient() => "transient",
            Err(_) => "not dead",
        }
    }

    #[test]
    fn p15_refusal_has_the_meaning_of_the_providers_data() {
        for (status, body, expected) in [
            (200, r#"{"error":"bad_refresh_token"}"#, "dead"),
            (400, r#"{"error":"bad_refresh_token"}"#, "transient"),
            (
                200,
                r#"{"ok":false,"error":"invalid_refresh_token"}"#,
                "dead",
            ),
            (
                200,
                r#"{"ok":true,"error":"invalid_refresh_token"}"#,
                "transient",
            ),
            (
                400,
                r#"{"status":"BAD_REFRESH_TOKEN","message":"x"}"#,
                "dead",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[9002313]}"#,
                "not dead",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[1, 9002313 ,2]}"#,
                "not dead",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":["9002313"]}"#,
                "not dead",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[700082]}"#,
                "dead",
            ),
            (400, r#"{"error":"invalid_grant"}"#, "dead"),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"token is already being processed"}"#,
                "transient",
            ),
            (
                403,
                r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
                "dead",
            ),
            (400, r#"{"error":"unauthorized_client"}"#, "not dead"),
            (
                401,
                r#"{"fault":{"x":1,"detail":{"code":"revoked"}}}"#,
                "dead",
            ),
            (401, r#"{"fault":{"detail":"revoked"}}"#, "transient"),
            (
                401,
                r#"{"fault":{"detail":{"code":{"code":"revoked"}}}}"#,
                "transient",
            ),
            // The last value of a repeated name counts.
            (
                400,
                r#"{"status":"ok","status":"BAD_REFRESH_TOKEN"}"#,
                "dead",
            ),
            (
                400,
                r#"{"status":"BAD_REFRESH_TOKEN","status":"ok"}"#,
                "transient",
            ),
            // Nothing that comes with tokens is a refusal.
            (
                200,
                r#"{"error":"","status":"BAD_REFRESH_TOKEN","access_token":"a2"}"#,
                "tokens",
            ),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn p15_malformed_response_is_no_refusal() {
        for body in [
            "",
            "{",
            r#"{"status"#,
            r#"{"status":"#,
            r#"{"status":["#,
            r#"{"status":[}"#,
            r#"{"status":[,,{}"#,
            r#"{"status":"BAD_REFRESH_TOKEN"#,
            r#"{"fault":{"detail":{"code":"#,
            "<html>BAD_REFRESH_TOKEN</html>",
        ] {
            assert_ne!(outcome(400, body), "dead", "{body}");
        }
    }

    #[test]
    fn accepted_token_types_are_used_as_bearer_tokens() {
        let set = |builder: ProviderBuilder| builder.accepted_token_type("User Access Token");
        for (token_type, is_accepted) in [
            ("User Access Token", true),
            (" user access token", true),
            ("Bearer", true),
            ("", true),
            ("Mac", false),
            ("User", false),
        ] {
            let body = format!(r#"{{"access_token":"a1","token_type":"{token_type}"}}"#);
            assert_eq!(by(set, 200, &body).is_ok(), is_accepted, "{token_type}");
        }
    }

    #[test]
    fn scopes_of_a_response_are_separated_by_what_the_provider_uses() {
        for (separator, scope, expected) in [
            (" ", "a b", "a b"),
            (" ", "a,b", "a,b"),
            (",", "a,b", "a b"),
            (",", "a, b,,c", "a b c"),
            (",", "a b", "a b"),
        ] {
            let set = |builder: ProviderBuilder| builder.scope_separator(separator);
            let body = format!(r#"{{"access_token":"a1","scope":"{scope}"}}"#);
            let tokens = by(set, 200, &body).unwrap();
            assert_eq!(tokens.scope(), Some(expected), "{scope}");
        }
    }
}
