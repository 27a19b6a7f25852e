//! Grants in one call, by an `OAuthClient`.

use std::error::Error as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    cache::TokenCache,
    oauth::OAuthClient,
    provider::{self, ClientAuthentication, Provider, ResponseMode, catalog},
    sandbox::{Consent, ConsentError, Persona, Pkce, PushedAuthorization, Sandbox},
    store::MemoryStore,
    tenants::Tenants,
    token::{NamedValues, TenantId, TokenSet},
};

use crate::support::company;

type Body = Full<Bytes>;

/// A client of the sandbox, without a socket.
pub(crate) fn client(sandbox: &Sandbox) -> OAuthClient {
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    client_of(provider, sandbox)
}

fn client_of(provider: Provider, sandbox: &Sandbox) -> OAuthClient {
    OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(sandbox.clock())
        .build::<_, Body, _>(sandbox.service())
        .unwrap()
}

fn access_token(tokens: &TokenSet) -> &str {
    tokens.access_token().expose()
}

#[tokio::test(start_paused = true)]
async fn each_call_makes_a_grant() {
    let sandbox = Sandbox::builder().build();
    let oauth = client(&sandbox);
    let tenants = Tenants::builder(oauth.clone())
        .store(MemoryStore::new())
        .build()
        .unwrap();
    for name in ["acme", "globex"] {
        let tenant = TenantId::new(name).unwrap();
        let tokens = sandbox.connect(&oauth).await.unwrap();
        assert_eq!(company(&sandbox, access_token(&tokens)).await, 200);
        tenants.set_tokens(&tenant, tokens).await.unwrap();
        assert!(!tenants.needs_consent(&tenant).await.unwrap());
    }
    let counters = sandbox.counters();
    assert_eq!((counters.consents, counters.code_exchanges), (2, 2));
}

#[tokio::test]
async fn a_listening_sandbox_gets_the_code_through_its_socket() {
    let sandbox = Sandbox::start().await.unwrap();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let http = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http)
        .unwrap();
    let tokens = sandbox.connect(&oauth).await.unwrap();
    assert_eq!(company(&sandbox, access_token(&tokens)).await, 200);
}

#[tokio::test(start_paused = true)]
async fn pushed_requests_form_post_pkce_and_pages_need_nothing_further() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| {
            behavior.pushed_authorization = PushedAuthorization::Required;
            behavior.pkce = Pkce::Required;
            behavior.consent = Consent::Page;
        })
        .build();
    let url = sandbox.url();
    let provider = Provider::builder(format!("{url}/oauth/token"))
        .authorization_endpoint(format!("{url}/oauth/authorize"))
        .pushed_authorization_request_endpoint(format!("{url}/oauth/par"))
        .client_authentication(ClientAuthentication::RequestBody)
        .response_mode(ResponseMode::FormPost)
        .api_origin(&url)
        .build()
        .unwrap();
    let tokens = sandbox.connect(&client_of(provider, &sandbox)).await;
    assert_eq!(company(&sandbox, access_token(&tokens.unwrap())).await, 200);
    assert_eq!(sandbox.counters().authorization_requests_pushed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_persona_connects_with_the_values_of_the_program() {
    for (name, values) in [
        ("xero", NamedValues::default()),
        ("shopify", NamedValues::from([("shop", "acme")])),
    ] {
        let sandbox = Sandbox::persona(Persona::named(name).unwrap()).build();
        let mut entries = catalog::all();
        let entry = entries.find(|entry| entry.name() == name).unwrap();
        let oauth = client_of(entry.provider(), &sandbox);
        let tokens = sandbox.connect_with(&oauth, &values).await.unwrap();
        let cache = TokenCache::builder(oauth).store(MemoryStore::new());
        let cache = cache.build().unwrap();
        cache.set_tokens(tokens).await.unwrap();
        let kept = cache.values().await.unwrap();
        assert_eq!(kept.get("shop"), values.get("shop"), "{name}");
        assert_eq!(sandbox.counters().code_exchanges, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_grant_has_the_scopes_that_are_left() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.scope_limit = Some(vec!["company.basic:read".to_owned()]))
        .build();
    let tokens = sandbox.connect(&client(&sandbox)).await.unwrap();
    assert_eq!(tokens.scope(), Some("company.basic:read"));
}

#[tokio::test(start_paused = true)]
async fn a_consent_that_fails_is_an_error_of_the_callback() {
    let sandbox = Sandbox::builder().build();
    let oauth = client(&sandbox);
    sandbox.change_behavior(|behavior| behavior.scope_limit = Some(vec![]));
    let error = sandbox.connect(&oauth).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::AccessDenied));

    let unregistered = Sandbox::builder()
        .redirect_uri("https://p.example/")
        .build();
    let error = unregistered.connect(&oauth).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Callback);
    let source = error.source().unwrap().downcast_ref::<ConsentError>();
    assert_eq!(source.unwrap().status().unwrap(), 400);
}

#[tokio::test(start_paused = true)]
async fn one_customer_disconnects() {
    let sandbox = Sandbox::builder().build();
    let oauth = client(&sandbox);
    let acme = sandbox.connect(&oauth).await.unwrap();
    let globex = sandbox.connect(&oauth).await.unwrap();
    assert!(sandbox.revoke_grant(access_token(&acme)));
    assert!(!sandbox.revoke_grant(access_token(&acme)));
    assert!(!sandbox.revoke_grant("unknown"));
    assert_eq!(company(&sandbox, access_token(&acme)).await, 401);
    assert_eq!(company(&sandbox, access_token(&globex)).await, 200);
    let error = oauth.refresh(&acme).await.unwrap_err();
    assert!(error.is_invalid_grant(), "{error}");
}
