//! Members at the paths and in the units of a provider's data.

use super::*;
use crate::provider::{ProviderBuilder, TokenMember};

/// Slack with user tokens: those of a bot have the names of RFC 6749.
fn nested() -> Provider {
    Provider::builder("https://id.example.com/token")
        .response_member(TokenMember::AccessToken, "authed_user.access_token")
        .response_member(TokenMember::TokenType, "authed_user.token_type")
        .response_member(TokenMember::ExpiresIn, "authed_user.expires_in")
        .response_member(TokenMember::RefreshToken, "authed_user.refresh_token")
        .response_member(TokenMember::Scope, "authed_user.scope")
        .accepted_token_type("user")
        .build()
        .unwrap()
}

fn with(set: impl Fn(ProviderBuilder) -> ProviderBuilder) -> Provider {
    let builder = Provider::builder("https://id.example.com/token");
    set(builder).build().unwrap()
}

fn read(provider: &Provider, body: &str) -> Result<TokenResponse, Error> {
    parse(&response(200, body, None), sent(), sent(), provider, BEARER)
}

/// The access and the refresh token of a response, also if the access token cannot be used.
fn both(provider: &Provider, body: &str) -> (Option<String>, Option<String>) {
    match read(provider, body) {
        Ok(response) => {
            let tokens = response.tokens();
            let refresh_token = tokens
                .refresh_token()
                .map(|token| token.expose().to_owned());
            let access_token = tokens.access_token().expose().to_owned();
            (Some(access_token), refresh_token)
        }
        Err(error) => {
            let token = error.refresh_token();
            assert!(
                token.is_some() || error.is_response_lost(),
                "{body}: {error}"
            );
            (None, token.map(|token| token.expose().to_owned()))
        }
    }
}

#[test]
fn members_are_read_at_their_paths() {
    let body = r#"{
        "ok": true, "access_token": "bot", "token_type": "bot", "refresh_token": "bot-r",
        "expires_in": 60, "scope": "chat:write",
        "authed_user": {
            "id": "U1", "scope": "chat:read", "access_token": "user", "token_type": "user",
            "refresh_token": "user-r", "expires_in": 43200
        }
    }"#;
    let response = read(&nested(), body).unwrap();
    let tokens = response.tokens();
    assert_eq!(tokens.access_token().expose(), "user");
    assert_eq!(tokens.refresh_token().unwrap().expose(), "user-r");
    assert_eq!(tokens.scope(), Some("chat:read"));
    assert_eq!(tokens.lifetime(), Some(12 * HOUR));
    // The others are for the program.
    assert_eq!(response.members().get("access_token"), Some("bot"));
    assert!(
        response
            .members()
            .get("authed_user")
            .unwrap()
            .contains("U1")
    );

    let renamed = with(|builder| {
        builder
            .response_member(TokenMember::AccessToken, "accessToken")
            .response_member(TokenMember::RefreshToken, "data.tokens.refreshToken")
            .response_member(TokenMember::ExpiresAt, "expires_on")
    });
    let body = r#"{"accessToken":"a2","data":{"x":[{}],"tokens":{"refreshToken":"r2"}},
        "expires_on":"1767229200"}"#;
    let tokens = read(&renamed, body).unwrap().into_tokens();
    assert_eq!(tokens.access_token().expose(), "a2");
    assert_eq!(tokens.refresh_token().unwrap().expose(), "r2");
    assert_eq!(tokens.lifetime(), Some(HOUR));
}

