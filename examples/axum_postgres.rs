//! Many customers in an axum application, with encrypted grants in PostgreSQL.
//!
//! Customers connect at `/connect/start`, and `/company` calls the API for the customer of the
//! session. Any number of replicas with the same variables are one application.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `DATABASE_URL` | the PostgreSQL database |
//! | `GRANT_KEY` | the encryption key, as `openssl rand -base64 32` prints it |
//! | `JUSTWORKS_CLIENT_ID`, `JUSTWORKS_CLIENT_SECRET` | the client |
//! | `JUSTWORKS_REDIRECT_URI` | where `/connect/callback` of this application is reached |
//!
//! ```sh
//! cargo run --example axum_postgres --features axum,postgres,reqwest-middleware
//! ```
//!
//! `partner_app` is the same with pages and a sandbox of its own.

use std::{env, error::Error, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use sqlx::PgPool;
use tokio::{net::TcpListener, signal};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    connect::{ConnectHandler, ConnectRouter},
    oauth::OAuthClient,
    provider,
    reqwest::ReqwestClient,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, PostgresStore},
    tenants::Tenants,
    token::TenantId,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = PostgresStore::new(PgPool::connect(&variable("DATABASE_URL")?).await?);
    store.migrate().await?;
    let keys = EncryptionKeys::new(EncryptionKey::from_base64("2026", &variable("GRANT_KEY")?)?);
    let client_id = variable("JUSTWORKS_CLIENT_ID")?;

    let oauth = OAuthClient::builder(provider::justworks(), &client_id)
        .client_secret(variable("JUSTWORKS_CLIENT_SECRET")?)
        .redirect_uri(variable("JUSTWORKS_REDIRECT_URI")?)
        .scopes(["company.basic:read"])
        .build_with_reqwest(reqwest::Client::builder())?;
    let tenants = Tenants::builder(oauth.clone())
        .store(EncryptedStore::new(store, keys.clone(), client_id)?)
        .build()?;
    let connect = ConnectRouter::new(oauth, tenants.clone(), keys, Sessions)?;
    let http = ReqwestClient::new(reqwest::Client::builder())?;
    let api = ClientBuilder::new(http.into_inner())
        .with(BearerAuthLayer::new(tenants.clone()))
        .build();

    let app = Router::new()
        .route("/company", get(company))
        .with_state(api)
        .nest("/connect", connect.router());
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let interrupted = async { signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, app)
        .with_graceful_shutdown(interrupted)
        .await?;
    // Code exchanges and refreshes in flight end first: their responses contain refresh tokens.
    let codes = connect.shutdown(Duration::from_secs(90)).await;
    let refreshes = tenants.shutdown(Duration::from_secs(90)).await;
    Ok(codes.and(refreshes)?)
}

/// Calls the API for the customer of the session.
async fn company(State(api): State<ClientWithMiddleware>, request: Parts) -> Response {
    let Some(tenant) = tenant_of(&request) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let company = api.get("https://public-api.justworks.com/v1/company");
    match company.with_extension(tenant).send().await {
        Ok(response) => http::Response::from(response).map(axum::body::Body::new),
        Err(error) => {
            eprintln!("company: {error}");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

struct Sessions;

impl ConnectHandler for Sessions {
    async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
        tenant_of(request).ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())
    }

    fn connected(&self, _: &Parts, _: &TenantId) -> Response {
        Redirect::to("/company").into_response()
    }
}

/// The customer of a request. A program reads it from the session that its login middleware has
/// put into the extensions; this example trusts a header, which a proxy in front of it sets.
fn tenant_of(request: &Parts) -> Option<TenantId> {
    let name = request.headers.get("x-authenticated-customer")?;
    TenantId::new(name.to_str().ok()?).ok()
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
