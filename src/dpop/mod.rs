//! DPoP (RFC 9449): tokens that only the owner of a private key can use.
//!
//! With [`ProviderBuilder::dpop`](crate::provider::ProviderBuilder::dpop), or `"dpop": true` in a
//! [provider file](crate::provider#provider-files), the tokens of each grant are bound to a key of
//! their own. A stolen token is then useless without the key. The feature `dpop` is needed.
//!
//! ```
//! # #[cfg(all(feature = "dpop", feature = "sandbox"))]
//! # tokio_test::block_on(async {
//! use http::Request;
//! use tower::{Layer, ServiceExt};
//! use tower_oauth2_client::{
//!     bearer::BearerAuthLayer,
//!     cache::TokenCache,
//!     oauth::OAuthClient,
//!     provider,
//!     sandbox::{Dpop, Sandbox},
//! };
//!
//! type Body = http_body_util::Full<bytes::Bytes>;
//! let sandbox = Sandbox::builder().behavior(|behavior| behavior.dpop = Dpop::REQUIRED).build();
//! let provider = provider::justworks().on_origin(&sandbox.url())?;
//! let provider = provider.to_builder().dpop(true).build()?;
//! let oauth = OAuthClient::builder(provider, sandbox.client_id())
//!     .client_secret(sandbox.client_secret())
//!     .redirect_uri(sandbox.redirect_uri())
//!     .build::<_, Body, _>(sandbox.service())?;
//! let tokens = TokenCache::builder(oauth.clone()).build()?;
//! let api = BearerAuthLayer::<Body>::new(tokens.clone()).layer(sandbox.service());
//!
//! let (url, pending) = oauth.authorization_url()?;
//! let callback = sandbox.consent(&url).await?;
//! tokens.complete_authorization(&oauth, &pending, &callback).await?;
//!
//! // The sandbox accepts no request without a valid proof.
//! let company = Request::get(format!("{}/v1/company", sandbox.url())).body(Body::default())?;
//! assert_eq!(api.oneshot(company).await?.status(), 200);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Keys
//!
//! The first token request of a grant, such as the code exchange, creates its key, for ES256. The
//! key is a part of the [`TokenSet`](crate::token::TokenSet::dpop_key). So every store keeps it
//! with the grant, [`EncryptedStore`](crate::store::EncryptedStore) encrypts it, all replicas that
//! share the store share the key, and it stays the same through all refreshes. A new consent brings
//! a new key. A token of the [application itself](crate::cache::ClientCredentials) has a new key
//! with each token request.
//!
//! A grant from before DPoP was turned on stays a bearer grant until its next consent. A refresh
//! creates no key: a lost response would lose the key that the provider has bound the next refresh
//! token to. A grant that has a key keeps it, and its proofs, when DPoP is turned off again.
//!
//! Versions of this crate that do not know keys, and builds without the feature, refuse to read a
//! grant with a key.
//!
//! # Proofs
//!
//! A proof is a signature over the method and the URI of one request, in the header `DPoP`:
//!
//! * Each attempt of a token request for a grant with a key carries one (section 5). Its response
//!   has to have the token type `DPoP`. With `Bearer` the access token is not bound to the key, and
//!   is not used; a refresh token in the response is kept. A revocation carries no proof.
//! * Each request of the [layer](crate::bearer) carries one beside `Authorization: DPoP <token>`
//!   (section 7.1), which also contains the hash of the token. It is made when the inner service is
//!   ready for the request, and a retry carries a new one. A request that already has the header
//!   `DPoP` fails with the kind [`Request`](crate::ErrorKind::Request), and is not sent.
//! * A program that sends its requests without the layer gets a proof from
//!   [`BearerToken::dpop_proof`](crate::cache::BearerToken::dpop_proof).
//!
//! `htu` is the URI without query and fragment (section 4.2): scheme and host in lower case, no
//! default port, and the path as it is sent. A service between the layer and the server must change
//! neither the method nor this part of the URI. `iat` is read from the clock of the
//! [cache](crate::cache::TokenCacheBuilder::clock) or the
//! [client](crate::oauth::OAuthClientBuilder::clock). Servers accept proofs of the last seconds or
//! minutes only (section 11.1): if every proof is rejected with `invalid_dpop_proof`, compare the
//! machine's clock with the `Date` of the responses.
//!
//! # Nonces
//!
//! A server may demand that proofs contain a nonce that it issues (sections 8 and 9). Each response
//! to a request with a proof may bring the next one in the header `DPoP-Nonce`, and the following
//! requests to its origin use it. A cache, or the [tenants](crate::tenants) of one layer, share the
//! nonces of the API, and all clones of an [`OAuthClient`](crate::oauth::OAuthClient) those of the
//! token endpoint. Nonces of up to 1,024 origins are kept, and a nonce of more than 512 characters
//! is ignored.
//!
//! If a server rejects a request with `use_dpop_nonce`, it is sent once more with the nonce of that
//! response:
//!
//! * A token request: the server did not use the code or refresh token.
//! * A request of the layer: with the same token and the same body. That is no rejection of the
//!   token, and apart from the [retry after a 401](crate::bearer). So a request is sent at most
//!   three times.
//!
//! A server that asks for yet another nonce is in a loop. The layer returns the second response; a
//! token request fails with the kind [`Refused`](crate::ErrorKind::Refused) and the code
//! [`UseDpopNonce`](crate::OAuthErrorCode::UseDpopNonce).
//!
//! # Rejections
//!
//! A 401 with the error `invalid_dpop_proof` does not concern the token. The layer returns it, and
//! does not refresh.
//!
//! # Limits
//!
//! Authorization requests do not contain `dpop_jkt` (section 10). PKCE protects the code.

#[cfg(not(feature = "dpop"))]
mod absent;
#[cfg(feature = "dpop")]
mod context;
#[cfg(feature = "dpop")]
mod grant_key;
#[cfg(feature = "dpop")]
mod nonces;
#[cfg(feature = "dpop")]
mod payload;
#[cfg(feature = "dpop")]
mod proofs;

use http::HeaderName;

#[cfg(not(feature = "dpop"))]
pub(crate) use self::absent::{GrantKey, ProofContext, Proofs};
#[cfg(feature = "dpop")]
pub(crate) use self::{context::ProofContext, grant_key::GrantKey, proofs::Proofs};

/// The header of proofs.
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The scheme of access tokens that are bound to a key.
pub(crate) const SCHEME: &str = "DPoP";
