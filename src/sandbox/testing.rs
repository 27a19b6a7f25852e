//! How to test a program against the sandbox: each event in the life of a grant as a test.
//!
//! The tests need no network, no credentials and no sleeps. Each of them is a function of the kind
//!
//! ```
//! # use tower_oauth2_client::sandbox::Sandbox;
//! #[tokio::test(start_paused = true)]
//! async fn customer_connects() -> Result<(), Box<dyn std::error::Error>> {
//!     let sandbox = Sandbox::builder().build();
//!     // …
//! #   let _ = sandbox;
//!     Ok(())
//! }
//! ```
//!
//! The time of such a runtime is paused: it passes only while all tasks wait, so timeouts and
//! backoffs take no time. [`Sandbox::advance`](super::Sandbox::advance) moves the
//! [clock](super::MovableClock) that the sandbox and the program share. The tests use this setup:
//!
#![doc = "```"]
#![doc = include_str!("../../docs/testing_app.rs")]
#![doc = "```"]
//!
//! The example `testing` is a file to copy: an axum application and its tests, over real sockets.
//!
//! # The first connection
//!
//! Without a grant no request is sent. [`Sandbox::connect`](super::Sandbox::connect) drives the
//! authorization from the URL to the code exchange.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! assert!(app.tokens.needs_consent().await?);
//! assert!(app.company().await.unwrap_err().is_consent_required());
//!
//! app.tokens.set_tokens(sandbox.connect(&app.oauth).await?).await?;
//! assert!(!app.tokens.needs_consent().await?);
//! assert_eq!(app.company().await?, 200);
//! # Ok(()) }
//! ```
//!
//! # A day later
//!
//! The access token lives for 24 hours. The first request after that waits for one refresh.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//! assert_eq!(app.company().await?, 200);
//!
//! sandbox.advance(24 * HOUR);
//! assert_eq!(app.company().await?, 200);
//! let counters = sandbox.counters();
//! assert_eq!((counters.refreshes, counters.unauthorized), (1, 0));
//! # Ok(()) }
//! ```
//!
//! # A 401
//!
//! The provider revokes the access token, and the layer recovers by one refresh. A 401 to a token
//! that is only seconds old causes no refresh, because the API may not know it yet.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//! sandbox.advance(Duration::from_secs(10));
//!
//! sandbox.revoke_access_tokens();
//! assert_eq!(app.company().await?, 200);
//! let counters = sandbox.counters();
//! assert_eq!((counters.refreshes, counters.unauthorized), (1, 1));
//! # Ok(()) }
//! ```
//!
//! # A dead grant
//!
//! No process has run for 31 days, and the refresh token has expired. The program asks the customer
//! to consent again.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//!
//! sandbox.advance(31 * 24 * HOUR);
//! let error = app.company().await.unwrap_err();
//! assert!(error.is_consent_required());
//! assert!(app.tokens.needs_consent().await?);
//!
//! app.connect().await?;
//! assert_eq!(app.company().await?, 200);
//! # Ok(()) }
//! ```
//!
//! # The provider is down
//!
//! The held token serves while it is valid. Then requests fail with an error that is transient, and
//! the grant is unharmed.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_oauth2_client::sandbox::{Endpoint, Fault};
//!
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//! let down = Fault::status(StatusCode::SERVICE_UNAVAILABLE).always();
//! sandbox.inject(Endpoint::Token, down);
//!
//! sandbox.advance(23 * HOUR);
//! assert_eq!(app.company().await?, 200);
//! sandbox.advance(HOUR);
//! let error = app.company().await.unwrap_err();
//! assert!(error.is_transient() && !app.tokens.needs_consent().await?);
//!
//! sandbox.clear_faults();
//! // Backoff and circuit breaker end. This takes no time.
//! tokio::time::sleep(Duration::from_secs(60)).await;
//! assert_eq!(app.company().await?, 200);
//! # Ok(()) }
//! ```
//!
//! # A changed client secret
//!
//! The error is one of the client, and ends no grant. The new secret takes effect at once.
//! [`Sandbox::add_client_secret`](super::Sandbox::add_client_secret) accepts both for a while.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_oauth2_client::OAuthErrorCode;
//!
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//!
//! sandbox.set_client_secret("new");
//! sandbox.advance(24 * HOUR);
//! let error = app.company().await.unwrap_err();
//! assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
//! assert!(!app.tokens.needs_consent().await?);
//!
//! app.oauth.replace_secret("new")?;
//! assert_eq!(app.company().await?, 200);
//! # Ok(()) }
//! ```
//!
//! # The customer disconnects at the provider
//!
//! All tokens of the grant are revoked. The request that finds out gets the 401, and later ones
//! fail until the customer connects again. [`Sandbox::revoke_grant`](super::Sandbox::revoke_grant)
//! ends the grant of one of several customers.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let app = App::new(&sandbox)?;
//! app.connect().await?;
//! sandbox.advance(Duration::from_secs(10));
//!
//! sandbox.revoke_grants();
//! assert_eq!(app.company().await?, 401);
//! assert!(app.tokens.needs_consent().await?);
//! assert!(app.company().await.unwrap_err().is_consent_required());
//!
//! app.connect().await?;
//! assert_eq!(app.company().await?, 200);
//! # Ok(()) }
//! ```
//!
//! # Real sockets
//!
//! In real time nothing differs but the client. Background tasks notice when the clock is moved;
//! what [does not move](super::MovableClock#what-moves) with it are tokio's timers.
//! [`Sandbox::wait_until`](super::Sandbox::wait_until) waits for a background refresh without a
//! sleep.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing_app.rs"));
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//!
//! let sandbox = Sandbox::start().await?;
//! let provider = provider::justworks().on_origin(&sandbox.url())?;
//! let oauth = OAuthClient::builder(provider, sandbox.client_id())
//!     .client_secret(sandbox.client_secret())
//!     .redirect_uri(sandbox.redirect_uri())
//!     .clock(sandbox.clock())
//!     .build(Client::builder(TokioExecutor::new()).build_http::<Body>())?;
//! let tokens = TokenCache::builder(oauth.clone())
//!     .clock(sandbox.clock())
//!     .background_delay(Duration::ZERO)
//!     .build()?;
//! tokens.set_tokens(sandbox.connect(&oauth).await?).await?;
//!
//! sandbox.advance(29 * 24 * HOUR);
//! sandbox.wait_until(|counters| counters.refreshes == 1).await;
//! assert!(tokens.token().await.is_ok());
//! # Ok(()) }
//! ```
//!
//! ----
//!
//! This page is a chapter of the [guide](crate::guide). Previous:
//! [Operations](crate::guide::operations). Next: [Troubleshooting](crate::guide::troubleshooting)
