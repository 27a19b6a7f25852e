//! A token source for token exchange.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{BearerToken, TokenCache, source::TokenSource};
use crate::{
    dpop,
    error::Error,
    later::Later,
    oauth::{
        OAuthClient,
        token_exchange::{self, TokenExchangeParameters, TypedToken},
    },
    provider::{BodyFormat, Provider, RequestKind},
    token::{ClientIdentity, Generation, TokenSet},
};

/// How far apart the refreshes are that a refused token exchange causes: its error may have another
/// cause than the token.
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// A source of tokens that the provider issues in return for the token of another cache (token
/// exchange, RFC 8693): for another audience, or with fewer scopes.
///
/// Each refresh takes the *subject token* from the cache of the subject, and optionally an *actor
/// token* from another one. It waits for their refresh as a request would, without a lease, a lock
/// or a permit that they could need. It needs no consent of its own and no durable store.
///
/// ```
/// # use std::{convert::Infallible, time::{Duration, SystemTime}};
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// # use tower_oauth2_client::{cache::token_fn, token::{AccessToken, TokenSet}};
/// use tower_oauth2_client::{
///     cache::{TokenCache, TokenExchange},
///     oauth::OAuthClient,
///     provider::Provider,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_oauth2_client::Error> {
/// # let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
/// #     let tokens = r#"{"access_token":"a2","expires_in":300,
/// #         "issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#;
/// #     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(tokens))))
/// # });
/// # let subject = token_fn(|| async {
/// #     let token = AccessToken::new("a1")?;
/// #     Ok(TokenSet::new(token, Duration::from_secs(3_600), SystemTime::now()))
/// # });
/// # let subject = TokenCache::builder(subject).origin("https://api.example.com").build()?;
/// // `subject` is the cache of a customer's grant.
/// let provider = Provider::builder("https://id.example.com/token")
///     .api_origin("https://backend.example.com")
///     .build()?;
/// let oauth = OAuthClient::builder(provider, "gateway").client_secret("secret").build(http)?;
/// let source = TokenExchange::builder(oauth, subject)
///     .audience("https://backend.example.com")
///     .build()?;
/// let tokens = TokenCache::builder(source).build()?;
/// assert_eq!(tokens.token().await?.header_value(), "Bearer a2");
/// # Ok(()) }
/// ```
///
/// # A subject token that is rejected
///
/// If the provider refuses the request with `invalid_request` (RFC 8693 section 2.2.2),
/// `invalid_grant` or `invalid_token`, the subject token may have been revoked. If the cache of the
/// subject or actor has a newer token meanwhile, the request is sent once more with it. Otherwise
/// that cache refreshes first, at most once in 5 minutes: the error may have another cause.
///
/// # Errors of a refresh
///
/// None of them ends the grant of this source, and nothing is lost: once the subject has a token
/// again, the next refresh uses it.
///
/// | cause | kind | message |
/// | --- | --- | --- |
/// | the subject or actor has no token: nothing was sent | that of its cache, such as [`ReauthorizationRequired`](crate::ErrorKind::ReauthorizationRequired) if the grant has ended | names the subject or actor token, and the cause. The error of its cache is the `source` |
/// | the provider refused the token exchange | [`Refused`](crate::ErrorKind::Refused) | names the code |
/// | the response names no type of the issued token, or another one than requested | [`InvalidResponse`](crate::ErrorKind::InvalidResponse) | names the problem |
/// | other | as for [`OAuthClient::refresh`] | |
///
/// If the customer has to consent again for the subject,
/// [`is_consent_required`](Error::is_consent_required) is true. The `source` of the error may name
/// what the cache of the subject names.
///
/// # What a response contains
///
/// The type of the issued token has to be the requested one. Without a
/// [request](TokenExchangeBuilder::requested_token_type), it has to be an access token or a JWT.
/// A token with the `token_type` `N_A`, which is no access token (section 2.2.1), is accepted only
/// if the program has requested another type. Such a token is not bound to a [DPoP
/// key](crate::dpop#keys), and is sent as a bearer token.
///
/// A refresh token is dropped: the token of the subject obtains the next access token, so that the
/// end of the subject's grant ends this access too.
///
/// # Which cache
///
/// The subject's cache and the cache over this source are different grants. If they share a store,
/// give them different [tenant](crate::cache::TokenCacheBuilder::tenant) names. The parameters and
/// the grant of the actor are part of the [identity](ClientIdentity::grant_kind), so that no token
/// for one audience or actor is used for another. One source serves one subject, so it cannot be
/// the source of many [tenants](crate::tenants): build a cache for each of them.
///
/// # Limiter and circuit breaker
///
/// The source acquires its permits of the client's [gate](OAuthClient::gate) itself, after it has
/// the subject token, and [`TokenSource::gate`] is `None`. After [`OAuthClient::replace_secret`], a
/// backoff of this source runs to its end.
pub struct TokenExchange {
    client: OAuthClient,
    subject: Party,
    actor: Option<Party>,
    parameters: TokenExchangeParameters,
    /// When a refused request last caused a refresh of the subject.
    forced_at: Mutex<Option<Instant>>,
}

