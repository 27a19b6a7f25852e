//! A gateway that calls a backend for its customer: it gets a token for the backend in return for
//! the customer's (RFC 8693).
//!
//! It runs against a sandbox of its own, with a simulated user.
//!
//! ```sh
//! cargo run --example token_exchange --features sandbox
//! ```

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenExchange},
    oauth::OAuthClient,
    provider,
    sandbox::Sandbox,
};

const BACKEND: &str = "https://backend.example.com";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::builder().behavior(|behavior| {
        behavior.token_exchange_targets = vec![BACKEND.to_owned()];
    });
    let sandbox = sandbox.start().await?;
    let url = sandbox.url();

    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let oauth = OAuthClient::builder(provider::justworks().on_origin(&url)?, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http.clone())?;

    // The customer's grant.
    let customer = TokenCache::builder(oauth.clone()).build()?;
    let (authorization_url, pending) = oauth.authorization_url()?;
    let callback = sandbox.consent(&authorization_url).await?;
    customer
        .complete_authorization(&oauth, &pending, &callback)
        .await?;

    // Tokens for the backend, each in return for the customer's token of the moment.
    let source = TokenExchange::builder(oauth, customer.clone())
        .audience(BACKEND)
        .scopes(["company.basic:read"])
        .build()?;
    let tokens = TokenCache::builder(source).build()?;

    let api = BearerAuthLayer::new(tokens.clone()).layer(http);
    let request = Request::get(format!("{url}/v1/company")).body(Full::default())?;
    let response = api.oneshot(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    // First the cache that needs the other one.
    tokens.shutdown(Duration::from_secs(90)).await?;
    customer.shutdown(Duration::from_secs(90)).await?;
    Ok(())
}
