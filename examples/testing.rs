//! A web application and its integration tests, to copy: real sockets, real time, no sleeps.
//!
//! `App` is the application: it lists the members of a customer's company. The tests run it
//! against a sandbox, connect customers, and let weeks pass.
//!
//! ```sh
//! cargo test --example testing --features axum,sandbox
//! ```
//!
//! By itself it serves one request for a customer of the sandbox, and exits.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::Response,
    routing::get,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use tower::{ServiceExt, util::BoxCloneSyncService};
use tower_oauth2_client::{
    Error, Origin,
    bearer::{BearerAuthLayer, ReplayBody},
    clock::Clock,
    oauth::OAuthClient,
    provider::{Provider, justworks},
    sandbox::{MovableClock, Sandbox},
    store::{MemoryStore, TokenStore},
    tenants::Tenants,
    token::TenantId,
};

type HttpClient = Client<HttpConnector, ReplayBody<Body>>;

/// The settings that differ between production and a test.
struct Settings<C> {
    provider: Provider,
    client_id: String,
    client_secret: String,
    redirect_uri: String,
    clock: C,
}

#[derive(Clone)]
struct App {
    oauth: OAuthClient,
    tenants: Tenants,
    api: BoxCloneSyncService<Request, Response, Error>,
    origin: Origin,
}

impl App {
    fn new(settings: Settings<impl Clock + Clone>, store: impl TokenStore) -> Result<Self, Error> {
        // For the real service, a client with TLS is needed, as in the other examples.
        let http: HttpClient = Client::builder(TokioExecutor::new()).build_http();
        let oauth = OAuthClient::builder(settings.provider, settings.client_id)
            .client_secret(settings.client_secret)
            .redirect_uri(settings.redirect_uri)
            .scopes(["member.basic:read"])
            .clock(settings.clock.clone())
            .build(http.clone())?;
        let tenants = Tenants::builder(oauth.clone())
            .store(store)
            .clock(settings.clock)
            .build()?;
        let api = tower::ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(BearerAuthLayer::new(tenants.clone()))
            .service(http);
        Ok(Self {
            origin: tenants.origins()[0].clone(),
            api: BoxCloneSyncService::new(api),
            oauth,
            tenants,
        })
    }

    fn router(self) -> Router {
        Router::new()
            .route("/{tenant}/members", get(members))
            .with_state(self)
    }
}

/// The members of a customer's company. An [`Error`] is a response: 502 if the customer has to
/// connect, 503 if the provider is down.
async fn members(State(app): State<App>, Path(tenant): Path<String>) -> Result<Response, Error> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("{}/v1/members", app.origin)
        .parse()
        .unwrap_or_default();
    request.extensions_mut().insert(TenantId::new(tenant)?);
    app.api.oneshot(request).await
}

/// Serves an application on a free port of loopback, and returns its address.
async fn serve(app: App) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app.router()).await });
    Ok(format!("http://{address}"))
}

/// The settings of an application that talks to a sandbox, and shares its clock.
fn settings_for(sandbox: &Sandbox) -> Result<Settings<MovableClock>, Error> {
    Ok(Settings {
        provider: justworks().on_origin(&sandbox.url())?,
        client_id: sandbox.client_id().to_owned(),
        client_secret: sandbox.client_secret().to_owned(),
        redirect_uri: sandbox.redirect_uri().to_owned(),
        clock: sandbox.clock(),
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sandbox = Sandbox::start().await?;
    let app = App::new(settings_for(&sandbox)?, MemoryStore::new())?;
    let acme = TenantId::new("acme")?;
    let tokens = sandbox.connect(&app.oauth).await?;
    app.tenants.set_tokens(&acme, tokens).await?;
    let tenants = app.tenants.clone();
    let url = serve(app).await?;
    let response = reqwest::get(format!("{url}/acme/members")).await?;
    println!("{}", response.status());
    // A refresh in flight ends first: its response contains the next refresh token.
    Ok(tenants.shutdown(Duration::from_secs(90)).await?)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use http::StatusCode;
    use tower_oauth2_client::sandbox::{Endpoint, Fault};

    use super::*;

    type Outcome = Result<(), Box<dyn Error>>;

    const DAY: Duration = Duration::from_secs(86_400);

    /// The application on a socket, and the sandbox that it talks to.
    struct Scene {
        sandbox: Sandbox,
        app: App,
        url: String,
    }

    impl Scene {
        async fn start() -> Result<Self, Box<dyn Error>> {
            let sandbox = Sandbox::start().await?;
            let app = App::new(settings_for(&sandbox)?, MemoryStore::new())?;
            let url = serve(app.clone()).await?;
            Ok(Self { sandbox, app, url })
        }

        async fn connect(&self, tenant: &str) -> Result<String, Box<dyn Error>> {
            let tokens = self.sandbox.connect(&self.app.oauth).await?;
            let access_token = tokens.access_token().expose().to_owned();
            let tenant = TenantId::new(tenant)?;
            self.app.tenants.set_tokens(&tenant, tokens).await?;
            Ok(access_token)
        }

        async fn status(&self, tenant: &str) -> Result<StatusCode, reqwest::Error> {
            let response = reqwest::get(format!("{}/{tenant}/members", self.url)).await?;
            Ok(response.status())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn customer_connects() -> Outcome {
        let scene = Scene::start().await?;
        assert_eq!(scene.status("acme").await?, StatusCode::BAD_GATEWAY);
        scene.connect("acme").await?;
        assert_eq!(scene.status("acme").await?, StatusCode::OK);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn customer_stays_connected_for_months() -> Outcome {
        let scene = Scene::start().await?;
        scene.connect("acme").await?;
        for _ in 0..3 {
            scene.sandbox.advance(29 * DAY);
            assert_eq!(scene.status("acme").await?, StatusCode::OK);
        }
        assert_eq!(scene.sandbox.counters().refreshes, 3);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_customer_disconnects_at_the_provider() -> Outcome {
        let scene = Scene::start().await?;
        let access_token = scene.connect("acme").await?;
        scene.connect("globex").await?;
        scene.sandbox.revoke_grant(&access_token);
        scene.sandbox.advance(DAY);
        assert_eq!(scene.status("acme").await?, StatusCode::BAD_GATEWAY);
        assert_eq!(scene.status("globex").await?, StatusCode::OK);
        assert!(
            scene
                .app
                .tenants
                .needs_consent(&TenantId::new("acme")?)
                .await?
        );
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn api_fails_once() -> Outcome {
        let scene = Scene::start().await?;
        scene.connect("acme").await?;
        let down = Fault::status(StatusCode::BAD_GATEWAY);
        scene.sandbox.inject(Endpoint::Members, down);
        assert_eq!(scene.status("acme").await?, StatusCode::BAD_GATEWAY);
        assert_eq!(scene.status("acme").await?, StatusCode::OK);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn client_secret_changes() -> Outcome {
        let scene = Scene::start().await?;
        scene.connect("acme").await?;
        scene.sandbox.set_client_secret("new");
        scene.sandbox.advance(DAY);
        assert_eq!(scene.status("acme").await?, StatusCode::BAD_GATEWAY);
        scene.app.oauth.replace_secret("new")?;
        assert_eq!(scene.status("acme").await?, StatusCode::OK);
        Ok(())
    }
}
