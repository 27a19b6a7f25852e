//! The parts of the application: one layer for all customers, the router that connects them, and
//! the shutdown.

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{StatusCode, header::AUTHORIZATION, request::Parts};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tower::{ServiceBuilder, util::BoxCloneSyncService};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    connect::{ConnectFailure, ConnectHandler, ConnectRouter, Consent},
    oauth::OAuthClient,
    store::{EncryptedStore, EncryptionKeys, TokenStore},
    tenants::Tenants,
    token::{ConsentDecision, TenantId},
};

use crate::{
    own_host::{OTHER_HOST, OwnHosts},
    settings::Settings,
};

mod html;
mod pages;
mod status_text;

type Http = Client<HttpsConnector<HttpConnector>, ReplayBody<Body>>;
type Api = BoxCloneSyncService<Request, Response, tower_oauth2_client::Error>;

/// The path of the redirect URI. The redirect URI is registered at the provider.
const CALLBACK: &str = "/connect/callback";

/// How long a shutdown waits for the requests of browsers.
const BROWSER_GRACE: Duration = Duration::from_secs(5);
/// How long a shutdown waits for token requests, which have shorter deadlines of their own.
const TOKEN_GRACE: Duration = Duration::from_secs(30);

pub(crate) struct Partner {
    tenants: Tenants,
    connect: ConnectRouter<Customers>,
    router: Router,
    url: String,
}

impl Partner {
    /// Builds the application. Replicas share the store, the keys and the redirect URI.
    pub(crate) fn new(
        settings: &Settings,
        store: impl TokenStore,
        keys: EncryptionKeys,
    ) -> Result<Self, Box<dyn Error>> {
        let url = settings
            .redirect_uri
            .strip_suffix(CALLBACK)
            .ok_or_else(|| {
                let uri = &settings.redirect_uri;
                format!("redirect URI {uri} has another path; register one with {CALLBACK}")
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
        let customers = Customers {
            company_url: format!("{}/v1/company", tenants.origins()[0]),
            http: http.clone(),
            companies: Mutex::default(),
        };
        let connect = ConnectRouter::new(oauth, tenants.clone(), keys, customers)?;

        // One client for all customers: the tenant is in the extensions of each request.
        let api = ServiceBuilder::new()
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(BearerAuthLayer::new(tenants.clone()))
            .service(http);
        let router = Router::new()
            .route("/", get(pages::customers))
            .route("/company", get(pages::company))
            .route("/disconnect", get(pages::disconnect))
            .route(html::STYLE_PATH, get(html::style))
            .with_state((tenants.clone(), BoxCloneSyncService::new(api)))
            .nest("/connect", connect.router());
        Ok(Self {
            tenants,
            connect,
            router,
            url: format!("{url}/"),
        })
    }

    /// The URL for browsers. Another name of the same host would have other cookies.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `until` completes, and then shuts down in order: first requests of browsers,
    /// then code exchanges, then refreshes. Token sets that the provider issues meanwhile are
    /// saved.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        until: impl Future<Output = ()>,
    ) -> io::Result<()> {
        // The application has no login, so no other page may use it.
        let hosts = OwnHosts::of_listener(listener.local_addr()?).and_of(&self.url);
        let only_own = from_fn(move |request: Request, next: Next| {
            let is_own = hosts.are_in(&request);
            async move {
                if is_own {
                    next.run(request).await
                } else {
                    (StatusCode::MISDIRECTED_REQUEST, OTHER_HOST).into_response()
                }
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            axum::serve(listener, self.router.layer(only_own)).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
        let mut server = tokio::spawn(server.into_future());
        tokio::select! {
            ended = &mut server => return ended?,
            () = until => drop(stop),
        }
        // Browsers open spare connections and send nothing over them.
        let browsers = timeout(BROWSER_GRACE, &mut server).await;
        server.abort();
        let codes = self.connect.shutdown(TOKEN_GRACE).await;
        let refreshes = self.tenants.shutdown(TOKEN_GRACE).await;
        if let Ok(ended) = browsers {
            ended??;
        }
        codes.and(refreshes).map_err(io::Error::other)
    }
}

/// A longer response body of the API is not read.
const MAX_COMPANY: usize = 64 * 1024;

/// Takes the tenant from the request, accepts only the company that a customer has connected first,
/// and responds after each outcome of connecting.
struct Customers {
    http: Http,
    company_url: String,
    /// A real application has columns in its table of customers.
    companies: Mutex<Companies>,
}

/// The companies of the customers.
#[derive(Default)]
struct Companies {
    connected: HashMap<TenantId, String>,
    /// Accepted, but maybe not stored: a wrong choice must not stay if the save fails.
    accepted: HashMap<TenantId, String>,
}

impl Customers {
    fn companies(&self) -> MutexGuard<'_, Companies> {
        self.companies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the company that the new tokens are of.
    async fn company(&self, consent: &Consent) -> Option<String> {
        // The token is not stored yet, so the layer cannot add it.
        let token = consent.tokens().access_token().header_value().clone();
        let request = Request::get(&self.company_url)
            .header(AUTHORIZATION, token)
            .body(ReplayBody::default())
            .ok()?;
        let response = self.http.request(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = to_bytes(Body::new(response.into_body()), MAX_COMPANY).await;
        let company: serde_json::Value = serde_json::from_slice(&body.ok()?).ok()?;
        company.get("id")?.as_str().map(str::to_owned)
    }
}

impl ConnectHandler for Customers {
    /// A real application reads its session here. In this one the partner's staff uses the browser,
    /// and may choose any customer.
    async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
        pages::customer(&request.uri).map_err(|error| pages::bad_request(&error))
    }

    /// The browser may be logged in at the provider as another company than before.
    async fn consented(&self, consent: &Consent) -> ConsentDecision {
        let Some(company) = self.company(consent).await else {
            return ConsentDecision::Reject;
        };
        let mut companies = self.companies();
        match companies.connected.get(consent.tenant()) {
            Some(known) if *known == company => ConsentDecision::KeepRefreshToken,
            Some(_) => ConsentDecision::Reject,
            None => {
                let tenant = consent.tenant().clone();
                companies.accepted.insert(tenant, company);
                ConsentDecision::Accept
            }
        }
    }

    fn connected(&self, _: &Parts, tenant: &TenantId) -> Response {
        let mut companies = self.companies();
        if let Some(company) = companies.accepted.remove(tenant) {
            companies.connected.entry(tenant.clone()).or_insert(company);
        }
        Redirect::to("/").into_response()
    }

    fn denied(&self, _: &Parts, tenant: &TenantId) -> Response {
        pages::denied(tenant)
    }

    fn failed(&self, _: &Parts, failure: &ConnectFailure) -> Response {
        pages::failed(failure)
    }

    fn disconnected(&self, _: &Parts, _: &TenantId) -> Response {
        Redirect::to("/").into_response()
    }
}