/// The cache that a token comes from.
#[derive(Clone, Debug)]
struct Party {
    /// For error messages.
    name: &'static str,
    cache: TokenCache,
    token_type: String,
}

/// Builds a [`TokenExchange`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TokenExchangeBuilder {
    client: OAuthClient,
    subject: Party,
    actor: Option<Party>,
    actor_token_type: String,
    scopes: Option<Vec<String>>,
    parameters: TokenExchangeParameters,
}

impl TokenExchange {
    /// The type of an access token (RFC 8693 section 3).
    pub const ACCESS_TOKEN: &str = token_exchange::ACCESS_TOKEN;
    /// The type of a JWT (RFC 8693 section 3).
    pub const JWT: &str = token_exchange::JWT;
    /// The type of an ID token (RFC 8693 section 3).
    pub const ID_TOKEN: &str = token_exchange::ID_TOKEN;

    /// Starts building a source that sends the tokens of `subject` with the authentication of
    /// `client`. The client may be another one than that of the subject, and of another provider.
    pub fn builder(client: OAuthClient, subject: TokenCache) -> TokenExchangeBuilder {
        TokenExchangeBuilder {
            client,
            subject: Party {
                name: "subject",
                cache: subject,
                token_type: Self::ACCESS_TOKEN.to_owned(),
            },
            actor: None,
            actor_token_type: Self::ACCESS_TOKEN.to_owned(),
            scopes: None,
            parameters: TokenExchangeParameters::default(),
        }
    }
}

impl TokenExchangeBuilder {
    /// Adds a resource: the URI of the API that the token is for (RFC 8693 section 2.1). Defaults
    /// to none.
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.parameters.resources.push(uri.into());
        self
    }

    /// Adds an audience: the name of the API that the token is for (RFC 8693 section 2.1). Defaults
    /// to none.
    pub fn audience(mut self, name: impl Into<String>) -> Self {
        self.parameters.audiences.push(name.into());
        self
    }

    /// Sets the scopes to request. Defaults to those of the client.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let scopes = scopes.into_iter().map(|scope| scope.as_ref().to_owned());
        self.scopes = Some(scopes.collect());
        self
    }

    /// Sets the type of the token to request. Defaults to none: the provider decides, and the token
    /// has to be an access token or a JWT.
    pub fn requested_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.parameters.requested_token_type = Some(token_type.into());
        self
    }

    /// Sets the type of the subject token. Defaults to [`TokenExchange::ACCESS_TOKEN`].
    pub fn subject_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.subject.token_type = token_type.into();
        self
    }

    /// Sets the cache of the party that acts for the subject (RFC 8693 section 1.1). Defaults to
    /// none.
    pub fn actor(mut self, cache: TokenCache) -> Self {
        self.actor = Some(Party {
            name: "actor",
            cache,
            token_type: String::new(),
        });
        self
    }

    /// Sets the type of the actor token. Defaults to [`TokenExchange::ACCESS_TOKEN`].
    pub fn actor_token_type(mut self, token_type: impl Into<String>) -> Self {
        self.actor_token_type = token_type.into();
        self
    }

    /// Builds the source.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by the name of the setting:
    ///
    /// * A resource that is not an absolute URI without a fragment (RFC 8693 section 2.1).
    /// * An audience or a token type that is empty or contains control characters.
    /// * A scope with characters that no scope can contain (RFC 6749 section 3.3).
    /// * A resource or audience beside a [request
    ///   parameter](crate::oauth::OAuthClientBuilder::request_parameter) of this name; or several
    ///   of one kind, if the provider's requests are JSON.
    pub fn build(mut self) -> Result<TokenExchange, Error> {
        self.check()?;
        if let Some(scopes) = &self.scopes {
            self.parameters.scope = self.client.joined_scopes(scopes)?;
        }
        let token_type = self.actor_token_type;
        Ok(TokenExchange {
            client: self.client,
            subject: self.subject,
            actor: self.actor.map(|actor| Party {
                token_type,
                ..actor
            }),
            parameters: self.parameters,
            forced_at: Mutex::new(None),
        })
    }

    fn check(&self) -> Result<(), Error> {
        let fail = |setting: &str, problem: &str| {
            Err(Error::configuration(format!("{setting}: {problem}")))
        };
        let parameters = &self.parameters;
        for resource in &parameters.resources {
            if !is_absolute_uri(resource) {
                return fail(
                    "resource",
                    "not an absolute URI without a fragment; use one such as \
                     https://api.example.com",
                );
            }
        }
        if !parameters
            .audiences
            .iter()
            .all(|audience| is_text(audience))
        {
            return fail("audience", NO_TEXT);
        }
        let requested = parameters.requested_token_type.iter();
        let mut types = requested.chain([&self.subject.token_type, &self.actor_token_type]);
        if !types.all(|token_type| is_text(token_type)) {
            return fail("token type", NO_TEXT);
        }
        let is_json = self.client.provider().request_format() == BodyFormat::Json;
        for (name, values) in [
            ("resource", &parameters.resources),
            ("audience", &parameters.audiences),
        ] {
            let kind = RequestKind::TokenExchange;
            if !values.is_empty() && self.client.has_request_parameter(kind, name) {
                return fail(
                    name,
                    "there is a request parameter of this name, too; remove one of them",
                );
            }
            if values.len() > 1 && is_json {
                return fail(
                    name,
                    "the provider's requests are JSON, which has one value of a name; set one",
                );
            }
        }
        Ok(())
    }
}

