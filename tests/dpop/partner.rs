//! A partner of a sandbox that binds tokens.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuth, BearerAuthLayer},
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::{self, ClientAuthentication, Provider},
    sandbox::{self, Dpop, Sandbox},
    store::TokenStore,
};

use crate::support;

pub(crate) type Body = Full<Bytes>;
pub(crate) type Http = Client<HttpConnector, Body>;

pub(crate) struct Partner {
    pub(crate) oauth: OAuthClient,
    pub(crate) tokens: TokenCache,
    pub(crate) api: BearerAuth<Http, Body>,
    url: String,
}

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn sandbox(dpop: Dpop) -> Sandbox {
    let builder = Sandbox::builder().behavior(|behavior| behavior.dpop = dpop);
    builder.start().await.unwrap()
}

pub(crate) fn provider(sandbox: &Sandbox, dpop: bool) -> Provider {
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let is_public = sandbox.behavior().client_authentication == sandbox::ClientAuthentication::None;
    let authentication = if is_public {
        ClientAuthentication::None
    } else {
        ClientAuthentication::RequestBody
    };
    let builder = provider.to_builder().client_authentication(authentication);
    let builder = builder.propagation_delay(Duration::ZERO);
    builder.pkce(true).dpop(dpop).build().unwrap()
}

pub(crate) fn client(sandbox: &Sandbox, provider: Provider, clock: impl Clock) -> OAuthClient {
    let is_public = provider.client_authentication() == ClientAuthentication::None;
    let mut builder = OAuthClient::builder(provider, sandbox.client_id())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock);
    if !is_public {
        builder = builder.client_secret(sandbox.client_secret());
    }
    builder.build(http()).unwrap()
}

impl Partner {
    pub(crate) fn new(sandbox: &Sandbox, store: impl TokenStore, dpop: bool) -> Self {
        let oauth = client(sandbox, provider(sandbox, dpop), SystemClock);
        Self::of(sandbox, oauth, store, SystemClock)
    }

    pub(crate) fn of(
        sandbox: &Sandbox,
        oauth: OAuthClient,
        store: impl TokenStore,
        clock: impl Clock,
    ) -> Self {
        let tokens = TokenCache::builder(oauth.clone()).store(store).clock(clock);
        let tokens = tokens.build().unwrap();
        let api = BearerAuthLayer::new(tokens.clone()).layer(http());
        Self {
            oauth,
            tokens,
            api,
            url: sandbox.url(),
        }
    }

    pub(crate) async fn connect(&self, sandbox: &Sandbox) {
        support::connect(sandbox, &self.oauth, &self.tokens).await;
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Body> {
        let request = Request::builder().method(method);
        let request = request.uri(format!("{}{path}", self.url));
        request.body(Body::default()).unwrap()
    }

    pub(crate) async fn call(&self) -> StatusCode {
        self.send(self.request(Method::GET, "/v1/company?x=y"))
            .await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> StatusCode {
        let response = self.api.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        body.collect().await.unwrap();
        head.status
    }
}
