//! Metadata of authorization servers, so that a program names an issuer instead of endpoints.
//!
//! [`Provider::discover`](crate::provider::Provider::discover) loads the metadata of an issuer (RFC
//! 8414, and OpenID Connect Discovery 1.0) and returns the provider that they describe. A
//! [`Discovery`] keeps them, and a builder adds what they do not contain, such as the address of
//! the API:
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tower_oauth2_client::{
//!     discovery::Discovery,
//!     oauth::OAuthClient,
//!     provider::{ClientAuthentication, IssuerCheck},
//! };
//!
//! # tokio_test::block_on(async {
//! // In a program this is a hyper-util or reqwest client. Here a function responds.
//! let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     let well_known = "https://id.example.com/.well-known/oauth-authorization-server";
//!     assert_eq!(request.uri(), well_known);
//!     let metadata = r#"{
//!         "issuer": "https://id.example.com",
//!         "authorization_endpoint": "https://id.example.com/authorize",
//!         "token_endpoint": "https://id.example.com/token",
//!         "token_endpoint_auth_methods_supported": ["client_secret_post"],
//!         "code_challenge_methods_supported": ["S256"],
//!         "authorization_response_iss_parameter_supported": true
//!     }"#;
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(metadata))))
//! });
//! let discovery = Discovery::builder("https://id.example.com").build(http.clone())?;
//! let metadata = discovery.metadata().await?;
//! let provider = metadata
//!     .to_provider_builder()?
//!     .api_origin("https://api.example.com")
//!     .build()?;
//! assert_eq!(provider.client_authentication(), ClientAuthentication::RequestBody);
//! assert_eq!(provider.issuer_check(), IssuerCheck::Required);
//!
//! let oauth = OAuthClient::builder(provider, "client-id")
//!     .client_secret("client-secret")
//!     .redirect_uri("https://partner.example.com/callback")
//!     .build(http)?;
//! # let _ = oauth;
//! # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
//! ```
//!
//! # Where metadata are looked for
//!
//! For the issuer `https://id.example.com/tenant`, in this order:
//!
//! 1. `https://id.example.com/.well-known/oauth-authorization-server/tenant` (RFC 8414 section 3.1)
//! 2. `https://id.example.com/.well-known/openid-configuration/tenant` (RFC 8414 section 5)
//! 3. `https://id.example.com/tenant/.well-known/openid-configuration` (OpenID Connect Discovery
//!    1.0 section 4.1)
//!
//! An issuer without a path has the first two. A slash at the end of the path is left out of these
//! URLs, but not of the comparison of issuers. A 4xx status leads to the next URL. Anything else
//! than metadata of this issuer is an error: a server that has metadata for another issuer at one
//! of these URLs must not be used (RFC 8414 section 3.3).
//!
//! # What is checked
//!
//! * Requests go out as [token requests](crate::oauth#the-http-client) do: no redirect is followed,
//!   a response has at most 1 MiB, and a load at most 10 seconds. They carry no credentials.
//! * The issuer is compared with the requested one as a string.
//! * Each endpoint is an `https` URL of at most 2 KiB. It is `http` to loopback only if the issuer
//!   is too, so that a server elsewhere cannot name a service of this machine by it.
//! * No member is repeated, and each member that is read has the right type. Other members are
//!   ignored, `signed_metadata` included. A member that is `null` counts as missing.
//!
//! An error names the cause; [`Discovery::metadata`] lists the kinds. Its message contains no text
//! of the server. The other issuer or the wrong URL is the text of its
//! [`source`](std::error::Error::source).
//!
//! Whether an issuer can be trusted is not decided here. A program that accepts issuers from others
//! has to check them first: a load sends a request to the issuer's host, which may be in a private
//! network, and the endpoints in the metadata get the client's credentials.
//!
//! # From an API to its issuer
//!
//! An API may name its issuers by metadata of its own (RFC 9728), as MCP servers do:
//! [`ProtectedResource`] finds, loads and checks them.
//!
//! # If metadata change
//!
//! An [`OAuthClient`](crate::oauth::OAuthClient) keeps the provider that it was built with. New
//! endpoints have effect when the program builds a new client, as at its next start, and gives it
//! to new caches. Compare [`Metadata`] by `==` to notice a change.
//!
//! A stored grant names the token endpoint that issued it, and no process refreshes a grant of
//! another one. So after a change of `token_endpoint`, the new client finds the grants of the old
//! one as [foreign](crate::ErrorKind::ForeignGrant). If it is the same server under a new URL,
//! accept the old identity: the grants then move to the new one with their next save. Keep the
//! accepted identity as long as there are such grants.
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! use tower_oauth2_client::{
//!     cache::TokenCache, oauth::OAuthClient, provider::Provider, token::ClientIdentity,
//! };
//!
//! # let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
//! #     Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
//! # });
//! let provider = Provider::builder("https://id.example.com/v2/token")
//!     .api_origin("https://api.example.com")
//!     .build()?;
//! let oauth = OAuthClient::builder(provider, "client-id")
//!     .client_secret("client-secret")
//!     .build(http)?;
//! let before = ClientIdentity::new("https://id.example.com/v1/token", "client-id");
//! let tokens = TokenCache::builder(oauth).accept_identity(before).build()?;
//! # let _ = tokens;
//! # Ok::<(), tower_oauth2_client::Error>(())
//! ```

mod authentication;
mod builder;
mod document;
mod fetch;
mod freshness;
mod handle;
mod json;
mod metadata;
mod protected_resource;
mod provider;
mod url;

pub use self::{
    builder::DiscoveryBuilder, handle::Discovery, metadata::Metadata,
    protected_resource::ProtectedResource,
};
