//! A client that uses plain HTTP.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{Behavior, Sandbox};

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// The OAuth error code.
    pub(crate) fn error(&self) -> String {
        self.text("error")
    }

    pub(crate) fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The tokens of a token response.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl From<&Response> for Tokens {
    fn from(response: &Response) -> Self {
        assert_eq!(response.status, StatusCode::OK, "{response:?}");
        Self {
            access: response.text("access_token"),
            refresh: response.text("refresh_token"),
        }
    }
}

/// A sandbox without a socket, with a changed behavior.
pub(crate) fn sandbox_with(change: impl FnOnce(&mut Behavior)) -> Sandbox {
    Sandbox::builder().behavior(change).build()
}

pub(crate) async fn send(sandbox: &Sandbox, request: Request<Full<Bytes>>) -> Response {
    let response = sandbox
        .service()
        .oneshot(request)
        .await
        .expect("a response");
    let (parts, body) = response.into_parts();
    Response {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.expect("a whole body").to_bytes(),
    }
}

pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

pub(crate) fn form(path: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    Request::post(path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(encoded(fields).into())
        .unwrap()
}

pub(crate) async fn get(sandbox: &Sandbox, path: &str, token: &str) -> Response {
    let request = Request::get(path)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    send(sandbox, request).await
}

pub(crate) async fn company(sandbox: &Sandbox, token: &str) -> StatusCode {
    get(sandbox, "/v1/company", token).await.status
}

/// Sends a token request with the client's credentials.
pub(crate) async fn token_request(sandbox: &Sandbox, fields: &[(&str, &str)]) -> Response {
    let mut all = vec![
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
    ];
    all.extend_from_slice(fields);
    send(sandbox, form("/oauth/token", &all)).await
}

pub(crate) async fn refresh(sandbox: &Sandbox, token: &str) -> Response {
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    token_request(sandbox, &fields).await
}

/// Refreshes and returns the new tokens.
pub(crate) async fn refresh_ok(sandbox: &Sandbox, token: &str) -> Tokens {
    Tokens::from(&refresh(sandbox, token).await)
}

/// An authorization URL of the client with further parameters.
pub(crate) fn authorization_url(sandbox: &Sandbox, more: &[(&str, &str)]) -> String {
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", sandbox.client_id()),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    fields.extend_from_slice(more);
    format!("{}/oauth/authorize?{}", sandbox.url(), encoded(&fields))
}

/// A parameter of a callback URL.
pub(crate) fn parameter(callback: &str, name: &str) -> Option<String> {
    let (_, query) = callback.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A code of a user that consented; the request has further parameters.
pub(crate) async fn code(sandbox: &Sandbox, more: &[(&str, &str)]) -> String {
    let url = authorization_url(sandbox, more);
    let callback = sandbox.consent(&url).await.expect("a callback");
    parameter(&callback, "code").unwrap_or_else(|| panic!("no code in {callback}"))
}

pub(crate) async fn exchange_code(sandbox: &Sandbox, code: &str) -> Response {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    token_request(sandbox, &fields).await
}

/// The first tokens of a new grant.
pub(crate) async fn connect(sandbox: &Sandbox) -> Tokens {
    let code = code(sandbox, &[]).await;
    Tokens::from(&exchange_code(sandbox, &code).await)
}

/// Sends a form that is already encoded.
pub(crate) async fn post_form(sandbox: &Sandbox, path: &str, body: &str) -> Response {
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    send(sandbox, request.body(body.to_owned().into()).unwrap()).await
}

#[track_caller]
pub(crate) fn assert_invalid_grant(response: &Response) {
    assert_refused(response, 400, "invalid_grant");
}

/// Asserts that a response is an error as RFC 6749, section 5.2 describes it.
#[track_caller]
pub(crate) fn assert_refused(response: &Response, status: u16, error: &str) {
    assert_eq!(
        (response.status.as_u16(), response.error().as_str()),
        (status, error),
        "{response:?}"
    );
    assert!(!response.text("error_description").is_empty());
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("pragma"), Some("no-cache"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.header("date").is_some());
}

/// An access token with this scope.
pub(crate) async fn access_token_with_scope(sandbox: &Sandbox, scope: &str) -> String {
    let code = code(sandbox, &[("scope", scope)]).await;
    Tokens::from(&exchange_code(sandbox, &code).await).access
}
