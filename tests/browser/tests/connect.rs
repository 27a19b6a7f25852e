//! The default pages of `connect`, in a real browser.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    response::{Html, Response},
    routing::get,
};
use browser_tests::{Browser, Outcome, browse};
use fantoccini::Locator;
use http::request::Parts;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tower_oauth2_client::{
    bearer::ReplayBody,
    connect::{ConnectHandler, ConnectRouter},
    oauth::OAuthClient,
    provider,
    sandbox::{Consent, Sandbox},
    store::{EncryptionKey, EncryptionKeys, MemoryStore},
    tenants::Tenants,
    token::TenantId,
};

#[tokio::test]
async fn default_pages_are_accessible_at_each_width_and_in_each_scheme() -> Outcome {
    let site = Site::start().await?;
    browse(async |browser: &Browser| {
        let mut problems = Vec::new();
        let mut audit = async |name: &str| {
            if let Err(problem) = browser.audit(name).await {
                problems.push(problem.to_string());
            }
        };
        browser.goto(&site.url("/connect/start")).await?;
        browser.log_in().await?;
        browser.press("Deny").await?;
        browser.expect_text("h1", "Not connected").await?;
        audit("connect-denied").await;

        browser.goto(&site.url("/connect/start")).await?;
        browser.log_in().await?;
        browser.press("Allow").await?;
        browser.expect_text("h1", "Connected").await?;
        audit("connect-connected").await;

        // The callback is used up.
        browser
            .goto(&site.url("/connect/callback?code=c&state=s"))
            .await?;
        browser.expect_text("h1", "Not connected").await?;
        audit("connect-failed").await;

        browser.goto(&site.url("/")).await?;
        browser.press("Disconnect").await?;
        browser.expect_text("h1", "Disconnected").await?;
        audit("connect-disconnected").await;

        // Another site links to the start.
        let link = format!(
            "data:text/html,<a href=\"{}\">x</a>",
            site.url("/connect/start")
        );
        browser.goto(&link).await?;
        browser
            .client()
            .find(Locator::Css("a"))
            .await?
            .click()
            .await?;
        browser.expect_text("h1", "Connect your account").await?;
        audit("connect-confirm").await;
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
        Ok(())
    })
    .await
}

/// A program with the default pages.
struct Site {
    address: SocketAddr,
    _sandbox: Sandbox,
}

struct Partner;

impl ConnectHandler for Partner {
    async fn tenant(&self, _: &Parts) -> Result<TenantId, Response> {
        Ok(TenantId::new("acme").expect("a valid name"))
    }
}

impl Site {
    async fn start() -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let redirect_uri = format!("http://{address}/connect/callback");
        let sandbox = Sandbox::builder()
            .redirect_uri(&redirect_uri)
            .behavior(|behavior| behavior.consent = Consent::Page)
            .start()
            .await?;
        let http = Client::builder(TokioExecutor::new()).build_http::<ReplayBody<Body>>();
        let oauth = OAuthClient::builder(
            provider::justworks().on_origin(&sandbox.url())?,
            sandbox.client_id(),
        )
        .client_secret(sandbox.client_secret())
        .redirect_uri(&redirect_uri)
        .build(http)?;
        let tenants = Tenants::builder(oauth.clone())
            .store(MemoryStore::new())
            .build()?;
        let keys = EncryptionKeys::new(EncryptionKey::generate("test")?);
        let connect = ConnectRouter::new(oauth, tenants, keys, Partner)?;
        let form =
            "<form method=post action=/connect/disconnect><button>Disconnect</button></form>";
        let app = Router::new()
            .route("/", get(async move || Html(form)))
            .nest("/connect", connect.router());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self {
            address,
            _sandbox: sandbox,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}
