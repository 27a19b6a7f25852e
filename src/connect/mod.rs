//! Routes of an axum application with which customers connect and disconnect in a browser.
//!
//! [`ConnectRouter`] redirects a customer's browser to the provider, exchanges the code that it
//! comes back with, and saves the tokens in [`Tenants`](crate::tenants::Tenants). The program
//! implements [`ConnectHandler`], which says which tenant a request is for, by the program's own
//! session, and which pages the customer sees:
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
//! /// A real program would read a session that its middleware has put into `request.extensions`.
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
//!         Err((StatusCode::FORBIDDEN, "please log in with the other account").into_response())
//!     }
//!
//!     fn connected(&self, _: &Parts, _: &TenantId) -> Response {
//!         Redirect::to("/settings").into_response()
//!     }
//! }
//!
//! # let provider = provider::justworks().on_origin(&sandbox.url())?;
//! # let (client_id, client_secret) = (sandbox.client_id(), sandbox.client_secret());
//! // `http` is any tower service of `http::Request`, such as a hyper-util client.
//! let oauth = OAuthClient::builder(provider, client_id)
//!     .client_secret(client_secret)
//!     .redirect_uri("https://partner.example.com/connect/callback")
//!     .build(http)?;
//! let store = MemoryStore::new(); // several replicas need a shared store
//! let tenants = Tenants::builder(oauth.clone()).store(store).build()?;
//! // A deployment loads its key: `EncryptionKey::from_base64("2026-03", &secret)`.
//! let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03")?);
//! let connect = ConnectRouter::new(oauth, tenants.clone(), keys, Partner)?;
//!
//! // Nested at the path of the redirect URI.
//! let app: Router = Router::new().nest("/connect", connect.router());
//!
//! // The browser of a customer is redirected to the provider.
//! let acme = TenantId::new("acme")?;
//! let start = Request::get("/connect/start")
//!     .header("session", "acme")
//!     .header("sec-fetch-site", "same-origin")
//!     .body(Body::empty())?;
//! let start = app.clone().oneshot(start).await?;
//! assert_eq!(start.status(), StatusCode::SEE_OTHER);
//! let provider = start.headers()[header::LOCATION].to_str()?;
//! let cookie = start.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap();
//!
//! // The customer consents, and the provider redirects the browser back.
//! let callback = sandbox.consent(provider).await?;
//! assert!(tenants.token(&acme).await.is_err());
//! let callback = Request::get(callback.trim_start_matches("https://partner.example.com"))
//!     .header("session", "acme")
//!     .header(header::COOKIE, cookie)
//!     .body(Body::empty())?;
//! let done = app.clone().oneshot(callback).await?;
//! assert_eq!(done.headers()[header::LOCATION], "/settings");
//! assert!(tenants.token(&acme).await.is_ok());
//!
//! // Later, the customer disconnects with a button on a page of the program.
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
//! The pages of the program link to `/connect/start`, and contain a form to disconnect:
//!
//! ```html
//! <form method="post" action="/connect/disconnect"><button>Disconnect</button></form>
//! ```
//!
//! # Pages
//!
//! The router has a page for each outcome. The default pages are readable on a phone and in dark
//! mode, and are made for screen readers. They have one style sheet and no scripts.
//!
//! | page | shown | own page | own texts |
//! | --- | --- | --- | --- |
//! | connected | after the tokens were saved | [`ConnectHandler::connected`] | [`PageTexts::connected`] |
//! | denied | after the customer or the provider denied access | [`ConnectHandler::denied`] | [`PageTexts::denied`] |
//! | disconnected | after a disconnect | [`ConnectHandler::disconnected`] | [`PageTexts::disconnected`] |
//! | failed | after a failure, by its [kind](ConnectFailureKind) | [`ConnectHandler::failed`] | [`PageTexts::failed`] |
//! | confirm | before a start that another site may have caused | none | [`PageTexts::confirm`] |
//!
//! A program can replace a page, or only its texts. [`ConnectHandler::texts`] returns the
//! [`PageTexts`] of a request, and so chooses the language:
//!
//! ```
//! # #[cfg(feature = "sandbox")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use axum::{Router, body::{Body, to_bytes}, response::Response};
//! # use http::{Request, request::Parts};
//! # use tower::ServiceExt;
//! # use tower_oauth2_client::{
//! #     connect::ConnectRouter,
//! #     oauth::OAuthClient,
//! #     provider,
//! #     sandbox::Sandbox,
//! #     store::{EncryptionKey, EncryptionKeys, MemoryStore},
//! #     tenants::Tenants,
//! #     token::TenantId,
//! # };
//! use tower_oauth2_client::connect::{ConnectFailureKind, ConnectHandler, PageText, PageTexts};
//!
//! struct Partner {
//!     texts: [PageTexts; 2],
//! }
//!
//! impl ConnectHandler for Partner {
//!     fn texts(&self, request: &Parts) -> &PageTexts {
//!         // Or the language in the session.
//!         PageTexts::preferred(request, &self.texts)
//!     }
//!
//!     async fn tenant(&self, _: &Parts) -> Result<TenantId, Response> {
//! #       unimplemented!()
//!         // …
//!     }
//! }
//!
//! let spanish = PageTexts::new("es")
//!     .connected(PageText::new("Cuenta conectada", "Ya puede cerrar esta página."))
//!     .start_again("Volver a empezar")
//!     // … and the other pages.
//!     .failed(|failure| match failure.kind() {
//!         ConnectFailureKind::NotPending => {
//!             Some(PageText::new("Sin conexión", "Esta página ya no es válida."))
//!         }
//!         // English.
//!         _ => None,
//!     });
//! // The first ones are for requests that prefer another language.
//! let partner = Partner { texts: [PageTexts::english().clone(), spanish] };
//! # let sandbox = Sandbox::builder().redirect_uri("https://partner.example.com/connect/callback").build();
//! # let service = sandbox.service();
//! # let http = tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
//! # let provider = provider::justworks().on_origin(&sandbox.url())?;
//! # let oauth = OAuthClient::builder(provider, sandbox.client_id())
//! #     .client_secret(sandbox.client_secret())
//! #     .redirect_uri("https://partner.example.com/connect/callback")
//! #     .build(http)?;
//! # let tenants = Tenants::builder(oauth.clone()).store(MemoryStore::new()).build()?;
//! # let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03")?);
//! let connect = ConnectRouter::new(oauth, tenants, keys, partner)?;
//! let app: Router = Router::new().nest("/connect", connect.router());
//!
//! // A bookmark of a callback.
//! let callback = Request::get("/connect/callback?code=c1&state=s1")
//!     .header("accept-language", "es-MX, en;q=0.5")
//!     .body(Body::empty())?;
//! let page = app.oneshot(callback).await?;
//! let page = to_bytes(page.into_body(), 64 * 1024).await?;
//! let page = String::from_utf8(page.to_vec())?;
//! assert!(page.contains(r#"<html lang="es" dir="ltr">"#));
//! assert!(page.contains("Esta página ya no es válida."));
//! # Ok(()) }
//! # #[cfg(not(feature = "sandbox"))]
//! # fn main() {}
//! ```
//!
//! A page that the program builds itself gets the request too, so it can use the same session.
//!
//! # A second consent
//!
//! A customer may connect again, perhaps with another account at the provider, because the browser
//! is logged in there. [`ConnectHandler::consented`] gets each new token set before it is stored,
//! and can reject it. By default every account is accepted. A consent that is rejected changes
//! nothing: the earlier grant stays, and the new tokens are neither stored nor
//! [revoked](crate::token::ConsentDecision::RejectAndRevoke).
//!
//! Some providers issue no refresh token at a second consent, and without one the connection would
//! end with its access token. By default the earlier grant then stays, and the customer sees a page
//! that says so ([`RefreshTokenMissing`](ConnectFailureKind::RefreshTokenMissing)). After a
//! disconnect, the customer can connect with any account: the provider then issues a new refresh
//! token.
//!
//! # Kept values
//!
//! Some providers need to know more about an account than its tokens: the host of its API, or an id
//! in each request. The provider's data name such [values](crate::provider#kept-values), and they
//! are stored with the grant. [`ConnectHandler::connect_values`] returns those that the program
//! knows, and those of the callback and of the token response are added.
//! [`ConnectHandler::consented`] sees all of them in [`Consent::tokens`] before they are stored.
//!
//! If such a value does not match its pattern, the customer sees a page that says so
//! ([`InvalidValue`](ConnectFailureKind::InvalidValue)). A callback with a value that was forged,
//! repeated or left out fails with [`Provider`](ConnectFailureKind::Provider), and its code is sent
//! to no server.
//!
//! # Several replicas
//!
//! A browser may come back to another replica than the one that redirected it. Until the customer
//! has consented, no replica and no store keeps anything: the pending flow is stored in a cookie.
//! The cookie contains the tenant, the `state`, the PKCE verifier, the start time and the values of
//! [`ConnectHandler::connect_values`], encrypted with the program's keys. All replicas need the
//! same keys, redirect URI and store. Their clocks may differ by 30 seconds.
//!
//! A flow expires after 10 minutes. A browser can have four pending flows, in several tabs and for
//! several tenants. A fifth one replaces the oldest.
//!
//! # Repeated callbacks
//!
//! Browsers repeat requests, and a provider that receives a code twice may revoke the grant (RFC
//! 6749 section 4.1.2). The request that sends a code therefore acquires a lease in the store
//! first, which is named after the flow. A repeated callback gets the outcome of its own flow,
//! whatever other flows of the tenant have done:
//!
//! * in the same process, it waits for the first request, and gets the same response;
//! * at another replica, it waits for up to 5 seconds until the outcome is recorded. If the flow
//!   has failed, it fails with [`FailedElsewhere`](ConnectFailureKind::FailedElsewhere). If no
//!   outcome is recorded by then, it fails with [`InProgress`](ConnectFailureKind::InProgress);
//! * if the tenant was connected and is disconnected since, it fails with
//!   [`NotPending`](ConnectFailureKind::NotPending).
//!
//! A process exchanges one code at a time for each tenant. A callback of another flow fails at once
//! with `InProgress` meanwhile, keeps its cookie, and can be repeated.
//!
//! The outcome is recorded by a second lease. Both are released after 11 minutes, when the cookie
//! of the flow has expired. If the process ends earlier, they expire, but their rows stay in stores
//! that do not remove expired leases (PostgreSQL, files).
//!
//! # Callbacks by `form_post`
//!
//! Some providers send the parameters of a callback as a form
//! ([`ResponseMode::FormPost`](crate::provider::ResponseMode::FormPost)). The router then accepts
//! `POST /callback` too. That request comes from the provider's site, so browsers send no
//! `SameSite=Lax` cookie with it: not that of the flow, and rarely that of the program's session.
//! The router therefore responds with a redirect (303) to `GET /callback`, with the form as the
//! query. The browser adds the cookies to that request, and everything else is as in query mode:
//! the code stands in the URL too.
//!
//! A form of more than 16 KiB, one that takes more than 10 seconds to arrive, and one that is not
//! encoded as browsers do (`application/x-www-form-urlencoded`) or does not have exactly one
//! `state` fails with [`NotPending`](ConnectFailureKind::NotPending), and no redirect. Proxies in
//! front of the program may accept shorter URLs only, often 8 KiB. If the program uses middleware
//! against cross-site requests, it has to exempt `POST /callback`.
//!
//! # Cancellation and shutdown
//!
//! The code exchange and the save run in a task of their own, so they continue if the browser
//! disconnects. The code exchange takes at most 90 seconds, or 105 with a signer or an
//! authenticator. A failing save is retried for 30 seconds. At the end of a program,
//! [`ConnectRouter::shutdown`] waits for these tasks.
//!
//! # Security
//!
//! * A callback is accepted once, for the tenant that the flow was started for, and only in the
//!   browser that started it. This is enforced by a cookie that scripts cannot read. Over https, no
//!   other host can set it (`__Host-`, `Secure`, `HttpOnly`, `SameSite=Lax`).
//! * [`ConnectHandler::allows`] additionally checks the session. Implement it: it protects against
//!   a cookie that was copied to another browser, for example from plain http on loopback.
//! * A disconnect is a `POST` from a page of the program: `Sec-Fetch-Site` is `same-origin` or
//!   `none`, or, in browsers that do not send it, `Origin` is the origin of the redirect URI. A
//!   request without both headers is rejected.
//! * A start needs a click on a page of the program, or a URL that the user has opened. A request
//!   from another site or from a sibling host gets a page with a button, which no site can frame:
//!   otherwise a link could replace a grant where the provider asks for no new consent. That is
//!   decided by `Sec-Fetch-Site`, or by `Referer` in browsers that do not send it. With neither,
//!   the page is shown. A `POST` to start has to come from a page of the program, as a disconnect.
//! * The default pages load nothing and run no scripts. Their content security policy allows no
//!   inline style but theirs, by its hash, and no page can frame them. Texts are escaped.
//! * A prefetch or preview (`Sec-Purpose`, `Purpose`, `X-Moz`, `X-Purpose`) gets a 503, and neither
//!   starts nor ends a flow.
//! * The router redirects to no URL from a request, and shows no part of a request.
//! * A `POST` to the callback has no effect but the redirect, which leads to the URL that the form
//!   was sent to, with another query. So another site can cause nothing by a form that it cannot
//!   cause by a link.
//! * `HEAD` is rejected, so that a link preview cannot use up a code.
//! * The URL of a callback contains a code, which middleware may log. A logged code is harmless: it
//!   is used up, or bound to a cookie that is not logged.
//! * The router does not limit the request rate; the program does, as for its other routes. Each
//!   callback of a pending flow costs two leases and one code exchange.

mod callback;
mod callback_lease;
mod completion;
mod consent;
mod cookie;
mod decide;
mod disconnect;
mod failure;
mod form_post;
mod handler;
mod html;
mod origin;
mod outcome_lease;
mod page;
mod pending_flow;
mod router;
mod start;
mod state;
mod texts;

pub use self::{
    consent::Consent,
    failure::{ConnectFailure, ConnectFailureKind},
    handler::ConnectHandler,
    router::ConnectRouter,
    texts::{PageText, PageTexts},
};
