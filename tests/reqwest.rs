//! The adapters for reqwest and reqwest-middleware, over real HTTP.

use std::{
    error::Error as _,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use http::{Extensions, Request, Response, StatusCode, header};
use reqwest::{Body, Client};
use reqwest_middleware::{
    ClientBuilder, ClientWithMiddleware, Error as MiddlewareError, Middleware, Next,
};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::BearerAuthLayer,
    cache::{TokenCache, token_fn},
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider,
    reqwest::ReqwestClient,
    sandbox::{Endpoint, Fault, Sandbox},
    store::MemoryStore,
    tenants::Tenants,
    token::{AccessToken, KeptValues, RefreshToken, TenantId, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{AheadClock, DAY, connect};

/// A connected customer, with one reqwest client for everything.
async fn connected() -> (Sandbox, ReqwestClient, TokenCache) {
    let sandbox = Sandbox::start().await.unwrap();
    let http = ReqwestClient::new(Client::builder()).unwrap();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .scopes(["company.basic:read", "deductions:write"])
        .build(http.clone())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone())
        .store(MemoryStore::new())
        .clock(AheadClock)
        .build()
        .unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    (sandbox, http, tokens)
}

const DEDUCTION: &str = r#"{"items":[{"member_id":"member_00000000000000000000000001","operation_id":"o1","amount_type":"fixed",
    "amount":4500,"currency":"USD","deduction_type_code":"401k","frequency":"one_time","start_date":"2026-12-01"}]}"#;

fn deduction(sandbox: &Sandbox) -> Request<Body> {
    Request::post(format!("{}/v1/deductions", sandbox.url()))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(DEDUCTION))
        .unwrap()
}

#[tokio::test]
async fn p08_body_is_sent_again_after_a_401() {
    let (sandbox, http, tokens) = connected().await;
    let api = BearerAuthLayer::new(tokens).layer(http);
    sandbox.expire_access_tokens();
    let response = api.oneshot(deduction(&sandbox)).await.unwrap();
    let response = reqwest::Response::from(response);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.url().path(), "/v1/deductions");
    assert!(response.text().await.unwrap().contains("o1"));
    assert_eq!(sandbox.counters().deductions_created, 1);
}

#[tokio::test]
async fn p20_redirects_are_returned_and_not_followed() {
    let (sandbox, http, tokens) = connected().await;
    // Also if the builder says otherwise.
    let follows = Client::builder().redirect(reqwest::redirect::Policy::default());
    for http in [http, ReqwestClient::new(follows).unwrap()] {
        let to = format!("{}/v1/company", sandbox.url()).parse().unwrap();
        sandbox.inject(
            Endpoint::Company,
            Fault::status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, to),
        );
        let api = BearerAuthLayer::new(tokens.clone()).layer(http);
        let company = Request::get(format!("{}/v1/company", sandbox.url()))
            .body(Body::default())
            .unwrap();
        assert_eq!(api.oneshot(company).await.unwrap().status(), 307);
    }
}

#[tokio::test]
async fn error_of_reqwest_is_the_source() {
    let (sandbox, http, tokens) = connected().await;
    let api = BearerAuthLayer::new(tokens).layer(http);
    let company = Request::get(format!("{}/v1/company", sandbox.url()))
        .body(Body::default())
        .unwrap();
    sandbox.inject(Endpoint::Company, Fault::drop_connection());
    let error = api.oneshot(company).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Service);
    assert!(error.source().unwrap().is::<reqwest::Error>());
}

/// P11: nothing was sent, so the refresh token was not used.
#[tokio::test]
async fn p11_failed_tls_handshake_at_the_token_endpoint_is_no_lost_response() {
    let sandbox = Sandbox::start().await.unwrap();
    // The sandbox speaks plain HTTP.
    let https = sandbox.url().replace("http://", "https://");
    let oauth = OAuthClient::builder(
        provider::justworks().on_origin(&https).unwrap(),
        sandbox.client_id(),
    )
    .client_secret(sandbox.client_secret())
    .build(ReqwestClient::new(Client::builder()).unwrap())
    .unwrap();
    let now = SystemClock.wall();
    let tokens = TokenSet::new(AccessToken::new("a1").unwrap(), DAY, now)
        .with_refresh_token(RefreshToken::new("r1"), now);
    let error = oauth.refresh(&tokens).await.unwrap_err();
    assert!(
        error.is_transient() && !error.is_response_lost(),
        "{error:?}"
    );
}

/// Counts the requests that pass it, in a counter and in the extensions of the call.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicUsize>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen(usize);

