//! The exact requests for providers that differ from RFC 6749 and RFC 7009, over an HTTP client
//! that is a function.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{ClientCredentials, TokenCache, TokenSource},
    oauth::OAuthClient,
    provider::{ClientAuthentication, Provider},
    token::{AccessToken, RefreshToken, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{HOUR, token_set};

const TOKENS: &str = r#"{"access_token":"a2","refresh_token":"r2","expires_in":3600}"#;

/// One request: its method and URL, its `Authorization`, and its body.
type Sent = (String, Option<String>, Body);

#[derive(Clone, Debug, PartialEq)]
enum Body {
    /// Without a `Content-Type`.
    None,
    Form(String),
    Json(Value),
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Sent>>>);

impl Recorder {
    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A client of the provider in a file, and its requests. Each response is the same.
fn client(file: &Value, status: u16, answer: &'static str) -> (OAuthClient, Recorder) {
    let provider: Provider = serde_json::from_value(file.clone()).unwrap();
    let recorder = Recorder::default();
    let log = recorder.clone();
    let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let log = log.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert_eq!(head.headers["accept"], "application/json");
            let header = |name: &str| text(&head.headers, name);
            let body = match header("content-type").as_deref() {
                None => {
                    assert!(body.is_empty());
                    Body::None
                }
                Some("application/json") => Body::Json(serde_json::from_slice(&body).unwrap()),
                Some("application/x-www-form-urlencoded") => {
                    Body::Form(String::from_utf8(body.to_vec()).unwrap())
                }
                Some(other) => panic!("{other}"),
            };
            let authorization = header("authorization").or_else(|| header("x-token"));
            let line = format!("{} {}", head.method, head.uri);
            log.0.lock().unwrap().push((line, authorization, body));
            let response = Response::builder().status(status);
            let response = response.body(Full::<Bytes>::from(answer));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    let is_public = provider.client_authentication() == ClientAuthentication::None;
    let mut builder = OAuthClient::builder(provider, "the-client").scopes(["one", "two"]);
    if file.get("authorization_endpoint").is_some() {
        builder = builder.redirect_uri("https://p.example.com/cb");
    }
    if !is_public {
        builder = builder.client_secret("the-secret");
    }
    (builder.build(http).unwrap(), recorder)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    assert!(values.next().is_none(), "{name} is repeated");
    if matches!(name, "authorization" | "x-token") {
        assert!(value.is_sensitive());
    }
    Some(value.to_str().unwrap().to_owned())
}

/// The settings of a provider, beside its endpoints.
fn provider(settings: &Value) -> Value {
    let mut file = json!({
        "token_endpoint": "https://id.example.com/token",
        "authorization_endpoint": "https://id.example.com/authorize",
    });
    let settings = settings.as_object().unwrap().clone();
    file.as_object_mut().unwrap().extend(settings);
    file
}

fn old() -> TokenSet {
    token_set(1, HOUR, std::time::SystemTime::UNIX_EPOCH)
}

async fn exchange_code(oauth: &OAuthClient, callback: &str) -> Result<TokenSet, Error> {
    let verifier = "v1".into();
    let pending = oauth.resume_authorization("s1", Some(verifier));
    oauth.exchange_code(pending.accept(callback)?).await
}

/// Base64 of `the-client:the-secret`.
const BASIC: &str = "Basic dGhlLWNsaWVudDp0aGUtc2VjcmV0";

fn form(text: &str) -> Body {
    Body::Form(text.to_owned())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn token_requests_are_those_of_the_providers_data() {
    const CODE: &str = "grant_type=authorization_code&code=c%2F1\
        &redirect_uri=https%3A%2F%2Fp.example.com%2Fcb&code_verifier=v1";
    let json_code = json!({
        "grant_type": "authorization_code",
        "code": "c/1",
        "redirect_uri": "https://p.example.com/cb",
        "code_verifier": "v1",
    });
    let json_refresh = json!({"grant_type": "refresh_token", "refresh_token": "r1"});
    let json_machine = json!({"grant_type": "client_credentials", "scope": "one two"});
    let with = |json: &Value, more: Value| {
        let mut json = json.clone();
        json.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Body::Json(json)
    };
    for (name, settings, callback, authorization, expected) in [
        (
            "RFC 6749",
            json!({}),
            "?code=c%2F1&state=s1",
            Some(BASIC),
            [
                form(CODE),
                form("grant_type=refresh_token&refresh_token=r1"),
                form("grant_type=client_credentials&scope=one+two"),
            ],
        ),
        (
            "Notion",
            json!({"request_format": "json"}),
            "?code=c%2F1&state=s1",
            Some(BASIC),
            [
                Body::Json(json_code.clone()),
                Body::Json(json_refresh.clone()),
                Body::Json(json_machine.clone()),
            ],
        ),
        (
            "JSON with the credentials in it, and the scopes on refresh",
            json!({
                "request_format": "json",
                "client_authentication": "request_body",
                "scope_on_refresh": true,
                "request_parameters": {
                    "code_exchange": {"quoted": "\"a\\b\""},
                    "client_credentials": {"grant_type": "account_credentials"},
                },
            }),
            "?code=c%2F1&state=s1",
            None,
            [
                with(
                    &json_code,
                    json!({
                        "quoted": "\"a\\b\"",
                        "client_id": "the-client",
                        "client_secret": "the-secret",
                    }),
                ),
                with(
                    &json_refresh,
                    json!({
                        "scope": "one two",
                        "client_id": "the-client",
                        "client_secret": "the-secret",
                    }),
                ),
                with(
                    &json_machine,
                    json!({
                        "grant_type": "account_credentials",
                        "client_id": "the-client",
                        "client_secret": "the-secret",
                    }),
                ),
            ],
        ),
        (
            "TikTok",
            json!({
                "client_authentication": "request_body",
                "scope_separator": ",",
                "code_parameter": "auth_code",
                "scope_on_refresh": true,
                "parameter_names": {
                    "client_id": "client_key",
                    "client_secret": "secret",
                    "code": "auth_code",
                    "grant_type": "kind",
                    "redirect_uri": "return_to",
                    "refresh_token": "next_token",
                    "scope": "scopes",
                },
            }),
            "?code=c2&auth_code=c%2F1&state=s1",
            None,
            [
                form(
                    "kind=authorization_code&auth_code=c%2F1\
                     &return_to=https%3A%2F%2Fp.example.com%2Fcb&code_verifier=v1\
                     &client_key=the-client&secret=the-secret",
                ),
                form(
                    "kind=refresh_token&next_token=r1&scopes=one%2Ctwo\
                     &client_key=the-client&secret=the-secret",
                ),
                form(
                    "kind=client_credentials&scopes=one%2Ctwo\
                     &client_key=the-client&secret=the-secret",
                ),
            ],
        ),
    ] {
        let (oauth, recorder) = client(&provider(&settings), 200, TOKENS);
        exchange_code(&oauth, callback).await.unwrap();
        oauth.refresh(&old()).await.unwrap();
        oauth.client_credentials().await.unwrap();
        let expected = expected.map(|body| {
            let line = "POST https://id.example.com/token".to_owned();
            (line, authorization.map(str::to_owned), body)
        });
        assert_eq!(recorder.take(), expected, "{name}");
    }
}

#[tokio::test]
async fn public_client_sends_its_id_in_json() {
    let settings = json!({
        "request_format": "json",
        "client_authentication": "none",
        "parameter_names": {"client_id": "app"},
    });
    let (oauth, recorder) = client(&provider(&settings), 200, TOKENS);
    oauth.refresh(&old()).await.unwrap();
    let expected =
        json!({"grant_type": "refresh_token", "refresh_token": "r1", "app": "the-client"});
    let line = "POST https://id.example.com/token".to_owned();
    assert_eq!(recorder.take(), [(line, None, Body::Json(expected))]);
}

#[tokio::test]
async fn client_may_request_no_parameter_whose_name_is_taken() {
    use tower_oauth2_client::provider::RequestKind;
    let settings = json!({"parameter_names": {"scope": "scopes"}});
    let provider: Provider = serde_json::from_value(provider(&settings)).unwrap();
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let error = OAuthClient::builder(provider, "id")
        .client_secret("secret")
        .request_parameter(RequestKind::Refresh, "scopes", "x")
        .build(http)
        .unwrap_err();
    let path = "request_parameters.refresh.scopes: ";
    assert!(error.to_string().starts_with(path), "{error}");
}

/// A token set of a tenant, with tokens that a URL cannot contain as they are.
fn held() -> TokenSet {
    let at = std::time::SystemTime::UNIX_EPOCH;
    let access_token = AccessToken::new("a/1").unwrap();
    TokenSet::new(access_token, HOUR, at)
        .with_refresh_token(RefreshToken::new("r-1?x=\u{e9}/.."), at)
        .with_value("shop", "acme")
}

fn sent(line: &str, authorization: Option<&str>, body: Body) -> Sent {
    (line.to_owned(), authorization.map(str::to_owned), body)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn revocations_are_those_of_the_providers_data() {
    const REFRESH_TOKEN: &str = "r-1%3Fx%3D%C3%A9%2F..";
    let credentials = "&client_id=the-client&client_secret=the-secret";
    for (name, settings, expected) in [
        (
            "RFC 7009",
            json!({
                "revocation_endpoint": "https://id.example.com/revoke",
                "client_authentication": "request_body",
            }),
            vec![
                sent(
                    "POST https://id.example.com/revoke",
                    None,
                    form(&format!(
                        "token={REFRESH_TOKEN}&token_type_hint=refresh_token{credentials}"
                    )),
                ),
                sent(
                    "POST https://id.example.com/revoke",
                    None,
                    form(&format!(
                        "token=a%2F1&token_type_hint=access_token{credentials}"
                    )),
                ),
            ],
        ),
        (
            "HubSpot",
            json!({
                "client_authentication": "request_body",
                "revocation_endpoint": "https://api.hubapi.com/oauth/v1/refresh-tokens/{token}",
                "revocation_request": {
                    "method": "DELETE",
                    "parameter": "",
                    "token": "refresh",
                    "authentication": "none",
                },
            }),
            vec![sent(
                "DELETE https://api.hubapi.com/oauth/v1/refresh-tokens/r-1%3Fx%3D%C3%A9%2F..",
                None,
                Body::None,
            )],
        ),
        (
            "GitHub",
            json!({
                "client_authentication": "request_body",
                "revocation_endpoint": "https://api.github.com/applications/{client_id}/grant",
                "revocation_request": {
                    "method": "DELETE",
                    "format": "json",
                    "parameter": "access_token",
                    "token": "access",
                    "authentication": "basic",
                },
            }),
            vec![sent(
                "DELETE https://api.github.com/applications/the-client/grant",
                Some(BASIC),
                Body::Json(json!({"access_token": "a/1"})),
            )],
        ),
        (
            "QuickBooks",
            json!({
                "revocation_endpoint": "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
                "revocation_request": {"format": "json", "token": "refresh"},
            }),
            vec![sent(
                "POST https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
                Some(BASIC),
                Body::Json(json!({"token": "r-1?x=\u{e9}/.."})),
            )],
        ),
        (
            "Google",
            json!({
                "client_authentication": "request_body",
                "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
                "revocation_request": {"token": "refresh", "authentication": "none"},
            }),
            vec![sent(
                "POST https://oauth2.googleapis.com/revoke",
                None,
                form(&format!(
                    "token={REFRESH_TOKEN}&token_type_hint=refresh_token"
                )),
            )],
        ),
        (
            "Slack",
            json!({
                "revocation_endpoint": "https://slack.com/api/auth.revoke",
                "revocation_request": {
                    "parameter": "",
                    "token": "access",
                    "authentication": "access_token",
                },
            }),
            vec![sent(
                "POST https://slack.com/api/auth.revoke",
                Some("Bearer a/1"),
                Body::None,
            )],
        ),
        (
            "a GET, with a header of the provider",
            json!({
                "client_authentication": "basic_raw",
                "token_header": {"name": "X-Token", "scheme": "Token"},
                "kept_values": {"shop": {"from": "connect", "pattern": "[a-z]+"}},
                "revocation_endpoint": "https://{shop}.example.com/revoke?app={client_id}&t={token}",
                "revocation_request": {
                    "method": "GET",
                    "parameter": "",
                    "authentication": "access_token",
                },
            }),
            vec![
                sent(
                    "GET https://acme.example.com/revoke?app=the-client&t=r-1%3Fx%3D%C3%A9%2F..",
                    Some("Token a/1"),
                    Body::None,
                ),
                sent(
                    "GET https://acme.example.com/revoke?app=the-client&t=a%2F1",
                    Some("Token a/1"),
                    Body::None,
                ),
            ],
        ),
        (
            "Basic for the revocation alone, and further parameters",
            json!({
                "client_authentication": "basic_raw",
                "revocation_endpoint": "https://id.example.com/revoke",
                "parameter_names": {"client_id": "app"},
                "revocation_request": {"parameter": "key", "token": "access", "authentication": "basic"},
                "request_parameters": {"revocation": {"all": "true"}},
            }),
            vec![sent(
                "POST https://id.example.com/revoke",
                Some(BASIC),
                form("key=a%2F1&all=true"),
            )],
        ),
    ] {
        let (oauth, recorder) = client(&provider(&settings), 200, "");
        oauth.revoke_tokens(&held()).await.unwrap();
        assert_eq!(recorder.take(), expected, "{name}");
        // A cache sends the same.
        TokenSource::revoke(&oauth, &held()).await.unwrap();
        assert_eq!(recorder.take(), expected, "{name}");
    }
}

#[tokio::test]
async fn token_that_the_endpoint_does_not_take_is_not_sent() {
    let shape = |token: &str| {
        provider(&json!({
            "revocation_endpoint": "https://id.example.com/revoke",
            "revocation_request": {"token": token},
        }))
    };
    let at = std::time::SystemTime::UNIX_EPOCH;
    let without = TokenSet::new(AccessToken::new("a1").unwrap(), HOUR, at);
    let (access, refresh) = (AccessToken::new("a1").unwrap(), RefreshToken::new("r1"));

    let (oauth, recorder) = client(&shape("refresh"), 200, "");
    oauth.revoke_tokens(&without).await.unwrap();
    TokenSource::revoke(&ClientCredentials::new(oauth.clone()), &held())
        .await
        .unwrap();
    let error = oauth.revoke(&access).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(recorder.take(), []);
    oauth.revoke(&refresh).await.unwrap();
    assert_eq!(recorder.take().len(), 1);

    let (oauth, recorder) = client(&shape("access"), 200, "");
    let error = oauth.revoke(&refresh).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(recorder.take(), []);
    oauth.revoke(&access).await.unwrap();
    oauth.revoke_tokens(&held()).await.unwrap();
    TokenSource::revoke(&ClientCredentials::new(oauth), &held())
        .await
        .unwrap();
    assert_eq!(recorder.take().len(), 3);

    // Without an endpoint, the error does not depend on the tokens.
    let (oauth, _) = client(&provider(&json!({})), 200, "");
    let error = oauth.revoke_tokens(&without).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn revocation_that_needs_the_whole_grant_says_so() {
    let by_access_token = provider(&json!({
        "revocation_endpoint": "https://id.example.com/revoke",
        "revocation_request": {"authentication": "access_token"},
    }));
    let (oauth, recorder) = client(&by_access_token, 200, "");
    let error = oauth.revoke(&RefreshToken::new("r1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("revoke_tokens"), "{error}");
    assert_eq!(recorder.take(), []);

    let of_tenant = provider(&json!({
        "kept_values": {"shop": {"from": "connect", "pattern": "[a-z]+"}},
        "revocation_endpoint": "https://{shop}.example.com/revoke",
    }));
    let (oauth, recorder) = client(&of_tenant, 200, "");
    let error = oauth.revoke(&RefreshToken::new("r1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeptValue);
    let forged = held().with_value("shop", "evil.example/");
    let error = oauth.revoke_tokens(&forged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeptValue);
    assert!(!error.to_string().contains("evil"), "{error}");
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn refusal_of_the_access_token_does_not_hide_that_of_the_refresh_token() {
    let rfc = provider(&json!({"revocation_endpoint": "https://id.example.com/revoke"}));
    let unsupported = r#"{"error":"unsupported_token_type"}"#;
    let (oauth, recorder) = client(&rfc, 400, unsupported);
    let error = oauth.revoke_tokens(&held()).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    assert_eq!(recorder.take().len(), 2);
    let at = std::time::SystemTime::UNIX_EPOCH;
    let without = TokenSet::new(AccessToken::new("a1").unwrap(), HOUR, at);
    oauth.revoke_tokens(&without).await.unwrap();
}

#[tokio::test]
async fn cache_ends_a_grant_by_the_providers_request() {
    let hubspot = provider(&json!({
        "api_origins": ["https://api.example.com"],
        "kept_values": {"shop": {"from": "connect", "pattern": "[a-z]+"}},
        "revocation_endpoint": "https://{shop}.example.com/refresh-tokens/{token}",
        "revocation_request": {
            "method": "DELETE",
            "parameter": "",
            "token": "refresh",
            "authentication": "none",
        },
    }));
    let (oauth, recorder) = client(&hubspot, 204, "");
    let tokens = TokenCache::builder(oauth)
        .store(support::Store::default())
        .build()
        .unwrap();
    tokens.set_tokens(held()).await.unwrap();
    tokens.revoke().await.unwrap();
    let url = "DELETE https://acme.example.com/refresh-tokens/r-1%3Fx%3D%C3%A9%2F..";
    assert_eq!(recorder.take(), [sent(url, None, Body::None)]);
}

#[tokio::test]
async fn revocation_that_is_refused_in_a_success_is_an_error() {
    let rfc = provider(&json!({"revocation_endpoint": "https://id.example.com/revoke"}));
    let refresh_token = RefreshToken::new("r1");
    for body in [
        r#"{"ok":false,"error":"invalid_auth"}"#,
        r#"{"error":{"code":7}}"#,
        r#"{"error":"r1-is-unknown"}"#,
    ] {
        let (oauth, _) = client(&rfc, 200, body);
        let error = oauth.revoke(&refresh_token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{body}");
    }
    for body in [
        "",
        "{}",
        r#"{"ok":true}"#,
        r#"{"error":null}"#,
        r#"{"error":""}"#,
        "error",
    ] {
        let (oauth, _) = client(&rfc, 200, body);
        oauth.revoke(&refresh_token).await.unwrap();
    }
}
