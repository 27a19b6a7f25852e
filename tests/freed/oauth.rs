//! Token requests and responses.

use std::io::Write;

use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use tower_oauth2_client::{
    oauth::OAuthClient,
    provider::{
        BodyFormat, ClientAuthentication, KeptValue, Provider, RevocationAuthentication,
        RevocationMethod, RevocationRequest, TokenHeader, TokenMember, ValueSource,
    },
    token::{AccessToken, CodeVerifier, NamedValues, RefreshToken},
};

use crate::{
    http_client::{Fixed, always, builder, builder_of, client},
    support::{freed, frees_no_secret, long, secret, token_set},
};

const RESPONSE: &[u8] = concat!(
    r#"{"access_token":""#,
    secret!("a2"),
    r#"","token_type":"Bearer","refresh_token":""#,
    secret!("r2"),
    r#"","expires_in":3600,"scope":"company.basic:read"}"#
)
.as_bytes();

/// Makes each request of a client once.
async fn use_client(oauth: &OAuthClient, code: &'static str, refresh_token: &'static str) {
    let verifier = CodeVerifier::new(secret!("v1"));
    let pending = oauth.resume_authorization("the-state", Some(verifier));
    if let Ok(code) = pending.accept(code) {
        let _ = oauth.exchange_code(code).await;
    }
    let _ = oauth
        .refresh(&token_set(secret!("a1"), refresh_token))
        .await;
    let _ = oauth.client_credentials().await;
    let _ = oauth.revoke(&RefreshToken::new(refresh_token)).await;
    let access_token = AccessToken::new(secret!("a1")).unwrap();
    let _ = oauth.revoke(&access_token).await;
    let _ = oauth.replace_secret(secret!("c2"));
}

const CALLBACK: &str = concat!("?state=the-state&code=", secret!("c1"));
const ENCODED_CALLBACK: &str = concat!("?state=the%2Dstate&code=", secret!("%63%31"));

fn check(response: Fixed) {
    frees_no_secret(async || {
        use_client(&client(response), CALLBACK, secret!("r1")).await;
    });
}

#[test]
fn p21_requests_are_wiped() {
    let response = Fixed {
        status: 200,
        frames: &[RESPONSE],
    };
    let (long_code, long_token) = (long("?state=the-state&code="), long("r1"));
    let long_encoded = long("?state=the-state&code=%63");
    let long_secret = long("c \"%");
    for authentication in [
        ClientAuthentication::Basic,
        ClientAuthentication::RequestBody,
        ClientAuthentication::None,
    ] {
        for secret in [secret!("c "), long_secret] {
            frees_no_secret(async || {
                let oauth = builder(authentication, secret).build(always(response));
                let oauth = oauth.unwrap();
                use_client(&oauth, CALLBACK, secret!("r\"/\\\u{e9}")).await;
                use_client(&oauth, ENCODED_CALLBACK, secret!("r1")).await;
                use_client(&oauth, long_code, long_token).await;
                use_client(&oauth, long_encoded, long_token).await;
            });
        }
    }
}

/// A value may be a token, as that of a second user of the same response.
#[test]
fn p21_kept_values_are_wiped() {
    const MEMBERS: &[u8] = concat!(
        r#"{"access_token":""#,
        secret!("a2"),
        r#"","expires_in":3600,"user":{"token":""#,
        secret!("u2"),
        r#"","all":[""#,
        secret!("u3"),
        r#""]}}"#
    )
    .as_bytes();
    let frames = &[MEMBERS];
    for (source, name) in [
        (ValueSource::Connect, "value"),
        (ValueSource::Callback, "value"),
        (ValueSource::Response, "user.token"),
        (ValueSource::Response, "user.all"),
        (ValueSource::Response, "user"),
    ] {
        for pattern in ["[a-zA-Z0-9]+", "[a-z]"] {
            frees_no_secret(async || {
                let value = KeptValue::new(source).name(name).pattern(pattern);
                let provider = Provider::builder("https://id.example.com/token")
                    .authorization_endpoint("https://id.example.com/authorize")
                    .kept_value("value", value)
                    .build()
                    .unwrap();
                let oauth = OAuthClient::builder(provider, "the-client")
                    .client_secret(secret!("c "))
                    .redirect_uri("https://partner.example.com/callback")
                    .build(always(Fixed {
                        status: 200,
                        frames,
                    }))
                    .unwrap();
                let passed = NamedValues::from([("value", secret!("v1"))]);
                let _ = oauth.authorization_url_with(&passed);
                let verifier = CodeVerifier::new(secret!("v1"));
                let pending = oauth.resume_authorization("the-state", Some(verifier));
                let pending = match source {
                    ValueSource::Connect => pending.with_values(passed),
                    _ => pending,
                };
                let callback = concat!("?state=the-state&code=c1&value=", secret!("%63"));
                if let Ok(code) = pending.accept(callback) {
                    let tokens = oauth.exchange_code(code).await.unwrap();
                    let _ = oauth.refresh(&tokens).await;
                }
            });
        }
    }
}

