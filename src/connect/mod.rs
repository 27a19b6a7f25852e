//! Customers connect and disconnect in a browser: routes of an axum application.
//!
//! [`ConnectRouter`] sends a customer's browser to the provider, takes the code that it brings back, and gives the tokens to
//! [`Tenants`]. The program says in an [`ConnectHandler`] whose browser it is, by the session that it has anyway, and what the
//! person sees:
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, response::{IntoResponse, Redirect, Response}};
//! use http::{StatusCode, request::Parts};
//! use tower_oauth2_client::{
//!     connect::{ConnectHandler, ConnectRouter},
//!     oauth::OAuthClient,
//!     provider,
//!     store::{EncryptionKey, EncryptionKeys, MemoryStore},
//!     tenants::Tenants,
//!     token::TenantId,
//! };
//! # use axum::body::Body;
//! # use http::{Request, header};
//! # use tower::ServiceExt;
//! # use tower_oauth2_client::sandbox::Sandbox;
//! # let sandbox = Sandbox::builder().redirect_uri("https://partner.example.com/connect/callback").build();
//! # let service = sandbox.service();
//! # let http = tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
//!
//! struct Partner;
//!
//! /// In a program this asks the session, which a middleware has put into `request.extensions`.
//! fn session(request: &Parts) -> Option<TenantId> {
//!     let name = request.headers.get("session")?.to_str().ok()?;
//!     TenantId::new(name).ok()
//! }
//!
//! impl ConnectHandler for Partner {
//!     async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
//!         session(request).ok_or_else(|| Redirect::to("/login").into_response())
//!     }
//!
//!     async fn allows(&self, request: &Parts, tenant: &TenantId) -> Result<(), Response> {
//!         if session(request).as_ref() == Some(tenant) {
//!             return Ok(());
//!         }
//!         Err((StatusCode::FORBIDDEN, "log in as who began this").into_response())
//!     }
//!
//!     fn connected(&self, _: &TenantId) -> Response {
//!         Redirect::to("/settings").into_response()
//!     }
//! }
//!
//! # let provider = provider::justworks().on_origin(&sandbox.url())?;
//! // `http` is any tower service of `http::Request`, such as a hyper-util client.
//! # let (client_id, client_secret) = (sandbox.client_id(), sandbox.client_secret());
//! let oauth = OAuthClient::builder(provider, client_id)
//!     .client_secret(client_secret)
//!     .redirect_uri("https://partner.example.com/connect/callback")
//!     .build(http)?;
//! let store = MemoryStore::new(); // for several replicas, one that they share
//! let tenants = Tenants::builder(oauth.clone()).store(store).build()?;
//! // In earnest: `EncryptionKey::from_base64("2026-03", &a_secret_of_the_deployment)`.
//! let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03")?);
//! let connect = ConnectRouter::new(oauth, tenants.clone(), keys, Partner)?;
//!
//! // Where the redirect URI says.
//! let app: Router = Router::new().nest("/connect", connect.router());
//!
//! // A browser: off to the provider, …
//! let acme = TenantId::new("acme")?;
//! let start = Request::get("/connect/start").header("session", "acme").body(Body::empty())?;
//! let start = app.clone().oneshot(start).await?;
//! assert_eq!(start.status(), StatusCode::SEE_OTHER);
//! let provider = start.headers()[header::LOCATION].to_str()?;
//! let cookie = start.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap();
//!
//! // … where somebody says yes, …
//! let callback = sandbox.consent(provider).await?;
//! assert!(tenants.token(&acme).await.is_err());
//!
//! // … and back.
//! let callback = Request::get(callback.trim_start_matches("https://partner.example.com"))
//!     .header("session", "acme")
//!     .header(header::COOKIE, cookie)
//!     .body(Body::empty())?;
//! let done = app.clone().oneshot(callback).await?;
//! assert_eq!(done.headers()[header::LOCATION], "/settings");
//! assert!(tenants.token(&acme).await.is_ok());
//!
//! // The end, by a button on a page of the program's own.
//! let disconnect = Request::post("/connect/disconnect")
//!     .header("session", "acme")
//!     .header("sec-fetch-site", "same-origin")
//!     .body(Body::empty())?;
//! assert_eq!(app.oneshot(disconnect).await?.status(), StatusCode::OK);
//! assert!(tenants.token(&acme).await.is_err());
//! # Ok(()) }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! Pages link to `/connect/start`, and hold a form for the end:
//!
//! ```html
//! <form method="post" action="/connect/disconnect"><button>Disconnect</button></form>
//! ```
//!
//! # On several replicas
//!
//! A browser may come back to another replica than it left from, and nothing is kept on either, or in the store, before
//! somebody has consented. What has to be known then travels in a cookie of the flow's own, encrypted with the program's keys:
//! the tenant, the `state`, the PKCE verifier and when it was begun. All replicas need the same keys, the same redirect URI and
//! the same store; their clocks may be half a minute apart.
//!
//! A flow is good for ten minutes. A browser has up to four of them at once, in as many tabs, for one tenant or several; a
//! fifth ends the oldest.
//!
//! # Once
//!
//! Browsers repeat requests, and a provider that sees a code twice may end the grant (RFC 6749 section 4.1.2). Whoever sends
//! the code takes a lease in the store first, named for the flow, that lasts as long as its cookie. Another request with the
//! same callback waits up to five seconds for the tenant's new tokens, and is then answered like the first; if there are none,
//! [`InProgress`](ConnectFailureKind::InProgress) is what it is told. The lease is given back after eleven minutes; those of a
//! process that has ended by then have run out, but their rows stay in stores that do not remove them (PostgreSQL, files).
//!
//! What is done with a code goes on in a task of its own when the browser goes away, within deadlines: 45 seconds for the
//! exchange, and 30 seconds in which a store that fails is tried again. A program that ends waits for it in
//! [`ConnectRouter::shutdown`].
//!
//! # Who may
//!
//! * A callback counts in the browser alone that began the flow, once, for the tenant that it was begun for, by a cookie that
//!   scripts cannot read, and that over https no other host can set (`__Host-`, `Secure`, `HttpOnly`, `SameSite=Lax`).
//!   [`ConnectHandler::allows`] holds it to the session as well. Write it: it is what is left where a cookie got into a
//!   browser by other ways, such as plain http on this machine.
//! * A disconnect is a `POST` from one of the program's own pages: `Sec-Fetch-Site` says `same-origin`, or, from browsers that
//!   do not send it, `Origin` is the redirect URI's. Without either it is refused, as no browser is so silent.
//! * No address is taken from a request to send a browser to, and nothing of a request is shown.
//! * A `HEAD` is refused, so that what only looks uses nothing up.
//! * Codes stand in the addresses of callbacks, and those in what a middleware logs that logs whole addresses. Such a code is
//!   used up, or bound to a cookie that is not logged.
//! * The program limits how often somebody may ask, as for its other routes. Each callback of a flow that was begun costs a
//!   lease and an exchange.

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response, routing::any};
use http::Method;
use tokio::{sync::Semaphore, time::timeout};

