//! A program on a device without a browser: its user logs in on another device (RFC 8628).
//!
//! It runs against a sandbox of its own, with a simulated user.
//!
//! ```sh
//! cargo run --example device_login --features sandbox
//! ```

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::TokenCache,
    oauth::OAuthClient,
    provider::{ClientAuthentication, Provider},
    sandbox::Sandbox,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::builder().behavior(|behavior| {
        behavior.device_authorization = true;
        behavior.device_interval = Duration::from_secs(1);
    });
    let sandbox = sandbox.start().await?;
    let url = sandbox.url();

    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let provider = Provider::builder(format!("{url}/oauth/token"))
        .device_authorization_endpoint(format!("{url}/oauth/device_authorization"))
        .client_authentication(ClientAuthentication::RequestBody)
        .api_origin(&url)
        .build()?;
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .scopes(["company.basic:read"])
        .build(http.clone())?;
    // Without a store, the grant lasts as long as the program.
    let tokens = TokenCache::builder(oauth.clone()).build()?;

    let device = oauth.authorize_device().await?;
    println!(
        "Open {} and enter the code {}",
        device.verification_uri(),
        device.user_code()
    );
    // The user does so.
    assert!(sandbox.approve_device(device.user_code()));

    // In a task of its own, so that a response with tokens is never dropped.
    let login = tokio::spawn({
        let tokens = tokens.clone();
        async move {
            let first = oauth.await_device(&device).await?;
            tokens.set_tokens(first).await
        }
    });
    login.await??;

    let api = BearerAuthLayer::new(tokens.clone()).layer(http);
    let request = Request::get(format!("{url}/v1/company")).body(Full::default())?;
    let response = api.oneshot(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    tokens.shutdown(Duration::from_secs(90)).await?;
    Ok(())
}