#[async_trait]
impl Middleware for Counter {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, MiddlewareError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let seen = extensions.get::<Seen>().map_or(0, |seen| seen.0) + 1;
        extensions.insert(Seen(seen));
        let mut response = next.run(request, extensions).await?;
        response.extensions_mut().insert(Seen(seen));
        Ok(response)
    }
}

fn chain(http: ReqwestClient, tokens: TokenCache, counter: &Counter) -> ClientWithMiddleware {
    ClientBuilder::new(http.into_inner())
        .with(BearerAuthLayer::new(tokens))
        .with(counter.clone())
        .build()
}

fn post_deduction(
    api: &ClientWithMiddleware,
    sandbox: &Sandbox,
) -> reqwest_middleware::RequestBuilder {
    api.post(format!("{}/v1/deductions", sandbox.url()))
        .header(header::CONTENT_TYPE, "application/json")
}

#[tokio::test]
async fn p08_middleware_sends_the_request_again_after_a_401() {
    let (sandbox, http, tokens) = connected().await;
    let counter = Counter::default();
    let api = chain(http, tokens, &counter);
    sandbox.expire_access_tokens();
    let response = post_deduction(&api, &sandbox)
        .body(DEDUCTION)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.url().path(), "/v1/deductions");
    assert_eq!(
        response.extensions().get(),
        Some(&Seen(2)),
        "the inner chain keeps its extensions"
    );
    assert_eq!(counter.0.load(Ordering::SeqCst), 2);
    assert_eq!(sandbox.counters().deductions_created, 1);
}

/// Sends a clone of each request, as a retry middleware does, and checks its body.
struct Cloning(Option<&'static [u8]>);

#[async_trait]
impl Middleware for Cloning {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, MiddlewareError> {
        let clone = request.try_clone().expect("a request that can be cloned");
        assert_eq!(clone.body().and_then(Body::as_bytes), self.0);
        next.run(clone, extensions).await
    }
}

#[tokio::test]
async fn p08_inner_middleware_gets_a_buffered_body_as_it_was() {
    let (sandbox, http, tokens) = connected().await;
    let client = http.into_inner();
    let chain = |body| {
        ClientBuilder::new(client.clone())
            .with(BearerAuthLayer::new(tokens.clone()))
            .with(Cloning(body))
            .build()
    };
    let company = format!("{}/v1/company", sandbox.url());
    sandbox.expire_access_tokens();
    let response = chain(None).get(company).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    sandbox.expire_access_tokens();
    let response = post_deduction(&chain(Some(DEDUCTION.as_bytes())), &sandbox)
        .body(DEDUCTION)
        .send()
        .await
        .unwrap();
    assert_ne!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn p08_middleware_sends_a_streaming_body_again() {
    let (sandbox, http, tokens) = connected().await;
    let api = chain(http, tokens, &Counter::default());
    sandbox.expire_access_tokens();
    let halves = DEDUCTION
        .as_bytes()
        .chunks(100)
        .map(Ok::<_, std::io::Error>);
    let response = post_deduction(&api, &sandbox)
        .body(Body::wrap_stream(futures_util::stream::iter(halves)))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(sandbox.counters().deductions_created, 1);
}

/// Copies what an inner middleware has counted from the extensions into the response.
struct Reading;

#[async_trait]
impl Middleware for Reading {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, MiddlewareError> {
        let mut response = next.run(request, extensions).await?;
        let seen = extensions.get::<Seen>().copied();
        assert!(response.extensions_mut().insert(seen).is_none());
        Ok(response)
    }
}

#[tokio::test]
async fn outer_middleware_gets_the_extensions_of_inner_middlewares() {
    let (sandbox, http, tokens) = connected().await;
    let api = ClientBuilder::new(http.into_inner())
        .with(Reading)
        .with(BearerAuthLayer::new(tokens))
        .with(Counter::default())
        .build();
    let company = format!("{}/v1/company", sandbox.url());
    let response = api.get(company).send().await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Some(Seen(1))));
}

