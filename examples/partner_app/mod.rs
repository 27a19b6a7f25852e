//! What the application is made of: one layer for all customers, the router that connects them, and the order of its end.

use std::{error::Error, future::Future, io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{StatusCode, request::Parts};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    connect::{ConnectFailure, ConnectHandler, ConnectRouter},
    oauth::OAuthClient,
    store::{EncryptedStore, EncryptionKeys, TokenStore},
    tenants::Tenants,
    token::TenantId,
};

use crate::settings::Settings;

mod html;
mod pages;
mod words;

type Api = BoxCloneSyncService<Request, Response, tower_oauth2_client::Error>;

/// Where the redirect URI points to: that is registered, so that it is not for this program to choose.
const CALLBACK: &str = "/connect/callback";

/// How long browsers may take to get what they have asked for.
const GRACE: Duration = Duration::from_secs(5);
/// How long what is under way with the provider may take: an exchange has its own deadlines within this.
const UNDER_WAY: Duration = Duration::from_secs(30);

pub(crate) struct Partner {
    tenants: Tenants,
    connect: ConnectRouter<Customers>,
    router: Router,
    url: String,
}

impl Partner {
    /// With the same store, keys and redirect URI, any number of these are one application.
    pub(crate) fn new(
        settings: &Settings,
        store: impl TokenStore,
        keys: EncryptionKeys,
    ) -> Result<Self, Box<dyn Error>> {
        let url = settings
            .redirect_uri
            .strip_suffix(CALLBACK)
            .ok_or_else(|| {
                let is = &settings.redirect_uri;
                format!("the redirect URI is {is}: register one with the path {CALLBACK}")
            })?;
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let http = Client::builder(TokioExecutor::new()).build::<_, ReplayBody<Body>>(https);
        let oauth = OAuthClient::builder(settings.provider.clone(), &settings.client_id)
            .client_secret(&settings.client_secret)
            .redirect_uri(&settings.redirect_uri)
            .scopes(["company.basic:read"])
            .build(http.clone())?;
        let store = EncryptedStore::new(store, keys.clone(), &settings.client_id)?;
        let tenants = Tenants::builder(oauth.clone()).store(store).build()?;
        let connect = ConnectRouter::new(oauth, tenants.clone(), keys, Customers)?;

        // One for all customers: each request says whose it is.
        let api = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(BearerAuthLayer::new(tenants.clone()))
            .service(http);
        let router = Router::new()
            .route("/", get(pages::front))
            .route("/company", get(pages::company))
            .with_state((tenants.clone(), BoxCloneSyncService::new(api)))
            .nest("/connect", connect.router());
        Ok(Self {
            tenants,
            connect,
            router,
            url: format!("{url}/"),
        })
    }

    /// Where browsers find it. At another name for the same address they would have other cookies.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Serves until it is told to stop, and then ends in order: first the browsers, then the codes that are being exchanged,
    /// then the renewals that are under way. What a provider has handed out by then is stored.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        until: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, self.router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let mut server = tokio::spawn(server.into_future());
        tokio::select! {
            ended = &mut server => return ended?,
            () = until => drop(stop),
        }
        // Browsers open connections ahead, and send nothing over some of them.
        let browsers = timeout(GRACE, &mut server).await;
        server.abort();
        let codes = self.connect.shutdown(UNDER_WAY).await;
        let renewals = self.tenants.shutdown(UNDER_WAY).await;
        if let Ok(ended) = browsers {
            ended??;
        }
        codes.and(renewals).map_err(io::Error::other)
    }
}

/// Whose browser it is, and what it is shown.
struct Customers;

impl ConnectHandler for Customers {
    /// This is where a program in earnest asks its session. Here the partner's own staff sits in front of the browser, and
    /// chooses among all customers.
    async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
        pages::customer(&request.uri).map_err(|error| pages::refused(&error))
    }

    fn connected(&self, _: &TenantId) -> Response {
        Redirect::to("/").into_response()
    }

    fn denied(&self, tenant: &TenantId) -> Response {
        pages::not_connected(
            StatusCode::OK,
            Some(tenant),
            "The customer, or the provider, said no. Nothing was changed.",
        )
    }

    fn failed(&self, failure: &ConnectFailure) -> Response {
        pages::not_connected(failure.status(), failure.tenant(), &failure.to_string())
    }

    fn disconnected(&self, _: &TenantId) -> Response {
        Redirect::to("/").into_response()
    }
}