#[test]
fn p21_requests_of_other_shapes_are_wiped() {
    let response = Fixed {
        status: 200,
        frames: &[RESPONSE],
    };
    let callback = concat!("?state=the-state&auth_code=", secret!("%63\"\\"));
    let long_token = long("r\"\u{1}\\/");
    for authentication in [
        ClientAuthentication::Basic,
        ClientAuthentication::RequestBody,
    ] {
        for revocation in [
            RevocationRequest::new().format(BodyFormat::Json),
            RevocationRequest::new()
                .method(RevocationMethod::Delete)
                .parameter("")
                .authentication(RevocationAuthentication::AccessToken),
        ] {
            frees_no_secret(async || {
                let builder = builder_of(authentication, secret!("c\""), |provider| {
                    provider
                        .request_format(BodyFormat::Json)
                        .parameter_name("client_secret", "secret")
                        .code_parameter("auth_code")
                        .token_header(TokenHeader::new("X-Token").scheme("Token"))
                        .revocation_endpoint("https://id.example.com/revoke/{token}")
                        .revocation_request(revocation.clone())
                });
                let oauth = builder.build(always(response)).unwrap();
                for refresh_token in [secret!("r\"/\\\u{e9}"), long_token] {
                    use_client(&oauth, callback, refresh_token).await;
                    let tokens = token_set(secret!("a1"), refresh_token);
                    let _ = oauth.revoke_tokens(&tokens).await;
                }
            });
        }
    }
}

#[test]
fn p21_members_at_other_paths_are_wiped() {
    for response in [
        concat!(
            r#"{"access_token":""#,
            secret!("bot"),
            r#"","user":{"access_token":"\u0061"#,
            secret!(""),
            r#"","refresh_token":""#,
            secret!("r2"),
            r#"","lifetime":"60"}}"#
        ),
        concat!(
            r#"{"x":"a"b","user":{"access_token":""#,
            secret!("a"),
            r#"","refresh_token":"\u0072"#,
            secret!("r2"),
            r#""}}"#
        ),
        concat!(
            r#"{"user":{"x":"a"b","refresh_token":"\u0072"#,
            secret!("r2"),
            r#"","refresh_token":"#
        ),
    ] {
        let frames = vec![response.as_bytes()].leak();
        let response = Fixed {
            status: 200,
            frames,
        };
        frees_no_secret(async || {
            let builder = builder_of(ClientAuthentication::Basic, secret!("c"), |provider| {
                provider
                    .response_member(TokenMember::AccessToken, "user.access_token")
                    .response_member(TokenMember::RefreshToken, "user.refresh_token")
                    .response_member(TokenMember::RefreshTokenExpiresIn, "user.lifetime")
            });
            let oauth = builder.build(always(response)).unwrap();
            use_client(&oauth, CALLBACK, secret!("r1")).await;
        });
    }
}

#[test]
fn p21_refused_callbacks_are_wiped() {
    let response = Fixed {
        status: 200,
        frames: &[RESPONSE],
    };
    for callback in [
        concat!("?state=%2e&code=%2e", secret!("c1")),
        concat!("?state=the-state&code=%2e", secret!("c1"), "&code=2"),
        concat!("?state=the-state&error=%2e", secret!("c1")),
        concat!("?state=the-state&code=%ff", secret!("c1")),
        concat!("?state=", secret!("s1"), "%e2%82&code=", secret!("c1")),
        concat!("?state=the-state&other=", secret!("c1"), "%ff&code=c"),
        concat!("?code=%2e", secret!("c1")),
        concat!("?code=%2e", secret!("c1"), "&state=%2e", secret!("s1")),
    ] {
        frees_no_secret(async || {
            use_client(&client(response), callback, secret!("r1")).await;
        });
    }
}

