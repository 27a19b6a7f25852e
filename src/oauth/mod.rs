//! The OAuth 2.0 client: consent, code exchange, device authorization, refresh, grants without a
//! consent, and revocation.
//!
//! An [`OAuthClient`] makes the requests of one registered client to one
//! [`Provider`](crate::provider::Provider). It keeps no tokens: each call returns a
//! [`TokenSet`](crate::token::TokenSet), which usually goes into a
//! [`TokenCache`](crate::cache::TokenCache). The cache then calls the client whenever a refresh is
//! due.
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tower_oauth2_client::{oauth::OAuthClient, provider};
//!
//! # tokio_test::block_on(async {
//! // In a program this is a hyper-util or reqwest client. Here a function responds.
//! let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     assert_eq!(request.uri(), "https://public-api.justworks.com/oauth/token");
//!     let tokens = r#"{"access_token":"a1","refresh_token":"r1","expires_in":86400}"#;
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(tokens))))
//! });
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .client_secret("client-secret")
//!     .redirect_uri("https://partner.example.com/callback")
//!     .scopes(["company.basic:read"])
//!     .build(http)?;
//!
//! // Redirect the customer's browser to `url`, and keep `pending` in its session.
//! let (url, pending) = oauth.authorization_url()?;
//! assert!(url.starts_with("https://payroll.justworks.com/oauth/authorize?response_type=code"));
//!
//! // The browser comes back to the redirect URI: check the callback, and exchange its code.
//! let callback = format!("/callback?code=c1&state={}", pending.state());
//! let tokens = oauth.exchange_code(pending.accept(&callback)?).await?;
//! assert_eq!(tokens.refresh_token().unwrap().expose(), "r1");
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
//! ```
//!
//! # Other ways to a token set
//!
//! | grant | for | how |
//! | --- | --- | --- |
//! | authorization code (RFC 6749 section 4.1) | customers with a browser | [`authorization_url`](OAuthClient::authorization_url), as above |
//! | device authorization (RFC 8628) | a program without a browser, such as a command line tool | [`authorize_device`](OAuthClient::authorize_device), then [`await_device`](OAuthClient::await_device) |
//! | client credentials (RFC 6749 section 4.4) | the application itself | [`cache::ClientCredentials`](crate::cache::ClientCredentials) |
//! | JWT as a grant (RFC 7523 section 2.1) | a service account or workload | [`cache::JwtBearer`](crate::cache::JwtBearer) |
//! | token exchange (RFC 8693) | a backend that acts for the customer of another grant | [`cache::TokenExchange`](crate::cache::TokenExchange) |
//!
//! The first two bring a grant that is refreshed as any other. The others need no consent: each
//! refresh is the same request with new credentials, and no error ends them. Additional parameters
//! are set [by the kind of request](OAuthClientBuilder::request_parameter).
//!
//! # The HTTP client
//!
//! Any tower service of `http::Request` can send the requests. It has to be a plain HTTP client:
//!
//! * It follows no redirects, because they would send the credentials to another server (RFC 9700
//!   section 4.12).
//! * It retries nothing, because most codes and refresh tokens can be used only once.
//! * It is not wrapped in a [layer](crate::bearer) that waits for tokens of this client.
//! * It opens a connection for each token request, because they are rare. An idle connection may be
//!   broken without notice, and the replay of a refresh token must not use the connection that lost
//!   the first response. An HTTP/2 connection in the pool of a client would be used for both.
//! * It notices a broken connection within 20 seconds, because a replay is sent only within 30
//!   seconds of the first request.
//!
//! With the feature `reqwest`, `OAuthClientBuilder::build_with_reqwest` builds such a client. With
//! hyper-util these settings do, for HTTP/1.1 and HTTP/2:
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{
//!     client::legacy::{self, Client, connect::HttpConnector},
//!     rt::TokioExecutor,
//! };
//! # use tower_oauth2_client::{oauth::OAuthClient, provider};
//! # let builder = OAuthClient::builder(provider::justworks(), "id").client_secret("secret");
//!
//! let mut tcp = HttpConnector::new();
//! tcp.enforce_http(false); // A TLS connector goes around it.
//! tcp.set_connect_timeout(Some(Duration::from_secs(10)));
//! tcp.set_keepalive(Some(Duration::from_secs(5)));
//! tcp.set_keepalive_interval(Some(Duration::from_secs(5)));
//! tcp.set_keepalive_retries(Some(3));
//! #[cfg(target_os = "linux")]
//! tcp.set_tcp_user_timeout(Some(Duration::from_secs(20)));
//!
//! let http = Client::builder(TokioExecutor::new())
//!     .pool_max_idle_per_host(0) // This turns the pool off.
//!     .build::<_, Full<Bytes>>(tcp);
//! let oauth = builder
//!     .is_connect_error(|error| {
//!         error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
//!     })
//!     .build(http)?;
//! # let _ = oauth;
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```
//!
//! The connect timeout of hyper-util does not include the TLS handshake; that of reqwest does.
//!
//! # Retries and timeouts
//!
//! A call sends one request. It is retried only if nothing was sent, because the connection failed,
//! or, except for a code exchange, if the endpoint responds with 429 or 503. A revocation can be
//! repeated, so it is retried after any transient failure. A call sends at most three requests:
//! it begins the last one within 15 seconds of the first, and a signer then has its 15 seconds.
//! With [DPoP](crate::dpop), it sends one more if the endpoint asks for a proof with another nonce.
//!
//! The response of a token request contains the next refresh token, and cannot be requested again.
//! Each token request therefore waits for its response for 60 seconds, or for the
//! [`response_timeout`](OAuthClientBuilder::response_timeout). A revocation waits for 10 seconds.
//!
//! # Outcomes of a token request
//!
//! A refresh token must not be sent again if the provider may have used it. After an error,
//! [`is_response_lost`](crate::Error::is_response_lost) is false only if the outcome proves that
//! the provider did not use the code or refresh token:
//!
//! | outcome | the code or refresh token |
//! | --- | --- |
//! | the request was not sent: the connection failed, no permit was free, or the breaker is open | is unused |
//! | 429 or 503 | is unused |
//! | a [refusal](crate::provider::Refusal) that the provider's data define, with any status | is unused; *dead* means that it is invalid |
//! | another 4xx but 408, and a JSON body with an OAuth error code but `server_error` | is unused; `invalid_grant` means that it is invalid |
//! | no complete response: a timeout, a broken connection, a truncated body, or over 1 MiB | response lost |
//! | 408, and every 5xx but 503 | response lost |
//! | a 4xx without an OAuth error code, or with an unknown code or `server_error` | response lost |
//! | a redirect | response lost |
//! | 1xx, or a 2xx that is not a token response, with or without an error code | response lost |
//!
//! An access token of more than 64 KiB is not used, because servers do not accept such headers. Its
//! response is one without a usable access token. A refresh token may be as long as the response.
//!
//! The OAuth error codes are those of [`OAuthErrorCode`](crate::OAuthErrorCode). Any other code is
//! kept in the error, as [`provider_code`](crate::Error::provider_code), and a grant that is
//! refused with it for a while becomes [stuck](crate::cache#stuck-grants). A gateway, proxy or
//! firewall before the provider may have created any other response after the provider rotated the
//! refresh token. [What follows](crate::cache#lost-responses) a lost response is up to the cache.
//!
//! # Limiter and circuit breaker
//!
//! All clones of a client, and so all caches over it, share one [`EndpointGate`], so that many
//! grants do not overload a token endpoint, and do not send requests to a failing one, each with a
//! backoff of its own.
//!
//! Each class of token requests has permits of its own, for which it waits in order of arrival for
//! up to 15 seconds:
//!
//! | class | permits | of them for [degraded grants](#degraded-grants) |
//! | --- | --- | --- |
//! | refresh that a request waits for | 4 | 3 |
//! | background refresh, for which no request waits, because the access token is still fresh | 2 | 1 |
//! | code exchange | 2 | |
//! | pushed authorization request | 2 | |
//! | poll of a device authorization | 2 | |
//!
//! No class takes the permits of another, and no tenant takes all permits of a class, because a
//! grant has at most one token request in flight. A background refresh leaves its queue as soon as
//! a request waits for it.
//!
//! The circuit breaker:
//!
//! * Five failures in a row (no response, a 5xx status, a 408 or a 429) open the breaker for 30
//!   seconds. `Retry-After` opens it for the time that it asks for, at most 10 minutes.
//! * `invalid_client` opens it for 30 seconds, and for twice as long each time, up to 30 minutes. A
//!   [new client secret](OAuthClient::replace_secret) closes it earlier: the next request is sent
//!   at once, and an `invalid_client` response to a request with the old secret no longer counts.
//! * While it is open, requests fail at once with [`Unavailable`](crate::ErrorKind::Unavailable),
//!   and [`retry_after`](crate::Error::retry_after) says for how long. After that time it is
//!   half-open: one request is sent as a probe, and the others wait for its outcome.
//! * A code exchange is sent even while the breaker is open, and waits for no probe, because a
//!   customer waits. Its success closes the breaker. Its failure changes nothing, because a browser
//!   chooses the code. The poll of a device authorization is handled in the same way.
//!
//! The events `endpoint.…` report the breaker, and an
//! [`EndpointListener`](crate::telemetry::EndpointListener) is called.
//!
//! Revocations and device authorization requests do not pass the gate. Several clients of one
//! endpoint can share a gate through [`OAuthClientBuilder::gate`].
//!
//! ## Degraded grants
//!
//! One grant in trouble must not block the others. A grant is degraded if its last token request
//! failed, or if its access token has expired.
//!
//! * If all failures, or a 429, belong to one grant, the breaker opens for that grant only.
//! * Degraded grants leave a permit of each class to the others, and their failures open the
//!   breaker for degraded grants only. Five failures of other grants in a row open it for all.
//!
//! # Bound tokens
//!
//! If the provider's data [turn DPoP on](crate::provider::ProviderBuilder::dpop), each attempt of a
//! token request carries a proof, and the token set contains the key of the grant. See
//! [`dpop`](crate::dpop).
//!
//! # Client authentication
//!
//! The [provider's data](crate::provider::ProviderBuilder::client_authentication) name the method.
//! It is that of every token request, revocation and pushed authorization request:
//!
//! | `client_authentication` | the request contains | the builder needs |
//! | --- | --- | --- |
//! | `request_body` (`client_secret_post`) | `client_id` and `client_secret` in the body (RFC 6749 section 2.3.1) | [`client_secret`](OAuthClientBuilder::client_secret) |
//! | `basic`, `basic_raw` (`client_secret_basic`) | both in the `Authorization` header (RFC 6749 section 2.3.1) | [`client_secret`](OAuthClientBuilder::client_secret) |
//! | `none` | `client_id` in the body: a public client, with PKCE | nothing |
//! | `client_secret_jwt` | an assertion, signed with the secret by HMAC with SHA-256 (RFC 7523 section 2.2) | [`client_secret`](OAuthClientBuilder::client_secret) of at least 32 bytes, which RFC 7518 section 3.2 demands |
//! | `private_key_jwt` | an assertion, signed with a private key (RFC 7523 section 2.2) | [`signer`](OAuthClientBuilder::signer) |
//! | `tls_client_auth`, `self_signed_tls_client_auth` | `client_id` in the body; the certificate of the connection authenticates the client (RFC 8705 section 2) | an HTTP client with the certificate |
//! | any | what a [`ClientAuthenticator`] returns | [`authenticator`](OAuthClientBuilder::authenticator) |
//!
//! An assertion is a JSON Web Token that says for 60 seconds that this client is speaking to this
//! provider (RFC 7523 section 3). Each attempt of a request has a new one, because servers accept
//! an assertion once. Its audience (`aud`) is the issuer, or what the provider's data [name
//! instead](crate::provider::ProviderBuilder::assertion_audience). The request also contains
//! `client_id`, which RFC 7521 section 4.2 makes optional and many servers need.
//!
//! With the feature `signing`, this is a complete client with a private key:
//!
//! ```
//! # #[cfg(all(feature = "signing", feature = "sandbox"))]
//! # tokio_test::block_on(async {
//! use tower_oauth2_client::{
//!     jose::SigningKey,
//!     oauth::OAuthClient,
//!     provider::{ClientAuthentication, justworks},
//!     sandbox::{self, Sandbox},
//! };
//!
//! // Register the public key at the provider. Here that is a sandbox.
//! let key = SigningKey::generate_es256()?.with_key_id("2026-11");
//! let sandbox = Sandbox::builder()
//!     .public_key(key.public_jwk())
//!     .behavior(|behavior| {
//!         behavior.client_authentication = sandbox::ClientAuthentication::PrivateKeyJwt;
//!     })
//!     .build();
//! let provider = justworks()
//!     .on_origin(&sandbox.url())?
//!     .to_builder()
//!     .client_authentication(ClientAuthentication::PrivateKeyJwt)
//!     .build()?;
//! let oauth = OAuthClient::builder(provider, sandbox.client_id())
//!     .signer(key)
//!     .redirect_uri(sandbox.redirect_uri())
//!     .build::<_, http_body_util::Full<bytes::Bytes>, _>(sandbox.service())?;
//!
//! let (url, pending) = oauth.authorization_url()?;
//! let callback = sandbox.consent(&url).await.unwrap();
//! let tokens = oauth.exchange_code(pending.accept(&callback)?).await?;
//! oauth.refresh(&tokens).await?;
//!
//! // A new key, while the program runs. This one is not registered.
//! oauth.replace_signer(SigningKey::generate_es256()?)?;
//! let error = oauth.refresh(&tokens).await.unwrap_err();
//! assert_eq!(error.oauth_code(), Some(tower_oauth2_client::OAuthErrorCode::InvalidClient));
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
//! ```
//!
//! A [signer](crate::jose::Signer) whose key is in a key management service has 15 seconds for each
//! attempt of a request. If it fails, hangs or panics, nothing was sent: the refresh token is
//! unused, the response does not count as lost, and the circuit breaker does not change. A failure
//! is retried like a failed connection.
//!
//! If the provider refuses an assertion and its `Date` header differs from this computer's clock by
//! more than 30 seconds, the error says so.
//!
//! ## Another method
//!
//! A [`ClientAuthenticator`] adds parameters and headers of its own to each attempt:
//!
//! ```
//! use std::error::Error;
//!
//! use http::HeaderName;
//! use tower_oauth2_client::{
//!     oauth::{AuthenticationRequest, ClientAuthenticator, ClientCredentials, OAuthClient},
//!     provider,
//! };
//!
//! /// Sends a short-lived credential that the platform issues to the workload.
//! struct Workload;
//!
//! impl ClientAuthenticator for Workload {
//!     async fn authenticate(
//!         &self,
//!         request: &AuthenticationRequest<'_>,
//!     ) -> Result<ClientCredentials, Box<dyn Error + Send + Sync>> {
//!         let credential = format!("credential for {}", request.audience());
//!         Ok(ClientCredentials::new()
//!             .parameter("client_id", request.client_id().to_owned())
//!             .header(HeaderName::from_static("x-workload-credential"), credential))
//!     }
//! }
//!
//! # let http = tower::service_fn(|request: http::Request<http_body_util::Full<bytes::Bytes>>| async move {
//! #     assert_eq!(
//! #         request.headers()["x-workload-credential"],
//! #         "credential for https://public-api.justworks.com/oauth/token"
//! #     );
//! #     let tokens = r#"{"access_token":"a1","expires_in":86400}"#;
//! #     let tokens = http_body_util::Full::new(bytes::Bytes::from(tokens));
//! #     Ok::<_, std::convert::Infallible>(http::Response::new(tokens))
//! # });
//! # tokio_test::block_on(async {
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .authenticator(Workload)
//!     .build(http)?;
//! oauth.client_credentials().await?;
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
//! ```
//!
//! ## Certificates
//!
//! With `tls_client_auth`, the HTTP client presents the certificate. It must be a client of its own
//! for the authorization server: another server must not see the certificate.
//!
//! * reqwest: `reqwest::Identity::from_pem` with the certificate chain and the key, and
//!   `reqwest::ClientBuilder::identity`. Pass the builder to
//!   `OAuthClientBuilder::build_with_reqwest`.
//! * hyper-util with hyper-rustls: `rustls::ClientConfig::builder()`, then
//!   `with_root_certificates` and `with_client_auth_cert` with the chain and the key. Pass the
//!   configuration to `HttpsConnectorBuilder::with_tls_config`.
//!
//! Many servers have other URLs for such clients (RFC 8705 section 5): see
//! [`mtls_endpoint_alias`](crate::provider::ProviderBuilder::mtls_endpoint_alias).
//!
//! ## Rotation of secrets and keys
//!
//! [`OAuthClient::replace_secret`], [`OAuthClient::replace_signer`] and
//! [`OAuthClient::replace_authenticator`] change the credentials while the program runs. They also
//! close a circuit breaker that the old ones have opened.
//!
//! # Pushed authorization requests
//!
//! [`OAuthClient::start_authorization`] sends the authorization request to the provider before the
//! browser is redirected (RFC 9126), if the provider's data name an [endpoint for
//! that](crate::provider::Provider::pushed_authorization_request_endpoint). The `connect` router
//! does so by itself. Everything else is as with
//! [`authorization_url`](OAuthClient::authorization_url): the callback, its `state`, PKCE and the
//! issuer.

mod assertion;
mod attempt;
mod authentication;
mod authorization;
mod buffer;
mod builder;
mod client;
mod clock_skew;
mod content_encoding;
mod date;
mod device;
mod endpoint_error;
mod evidence;
mod form;
mod form_encoding;
mod gate;
mod jwt_bearer;
mod kept_values;
mod members;
mod own_permit;
mod provider_text;
mod pushed_authorization;
mod random;
mod replay_limit;
mod revocation;
mod scrub;
pub(crate) mod token_exchange;
mod token_response;
mod transport;
mod user_agent;

#[cfg(feature = "mcp")]
pub(crate) use self::authentication::check_issued;
pub use self::{
    authentication::{AuthenticationRequest, ClientAuthenticator, ClientCredentials},
    authorization::{AcceptedCode, PendingAuthorization},
    builder::OAuthClientBuilder,
    client::OAuthClient,
    device::DeviceAuthorization,
    gate::{CircuitState, EndpointGate, EndpointStatus},
    revocation::TokenToRevoke,
    token_response::TokenResponse,
};
pub(crate) use self::{
    endpoint_error::retry_after,
    gate::{BackgroundPermit, GateKey, Permit},
    replay_limit::sending_until,
    transport::{SendError, Transport},
    user_agent::header as user_agent,
};
