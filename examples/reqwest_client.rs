//! One grant over a reqwest client, with reqwest-middleware.
//!
//! By itself it runs against the sandbox. With `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and
//! `JUSTWORKS_REDIRECT_URI` it runs against the real service, asks for consent the first time, and
//! keeps the grant in `./grants`, or in the directory that `JUSTWORKS_GRANTS` names.
//!
//! ```sh
//! cargo run --example reqwest_client --features reqwest-middleware,sandbox
//! ```

use std::{error::Error, time::Duration};

use reqwest_middleware::ClientBuilder;
use settings::Settings;
use tower_oauth2_client::{
    bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, reqwest::ReqwestClient,
    store::FileStore,
};

mod settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_environment().await?;

    let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
        .client_secret(&settings.client_secret)
        .redirect_uri(&settings.redirect_uri)
        .scopes(["company.basic:read"])
        .build_with_reqwest(reqwest::Client::builder())?;
    let tokens = TokenCache::builder(oauth.clone())
        .store(FileStore::open(&settings.grants)?)
        .build()?;
    let http = ReqwestClient::new(reqwest::Client::builder())?;
    let api = ClientBuilder::new(http.into_inner())
        .with(BearerAuthLayer::new(tokens.clone()))
        .build();

    settings.connect(&oauth, &tokens).await?;

    let company = format!("{}/v1/company", tokens.origins()[0]);
    let response = api.get(company).send().await?;
    println!("{}", response.status());
    println!("{}", response.text().await?);

    // A refresh in flight ends first: its response contains the next refresh token.
    tokens.shutdown(Duration::from_secs(90)).await?;
    Ok(())
}
