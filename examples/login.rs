//! One person at a terminal logs in with a browser, and from then on the program calls the API by itself (RFC 8252).
//!
//! By itself it runs against a sandbox of its own, in which a stand-in for the person consents, and then once more as a second
//! run would. With `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` and `JUSTWORKS_REDIRECT_URI` it runs against the real
//! service; with `SANDBOX_URL=http://127.0.0.1:8080` against the example `sandbox` in another terminal, where you consent in
//! your own browser. The tokens are kept in `./grants` (`./sandbox-grants`), or wherever `JUSTWORKS_GRANTS` says.
//!
//! The redirect URI is where this program listens: one on loopback, such as `http://127.0.0.1:8000/callback`. For another
//! provider, put another [`Provider`](tower_oauth2_client::provider::Provider) into `examples/settings`.
//!
//! ```sh
//! cargo run --example login --features sandbox
//! ```

use std::error::Error;

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
mod settings;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    if let Some(settings) = Settings::given()? {
        let person = async |url: &str| {
            println!("Open this in a browser on this machine, and consent:\n{url}");
            Ok(())
        };
        println!("{}", company(&settings, None, person).await?);
        return Ok(());
    }

    let open = Loopback::open("http://127.0.0.1:0/callback").await?;
    let sandbox = Sandbox::builder().redirect_uri(open.redirect_uri());
    let settings = Settings::of_sandbox(sandbox.start().await?)?;
    println!(
        "{}",
        company(&settings, Some(&open), stand_in(&settings)).await?
    );
    println!("Once more, and nobody is asked:");
    println!(
        "{}",
        company(&settings, Some(&open), stand_in(&settings)).await?
    );
    Ok(())
}

/// What the API tells of the company, once there is a grant. `person` is asked to open a URL, if there is none that works; the
/// browser then comes back to what is `open`, or else to a listener that is opened for it.
async fn company(
    settings: &Settings,
    open: Option<&Loopback>,
    person: impl AsyncFnOnce(&str) -> Outcome,
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
        if let Some(open) = open {
            log_in(&oauth, &tokens, open, person).await?;
        } else {
            let opened = Loopback::open(&settings.redirect_uri).await?;
            log_in(&oauth, &tokens, &opened, person).await?;
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
    Ok(format!("{status}\n{}", String::from_utf8_lossy(&body)))
}

/// Sends the person to the provider, and keeps what comes of it.
async fn log_in(
    oauth: &OAuthClient,
    tokens: &TokenCache,
    loopback: &Loopback,
    person: impl AsyncFnOnce(&str) -> Outcome,
) -> Outcome {
    let (url, pending) = oauth.authorization_url()?;
    let ((), callback) = tokio::try_join!(person(&url), loopback.callback(pending.state()))?;
    Ok(tokens
        .complete_authorization(oauth, &pending, &callback)
        .await?)
}

/// Consents in the sandbox, and opens the URL that it is sent back to, as a browser would.
fn stand_in(settings: &Settings) -> impl AsyncFnOnce(&str) -> Outcome {
    async |url: &str| {
        let sandbox = settings.own_sandbox().ok_or("nobody can consent")?;
        let callback = sandbox.consent(url).await?;
        reqwest::get(callback).await?.error_for_status()?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "login/tests.rs"]
mod tests;
