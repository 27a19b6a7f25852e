//! The client, from the environment variables of the other examples.

use std::error::Error;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower_oauth2_client::oauth::OAuthClient;

use crate::settings::Settings;

pub(crate) fn from_environment() -> Result<OAuthClient, Box<dyn Error>> {
    let settings = settings()?;
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    let http = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Full<Bytes>>(https);
    let oauth = OAuthClient::builder(settings.provider, settings.client_id)
        .client_secret(settings.client_secret)
        .redirect_uri(settings.redirect_uri)
        .build(http)?;
    Ok(oauth)
}

/// The name under which the grants are encrypted.
pub(crate) fn client_id() -> Result<String, Box<dyn Error>> {
    Ok(settings()?.client_id)
}

/// The directory in which the other examples keep their grants.
pub(crate) fn grants_directory() -> Result<String, Box<dyn Error>> {
    let missing = "no store is named; use --store or GRANTS_STORE";
    let settings = Settings::from_variables()?.ok_or(missing)?;
    let directory = std::path::absolute(&settings.grants)?;
    let directory = directory
        .to_str()
        .ok_or("JUSTWORKS_GRANTS is not valid UTF-8")?;
    Ok(crate::store_url::encoded(directory))
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let missing = "no client is named; set JUSTWORKS_CLIENT_ID, JUSTWORKS_CLIENT_SECRET and \
                   JUSTWORKS_REDIRECT_URI, or SANDBOX_URL";
    Ok(Settings::from_variables()?.ok_or(missing)?)
}