const NO_TEXT: &str = "it is empty or contains control characters; correct it";

/// An absolute URI (RFC 3986 section 4.3), such as a URL or a URN.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(is_of_scheme)
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// The token of a party, and its generation.
struct PartyToken {
    token: Zeroizing<String>,
    generation: Generation,
}

/// The tokens of one request.
struct Tokens {
    subject: PartyToken,
    actor: Option<PartyToken>,
}

impl Tokens {
    fn generations(&self) -> (Generation, Option<Generation>) {
        let actor = self.actor.as_ref().map(|actor| actor.generation);
        (self.subject.generation, actor)
    }
}

impl Party {
    /// The token of a request, as the cache returns it: the wait for a refresh is limited.
    async fn token(&self) -> Result<PartyToken, Error> {
        let token = self.cache.token().await;
        token
            .map(|token| self.of(&token))
            .map_err(|error| self.failed("is not available", &error))
    }

    /// The token after a refresh.
    async fn refresh(&self) -> Result<PartyToken, Error> {
        let token = self.cache.refresh_now().await;
        token
            .map(|token| self.of(&token))
            .map_err(|error| self.failed("may have been revoked, and its refresh failed", &error))
    }

    /// Fails if the grant has ended: its cache may still return the last token, until that expires.
    fn check_end(&self) -> Result<(), Error> {
        match self.cache.core.snapshot().ended() {
            Some(error) => Err(self.failed("may have been revoked", &error)),
            None => Ok(()),
        }
    }

    /// A name of the party's grant. It does not contain the name of the tenant.
    fn grant_name(&self) -> String {
        let core = &self.cache.core;
        core.settings.store.grant_name(core.tenant())
    }

    fn of(&self, token: &BearerToken) -> PartyToken {
        let value = token.header_value().as_bytes();
        let scheme = if token.is_bound() {
            dpop::SCHEME
        } else {
            self.cache.core.settings.delivery.bearer_scheme()
        };
        let value = value.strip_prefix(scheme.as_bytes()).unwrap_or(value);
        let text = str::from_utf8(value.trim_ascii_start()).unwrap_or_default();
        PartyToken {
            token: Zeroizing::new(text.to_owned()),
            generation: token.generation(),
        }
    }

