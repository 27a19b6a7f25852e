//! The crate against a certified OpenID provider that runs on loopback: the npm package
//! `oidc-provider`. The tests are skipped if it is not installed.

mod browser;
mod server;

use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Empty};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    bearer::BearerAuthLayer,
    cache::TokenCache,
    discovery::Discovery,
    jose::SigningKey,
    oauth::OAuthClient,
    provider::{ClientAuthentication, IssuerCheck, Provider, ProviderBuilder},
    token::TokenSet,
};

use self::{browser::Browser, server::Server};

const CALLBACK: &str = "http://127.0.0.1/callback";
const SECRET: &str = "a secret of at least thirty-two characters";

/// The registration of a client.
fn client(id: &str, authentication: &str) -> Value {
    let mut client = json!({
        "client_id": id,
        "token_endpoint_auth_method": authentication,
        "application_type": "native",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
    });
    if authentication.starts_with("client_secret") {
        client["client_secret"] = SECRET.into();
    }
    client
}

/// The provider that the server's metadata describe. Its API is the server, too.
async fn discovered(server: &Server) -> ProviderBuilder {
    let discovery = Discovery::builder(&server.issuer).build(http()).unwrap();
    let metadata = discovery.metadata().await.unwrap();
    let provider = metadata.to_provider_builder().unwrap();
    provider.api_origin(&server.issuer)
}

/// Signs the user in, consents, and exchanges the code.
async fn connect(oauth: &OAuthClient) -> TokenSet {
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = Browser::new().walk(&url, CALLBACK).await;
    let code = pending.accept(&callback).unwrap();
    oauth.exchange_code(code).await.unwrap()
}

/// Requests the user's data with the token of a cache.
async fn call(tokens: &TokenCache, url: &str) -> StatusCode {
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Empty<bytes::Bytes>>();
    let mut service = BearerAuthLayer::new(tokens.clone()).layer(http);
    let request = Request::get(url).body(Empty::new()).unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn each_secret_authentication_connects_refreshes_and_revokes() {
    let clients = [
        client("basic", "client_secret_basic"),
        client("body", "client_secret_post"),
    ];
    let Some(server) = Server::start(&json!({ "clients": clients })).await else {
        return;
    };
    for (id, authentication) in [
        ("basic", ClientAuthentication::Basic),
        ("body", ClientAuthentication::RequestBody),
    ] {
        let provider = discovered(&server)
            .await
            .client_authentication(authentication)
            .build()
            .unwrap();
        assert_eq!(provider.issuer_check(), IssuerCheck::Required);
        assert!(provider.pkce());
        let oauth = OAuthClient::builder(provider, id)
            .client_secret(SECRET)
            .redirect_uri(CALLBACK)
            .scopes(["openid", "api:read"])
            .build(http())
            .unwrap();
        live(&server, &oauth).await;
    }
}

/// The server accepts assertions for its issuer only, and each once.
#[tokio::test]
async fn client_with_a_key_connects_refreshes_and_revokes() {
    let key = SigningKey::generate_es256().unwrap().with_key_id("k1");
    let jwk: Value = serde_json::from_str(&key.public_jwk()).unwrap();
    let mut client = client("key", "private_key_jwt");
    client["jwks"] = json!({ "keys": [jwk] });
    client["grant_types"] = json!(["authorization_code", "refresh_token", "client_credentials"]);
    let Some(server) = Server::start(&json!({ "clients": [client] })).await else {
        return;
    };
    let builder = discovered(&server).await;
    let provider = builder
        .client_authentication(ClientAuthentication::PrivateKeyJwt)
        .build()
        .unwrap();
    let oauth = OAuthClient::builder(provider, "key")
        .signer(key)
        .redirect_uri(CALLBACK)
        .scopes(["openid", "api:read"])
        .build(http())
        .unwrap();
    live(&server, &oauth).await;
    // A key that the server does not know.
    let other = SigningKey::generate_es256().unwrap().with_key_id("k1");
    oauth.replace_signer(other).unwrap();
    let error = oauth.client_credentials().await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
}

/// The server refuses authorization requests that were not pushed.
#[tokio::test]
async fn pushed_authorization_request_is_accepted_and_another_one_is_not() {
    let settings = json!({
        "clients": [client("basic", "client_secret_basic")],
        "requirePar": true,
    });
    let Some(server) = Server::start(&settings).await else {
        return;
    };
    let pushed = discovered(&server).await.build().unwrap();
    assert!(pushed.requires_pushed_authorization_requests());
    let oauth = with_secret(pushed.clone());
    let error = oauth.authorization_url().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let (url, pending) = oauth.start_authorization().await.unwrap();
    assert!(!url.contains("code_challenge"), "{url}");
    let callback = Browser::new().walk(&url, CALLBACK).await;
    let code = pending.accept(&callback).unwrap();
    oauth.exchange_code(code).await.unwrap();

    let plain = pushed
        .to_builder()
        .require_pushed_authorization_requests(false);
    let oauth = with_secret(plain.build().unwrap());
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = Browser::new().walk(&url, CALLBACK).await;
    let error = pending.accept(&callback).unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidRequest));
}

