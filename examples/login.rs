//! A command-line program: its user logs in once with a browser, and from then on the program
//! calls the API without asking (RFC 8252).
//!
//! By itself it runs twice against a sandbox of its own, with a simulated user. With
//! `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and `JUSTWORKS_REDIRECT_URI` it runs against
//! the real service. With `SANDBOX_URL=http://127.0.0.1:8080` it runs against the example `sandbox`
//! in another terminal, and you consent in your own browser. Grants are stored in `./grants`
//! (`./sandbox-grants`), or in the directory that `JUSTWORKS_GRANTS` names.
//!
//! The program listens at the redirect URI, which must be on loopback, such as
//! `http://127.0.0.1:8000/callback`. For another provider, put another
//! [`Provider`](tower_oauth2_client::provider::Provider) into `examples/settings`.
//!
//! ```sh
//! cargo run --example login --features sandbox
//! ```

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, sandbox::Sandbox,
    store::FileStore,
};

use self::{
    loopback::Loopback,
    settings::{Settings, is_consent_required},
};

#[path = "login/loopback.rs"]
mod loopback;
mod own_host;
mod settings;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    if let Some(settings) = Settings::from_variables()? {
        let user = async |url: &str| {
            println!("Open this URL in a browser on this machine, and allow access:\n{url}");
            Ok(())
        };
        println!("{}", company(&settings, None, user).await?);
        return Ok(());
    }

    let loopback = Loopback::open("http://127.0.0.1:0/callback").await?;
    let sandbox = Sandbox::builder().redirect_uri(loopback.redirect_uri());
    let settings = Settings::for_sandbox(sandbox.start().await?)?;
    println!(
        "{}",
        company(&settings, Some(&loopback), simulated_user(&settings)).await?
    );
    println!("The second run needs no consent:");
    println!(
        "{}",
        company(&settings, Some(&loopback), simulated_user(&settings)).await?
    );
    Ok(())
}

/// Returns the API's data about the company.
///
/// Without a usable grant, `user` opens the authorization URL, and the callback arrives at
/// `loopback`, or at a listener that is opened for the redirect URI.
async fn company(
    settings: &Settings,
    loopback: Option<&Loopback>,
    user: impl AsyncFnOnce(&str) -> Outcome,
) -> Outcome<String> {
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let http = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(https);
    let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
        .client_secret(&settings.client_secret)
        .redirect_uri(&settings.redirect_uri)
        .scopes(["company.basic:read"])
        .build(http.clone())?;
    let tokens = TokenCache::builder(oauth.clone())
        .store(FileStore::open(&settings.grants)?)
        .build()?;

    if is_consent_required(&tokens).await? {
        if let Some(loopback) = loopback {
            log_in(&oauth, &tokens, loopback, user).await?;
        } else {
            let loopback = Loopback::open(&settings.redirect_uri).await?;
            log_in(&oauth, &tokens, &loopback, user).await?;
        }
    }

    let api = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens.clone()))
        .service(http);
    let company = format!("{}/v1/company", tokens.origins()[0]);
    let response = api
        .oneshot(Request::get(company).body(Full::default())?)
        .await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    // A refresh in flight ends first: its response contains the next refresh token.
    tokens.shutdown(Duration::from_secs(90)).await?;
    Ok(format!("{status}\n{}", String::from_utf8_lossy(&body)))
}

/// Sends the user to the provider, and completes the authorization.
async fn log_in(
    oauth: &OAuthClient,
    tokens: &TokenCache,
    loopback: &Loopback,
    user: impl AsyncFnOnce(&str) -> Outcome,
) -> Outcome {
    let (url, pending) = oauth.authorization_url()?;
    let ((), callback) = tokio::try_join!(user(&url), loopback.callback(pending.state()))?;
    Ok(tokens
        .complete_authorization(oauth, &pending, &callback)
        .await?)
}

/// Consents in the sandbox, and follows the redirect to the callback as a browser would.
fn simulated_user(settings: &Settings) -> impl AsyncFnOnce(&str) -> Outcome {
    async |url: &str| {
        let sandbox = settings
            .own_sandbox()
            .ok_or("only a sandbox simulates a user")?;
        let callback = sandbox.consent(url).await?;
        reqwest::get(callback).await?.error_for_status()?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "login/tests.rs"]
mod tests;