use self::flow::Flows;
use crate::{
    error::{Error, ErrorKind},
    oauth::OAuthClient,
    origin::Origin,
    provider::Endpoint,
    store::EncryptionKeys,
    telemetry,
    tenants::Tenants,
};

mod callback;
mod claim;
mod cookie;
mod disconnect;
mod failure;
mod flow;
mod handler;
mod page;
mod start;

pub use self::{
    failure::{ConnectFailure, ConnectFailureKind},
    handler::ConnectHandler,
};

/// How many codes are exchanged at once, and their tokens stored; more of them wait.
const WORKERS: u32 = 1_000;

/// Lets customers connect and disconnect. The [module page](crate::connect) tells how.
///
/// A handle: clones share everything.
pub struct ConnectRouter<A> {
    shared: Arc<Shared<A>>,
}

struct Shared<A> {
    oauth: OAuthClient,
    tenants: Tenants,
    application: A,
    flows: Flows,
    /// Of the redirect URI, and so of the program's own pages.
    origin: Origin,
    work: Arc<Semaphore>,
}

impl<A: ConnectHandler> ConnectRouter<A> {
    /// Connects tenants by `oauth`, the client that their caches renew with as well. `keys` encrypt what is kept in browsers
    /// on their way; all replicas have the same, and change them as [`EncryptionKeys`] tells.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), by name, if the client has no redirect URI, or one whose path does not end
    /// in `/callback`, which is where [`router`](Self::router) answers it.
    pub fn new(
        oauth: OAuthClient,
        tenants: Tenants,
        keys: EncryptionKeys,
        application: A,
    ) -> Result<Self, Error> {
        let redirect_uri = Endpoint::parse("redirect URI", oauth.redirect_uri()?)?;
        if !redirect_uri.uri().path().ends_with("/callback") {
            return Err(Error::configuration(
                "redirect URI: its path must end in /callback, where the router answers it",
            ));
        }
        let origin = Origin::of("redirect URI", redirect_uri.uri())?;
        let clock = Arc::clone(&tenants.settings().clock);
        Ok(Self {
            shared: Arc::new(Shared {
                flows: Flows::new(&oauth, keys, clock, &origin)?,
                oauth,
                tenants,
                application,
                origin,
                work: Arc::new(Semaphore::new(WORKERS as usize)),
            }),
        })
    }