#[tokio::test]
async fn p17_middleware_fails_without_a_token_and_sends_nothing() {
    let (sandbox, http, tokens) = connected().await;
    tokens.revoke().await.unwrap();
    let counter = Counter::default();
    let api = chain(http, tokens, &counter);
    let url = format!("{}/v1/company", sandbox.url());
    let error = api.get(&url).send().await.unwrap_err();
    let MiddlewareError::Middleware(error) = error else {
        panic!("an error of a middleware: {error}");
    };
    assert_eq!(
        error.downcast_ref().map(Error::kind),
        Some(ErrorKind::Revoked)
    );
    assert_eq!(counter.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn error_of_reqwest_passes_the_middleware_unchanged() {
    let (sandbox, http, tokens) = connected().await;
    let api = chain(http, tokens, &Counter::default());
    sandbox.inject(Endpoint::Company, Fault::drop_connection());
    let error = api
        .get(format!("{}/v1/company", sandbox.url()))
        .send()
        .await;
    assert!(matches!(error.unwrap_err(), MiddlewareError::Reqwest(_)));
}

#[tokio::test]
async fn p23_middleware_takes_the_tenant_from_the_extensions() {
    struct Echo;

    /// Responds with the token that the request carries.
    #[async_trait]
    impl Middleware for Echo {
        async fn handle(
            &self,
            request: reqwest::Request,
            _: &mut Extensions,
            _: Next<'_>,
        ) -> Result<reqwest::Response, MiddlewareError> {
            let token = request.headers()[header::AUTHORIZATION]
                .to_str()
                .unwrap()
                .to_owned();
            Ok(Response::new(Body::from(token)).into())
        }
    }

    let source = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
    let tenants = Tenants::builder(source)
        .origin("https://api.example.com")
        .build()
        .unwrap();
    let api = ClientBuilder::new(Client::new())
        .with(BearerAuthLayer::new(tenants.clone()))
        .with(Echo)
        .build();
    for name in ["acme", "initech"] {
        let tenant = TenantId::new(name).unwrap();
        let token = AccessToken::new(format!("{name}-token")).unwrap();
        let set = TokenSet::new(token, DAY, SystemClock.wall());
        tenants.set_tokens(&tenant, set).await.unwrap();
        let request = api
            .get("https://api.example.com/v1/company")
            .with_extension(tenant);
        let text = request.send().await.map(reqwest::Response::text);
        let text = text.unwrap().await.unwrap();
        assert_eq!(text, format!("Bearer {name}-token"));
    }
    let unnamed = api.get("https://api.example.com/v1/company").send().await;
    assert!(unnamed.is_err());
}

/// The values of the attempt's token, also in a retry.
#[tokio::test]
async fn inner_middleware_gets_the_kept_values() {
    struct Echo(AtomicUsize);

    /// Rejects the first request, and then responds with a value.
    #[async_trait]
    impl Middleware for Echo {
        async fn handle(
            &self,
            _: reqwest::Request,
            extensions: &mut Extensions,
            _: Next<'_>,
        ) -> Result<reqwest::Response, MiddlewareError> {
            let values = extensions.get::<KeptValues>();
            let realm = values.map(|values| values.get("realm_id").unwrap().to_owned());
            let mut response = Response::new(Body::from(realm.unwrap_or_default()));
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok(response.into())
        }
    }

    let tokens = |token: &str| {
        let token = AccessToken::new(token).unwrap();
        TokenSet::new(token, DAY, SystemClock.wall())
    };
    let (with_value, without) = (tokens("a2").with_value("realm_id", "42"), tokens("a3"));
    let source = token_fn(move || ready(Ok(with_value.clone())));
    let tokens = TokenCache::builder(source)
        .clock(AheadClock)
        .origin("https://api.example.com")
        .build()
        .unwrap();
    tokens.set_tokens(without.clone()).await.unwrap();
    let api = ClientBuilder::new(Client::new())
        .with(BearerAuthLayer::new(tokens.clone()))
        .with(Echo(AtomicUsize::new(0)))
        .build();
    let get = async || {
        let request = api.get("https://api.example.com/v1/company");
        request.send().await.unwrap().text().await.unwrap()
    };
    // The first attempt has no values. The refreshed token has.
    assert_eq!(get().await, "42");
    assert_eq!(get().await, "42");
    tokens.set_tokens(without).await.unwrap();
    assert_eq!(get().await, "");
}

/// A client that follows redirects drops the token at the redirect to another server.
#[tokio::test]
async fn p20_401_of_another_server_after_a_redirect_causes_no_refresh() {
    let (sandbox, _, tokens) = connected().await;
    let other = Sandbox::start().await.unwrap();
    let api = ClientBuilder::new(Client::new())
        .with(BearerAuthLayer::new(tokens))
        .build();
    let company = format!("{}/v1/company", sandbox.url());
    for status in [
        StatusCode::FOUND,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ] {
        let to = format!("{}/v1/company", other.url()).parse().unwrap();
        let redirect = Fault::status(status).header(header::LOCATION, to);
        sandbox.inject(Endpoint::Company, redirect);
        let response = api.get(&company).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(sandbox.counters().refreshes, 0);
    }
    // A 401 of the API itself, also after a redirect within it, is one for the token.
    sandbox.expire_access_tokens();
    let to = "/v1/company".parse().unwrap();
    let redirect = Fault::status(StatusCode::FOUND).header(header::LOCATION, to);
    sandbox.inject(Endpoint::Company, redirect);
    let response = api.get(&company).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(sandbox.counters().refreshes, 1);
}
