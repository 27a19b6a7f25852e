//! How the conformance suite of MCP runs this client: it names the scenario and the credentials in
//! environment variables, and its authorization server redirects at once.

use std::{convert::Infallible, env, error::Error};

use bytes::Bytes;
use http::{Request, header::LOCATION};
use http_body_util::Full;
use serde_json::Value;
use tower_oauth2_client::{
    discovery::ProtectedResource,
    jose::SigningKey,
    mcp::{McpAuth, McpAuthBuilder, PreRegistered},
    oauth::OAuthClient,
    provider::{ClientAuthentication, Provider},
};

use crate::{Http, Outcome};

const REDIRECT_URI: &str = "http://127.0.0.1:8765/callback";
/// The suite expects this client id where documents are supported.
const METADATA_URL: &str = "https://conformance-test.local/client-metadata.json";

/// The settings for the scenario. `None` if the suite does not run this program.
pub(crate) async fn builder(endpoint: &str, http: &Http) -> Outcome<Option<McpAuthBuilder>> {
    let Ok(scenario) = env::var("MCP_CONFORMANCE_SCENARIO") else {
        return Ok(None);
    };
    let context = env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_else(|_| "{}".to_owned());
    let context: Value = serde_json::from_str(&context)?;
    let mut auth = McpAuth::builder(endpoint, http.clone());
    if scenario.contains("/2025-03-26-") {
        auth = auth.legacy_servers();
    }
    if let Some(client_id) = context["client_id"].as_str() {
        // The suite does not say where its client is registered: this program trusts the server.
        let resource = ProtectedResource::discover(endpoint, http.clone()).await?;
        let issuers = resource.authorization_servers();
        let issuer = issuers.first().ok_or("there is no authorization server")?;
        let mut client = PreRegistered::new(issuer, client_id);
        if let Some(secret) = context["client_secret"].as_str() {
            client = client.client_secret(secret);
        }
        if let Some(key) = context["private_key_pem"].as_str() {
            client = client.signer(SigningKey::from_pem(key)?);
        }
        auth = auth.pre_registered(client);
    }
    if scenario.contains("/client-credentials-") {
        return Ok(Some(auth.client_credentials()));
    }
    if let Some(id_token) = context["idp_id_token"].as_str() {
        let text = |name: &str| context[name].as_str().ok_or(format!("no {name}"));
        let provider = Provider::builder(text("idp_token_endpoint")?)
            .client_authentication(ClientAuthentication::None)
            .build()?;
        let identity_provider =
            OAuthClient::builder(provider, text("idp_client_id")?).build(http.clone())?;
        let id_token = id_token.to_owned();
        let id_tokens = move || std::future::ready(Ok::<_, Infallible>(id_token.clone()));
        return Ok(Some(auth.enterprise_managed(identity_provider, id_tokens)));
    }
    let http = http.clone();
    let user = move |url: String| {
        let http = http.clone();
        async move { redirected(http, &url).await }
    };
    let auth = auth
        .client_metadata_url(METADATA_URL)
        .authorize(REDIRECT_URI, user);
    Ok(Some(auth))
}

/// Requests the authorization URL as a browser would, and returns the callback.
async fn redirected(http: Http, url: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let response = http
        .request(Request::get(url).body(Full::<Bytes>::default())?)
        .await?;
    let location = response
        .headers()
        .get(LOCATION)
        .ok_or("there was no redirect")?;
    Ok(location.to_str()?.to_owned())
}
