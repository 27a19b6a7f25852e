//! Tokens in caches, and in requests.

use std::{convert::Infallible, future::ready, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::{KeptValue, Provider, TokenHeader, ValueSource},
    store::{EncryptedStore, FileStore, MemoryStore, TokenStore},
    tenants::Tenants,
    token::{AccessToken, KeptValues, RefreshToken, TenantId, TokenSet},
};

use crate::{
    http_client::{Fixed, always, client},
    stores::keys,
    support::{HOUR, frees_no_secret, secret, token_set},
};

const TOKENS: Fixed = Fixed {
    status: 200,
    frames: &[
        br#"{"access_token":"a2"#,
        secret!("").as_bytes(),
        br#"","refresh_token":"r2"#,
        secret!("").as_bytes(),
        br#"","expires_in":3600}"#,
    ],
};

/// Fails, and carries a refresh token.
const UNUSABLE: Fixed = Fixed {
    status: 200,
    frames: &[
        br#"{"access_token":"","refresh_token":"r3"#,
        secret!("").as_bytes(),
        br#""}"#,
    ],
};

const INVALID_GRANT: Fixed = Fixed {
    status: 400,
    frames: &[
        br#"{"error":"invalid_grant","error_description":"\u0061"#,
        secret!("").as_bytes(),
        br#""}"#,
    ],
};

const UNAVAILABLE: Fixed = Fixed {
    status: 502,
    frames: &[secret!("").as_bytes()],
};

async fn use_cache(oauth: &OAuthClient, store: impl TokenStore) {
    let tokens = TokenCache::builder(oauth.clone())
        .store(store)
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    let fresh = || {
        let access_token = AccessToken::new(secret!("a1")).unwrap();
        TokenSet::new(access_token, HOUR, SystemClock.wall())
            .with_refresh_token(RefreshToken::new(secret!("r\"1")), SystemClock.wall())
    };
    let _ = tokens.set_tokens(fresh()).await;
    let _ = tokens.token().await;
    call(&tokens, StatusCode::OK).await;
    call(&tokens, StatusCode::UNAUTHORIZED).await;
    let _ = tokens.refresh_now().await;
    tokens.invalidate();
    let _ = tokens.token().await;
    let _ = tokens.set_tokens(fresh()).await;
    let _ = tokens
        .set_tokens(token_set(secret!("a3"), secret!("r3")))
        .await;
    let _ = tokens.token().await;
    let _ = tokens.revoke().await;
    let _ = tokens.set_tokens(fresh()).await;
    let _ = tokens.shutdown(HOUR).await;
}

/// A request through the layer, whose body echoes a secret and is recorded.
async fn call(tokens: &TokenCache, status: StatusCode) {
    type Body = Full<Bytes>;
    let api = service_fn(move |_: Request<ReplayBody<Body>>| {
        let mut response = Response::new(Body::default());
        *response.status_mut() = status;
        ready(Ok::<_, Infallible>(response))
    });
    let api = BearerAuthLayer::new(tokens.clone()).layer(api);
    let body = Body::from(Bytes::from_static(b"a body"));
    let request = Request::post("https://api.example.com/v1").body(body);
    let _ = api.oneshot(request.unwrap()).await;
}

#[test]
fn p21_cache_wipes_whatever_the_provider_responds() {
    for response in [TOKENS, UNUSABLE, INVALID_GRANT, UNAVAILABLE] {
        frees_no_secret(async || {
            use_cache(&client(response), MemoryStore::new()).await;
            let directory = tempfile::tempdir().unwrap();
            let store = FileStore::open(directory.path()).unwrap();
            use_cache(&client(response), store.clone()).await;
            let encrypted = EncryptedStore::new(store, keys(), "client").unwrap();
            use_cache(&client(response), encrypted).await;
        });
    }
}

