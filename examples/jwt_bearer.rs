//! A workload without a secret: it signs a JWT for each token request (RFC 7523 section 2.1).
//!
//! It runs against a sandbox of its own, which trusts the issuer of the JWTs. A program usually
//! gets them from its platform, or signs them with a private key.
//!
//! ```sh
//! cargo run --example jwt_bearer --features sandbox
//! ```

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use hmac_sha256::HMAC;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::{JwtBearer, TokenCache},
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::{ClientAuthentication, Provider},
    sandbox::{Sandbox, TrustedIssuer},
};

const ISSUER: &str = "https://workload.example.com";
const KEY: &str = "a key that issuer and provider share";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::builder().trusted_issuer(TrustedIssuer::hs256(ISSUER, KEY));
    let sandbox = sandbox.start().await?;
    let url = sandbox.url();

    let http = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let token_endpoint = format!("{url}/oauth/token");
    let provider = Provider::builder(&token_endpoint)
        .client_authentication(ClientAuthentication::None)
        .api_origin(&url)
        .build()?;
    let oauth = OAuthClient::builder(provider, "workload")
        .scopes(["company.basic:read"])
        .build(http.clone())?;
    // The JWT says enough, so the client needs no authentication.
    let source = JwtBearer::new(oauth, move || {
        let assertion = assertion(&token_endpoint);
        async { assertion }
    })
    .without_client_authentication();
    let tokens = TokenCache::builder(source).build()?;

    let api = BearerAuthLayer::new(tokens.clone()).layer(http);
    let request = Request::get(format!("{url}/v1/company")).body(Full::default())?;
    let response = api.oneshot(request).await?;
    println!("{}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&body));
    tokens.shutdown(Duration::from_secs(90)).await?;
    Ok(())
}

/// A JWT for one token request, signed by HMAC with SHA-256.
fn assertion(audience: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let now = SystemClock.wall().duration_since(SystemTime::UNIX_EPOCH)?;
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = json!({
        "iss": ISSUER,
        "sub": "reports",
        "aud": audience,
        "iat": now.as_secs(),
        "exp": now.as_secs() + 60,
        // Each JWT is accepted once.
        "jti": now.as_nanos().to_string(),
    });
    let part = |value: &serde_json::Value| BASE64.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = BASE64.encode(HMAC::mac(message.as_bytes(), KEY));
    Ok(format!("{message}.{signature}"))
}