#[test]
fn p21_responses_in_any_frames_are_wiped() {
    let (first, second) = RESPONSE.split_at(RESPONSE.len() / 2);
    let halves = vec![first, second].leak();
    let bytes: Vec<&[u8]> = RESPONSE.chunks(1).collect();
    let all: [&'static [&'static [u8]]; 5] = [
        &[RESPONSE],
        halves,
        bytes.leak(),
        vec![first].leak(),
        &[RESPONSE; 3],
    ];
    for frames in all {
        for status in [200, 400, 401, 408, 429, 500] {
            check(Fixed { status, frames });
        }
    }
}

#[test]
fn p21_members_of_any_form_are_wiped() {
    let long = long(r#"{"access_token":"a","refresh_token":"\u0072"#);
    let long: &[u8] = [long, r#"","expires_in":60}"#].concat().leak().as_bytes();
    for response in [
        long,
        concat!(
            r#"{"access_token":"\u0061\/"#,
            secret!(""),
            r#"","refresh_token":"\"\\"#,
            secret!(""),
            r#""}"#
        )
        .as_bytes(),
        concat!(
            r#"{"refresh_token":[""#,
            secret!(""),
            r#""],"access_token":null}"#
        )
        .as_bytes(),
        concat!(
            r#"{"refresh_token":[""#,
            secret!(""),
            r#"",""#,
            secret!("2"),
            r#""]}"#
        )
        .as_bytes(),
        concat!(
            r#"{"refresh_token":""#,
            secret!(""),
            r#"","refresh_token":""#,
            secret!("2"),
            r#""}"#
        )
        .as_bytes(),
        concat!(
            r#"{"refresh_token":""#,
            secret!("\u{1}"),
            r#"","access_token":" "#,
            secret!(""),
            r#" "}"#
        )
        .as_bytes(),
        concat!(
            r#"{"error":""#,
            secret!(""),
            r#"","error_description":"\u0061"#,
            secret!(""),
            r#""}"#
        )
        .as_bytes(),
        concat!(
            r#"{"scope":[""#,
            secret!(""),
            r#""],"token_type":"\u0061"#,
            secret!(""),
            r#"","access_token":"a"}"#
        )
        .as_bytes(),
        concat!(
            r#"{"expires_in":""#,
            secret!(""),
            r#"","access_token":"a"}"#
        )
        .as_bytes(),
        concat!(
            r#"{"\u0061":1,"other":"\u0061"#,
            secret!(""),
            r#"","access_token":"a"}"#
        )
        .as_bytes(),
        concat!(
            r#"{"id_token":"\u0061"#,
            secret!(""),
            r#"","x":{"y":"\u0061"#,
            secret!(""),
            r#""}}"#
        )
        .as_bytes(),
        concat!(r#"<html>\u0061"#, secret!(""), r#""}"#).as_bytes(),
        concat!(r#"{"error":"\u0061","refresh_token":"\u0061"#, secret!("")).as_bytes(),
    ] {
        for status in [200, 400] {
            let frames = vec![response].leak();
            check(Fixed { status, frames });
        }
    }
}

#[test]
fn p21_error_responses_that_repeat_secrets_are_wiped() {
    let response = concat!(
        r#"{"error":"x "#,
        secret!("r1"),
        r#"","error_description":"token "#,
        secret!("r1"),
        r#" and \u0073ecret "#,
        secret!("c "),
        r#" are unknown","message":"m"}"#
    );
    for status in [200, 400, 401, 403, 503] {
        let frames: &[&[u8]] = vec![response.as_bytes()].leak();
        check(Fixed { status, frames });
    }
}

#[test]
fn p21_compressed_responses_are_wiped() {
    let long = long(r#"{"access_token":"a","refresh_token":"r"#);
    let long: &[u8] = [long, r#"","expires_in":60}"#].concat().leak().as_bytes();
    for response in [RESPONSE, long] {
        let mut bodies = Vec::new();
        // The encoders wipe nothing.
        freed(async || bodies = compressed(response));
        for body in bodies {
            let (first, second) = body.split_at(body.len() - 9);
            for frames in [vec![first, second], vec![first]] {
                let frames = frames.leak();
                check(Fixed {
                    status: 200,
                    frames,
                });
            }
        }
    }
}

/// The response by gzip, by zlib, and twice by gzip.
fn compressed(response: &[u8]) -> Vec<&'static [u8]> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(response).unwrap();
    let gzip: &[u8] = gzip.finish().unwrap().leak();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(response).unwrap();
    let mut twice = GzEncoder::new(Vec::new(), Compression::best());
    twice.write_all(gzip).unwrap();
    vec![
        gzip,
        zlib.finish().unwrap().leak(),
        twice.finish().unwrap().leak(),
    ]
}