/// The header of the token is made for each snapshot, and kept values are copied with it.
#[test]
fn p21_other_headers_and_kept_values_are_wiped() {
    for header in [
        TokenHeader::new("X-Access-Token"),
        TokenHeader::new("Authorization").scheme("Other"),
    ] {
        let value = KeptValue::new(ValueSource::Response).pattern("[A-Za-z0-9]+");
        let provider = Provider::builder("https://id.example.com/token")
            .api_origin("https://api.example.com")
            .kept_value("id", value)
            .token_header(header)
            .build()
            .unwrap();
        frees_no_secret(async || {
            let oauth = OAuthClient::builder(provider, "app")
                .client_secret(secret!("s"))
                .build(always(TOKENS))
                .unwrap();
            use_cache(&oauth, MemoryStore::new()).await;
            let tokens = TokenCache::builder(oauth).build().unwrap();
            let set = token_set(secret!("a1"), secret!("r1")).with_value("id", secret!("v1"));
            tokens.set_tokens(set).await.unwrap();
            let api = service_fn(|request: Request<Full<Bytes>>| {
                let values = request.extensions().get::<KeptValues>().cloned();
                assert!(values.unwrap().get("id").is_some());
                ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
            });
            let mut api = BearerAuthLayer::new(tokens.clone()).layer(api);
            for _ in 0..3 {
                let request = Request::get("https://api.example.com/v1").body(Full::default());
                let api = api.ready().await.unwrap();
                api.call(request.unwrap()).await.unwrap();
            }
            drop(tokens.values().await.unwrap());
            drop(tokens.refresh_now().await);
        });
    }
}

#[test]
fn p21_cache_that_is_dropped_or_aborted_wipes() {
    frees_no_secret(async || {
        let tokens = TokenCache::builder(client(TOKENS)).build().unwrap();
        let set = token_set(secret!("a1"), secret!("r1"));
        tokens.set_tokens(set).await.unwrap();
        let refresh = tokens.refresh_now();
        // Dropped while the refresh is in flight.
        let _ = tokio::time::timeout(Duration::ZERO, refresh).await;
        drop(tokens);
    });
}

#[test]
fn p21_evicted_tenants_are_wiped() {
    frees_no_secret(async || {
        let store = MemoryStore::new();
        let tenants = Tenants::builder(client(TOKENS))
            .store(store)
            .capacity(2)
            .build()
            .unwrap();
        for number in 0..6 {
            let tenant = TenantId::new(format!("customer-{number}")).unwrap();
            let set = token_set(secret!("a1"), secret!("r1"));
            let _ = tenants.set_tokens(&tenant, set).await;
            let _ = tenants.token(&tenant).await;
        }
        for number in 0..6 {
            let tenant = TenantId::new(format!("customer-{number}")).unwrap();
            let _ = tenants.token(&tenant).await;
        }
        let _ = tenants.sweep().await;
        let _ = tenants.shutdown(HOUR).await;
    });
}

/// A request may carry the token of an outer layer, in another header.
#[test]
fn p21_token_of_an_outer_layer_is_wiped() {
    frees_no_secret(async || {
        let cache = |header: &'static str, token: &'static str| {
            let provider = Provider::builder("https://id.example.com/token")
                .api_origin("https://api.example.com")
                .token_header(TokenHeader::new(header))
                .build()
                .unwrap();
            let oauth = OAuthClient::builder(provider, "client")
                .client_secret("not seeded")
                .build(always(TOKENS))
                .unwrap();
            (TokenCache::builder(oauth).build().unwrap(), token)
        };
        let (outer, outer_token) = cache("x-outer", secret!("a1"));
        let (inner, _) = cache("x-inner", "plain");
        let set = |token: &'static str| {
            TokenSet::new(AccessToken::new(token).unwrap(), HOUR, SystemClock.wall())
        };
        outer.set_tokens(set(outer_token)).await.unwrap();
        inner.set_tokens(set("plain")).await.unwrap();
        let api = service_fn(|_: Request<Full<Bytes>>| {
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        });
        // Only the inner layer keeps the head of a request that carries a token.
        let api = BearerAuthLayer::<Full<Bytes>>::new(inner).layer(api);
        let mut request = Request::get("https://api.example.com/v1")
            .body(Full::<Bytes>::default())
            .unwrap();
        let token = outer.token().await.unwrap();
        request
            .headers_mut()
            .insert(token.header_name().clone(), token.header_value().clone());
        drop(token);
        let response = api.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
    });
}
