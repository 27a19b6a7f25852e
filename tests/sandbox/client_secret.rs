//! The client secret changes while the sandbox runs.

use tower_oauth2_client::{
    OAuthErrorCode,
    cache::TokenCache,
    oauth::OAuthClient,
    provider::{ClientAuthentication as Authentication, Provider},
    sandbox::{ClientAuthentication, ClientRegistration, Sandbox},
};

use crate::{
    connect::client,
    support::{assert_refused, form, send},
};

async fn error_with(sandbox: &Sandbox, client_id: &str, secret: &str) -> String {
    let fields = [
        ("client_id", client_id),
        ("client_secret", secret),
        ("grant_type", "refresh_token"),
        ("refresh_token", "unknown"),
    ];
    send(sandbox, form("/oauth/token", &fields)).await.error()
}

#[tokio::test(start_paused = true)]
async fn both_secrets_are_accepted_in_the_overlap() {
    let other = ClientRegistration::new("other", "other-secret");
    let sandbox = Sandbox::builder().client(other).build();
    let (id, old) = (sandbox.client_id(), sandbox.client_secret());
    let (known, unknown) = ("invalid_grant", "invalid_client");
    for (change, [of_old, of_new]) in [
        (0, [known, unknown]),
        (1, [known, known]),
        (2, [unknown, known]),
    ] {
        match change {
            1 => sandbox.add_client_secret("new"),
            2 => sandbox.set_client_secret("new"),
            _ => {}
        }
        assert_eq!(error_with(&sandbox, id, old).await, of_old, "{change}");
        assert_eq!(error_with(&sandbox, id, "new").await, of_new, "{change}");
        assert_eq!(error_with(&sandbox, "other", "other-secret").await, known);
    }
    let fields = [("client_id", id), ("client_secret", old)];
    let response = send(&sandbox, form("/oauth/token", &fields)).await;
    assert_refused(&response, 401, "invalid_client");
}

#[tokio::test(start_paused = true)]
async fn a_client_recovers_by_replace_secret() {
    let sandbox = Sandbox::builder().build();
    let oauth = client(&sandbox);
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    let first = sandbox.connect(&oauth).await.unwrap();
    tokens.set_tokens(first).await.unwrap();
    sandbox.set_client_secret("new");
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
    oauth.replace_secret("new").unwrap();
    tokens.refresh_now().await.unwrap();
    assert_eq!(sandbox.counters().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn assertions_may_be_signed_with_each_secret_in_the_overlap() {
    let sandbox = Sandbox::builder()
        .client_secret("o".repeat(32))
        .behavior(|behavior| {
            behavior.client_authentication = ClientAuthentication::ClientSecretJwt;
        })
        .build();
    let url = sandbox.url();
    let provider = Provider::builder(format!("{url}/oauth/token"))
        .authorization_endpoint(format!("{url}/oauth/authorize"))
        .client_authentication(Authentication::ClientSecretJwt)
        .build()
        .unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build::<_, http_body_util::Full<bytes::Bytes>, _>(sandbox.service())
        .unwrap();
    let new = "n".repeat(32);
    sandbox.add_client_secret(&*new);
    sandbox.connect(&oauth).await.unwrap();
    oauth.replace_secret(&*new).unwrap();
    sandbox.connect(&oauth).await.unwrap();
    sandbox.set_client_secret("another");
    let error = sandbox.connect(&oauth).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
}
