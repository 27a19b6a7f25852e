//! Client credentials (RFC 6749 section 4.4), with each client authentication.

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    cache::{ClientCredentials, TokenCache, TokenState},
    oauth::OAuthClient,
    provider::ClientAuthentication,
    sandbox::{ClientAuthentication as Accepted, Endpoint, Fault},
};

use crate::support::{builder, client, company, connected, oauth, provider, recording};

#[tokio::test]
async fn each_authentication_gets_a_token_over_http() {
    for (sent, accepted) in [
        (ClientAuthentication::RequestBody, Accepted::Body),
        (ClientAuthentication::Basic, Accepted::Basic),
        (ClientAuthentication::BasicRaw, Accepted::BasicRaw),
    ] {
        let sandbox = builder().behavior(|behavior| behavior.client_authentication = accepted);
        let sandbox = sandbox.start().await.unwrap();
        let provider = provider(&sandbox).client_authentication(sent).build();
        let oauth = OAuthClient::builder(provider.unwrap(), sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri());
        let source = ClientCredentials::new(connected(&sandbox, oauth));
        let tokens = TokenCache::builder(source).build().unwrap();
        assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK, "{sent:?}");
        assert_eq!(sandbox.counters().client_credentials, 1, "{sent:?}");
    }
}

/// There is no consent that a refusal could end.
#[tokio::test(start_paused = true)]
async fn p15_refusal_ends_no_grant_of_the_client() {
    let sandbox = builder().build();
    let source = ClientCredentials::new(oauth(&sandbox));
    let tokens = TokenCache::builder(source).build().unwrap();
    tokens.token().await.unwrap();
    let refused = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#);
    sandbox.inject(Endpoint::Token, refused);
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidGrant));
    assert!(!error.is_invalid_grant() && !error.is_consent_required());
    assert_eq!(tokens.status().state, TokenState::Fresh);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    tokens.refresh_now().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refresh_token_of_the_client_itself_is_dropped() {
    let sandbox = builder().build();
    let body = r#"{"access_token":"a1","expires_in":60,"refresh_token":"r1"}"#;
    let (oauth, recorded) = recording(client(&sandbox), 200, body);
    let source = ClientCredentials::new(oauth);
    let tokens = TokenCache::builder(source).build().unwrap();
    tokens.token().await.unwrap();
    assert!(!tokens.status().has_refresh_token);
    assert_eq!(
        recorded.lock().unwrap()[0]["grant_type"],
        ["client_credentials"]
    );
}
