//! Authorization of MCP clients: discovery, registration, consent and step-up in one layer.
//!
//! An [`McpAuth`] authorizes one user at one server of the Model Context Protocol (MCP
//! authorization, 2025-11-25). It is a layer for any tower HTTP client: the first request finds out
//! which authorization server the MCP server trusts and which client the program is there, and asks
//! the user for consent. From then on a [`TokenCache`](crate::cache::TokenCache) holds the grant:
//! it is refreshed in the background, rotates durably, and survives restarts.
//!
//! ```
//! # use std::{convert::Infallible, sync::Arc};
//! # use bytes::Bytes;
//! # use http::{Response, StatusCode, header};
//! # use tower_oauth2_client::sandbox::{MetadataDocuments, Sandbox};
//! use http::Request;
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_oauth2_client::{
//!     mcp::{McpAuth, PreRegistered},
//!     store::MemoryStore,
//! };
//!
//! # tokio_test::block_on(async {
//! # let sandbox = Sandbox::builder().redirect_uri("http://127.0.0.1:8765/callback");
//! # let sandbox = sandbox.behavior(|behavior| behavior.metadata = MetadataDocuments::OAuth);
//! # let sandbox = Arc::new(sandbox.build());
//! # let (user, issuer) = (Arc::clone(&sandbox), sandbox.url());
//! # let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
//! #     let sandbox = Arc::clone(&sandbox);
//! #     async move {
//! #         let issuer = sandbox.url();
//! #         let response = match request.uri().path() {
//! #             _ if request.uri().to_string().starts_with(&issuer) => {
//! #                 let response = sandbox.service().oneshot(request).await.unwrap();
//! #                 let (head, body) = response.into_parts();
//! #                 let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
//! #                 Response::from_parts(head, Full::new(body))
//! #             }
//! #             "/.well-known/oauth-protected-resource/mcp" => {
//! #                 let json = serde_json::json!({
//! #                     "resource": "http://127.0.0.1:1/mcp", "authorization_servers": [issuer],
//! #                 });
//! #                 Response::new(Full::from(json.to_string()))
//! #             }
//! #             _ => {
//! #                 let mut response = Response::new(Full::default());
//! #                 if !request.headers().contains_key(header::AUTHORIZATION) {
//! #                     *response.status_mut() = StatusCode::UNAUTHORIZED;
//! #                 }
//! #                 response
//! #             }
//! #         };
//! #         Ok::<_, Infallible>(response)
//! #     }
//! # });
//! # let endpoint = "http://127.0.0.1:1/mcp";
//! // `http` is an HTTP client that follows no redirects, such as hyper-util's. `endpoint` is the
//! // URL of the MCP server, and `issuer` an authorization server where the program is registered.
//! let auth = McpAuth::builder(endpoint, http.clone())
//!     .pre_registered(
//!         PreRegistered::new(issuer, "sandbox-client").client_secret("sandbox-client-secret"),
//!     )
//!     .client_name("Example app") // At other authorization servers it registers itself.
//!     .authorize("http://127.0.0.1:8765/callback", move |url| {
//!         // Open `url` in the user's browser, and wait for the callback at the redirect URI.
//!         let user = user.clone();
//!         async move { Ok(user.consent(&url).await?) }
//!     })
//!     .store(MemoryStore::new()) // In a program, a durable store.
//!     .build()?;
//! let mcp = ServiceBuilder::new().layer(auth.clone()).service(http);
//!
//! let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
//! let request = Request::post(endpoint).body(Full::from(message))?;
//! assert_eq!(mcp.oneshot(request).await?.status(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! The example `mcp_client` is a whole client. It passes the authorization scenarios of the
//! conformance suite of MCP.
//!
//! # What a request does
//!
//! * **There is a token.** The request carries it, as in [`bearer`](crate::bearer): a refresh when
//!   it is due, and one retry after a 401.
//! * **There was never a grant.** The request is sent without a token, as MCP asks for. A 401 leads
//!   to a connection, and then the request is sent again. Any other response is returned as it is.
//! * **The grant has ended**, and no valid token is left, or the MCP server rejects a token that
//!   cannot be refreshed. The user is asked again, and then the request is sent. It is never sent
//!   without a token.
//! * **A 403 with the error `insufficient_scope`** leads to a step-up: the user is asked for the
//!   scopes of the last consent and those of the challenge, and the request is sent again. It is
//!   returned as it is if the challenge names no scope that was not requested before.
//!
//! A request leads to one connection and one step-up at most. All requests that need one wait for
//! the same one, for at most the [`connect_timeout`](McpAuthBuilder::connect_timeout), and hold no
//! capacity of the inner service meanwhile. A dropped request does not stop it. After a failure,
//! requests get its error for 30 seconds, and then try again; [`McpAuth::connect`] does so at once.
//! Requests replace a connection three times within 10 minutes at most, so that a server that is
//! never content does not ask the user without end.
//!
//! A request body is sent again if it is at most
//! [`replay_limit`](McpAuthBuilder::replay_limit) long. Otherwise the request gets the 401 or 403,
//! and the connection is made for the next one. The body has to be [`Clone`]. A message is in
//! memory anyway, so with a reqwest client it can be text:
//!
//! ```
//! # #[cfg(feature = "reqwest")] {
//! # use tower_oauth2_client::mcp::McpAuth;
//! use bytes::Bytes;
//! use http::Request;
//! use tower::ServiceBuilder;
//! use tower_oauth2_client::{bearer::ReplayBody, reqwest::ReqwestClient};
//!
//! # fn example(auth: McpAuth, http: ReqwestClient) {
//! let mcp = ServiceBuilder::new()
//!     .layer(auth)
//!     .map_request(|request: Request<String>| {
//!         request.map(|text| ReplayBody::from(Bytes::from(text)))
//!     })
//!     .service(http);
//! # assert_service(mcp);
//! # }
//! # fn assert_service<S: tower::Service<Request<String>>>(_: S) {}
//! # }
//! ```
//!
//! # How a connection is made
//!
//! 1. The [metadata of the MCP server](crate::discovery::ProtectedResource) are loaded from the URL
//!    that the 401 names (`resource_metadata`, RFC 9728 section 5.1), or else from the well-known
//!    URL with the path of the endpoint, and then without it. They have to be of a resource that
//!    contains the endpoint.
//! 2. Of the authorization servers in them, the first one is used where the program is
//!    [pre-registered](McpAuthBuilder::pre_registered), or else the first one. Its
//!    [metadata](crate::discovery#where-metadata-are-looked-for) (RFC 8414, or `OpenID` Connect
//!    Discovery) have to name PKCE with `S256`.
//! 3. The client is the pre-registered one, or else the
//!    [metadata document](McpAuthBuilder::client_metadata_url) if the server supports it. Otherwise
//!    it is registered (RFC 7591), with the first of `client_secret_basic`, `client_secret_post`
//!    and `none` that the server supports. A registration is stored and used again.
//! 4. The scopes are those of the challenge, or else all `scopes_supported` of the MCP server, or
//!    else none. `offline_access` is added if the authorization server lists it, and there are
//!    other scopes.
//! 5. The user consents. The callback has to carry the `state`, and the issuer (RFC 9207) if the
//!    authorization server announces it.
//! 6. Authorization, code exchange and each refresh carry `resource` (RFC 8707). The authorization
//!    request is pushed (RFC 9126) if the metadata require that.
//!
//! While the grant can be refreshed, the connection stays as it is. If an MCP server moves to
//! another authorization server before the old one ends the grant, revoke it through
//! [`tokens`](McpAuth::tokens); the next request then connects again.
//!
//! If another process with the same store has connected meanwhile, its grant is adopted instead.
//!
//! A connection may need another registration than the grant before, for example because the
//! redirect URI has changed. Once the new grant is stored, the tokens of the grant before leave the
//! store, and are revoked (RFC 7009) if the authorization server supports that and the program
//! still runs 5 seconds later. Otherwise they are valid until they expire. If a process has
//! refreshed that grant or consented to it again since the user was asked, it is kept. So is the
//! grant of a client of another kind than the program's settings name: other processes may still
//! have the former settings.
//!
//! # Enterprise-managed authorization
//!
//! In a company, its identity provider can decide which MCP servers a program may use for a user
//! (the MCP extension of this name, SEP-990, and draft-ietf-oauth-identity-assertion-authz-grant).
//! The user signs in to the program once, and consents nowhere else. With
//! [`enterprise_managed`](McpAuthBuilder::enterprise_managed), steps 1 to 4 are the same, and then,
//! for the first token and for each later one:
//!
//! 1. The program returns the user's ID token.
//! 2. The identity provider issues an ID-JAG in return (token exchange, RFC 8693): an assertion for
//!    one authorization server (`audience`, its issuer) and one MCP server (`resource`). The
//!    response has to name this type in `issued_token_type`, usually with the `token_type` `N_A`.
//! 3. The authorization server accepts the ID-JAG as a grant (RFC 7523) from the pre-registered
//!    client, and issues an access token. The request names the scopes that the identity provider
//!    has left.
//!
//! No browser is needed when the access token expires or more scopes are needed, and nothing can be
//! lost: neither a refresh token nor a store is involved. The ID token is sent to the identity
//! provider only. The identity provider has to know the client at the authorization server.
//!
//! The sign-in is a grant of its own. Here, its cache keeps the ID token of each token response:
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower_oauth2_client::token::{AccessToken, TokenSet};
//! use tower_oauth2_client::{
//!     Error,
//!     cache::TokenCache,
//!     mcp::{McpAuth, PreRegistered},
//!     oauth::OAuthClient,
//!     provider::{KeptValue, Provider, ValueSource},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//! #     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(match request.uri().path() {
//! #         "/.well-known/oauth-protected-resource/mcp" => r#"{
//! #             "resource": "https://mcp.example.com/mcp",
//! #             "authorization_servers": ["https://id.example.com"]
//! #         }"#,
//! #         "/.well-known/oauth-authorization-server" => r#"{
//! #             "issuer": "https://id.example.com",
//! #             "token_endpoint": "https://id.example.com/token"
//! #         }"#,
//! #         _ if request.uri().host() == Some("login.example.com") => r#"{
//! #             "access_token": "header.claims.signature",
//! #             "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
//! #             "token_type": "N_A"
//! #         }"#,
//! #         _ => r#"{"access_token": "a1", "expires_in": 3600}"#,
//! #     }))))
//! # });
//! let provider = Provider::builder("https://login.example.com/token")
//!     .api_origin("https://login.example.com")
//!     .kept_value("id_token", KeptValue::new(ValueSource::Response))
//!     .build()?;
//! let company = OAuthClient::builder(provider, "app-at-the-company")
//!     .client_secret("company-secret")
//!     .build(http.clone())?;
//! let sign_in = TokenCache::builder(company.clone()).build()?;
//! # let (token, hour) = (AccessToken::new("s1")?, Duration::from_secs(3_600));
//! # let tokens = TokenSet::new(token, hour, SystemTime::now());
//! # sign_in.set_tokens(tokens.with_value("id_token", "header.claims.signature")).await?;
//! // … the user signs in, as in `TokenCache::complete_authorization` …
//! let id_tokens = move || {
//!     let sign_in = sign_in.clone();
//!     async move {
//!         sign_in.token().await?; // Refreshes it, and so the ID token.
//!         let values = sign_in.values().await?;
//!         Ok::<_, Error>(values.get("id_token").unwrap_or_default().to_owned())
//!     }
//! };
//! let auth = McpAuth::builder("https://mcp.example.com/mcp", http)
//!     .pre_registered(PreRegistered::new("https://id.example.com", "app").client_secret("secret"))
//!     .enterprise_managed(company, id_tokens)
//!     .build()?;
//! auth.connect().await?;
//! # Ok(()) }
//! ```
//!
//! | cause of an error | kind | message |
//! | --- | --- | --- |
//! | the program returned no ID token | [`Unavailable`](crate::ErrorKind::Unavailable), or the kind of its error if that is an [`Error`](crate::Error) | begins with `ID token source`. Its error is the `source` |
//! | the identity provider refused the ID token (`invalid_grant` or `invalid_request`), the MCP server (`invalid_target`), or the program | [`Refused`](crate::ErrorKind::Refused) | begins with `identity provider` and names the code |
//! | its response contains no ID-JAG | [`InvalidResponse`](crate::ErrorKind::InvalidResponse) | begins with `identity provider` |
//! | the authorization server refused the ID-JAG | [`Refused`](crate::ErrorKind::Refused) | names the assertion |
//!
//! After the user has signed in again, [`McpAuth::connect`] connects at once, and requests do so
//! after the usual pauses. If the identity provider requires a stronger sign-in, the
//! [`provider_code`](crate::Error::provider_code) is `insufficient_user_authentication`.
//!
//! # What an MCP server cannot do
//!
//! * The token is sent to the endpoint, and below its path, only. Other requests fail with the kind
//!   [`Request`](crate::ErrorKind::Request) and are not sent.
//! * Metadata are requested by `https` only (`http` to loopback for an endpoint on loopback),
//!   without credentials. No redirect is followed, if the HTTP client follows none. A response has
//!   at most 1 MiB, and a load takes at most 10 seconds. The servers choose the hosts: a program
//!   inside a private network that connects to servers of strangers should limit by its HTTP client
//!   which addresses are reached.
//! * Clients and grants belong to one issuer. If an MCP server names another authorization server,
//!   that one gets neither the id and secret of a client nor a code or refresh token of the first.
//!
//! # Errors
//!
//! Beside those of [`TokenCache::token`](crate::cache::TokenCache::token), a request fails with
//! [`Configuration`](crate::ErrorKind::Configuration) if a server lacks what MCP requires, or the
//! program has no client there; [`InvalidResponse`](crate::ErrorKind::InvalidResponse) for metadata
//! that lie; [`Callback`](crate::ErrorKind::Callback) if the user or the program has not completed
//! the consent; [`Refused`](crate::ErrorKind::Refused) if a registration or code exchange was
//! refused; [`Unavailable`](crate::ErrorKind::Unavailable) after a timeout, or for too many
//! connections. Each message names the document or the step.

mod auth;
mod builder;
mod challenge;
mod client;
mod connect;
mod connection;
mod endpoint;
mod enterprise;
mod http;
mod legacy;
mod registration;
mod replaced;
mod scopes;
mod service;
mod session;

pub use self::{
    auth::McpAuth, builder::McpAuthBuilder, client::PreRegistered, service::McpService,
};
