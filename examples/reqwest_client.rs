//! The shortest honest program over a reqwest client, which has request and body types of its own.
//!
//! By itself it runs against the sandbox. With `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and `JUSTWORKS_REDIRECT_URI` it
//! runs against the real service, asks for consent the first time, and keeps the tokens in `./grants`, or wherever
//! `JUSTWORKS_GRANTS` says.
//!
//! ```sh
//! cargo run --example reqwest_client --features sandbox
//! ```

use std::error::Error;

use http::{Request, Response};
use reqwest::{Body, Client, redirect::Policy};
use settings::Settings;
use tower::{ServiceBuilder, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    store::FileStore,
};

mod settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_environment().await?;

    // Redirects would carry the client secret elsewhere, and a body that was sent once is not sent again by chance.
    let client = Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .build()?;
    let http = tower::service_fn(move |request: Request<ReplayBody<Body>>| {
        let client = client.clone();
        async move {
            let request = request.map(Body::wrap).try_into()?;
            client.execute(request).await.map(Response::from)
        }
    });
    let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
        .client_secret(&settings.client_secret)
        .redirect_uri(&settings.redirect_uri)
        .scopes(["company.basic:read"])
        .build(http.clone())?;
    let tokens = TokenCache::builder(oauth.clone())
        .store(FileStore::open(&settings.grants)?)
        .build()?;
    let api = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens.clone()))
        .service(http);

    settings.connect(&oauth, &tokens).await?;

    let company = format!("{}/v1/company", tokens.origins()[0]);
    let request = Request::get(company).body(Body::default())?;
    let response = reqwest::Response::from(api.oneshot(request).await?);
    println!("{}", response.status());
    println!("{}", response.text().await?);
    Ok(())
}
