//! A token for the program itself, by the `client_credentials` grant (RFC 6749 section 4.4).
//!
//! `TOKEN_URL`, `CLIENT_ID` and `CLIENT_SECRET` name the client, and `API_URL` what to get.
//!
//! ```sh
//! cargo run --example client_credentials
//! ```

use std::{env, error::Error};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::{ClientCredentials, TokenCache},
    oauth::OAuthClient,
    provider::Provider,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url: Uri = variable("API_URL")?.parse()?;

    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let http = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(https);
    let provider = Provider::builder(variable("TOKEN_URL")?)
        .api_origin(url.to_string())
        .build()?;
    let oauth = OAuthClient::builder(provider, variable("CLIENT_ID")?)
        .client_secret(variable("CLIENT_SECRET")?)
        .build(http.clone())?;
    let tokens = TokenCache::builder(ClientCredentials::new(oauth)).build()?;
    let api = BearerAuthLayer::new(tokens).layer(http);

    let response = api
        .oneshot(Request::get(url).body(Full::default())?)
        .await?;
    println!("{}", response.status());
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