    /// The error of the party's cache as one of this source: that grant has ended, and not this
    /// one.
    fn failed(&self, what: &str, error: &Error) -> Error {
        let name = self.name;
        let message = format!("{name} token of the token exchange {what}: {error}");
        Error::new(error.kind(), message).with_source(error.clone())
    }
}

impl TokenExchange {
    async fn tokens(&self) -> Result<Tokens, Error> {
        let (subject, actor) = tokio::join!(self.subject.token(), async {
            match &self.actor {
                Some(actor) => actor.token().await.map(Some),
                None => Ok(None),
            }
        });
        Ok(Tokens {
            subject: subject?,
            actor: actor?,
        })
    }

    /// Other tokens than the rejected ones: those that the caches have meanwhile, or else refreshed
    /// ones. `None` if a refresh is not permitted yet.
    async fn other_tokens(&self, rejected: &Tokens) -> Result<Option<Tokens>, Error> {
        let tokens = self.tokens().await?;
        if tokens.generations() != rejected.generations() {
            return Ok(Some(tokens));
        }
        for party in [Some(&self.subject), self.actor.as_ref()]
            .into_iter()
            .flatten()
        {
            party.check_end()?;
        }
        if !self.may_force(self.client.monotonic()) {
            return Ok(None);
        }
        let (subject, actor) = tokio::join!(self.subject.refresh(), async {
            match &self.actor {
                Some(actor) => actor.refresh().await.map(Some),
                None => Ok(None),
            }
        });
        Ok(Some(Tokens {
            subject: subject?,
            actor: actor?,
        }))
    }

    fn may_force(&self, now: Instant) -> bool {
        let mut forced_at = self
            .forced_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if forced_at.is_some_and(|at| now < at.later(FORCED_REFRESH_INTERVAL)) {
            return false;
        }
        *forced_at = Some(now);
        true
    }

    async fn send(&self, tokens: &Tokens, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let subject = TypedToken {
            token: &tokens.subject.token,
            token_type: &self.subject.token_type,
        };
        let actor = self.actor.as_ref().zip(tokens.actor.as_ref());
        let actor = actor.map(|(party, token)| TypedToken {
            token: &token.token,
            token_type: &party.token_type,
        });
        let client = &self.client;
        client
            .token_exchange(&self.parameters, subject, actor, held)
            .await
    }
}

impl TokenSource for TokenExchange {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let tokens = self.tokens().await?;
        let refusal = match self.send(&tokens, held).await {
            Err(error) if token_exchange::may_reject_tokens(&error) => error,
            outcome => return outcome,
        };
        match self.other_tokens(&tokens).await? {
            Some(other) => self.send(&other, held).await,
            None => Err(refusal),
        }
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        self.client.revoke_access_token_of(held).await
    }

    /// The time for two token requests, and for the token and a refresh of the subject and the
    /// actor.
    fn fetch_timeout(&self) -> Duration {
        let parties = [Some(&self.subject), self.actor.as_ref()];
        let waits = parties.into_iter().flatten();
        let waits = waits.map(|party| party.cache.core.settings.acquire_timeout);
        // One wait before the first request, and two before the second.
        let wait = waits.max().unwrap_or_default().saturating_mul(3);
        let requests = self.client.own_request_timeout().saturating_mul(2);
        wait.saturating_add(requests)
    }

    fn identity(&self) -> Option<ClientIdentity> {
        use fmt::Write as _;
        let TokenExchangeParameters {
            resources,
            audiences,
            scope,
            requested_token_type,
        } = &self.parameters;
        let actor = self.actor.as_ref().map(Party::grant_name);
        let mut kind = "token_exchange".to_owned();
        for (name, values) in [
            ("resource", resources.as_slice()),
            ("audience", audiences.as_slice()),
            ("scope", scope.as_slice()),
            ("type", requested_token_type.as_slice()),
            ("actor", actor.as_slice()),
        ] {
            for value in values {
                // After its length, so that different parameters have different texts. Stored
                // grants contain the text, so it must never change.
                // Writing to a string does not fail.
                let _ = write!(kind, " {name}={}:{value}", value.len());
            }
        }
        Some(self.client.identity().with_grant_kind(kind))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(self.client.provider())
    }

    /// True: the subject is that of one cache.
    fn serves_one_subject(&self) -> bool {
        true
    }
}

impl fmt::Debug for TokenExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenExchange")
            .field("client", &self.client)
            .field("subject", &self.subject)
            .field("actor", &self.actor)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}
