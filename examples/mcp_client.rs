//! An MCP client: it initializes a session, lists the tools and calls the first one, over
//! streamable HTTP. Its authorization is one layer.
//!
//! By itself it runs against an MCP server of its own, with the sandbox as the authorization server
//! and a simulated user, and then a second time with the stored grant. With the URL of an MCP
//! server as its argument, it asks you to consent in your browser; grants are stored in
//! `./mcp-grants`. The conformance suite of MCP starts it in the same way; see `CONTRIBUTING.md`.
//!
//! ```sh
//! cargo run --example mcp_client --features mcp,sandbox,signing
//! cargo run --example mcp_client --features mcp,sandbox,signing -- https://mcp.example.com/mcp
//! ```

use std::{env, error::Error, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::ServiceBuilder;
use tower_oauth2_client::{
    mcp::{McpAuth, McpAuthBuilder, PreRegistered},
    store::FileStore,
};

use self::{loopback::Loopback, protocol::Session, server::McpServer};

#[path = "mcp_client/conformance.rs"]
mod conformance;
#[path = "login/loopback.rs"]
mod loopback;
mod own_host;
#[path = "mcp_client/protocol.rs"]
mod protocol;
#[path = "mcp_client/server.rs"]
mod server;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

#[tokio::main]
async fn main() -> Outcome {
    let http = http_client();
    let Some(endpoint) = env::args().nth(1) else {
        return sandbox(http).await;
    };
    if let Some(auth) = conformance::builder(&endpoint, &http).await? {
        return run(&endpoint, auth.build()?, http).await;
    }
    let loopback = Loopback::open("http://127.0.0.1:8765/callback").await;
    let loopback = std::sync::Arc::new(loopback.map_err(|error| error.to_string())?);
    let redirect_uri = loopback.redirect_uri().to_owned();
    let auth = McpAuth::builder(&endpoint, http.clone())
        .client_name("tower-oauth2-client example")
        .legacy_servers()
        .store(FileStore::open("mcp-grants")?)
        .authorize(redirect_uri, move |url| {
            let loopback = std::sync::Arc::clone(&loopback);
            async move {
                println!("Open this URL in a browser on this machine, and allow access:\n{url}");
                let state = state_of(&url).ok_or("the authorization URL has no state")?;
                let callback = loopback.callback(&state).await;
                callback.map_err(|error| error.to_string().into())
            }
        });
    run(&endpoint, auth.build()?, http).await
}

/// Runs twice against a server on this machine. The second run needs no consent.
async fn sandbox(http: Http) -> Outcome {
    let server = McpServer::start(http.clone()).await?;
    let grants = tempfile::tempdir()?;
    for run_number in 1..=2 {
        println!("Run {run_number}:");
        let auth = auth_of_sandbox(&server, &http).store(FileStore::open(grants.path())?);
        run(&server.url(), auth.build()?, http.clone()).await?;
    }
    println!("consents: {}", server.consents());
    Ok(())
}

fn auth_of_sandbox(server: &McpServer, http: &Http) -> McpAuthBuilder {
    let user = server.user();
    McpAuth::builder(server.url(), http.clone())
        .pre_registered(
            PreRegistered::new(server.issuer(), server::CLIENT_ID)
                .client_secret(server::CLIENT_SECRET),
        )
        .authorize(server::REDIRECT_URI, move |url| {
            let user = user.clone();
            async move { user.consent(&url).await }
        })
}

/// Uses the MCP server: the program itself knows nothing of tokens.
async fn run(endpoint: &str, auth: McpAuth, http: Http) -> Outcome {
    let mcp = ServiceBuilder::new().layer(auth.clone()).service(http);
    let outcome = use_tools(Session::new(endpoint, mcp)).await;
    if let Some(tokens) = auth.tokens().await? {
        // A refresh in flight ends first: its response contains the next refresh token.
        tokens.shutdown(Duration::from_secs(90)).await?;
    }
    outcome
}

async fn use_tools<S: protocol::Mcp>(mut session: Session<S>) -> Outcome {
    session.initialize().await?;
    let tools = session.list_tools().await?;
    println!("tools: {}", tools.join(", "));
    if let Some(tool) = tools.first() {
        println!("{tool}: {}", session.call_tool(tool).await?);
    }
    Ok(())
}

fn state_of(url: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "state")
        .map(|(_, state)| state.into_owned())
}

fn http_client() -> Http {
    let https = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new()).build(https)
}
