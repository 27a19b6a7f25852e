//! The crate against a certified OpenID provider that runs on loopback: the npm package
//! `oidc-provider`. The tests are skipped if it is not installed.

mod browser;
mod server;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use serde_json::{Value, json};
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::TokenCache,
    oauth::OAuthClient,
    discovery::Discovery,
    provider::{ClientAuthentication, IssuerCheck, ProviderBuilder},
};

use self::{browser::Browser, server::Server};

const CALLBACK: &str = "http://127.0.0.1/callback";
const SECRET: &str = "a secret of at least thirty-two characters";

/// The registration of a client.
fn client(id: &str, authentication: &str) -> Value {
    json!({
        "client_id": id,
        "client_secret": SECRET,
        "token_endpoint_auth_method": authentication,
        "application_type": "native",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
    })
}

/// The provider that the server's metadata describe. Its API is the server, too.
async fn discovered(server: &Server) -> ProviderBuilder {
    let discovery = Discovery::builder(&server.issuer).build(http()).unwrap();
    let metadata = discovery.metadata().await.unwrap();
    let provider = metadata.to_provider_builder().unwrap();
    provider.api_origin(&server.issuer)
}

/// Signs the user in, consents, and exchanges the code.
async fn connect(oauth: &OAuthClient) -> tower_oauth2_client::token::TokenSet {
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
        let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
        tokens.set_tokens(connect(&oauth).await).await.unwrap();
        assert_eq!(call(&tokens, &server.url("/me")).await, StatusCode::OK);
        let before = tokens.token().await.unwrap();
        tokens.refresh_now().await.unwrap();
        let after = tokens.token().await.unwrap();
        assert_ne!(before.header_value(), after.header_value());
        assert_eq!(call(&tokens, &server.url("/me")).await, StatusCode::OK);
        tokens.revoke().await.unwrap();
        assert!(tokens.token().await.unwrap_err().is_consent_required());
    }
}

fn http() -> hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Full<bytes::Bytes>,
> {
    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http()
}