#[test]
fn p24_odd_response_with_usable_nested_tokens_is_a_token_set() {
    let user = r#""access_token":"user","refresh_token":"user-r""#;
    let bot = r#""access_token":"bot","refresh_token":"bot-r""#;
    for body in [
        format!(r#"{{{bot},"authed_user":{{{user}}}}}"#),
        format!(r#"{{"authed_user":{{{user}}},{bot}}}"#),
        format!(r#"{{"authed_user":{{"x":{{{bot}}},"y":[{{{bot}}}],{user}}},{bot}}}"#),
        format!(r#"{{"x":{{"authed_user":{{{bot}}}}},"authed_user":{{{user}}}}}"#),
        // Given twice, also in part.
        format!(r#"{{"authed_user":{{{bot}}},"authed_user":{{{user}}}}}"#),
        format!(r#"{{"authed_user":{{{user}}},"authed_user":{{}},"authed_user":null}}"#),
        format!(r#"{{"authed_user":{{{user},"refresh_token":null,"access_token":""}}}}"#),
        r#"{"authed_user":{"refresh_token":"user-r"},"authed_user":{"access_token":"user"}}"#
            .into(),
        // Written in other ways.
        format!("\u{feff}{{\"authed\\u005fuser\" : \n {{ {user} }} }} trailing"),
        format!(r#"{{"authed_user":{{,,"a":NaN,"b":"\q","c":"}}}}{{",{user}}}}}"#),
        r#"{"authed_user":{"access_token":["user"],"refresh_token":"\u0075ser-r"}}"#.into(),
        // A dot in a name separates nothing.
        format!(r#"{{"authed_user":{{{user}}},"authed_user.access_token":"x"}}"#),
        // Cut off behind the tokens, or damaged elsewhere.
        format!(r#"{{"authed_user":{{{user}"#),
        format!(r#"{{"authed_user":{{{user}}},"acc"#),
        format!(r#"{{"authed_user":{{{user},"x":{{"y"#),
        format!(r#"{{"authed_user":{{junk,{user}}},{bot}}}"#),
        format!(r#"{{"authed_user":{{{user}}},"x":"a"b",{bot}}}"#),
    ] {
        let expected = (Some("user".to_owned()), Some("user-r".to_owned()));
        assert_eq!(both(&nested(), &body), expected, "{body}");
    }
}

#[test]
fn p24_refresh_token_of_a_damaged_response_is_found_at_its_path_only() {
    let user = r#""access_token":"user","refresh_token":"user-r""#;
    let bot = r#""access_token":"bot","refresh_token":"bot-r""#;
    let found = Some("user-r".to_owned());
    for (body, expected) in [
        // A quote too many or too few before the object, in it, and behind it.
        (
            format!(r#"{{"x":"a"b","authed_user":{{{user}}},{bot}}}"#),
            &found,
        ),
        (
            format!(r#"{{"x":a","authed_user":{{{user}}},{bot}}}"#),
            &found,
        ),
        (
            format!(r#"{{{bot},"x":"a"b","authed_user":{{{user}}}}}"#),
            &found,
        ),
        (
            format!(r#"{{"authed_user":{{"x":"a"b",{user}}},{bot}}}"#),
            &found,
        ),
        (
            format!(r#"{{"authed_user":{{"x":"a,{user}}},{bot}}}"#),
            &found,
        ),
        (format!(r#"{{"authed_user":{{"x":"a"b",{user}"#), &found),
        // A brace too many or too few.
        (
            format!(r#"{{"x":1}},"authed_user":{{{user}}},{bot}}}"#),
            &found,
        ),
        (
            format!(r#"{{"x":[{{1}},"authed_user":{{{user}}},{bot}}}"#),
            &found,
        ),
        (
            format!(r#"{{{bot},"authed_user":{{"x":{{1,{user}}}}}"#),
            &found,
        ),
        // The object has none, so that of another object is not taken.
        (
            format!(r#"{{"x":"a"b","authed_user":{{"id":"U1"}},{bot}}}"#),
            &None,
        ),
        (format!(r#"{{"authed_user":{{"id":"U"1"}},{bot}}}"#), &None),
        (
            format!(r#"{{"authed_user":{{"id":"U"1","refresh_token":null}},{bot}}}"#),
            &None,
        ),
        (
            format!(r#"{{"authed_user":{{"id":"U"1","refresh_token":null,{bot}}}"#),
            &None,
        ),
        (format!(r#"{{"x":"a"b","authed_user":"U1",{bot}}}"#), &None),
        (format!(r#"{{"x":"a"b",{bot}}}"#), &None),
        (format!(r#"{{"authed_user":{{"id":"U1"}},{bot}"#), &None),
    ] {
        assert_eq!(both(&nested(), &body).1, *expected, "{body}");
    }
    // The same for a name at the top.
    let renamed = with(|builder| builder.response_member(TokenMember::RefreshToken, "next_token"));
    for body in [
        r#"{"x":"a"b","access_token":"a2","next_token":"r2","refresh_token":"r3"}"#,
        r#"{"access_token":"a"2","refresh_token":"r3","next_token" : "r2","#,
    ] {
        assert_eq!(both(&renamed, body).1.as_deref(), Some("r2"), "{body}");
    }
}

#[test]
fn token_at_another_place_than_the_data_say_is_not_used() {
    let bot = r#""access_token":"bot","refresh_token":"bot-r","token_type":"user""#;
    for body in [
        format!("{{{bot}}}"),
        format!(r#"{{{bot},"authed_user":{{"id":"U1"}}}}"#),
        format!(r#"{{{bot},"authed_user":null}}"#),
        format!(r#"{{{bot},"authed_user":"{{access_token:1}}"}}"#),
        format!(r#"{{{bot},"authed_user":[{{{bot}}}]}}"#),
        format!(r#"{{{bot},"authed_user":{{"x":{{{bot}}}}}}}"#),
        format!(r#"{{{bot},"x":{{"authed_user":{{{bot}}}}}}}"#),
        format!(r#"{{{bot},"authed_user":{{"access_token":{{"access_token":"x"}}}}}}"#),
        format!(r#"{{{bot},"authed_user.access_token":"x","authed_user.refresh_token":"y"}}"#),
        format!(r#"{{{bot},"authed_user":{{"id":"U1""#),
    ] {
        assert_eq!(both(&nested(), &body), (None, None), "{body}");
    }
    // Nor a nested one of a provider without paths.
    let plain = with(|builder| builder);
    let body = format!(r#"{{"authed_user":{{{bot}}}}}"#);
    assert_eq!(both(&plain, &body), (None, None));
}

#[test]
fn p18_lifetime_of_a_refresh_token_is_read_where_a_response_states_it() {
    let quickbooks = with(|builder| {
        let member = TokenMember::RefreshTokenExpiresIn;
        builder.response_member(member, "x_refresh_token_expires_in")
    });
    let plain = with(|builder| builder);
    let of = |provider: &Provider, members: &str| {
        let body = format!(r#"{{"access_token":"a1","refresh_token":"r1"{members}}}"#);
        let tokens = read(provider, &body).unwrap().into_tokens();
        assert_eq!(tokens.refresh_token_issued_at(), Some(sent()));
        tokens.refresh_token_lifetime()
    };
    for (members, expected) in [
        (r#","x_refresh_token_expires_in":8640000"#, Some(100 * DAY)),
        (
            r#","x_refresh_token_expires_in":"8640000""#,
            Some(100 * DAY),
        ),
        (r#","x_refresh_token_expires_in":0"#, None),
        (r#","x_refresh_token_expires_in":-1"#, None),
        (r#","x_refresh_token_expires_in":"never""#, None),
        (r#","x_refresh_token_expires_in":1e300"#, None),
        (r#","refresh_token_expires_in":86400"#, None),
        ("", None),
    ] {
        assert_eq!(of(&quickbooks, members), expected, "{members}");
    }
    for (members, expected) in [
        (
            r#","refresh_token_expires_in":604799"#,
            Some(Duration::from_secs(604_799)),
        ),
        (
            r#","refresh_token_expires_at":"2026-01-02T00:00:00Z""#,
            Some(DAY),
        ),
        (r#","refresh_token_expires_at":1767229200"#, Some(HOUR)),
        (
            r#","refresh_token_expires_at":1767229200,"refresh_token_expires_in":3600"#,
            Some(HOUR),
        ),
        (
            r#","refresh_token_expires_at":"2025-12-31T00:00:00Z""#,
            None,
        ),
        (
            r#","refresh_token_expires_at":"9999-12-31T23:59:59Z""#,
            None,
        ),
        (r#","refresh_token_expires_at":0"#, None),
        (r#","x_refresh_token_expires_in":8640000"#, None),
    ] {
        assert_eq!(of(&plain, members), expected, "{members}");
    }
    // It is no lifetime of the access token, and without a refresh token it is nothing.
    let body = r#"{"access_token":"a1","refresh_token_expires_in":604799}"#;
    let response = read(&plain, body).unwrap();
    assert_eq!(response.tokens().lifetime(), None);
    assert_eq!(response.tokens().refresh_token_lifetime(), None);
    assert_eq!(
        response.members().get("refresh_token_expires_in"),
        Some("604799")
    );
}

#[test]
fn p18_lifetimes_may_be_milliseconds() {
    use crate::provider::LifetimeUnit;
    let provider = with(|builder| builder.lifetime_unit(LifetimeUnit::Milliseconds));
    for (members, expected) in [
        (r#","expires_in":3600000"#, Some(HOUR)),
        (r#","expires_in":"3600000""#, Some(HOUR)),
        (r#","expires_in":1"#, Some(Duration::from_millis(1))),
        (r#","expires_in":0"#, None),
        (r#","expires_at":1767229200000"#, Some(HOUR)),
        (r#","expires_at":"1767229200000""#, Some(HOUR)),
        (r#","expires_at":"2026-01-01T01:00:00Z""#, Some(HOUR)),
    ] {
        let body = format!(r#"{{"access_token":"a1"{members}}}"#);
        let tokens = read(&provider, &body).unwrap().into_tokens();
        assert_eq!(tokens.lifetime(), expected, "{members}");
    }
    let body = r#"{"access_token":"a1","refresh_token":"r1","refresh_token_expires_in":86400000}"#;
    let tokens = read(&provider, body).unwrap().into_tokens();
    assert_eq!(tokens.refresh_token_lifetime(), Some(DAY));
}

#[test]
fn p18_token_that_never_expires_has_no_lifetime_unless_the_response_states_one() {
    let never = with(ProviderBuilder::access_token_never_expires);
    for (members, expected) in [
        ("", None),
        (r#","expires_in":0"#, None),
        (r#","expires_in":null"#, None),
        (r#","expires_in":"0""#, None),
        (r#","expires_in":-1"#, None),
        (r#","expires_in":3600"#, Some(HOUR)),
    ] {
        let body = format!(r#"{{"access_token":"a1"{members}}}"#);
        let mut response = read(&never, &body).unwrap();
        assert_eq!(response.tokens().lifetime(), expected, "{members}");
        assert_eq!(response.take_notices(), [], "{members}");
    }
    let plain = with(|builder| builder);
    let mut response = read(&plain, r#"{"access_token":"a1"}"#).unwrap();
    assert_eq!(response.take_notices(), [ResponseNotice::LifetimeUnknown]);
}

#[test]
fn token_types_of_real_providers_are_accepted() {
    for (token_type, accepted) in [
        ("BearerToken", "bearertoken"),
        ("jwt-bearer", "jwt-bearer"),
        ("bot", "bot"),
        ("user", "user"),
        ("User Access Token", "User Access Token"),
        ("", "bot"),
        ("bearer", "bot"),
    ] {
        let body = format!(r#"{{"access_token":"a1","token_type":"{token_type}"}}"#);
        let provider = with(|builder| builder.accepted_token_type(accepted));
        assert!(read(&provider, &body).is_ok(), "{token_type}");
        let is_bearer = matches!(token_type, "" | "bearer");
        let plain = with(|builder| builder);
        assert_eq!(read(&plain, &body).is_ok(), is_bearer, "{token_type}");
    }
}
