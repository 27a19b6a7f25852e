//! One grant over a hyper-util client.
//!
//! By itself it runs against the sandbox. With `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and
//! `JUSTWORKS_REDIRECT_URI` it runs against the real service, asks for consent the first time, and
//! keeps the grant in `./grants`, or in the directory that `JUSTWORKS_GRANTS` names.
//!
//! ```sh
//! cargo run --example hyper_client --features sandbox
//! ```

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use settings::Settings;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, store::FileStore,
};

mod settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_environment().await?;

    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    // A connection for each token request: a replay must not use the one that lost a response.
    let token_http = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Full<Bytes>>(https.clone());
    let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
        .client_secret(&settings.client_secret)
        .redirect_uri(&settings.redirect_uri)
        .scopes(["company.basic:read"])
        .build(token_http)?;
    let tokens = TokenCache::builder(oauth.clone())
        .store(FileStore::open(&settings.grants)?)
        .build()?;
    let http = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(https);
    let api = BearerAuthLayer::new(tokens.clone()).layer(http);

    settings.connect(&oauth, &tokens).await?;

    let company = Request::get(format!("{}/v1/company", tokens.origins()[0]));
    let response = api.oneshot(company.body(Full::default())?).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));

    // A refresh in flight ends first: its response contains the next refresh token.
    tokens.shutdown(Duration::from_secs(90)).await?;
    Ok(())
}
