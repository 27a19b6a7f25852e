//! The OAuth 2.0 client: authorization code for the first token, refresh token for renewal, revocation.
//!
//! An [`OAuthClient`] speaks with one [`Provider`](crate::provider::Provider) for one application, over any tower service
//! of `http::Request`. It holds no tokens: what it gets it returns as a [`TokenSet`](crate::token::TokenSet), usually to a
//! [`TokenCache`](crate::cache::TokenCache), which then calls it whenever a renewal is due.
//!
//! The service must be a plain HTTP client: one that follows no redirects (they would carry the credentials elsewhere,
//! RFC 9700 section 4.12), retries nothing by itself (a code or refresh token is good for one use), and does not itself
//! wait for tokens from here.
//!
//! A call is one exchange: one request, repeated (up to three in all, 15 seconds in all) only if nothing of it was sent, or
//! if the endpoint answered 429 or 503. All clones of a client, and so all caches over it, share one [`EndpointGate`]: four
//! exchanges at once, of which two at most are such that nobody waits for, and a pause after five failures in a row. Clients
//! of one endpoint may share it, too ([`OAuthClientBuilder::gate`]).
//!
//! The client secret can be changed while the program runs, by [`OAuthClient::replace_secret`]: that also ends the pauses
//! which the old one has caused.
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tower_oauth2_client::{oauth::OAuthClient, provider};
//!
//! # tokio_test::block_on(async {
//! // In a program this is a hyper-util or reqwest client; here it answers by itself.
//! let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     assert_eq!(request.uri(), "https://public-api.justworks.com/oauth/token");
//!     let answer = r#"{"token_type":"Bearer","access_token":"a1","refresh_token":"r1","expires_at":"2030-01-01T00:00:00Z"}"#;
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
//! });
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .client_secret("client-secret")
//!     .redirect_uri("https://partner.example.com/callback")
//!     .scopes(["company.basic:read"])
//!     .build(http)?;
//!
//! // Send the customer's browser here, and keep `pending` in its session …
//! let (url, pending) = oauth.authorization_url()?;
//! assert!(url.starts_with("https://payroll.justworks.com/oauth/authorize?response_type=code"));
//! // … until it comes back to the redirect URI:
//! let callback = format!("https://partner.example.com/callback?code=c1&state={}", pending.state());
//! let tokens = oauth.exchange_code(pending.accept(&callback)?).await?;
//! assert_eq!(tokens.refresh_token().unwrap().expose(), "r1");
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
//! ```

mod attempt;
mod authorization;
mod builder;
mod client;
mod credentials;
mod date;
mod endpoint_error;
mod form;
mod gate;
mod token_response;
mod transport;

pub(crate) use self::gate::{BackgroundPermit, GateKey};
pub use self::{
    authorization::{AcceptedCode, PendingAuthorization},
    builder::OAuthClientBuilder,
    client::{OAuthClient, TokenToRevoke},
    gate::EndpointGate,
};
