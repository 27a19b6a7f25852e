//! The routes.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{MethodRouter, any},
};
use http::{Method, Uri};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    ConnectHandler, callback::callback, disconnect::disconnect, form_post::form_post, origin, page,
    pending_flow::FlowCookies, start::start, state::ConnectState,
};
use crate::{
    error::{Error, ErrorKind},
    oauth::OAuthClient,
    origin::Origin,
    provider::ResponseMode,
    store::EncryptionKeys,
    tenants::Tenants,
};

/// The code exchanges that run at the same time. Further callbacks wait.
const MAX_CODE_EXCHANGES: u32 = 1_000;

/// Connects and disconnects customers. The [module page](crate::connect) explains how.
///
/// A `ConnectRouter` is a handle: clones share all state.
pub struct ConnectRouter<H> {
    state: Arc<ConnectState<H>>,
}

impl<H: ConnectHandler> ConnectRouter<H> {
    /// Creates the router.
    ///
    /// `oauth` is the client that `tenants` was built from. `keys` encrypt the cookies of pending
    /// flows. All replicas need the same keys; [`EncryptionKeys`] describes how to rotate them.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the setting: the client has no redirect
    /// URI, or the path of its redirect URI does not end in `/callback`, where
    /// [`router`](Self::router) serves it.
    pub fn new(
        oauth: OAuthClient,
        tenants: Tenants,
        keys: EncryptionKeys,
        handler: H,
    ) -> Result<Self, Error> {
        let redirect_uri: Uri = oauth
            .redirect_uri()?
            .parse()
            .map_err(|error| Error::configuration("redirect URI: not a URL").with_source(error))?;
        if !redirect_uri.path().ends_with("/callback") {
            return Err(Error::configuration(
                "redirect URI: its path must end in /callback, where the router serves it",
            ));
        }
        let origin = Origin::from_uri("redirect URI", &redirect_uri)?;
        let clock = Arc::clone(&tenants.settings().clock);
        Ok(Self {
            state: Arc::new(ConnectState {
                completions: Arc::default(),
                flows: FlowCookies::new(&oauth, keys, clock, &origin)?,
                oauth,
                tenants,
                handler: Arc::new(handler),
                origin,
                permits: Arc::new(Semaphore::new(MAX_CODE_EXCHANGES as usize)),
            }),
        })
    }

    /// Returns the routes `GET` and `POST /start`, `GET /callback` and `POST /disconnect`. For a
    /// provider in [`FormPost`](ResponseMode::FormPost) mode, there is `POST /callback` too.
    ///
    /// Nest them where the redirect URI points to. For
    /// `https://partner.example.com/connect/callback` that is `/connect`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route("/start", self.route(Route::Start))
            .route("/callback", self.route(Route::Callback))
            .route("/disconnect", self.route(Route::Disconnect))
    }

    /// Shuts down: accepts no more codes, and waits for the code exchanges in flight and the saves
    /// of their tokens.
    ///
    /// Call this at the end of a program, after the HTTP server has stopped and before
    /// [`Tenants::shutdown`]. `deadline` is how long to wait.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if a code exchange or a save has not ended by the
    /// deadline. If the process ends then, that customer has to start again.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        let permits = &self.state.permits;
        let acquired = timeout(deadline, permits.acquire_many(MAX_CODE_EXCHANGES)).await;
        // Closed, it neither lets a further code exchange start, nor a second shutdown wait.
        permits.close();
        acquired.map(drop).map_err(|_| {
            Error::new(
                ErrorKind::Interrupted,
                "a code exchange or the save of its tokens did not end before the deadline of the \
                 shutdown; it continues as long as the runtime does",
            )
        })
    }

    fn route<S: Clone + Send + Sync + 'static>(&self, route: Route) -> MethodRouter<S> {
        let state = Arc::clone(&self.state);
        any(move |request: Request| async move {
            page::with_security_headers(respond(&state, route, request).await)
        })
    }
}

#[derive(Clone, Copy)]
enum Route {
    Start,
    Callback,
    Disconnect,
}

async fn respond<H: ConnectHandler>(
    state: &ConnectState<H>,
    route: Route,
    request: Request,
) -> Response {
    let (request, body) = request.into_parts();
    if origin::is_prefetch(&request.headers) {
        return page::not_prefetched();
    }
    let mode = state.oauth.provider().response_mode();
    // HEAD is not served as GET: a link preview must not use up a code.
    match (route, &request.method) {
        (Route::Start, &Method::GET | &Method::POST) => start(state, &request).await,
        (Route::Callback, &Method::GET) => callback(state, &request).await,
        (Route::Callback, &Method::POST) if mode == ResponseMode::FormPost => {
            form_post(state, &request, body).await
        }
        (Route::Disconnect, &Method::POST) => disconnect(state, &request).await,
        (Route::Start, _) => page::method_not_allowed("GET, POST"),
        (Route::Callback, _) if mode == ResponseMode::FormPost => {
            page::method_not_allowed("GET, POST")
        }
        (Route::Callback, _) => page::method_not_allowed("GET"),
        (Route::Disconnect, _) => page::method_not_allowed("POST"),
    }
}

impl<H> Clone for ConnectRouter<H> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

impl<H> fmt::Debug for ConnectRouter<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRouter")
            .field("oauth", &self.state.oauth)
            .field("tenants", &self.state.tenants)
            .finish_non_exhaustive()
    }
}