    /// The routes `GET /start`, `GET /callback` and `POST /disconnect`, to be nested where the redirect URI points to:
    /// for `https://partner.example.com/connect/callback` that is `/connect`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/start", self.route(Route::Start))
            .route("/callback", self.route(Route::Callback))
            .route("/disconnect", self.route(Route::Disconnect))
    }

    /// Waits for the codes that are being exchanged, and takes no more. For the end of a program: after its HTTP server has
    /// stopped, and before [`Tenants::shutdown`].
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if one had not ended by the deadline, which is how long to wait: its customer
    /// would have to start again.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        let work = &self.shared.work;
        let waited = timeout(deadline, work.acquire_many(WORKERS)).await;
        // A second shutdown finds it closed.
        work.close();
        waited.map(drop).map_err(|_| {
            Error::new(
                ErrorKind::Interrupted,
                "a code was still being exchanged, or its tokens stored: it goes on as long as the runtime does",
            )
        })
    }

    fn route<S: Clone + Send + Sync + 'static>(
        &self,
        route: Route,
    ) -> axum::routing::MethodRouter<S> {
        let shared = Arc::clone(&self.shared);
        any(
            move |request: Request| async move { page::guarded(shared.answer(route, request).await) },
        )
    }
}

#[derive(Clone, Copy)]
enum Route {
    Start,
    Callback,
    Disconnect,
}

impl<A: ConnectHandler> Shared<A> {
    async fn answer(&self, route: Route, request: Request) -> Response {
        let (request, _) = request.into_parts();
        // Not HEAD where there is GET: what only looks must not use up a code.
        match (route, &request.method) {
            (Route::Start, &Method::GET) => start::start(self, &request).await,
            (Route::Callback, &Method::GET) => callback::callback(self, &request).await,
            (Route::Disconnect, &Method::POST) => disconnect::disconnect(self, &request).await,
            (Route::Start | Route::Callback, _) => page::method_not_allowed("GET"),
            (Route::Disconnect, _) => page::method_not_allowed("POST"),
        }
    }

    fn failed(&self, failure: &ConnectFailure) -> Response {
        let kind = failure.kind();
        match kind {
            ConnectFailureKind::NotPending
            | ConnectFailureKind::InProgress
            | ConnectFailureKind::CrossSite => telemetry::connect_rejected(kind.as_str()),
            _ => telemetry::connect_failed(kind.as_str(), failure.error()),
        }
        self.application.failed(failure)
    }
}

impl<A> Clone for ConnectRouter<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<A> fmt::Debug for ConnectRouter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("oauth", &self.shared.oauth)
            .field("tenants", &self.shared.tenants)
            .finish_non_exhaustive()
    }
}