fn with_secret(provider: Provider) -> OAuthClient {
    OAuthClient::builder(provider, "basic")
        .client_secret(SECRET)
        .redirect_uri(CALLBACK)
        .scopes(["openid", "api:read"])
        .build(http())
        .unwrap()
}

/// The user enters the code in a browser, and the device gets its tokens with the next poll.
#[tokio::test]
async fn device_is_authorized_by_a_user_in_a_browser() {
    let mut client = client("basic", "client_secret_basic");
    client["grant_types"] = json!([
        "urn:ietf:params:oauth:grant-type:device_code",
        "refresh_token"
    ]);
    client["redirect_uris"] = json!([]);
    client["response_types"] = json!([]);
    let Some(server) = Server::start(&json!({ "clients": [client] })).await else {
        return;
    };
    let oauth = with_secret(discovered(&server).await.build().unwrap());
    let device = oauth.authorize_device().await.unwrap();
    let url = device.verification_uri_complete().unwrap();
    let page = Browser::new().submit_all(url).await;
    assert!(page.contains("Sign-in Success"), "{page}");
    let tokens = oauth.await_device(&device).await.unwrap();
    oauth.refresh(&tokens).await.unwrap();
}

/// The refresh tokens of public clients are bound to the key, too.
#[tokio::test]
async fn dpop_binds_tokens_with_and_without_nonces() {
    for nonce in [false, true] {
        let mut client = client("public", "none");
        client["dpop_bound_access_tokens"] = true.into();
        let settings = json!({ "clients": [client], "dpopNonce": nonce });
        let Some(server) = Server::start(&settings).await else {
            return;
        };
        let provider = discovered(&server)
            .await
            .client_authentication(ClientAuthentication::None)
            .dpop(true)
            .build()
            .unwrap();
        let oauth = OAuthClient::builder(provider, "public")
            .redirect_uri(CALLBACK)
            .scopes(["openid", "api:read"])
            .build(http())
            .unwrap();
        let tokens = live(&server, &oauth).await;
        // Without its key, the token is worth nothing.
        let http = reqwest::Client::new();
        let token = tokens.access_token().header_value().clone();
        let response = http.get(server.url("/me")).header(AUTHORIZATION, token);
        let status = response.send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}

/// The life of a grant: connect, call, refresh, call, revoke. Returns its first tokens.
async fn live(server: &Server, oauth: &OAuthClient) -> TokenSet {
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    let first = connect(oauth).await;
    tokens.set_tokens(first.clone()).await.unwrap();
    assert_eq!(call(&tokens, &server.url("/me")).await, StatusCode::OK);
    let before = tokens.token().await.unwrap();
    tokens.refresh_now().await.unwrap();
    let after = tokens.token().await.unwrap();
    assert_ne!(before.header_value(), after.header_value());
    assert_eq!(call(&tokens, &server.url("/me")).await, StatusCode::OK);
    tokens.revoke().await.unwrap();
    assert!(tokens.token().await.unwrap_err().is_consent_required());
    first
}

fn http() -> hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Full<bytes::Bytes>,
> {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http()
}
