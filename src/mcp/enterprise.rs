//! Tokens for a user of a company's identity provider (MCP enterprise-managed authorization, and
//! draft-ietf-oauth-identity-assertion-authz-grant).
//!
//! Two token requests make one token: the identity provider issues an ID-JAG in return for the
//! user's ID token, and the authorization server of the MCP server accepts that as a grant.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::connection::Connection;
use crate::{
    cache::{AssertionSource, TokenSource},
    error::{BoxError, Error, ErrorKind},
    oauth::{
        OAuthClient,
        token_exchange::{ID_TOKEN, TokenExchangeParameters, TypedToken},
    },
    provider::{Provider, RequestKind},
    token::{Assertion, ClientIdentity, TokenSet},
};

/// The type of an ID-JAG, the grant that an identity provider issues for another authorization
/// server.
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

/// How long the source of the ID tokens may take.
const ID_TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

type IdTokens = Arc<dyn Fn() -> IdToken + Send + Sync>;
type IdToken = Pin<Box<dyn Future<Output = Result<Assertion, BoxError>> + Send>>;

/// The program at the identity provider, and its user.
#[derive(Clone)]
pub(super) struct EnterpriseManaged {
    identity_provider: OAuthClient,
    id_tokens: IdTokens,
}

impl EnterpriseManaged {
    pub(super) fn new(identity_provider: OAuthClient, id_tokens: impl AssertionSource) -> Self {
        let id_tokens = Arc::new(id_tokens);
        Self {
            identity_provider,
            id_tokens: Arc::new(move || {
                let id_tokens = Arc::clone(&id_tokens);
                Box::pin(async move { id_tokens.assertion().await })
            }),
        }
    }

    /// Fails if the client has parameters that this grant sets.
    pub(super) fn check(&self) -> Result<(), Error> {
        let kind = RequestKind::TokenExchange;
        for name in ["audience", "resource"] {
            if self.identity_provider.has_request_parameter(kind, name) {
                return Err(Error::configuration(format!(
                    "enterprise-managed authorization: the client of the identity provider has a \
                     request parameter {name}, which the MCP server decides; remove it"
                )));
            }
        }
        Ok(())
    }

    /// The source of the tokens of a connection, of which `client` is the client.
    pub(super) fn source(
        &self,
        client: OAuthClient,
        connection: &Connection,
    ) -> Result<IdentityAssertion, Error> {
        let scopes: Vec<_> = connection.scopes.iter().map(str::to_owned).collect();
        let scope = self.identity_provider.joined_scopes(&scopes)?;
        Ok(IdentityAssertion {
            client,
            user: self.clone(),
            parameters: TokenExchangeParameters {
                resources: vec![connection.resource.clone()],
                audiences: vec![connection.issuer.clone()],
                // Not the scopes of the client, which are those of the identity provider.
                scope: Some(scope.unwrap_or_default()),
                requested_token_type: Some(ID_JAG.to_owned()),
            },
        })
    }
}

/// A source of tokens by the ID-JAGs of an identity provider. Each refresh requests a new one.
pub(super) struct IdentityAssertion {
    client: OAuthClient,
    user: EnterpriseManaged,
    parameters: TokenExchangeParameters,
}

impl IdentityAssertion {
    async fn id_token(&self) -> Result<Assertion, Error> {
        let failed = |kind, problem| {
            let message = format!("ID token source {problem}, so that no token request was sent");
            Error::new(kind, message)
        };
        match timeout(ID_TOKEN_TIMEOUT, (self.user.id_tokens)()).await {
            Ok(Ok(id_token)) if id_token.expose().trim_ascii().is_empty() => Err(failed(
                ErrorKind::Unavailable,
                "returned an empty text instead of an ID token",
            )),
            Ok(Ok(id_token)) => Ok(id_token),
            Ok(Err(source)) => {
                // Such as that of the cache that holds the sign-in of the user.
                let kind = source.downcast_ref().map(Error::kind);
                let kind = kind.unwrap_or(ErrorKind::Unavailable);
                Err(failed(kind, "failed (see the source)").with_source(source))
            }
            Err(_) => Err(failed(
                ErrorKind::Unavailable,
                "returned nothing within 10 seconds",
            )),
        }
    }

    /// The ID-JAG, and its scopes if they differ from the requested ones.
    async fn id_jag(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let id_token = self.id_token().await?;
        let subject = TypedToken {
            token: id_token.expose().trim_ascii(),
            token_type: ID_TOKEN,
        };
        let identity_provider = &self.user.identity_provider;
        identity_provider
            .token_exchange(&self.parameters, subject, None, held)
            .await
            .map_err(|error| {
                let message = format!("identity provider: {error}");
                error.with_message(message)
            })
    }
}

impl TokenSource for IdentityAssertion {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let id_jag = self.id_jag(held).await?;
        let assertion = Assertion::new(id_jag.access_token().expose());
        self.client
            .request_by_assertion(&assertion, id_jag.scope(), true, held)
            .await
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.client.revoke_access_token_of(held).await
    }

    /// The time for the ID token and both token requests.
    fn fetch_timeout(&self) -> Duration {
        let identity_provider = self.user.identity_provider.own_request_timeout();
        let requests = identity_provider.saturating_add(self.client.own_request_timeout());
        ID_TOKEN_TIMEOUT.saturating_add(requests)
    }

    fn identity(&self) -> Option<ClientIdentity> {
        Some(self.client.identity().with_grant_kind("id_jag"))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(self.client.provider())
    }
}

impl fmt::Debug for EnterpriseManaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterpriseManaged")
            .field("identity_provider", &self.identity_provider)
            .finish_non_exhaustive()
    }
}
