//! The error of this crate, with kinds grouped by what fixes them.
//!
//! Every function of this crate, the [layer](crate::bearer) included, fails with one type,
//! [`Error`]. It is opaque: read its [`kind`](Error::kind), or ask a predicate such as
//! [`is_consent_required`](Error::is_consent_required) or [`is_transient`](Error::is_transient).
//! Its message says what failed and what to do. It is one pointer wide and cheap to clone: all
//! requests that waited for one refresh get the same error.
//!
//! The message contains no secret, no tenant name, and no free text from a server, so that a page
//! for a customer may show it. What the provider says is kept apart from it, for logs and support:
//! [`provider_code`](Error::provider_code) and [`provider_message`](Error::provider_message). Both
//! are short, and secrets are removed from them. A source that this crate adds contains no secret
//! either. The source of a store's error may name the file or
//! the key of a stored grant, which contains the tenant's name.
//!
//! # Composition
//!
//! [`Error`] implements [`std::error::Error`], so `?` converts it into `anyhow::Error`,
//! `eyre::Report`, a `Box<dyn Error + Send + Sync>`, or an enum that derives `thiserror::Error`,
//! and the layer goes under `tower::buffer`, `tower::timeout` and `tower::retry`. An error of the
//! inner service has the kind [`Service`](ErrorKind::Service). It is the
//! [`source`](std::error::Error::source), and downcasting finds it by its own type:
//!
//! ```
//! # use std::{convert::Infallible, io};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Layer, ServiceExt};
//! # use tower_oauth2_client::{
//! #     bearer::BearerAuthLayer,
//! #     cache::{TokenCache, token_fn},
//! #     token::{AccessToken, TokenSet},
//! # };
//! use std::error::Error as _;
//! use tower_oauth2_client::{Error, ErrorKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let source = token_fn(|| async {
//! #     let hour = std::time::Duration::from_secs(3_600);
//! #     Ok(TokenSet::new(AccessToken::new("a1")?, hour, std::time::SystemTime::now()))
//! # });
//! # let tokens = TokenCache::builder(source).origin("https://api.example.com").build()?;
//! // In a program this is an HTTP client.
//! let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
//!     Err::<Response<Full<Bytes>>, _>(io::Error::from(io::ErrorKind::ConnectionReset))
//! });
//! let api = BearerAuthLayer::new(tokens).layer(http);
//!
//! let request = Request::get("https://api.example.com/v1/company").body(Full::default())?;
//! let error: Error = api.oneshot(request).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Service);
//! let inner = error.source().and_then(|source| source.downcast_ref::<io::Error>());
//! assert_eq!(inner.map(io::Error::kind), Some(io::ErrorKind::ConnectionReset));
//! # Ok(()) }
//! ```
//!
//! # Configuration
//!
//! Configuration fails when it is built, and the message begins with the name of the setting:
//!
//! ```
//! use tower_oauth2_client::{ErrorKind, provider::Provider};
//!
//! let error = Provider::builder("https://example.com/token")
//!     .authorization_endpoint("http://example.com/authorize")
//!     .build()
//!     .unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Configuration);
//! assert_eq!(
//!     error.to_string(),
//!     "authorization_endpoint: use https (http is for loopback addresses only)"
//! );
//! ```

use std::{
    borrow::Cow,
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use zeroize::Zeroizing;

mod at_path;
mod code;
mod provider_text;
mod serialize;

pub use self::code::OAuthErrorCode;
pub(crate) use self::{at_path::AtPath, provider_text::ProviderText};

/// A boxed error, as tower's middleware uses it.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of this crate. The [module page](crate::error) describes how to read it.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    response: ResponseDetails,
    source: Option<BoxError>,
    /// Boxed, because most errors have none.
    refresh_token: Option<Box<IssuedRefreshToken>>,
    /// Boxed, because most errors have none.
    provider_text: Option<Box<ProviderText>>,
}

/// A refresh token that came without a usable access token, and when it was issued.
struct IssuedRefreshToken(Zeroizing<String>, SystemTime);

/// The parts of a token endpoint's response that are safe to repeat.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they do not depend on each other"
)]
pub(crate) struct ResponseDetails {
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<OAuthErrorCode>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether the request may have reached the provider and no usable response came back.
    pub(crate) is_lost: bool,
    /// Whether it is certain that the provider did not use the code or refresh token.
    pub(crate) is_unused: bool,
    /// Whether the provider has said that it will never accept the code or refresh token.
    pub(crate) is_dead: bool,
    /// Whether the provider's data define the refusal as none of the code or refresh token.
    pub(crate) is_not_dead: bool,
    /// Whether the program's own code failed before anything was sent, such as a signer.
    pub(crate) is_local: bool,
    /// Whether the error is about another grant, whose token a token source needs.
    pub(crate) is_of_other_grant: bool,
    /// Whether an open circuit breaker rejected the request.
    pub(crate) is_circuit_open: bool,
}

/// The cause of an [`Error`], and with it what fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is wrong, or the provider does not offer the operation. Fix the program.
    Configuration,
    /// A request must not carry the token: it goes to another origin, or already has the token's
    /// header, which is usually `Authorization`. Fix the program.
    Request,
    /// The callback carries an error, or does not belong to the authorization. Start a new
    /// authorization.
    Callback,
    /// There is no grant yet. The customer has to consent.
    NoGrant,
    /// The grant has ended at the provider. The customer has to consent again.
    ReauthorizationRequired,
    /// The grant was revoked by this program, or by one that shares its store. The customer has to
    /// consent again.
    Revoked,
    /// The provider refused the request with an OAuth error code.
    Refused,
    /// The provider could not be reached, did not respond in time, or asked for a pause; or a
    /// circuit breaker or a limit of this crate rejected the work. It may succeed later.
    Unavailable,
    /// The provider's response violates the specifications.
    InvalidResponse,
    /// The store could not be read or written.
    Store,
    /// The stored grant belongs to another client or provider, and is left as it is. Give each
    /// client a store of its own, or accept a former
    /// [identity](crate::cache::TokenSource::identity).
    ForeignGrant,
    /// A value that is kept with the grant is missing, or does not match its pattern, so that an
    /// address of the tenant cannot be made. Only this tenant is affected. Correct the
    /// [provider's data](crate::provider#addresses-per-tenant), or let the customer connect again.
    KeptValue,
    /// A new consent brought no refresh token, and the stored grant has one. The stored grant is
    /// unchanged, and the new tokens are not stored.
    ///
    /// Decide by [`set_tokens_with`](crate::cache::TokenCache::set_tokens_with) what is kept. Or
    /// let the customer remove the application's access in the settings of the account at the
    /// provider, and consent again: most providers then issue a new refresh token.
    RefreshTokenMissing,
    /// The program rejected a new consent, or has not decided about it. The stored grant is
    /// unchanged, and the new tokens are not stored.
    ConsentRejected,
    /// The work was interrupted or not started: the runtime or the cache shut down, or a token
    /// source or a store panicked.
    Interrupted,
    /// The inner service of the layer failed. Its error is the
    /// [`source`](std::error::Error::source).
    Service,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 16] = [
        Self::Configuration,
        Self::Request,
        Self::Callback,
        Self::NoGrant,
        Self::ReauthorizationRequired,
        Self::Revoked,
        Self::Refused,
        Self::Unavailable,
        Self::InvalidResponse,
        Self::Store,
        Self::ForeignGrant,
        Self::KeptValue,
        Self::RefreshTokenMissing,
        Self::ConsentRejected,
        Self::Interrupted,
        Self::Service,
    ];

    /// The kind with this [name](Self::as_str).
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name of the kind in events, metrics and JSON, such as `no_grant`. It is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Request => "request",
            Self::Callback => "callback",
            Self::NoGrant => "no_grant",
            Self::ReauthorizationRequired => "reauthorization_required",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::InvalidResponse => "invalid_response",
            Self::Store => "store",
            Self::ForeignGrant => "foreign_grant",
            Self::KeptValue => "kept_value",
            Self::RefreshTokenMissing => "refresh_token_missing",
            Self::ConsentRejected => "consent_rejected",
            Self::Interrupted => "interrupted",
            Self::Service => "service",
        }
    }
}

/// Constructors for implementations of [`TokenSource`](crate::cache::TokenSource) and
/// [`TokenStore`](crate::store::TokenStore).
impl Error {
    /// A store could not be read or written. Transient: the cache tries again.
    pub fn store(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Store,
            "token store failed: see the source; check that the store is reachable and writable",
        )
        .with_source(source)
    }

    /// A token source got no token this time, and it is certain that no refresh token was used.
    /// Transient: the cache tries again.
    ///
    /// That is certain if no request was sent, or if the response shows that the provider did not
    /// process it, such as a 429 or 503. In any other case, return
    /// [`response_lost`](Self::response_lost).
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "token source returned no token: see the source",
        )
        .with_source(source)
        .with_token_unused()
    }

    /// A token source sent a request and got no usable response, so it is unknown whether the
    /// refresh token was used. The cache replays or defers it, as
    /// [`LostResponse`](crate::cache::LostResponse) says.
    pub fn response_lost(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "token response was lost: it is unknown whether the refresh token was used",
        )
        .with_source(source)
        .with_response(ResponseDetails {
            is_lost: true,
            ..ResponseDetails::default()
        })
    }

    /// A token source reports that the grant has ended, as `invalid_grant` does (RFC 6749 section
    /// 5.2). The cache does not refresh it again until it gets a new grant.
    #[must_use]
    pub fn invalid_grant() -> Self {
        Self::new(
            ErrorKind::Refused,
            "provider rejected the grant (invalid_grant)",
        )
        .with_response(ResponseDetails {
            code: Some(OAuthErrorCode::InvalidGrant),
            is_dead: true,
            ..ResponseDetails::default()
        })
    }
}

impl Error {
    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The OAuth error code of the provider's response, if it has a known one.
    #[must_use]
    pub fn oauth_code(&self) -> Option<OAuthErrorCode> {
        self.inner.response.code
    }

    /// The error code of the provider's response, as the provider writes it: also one that no
    /// specification defines, such as `BAD_REFRESH_TOKEN`.
    ///
    /// It is the text of the member `error`. Without one, it is the value that a
    /// [refusal](crate::provider::Refusal) of the provider matched, or the member `code`,
    /// `error_code`, `errorCode` or `status`. It has at most 64 characters, and is as safe as
    /// [`provider_message`](Self::provider_message).
    #[must_use]
    pub fn provider_code(&self) -> Option<&str> {
        let text = self.inner.provider_text.as_deref();
        let code = text.and_then(|text| text.code.as_deref());
        code.or_else(|| self.oauth_code().map(OAuthErrorCode::as_str))
    }

    /// The provider's description of the error, for logs and support: the member
    /// `error_description`, `error_message`, `errorSummary` or `message` of its response.
    ///
    /// It has at most 200 characters, and no control characters. The secrets of the request are
    /// replaced by `[removed]`, also where they are encoded or cut off, and so is each other text
    /// that looks like a token, such as a request id. The rest is free text from a server: do not
    /// show it to a customer, and do not decide by it. `Debug` shows it, and `Display` does not.
    #[must_use]
    pub fn provider_message(&self) -> Option<&str> {
        self.inner.provider_text.as_ref()?.message.as_deref()
    }

    /// The HTTP status of the provider's response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.inner.response.status
    }

    /// How long to wait before the next attempt: the provider's `Retry-After` (at most 10 minutes),
    /// or the time until the [circuit breaker](crate::oauth::EndpointGate) lets a request through.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.response.retry_after
    }

    /// Whether the customer has to consent, for the first time or again.
    #[must_use]
    pub fn is_consent_required(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::NoGrant | ErrorKind::ReauthorizationRequired | ErrorKind::Revoked
        )
    }

    /// Whether the same operation may succeed later without any change. An authorization code is
    /// used up in any case: see [`exchange_code`](crate::oauth::OAuthClient::exchange_code).
    ///
    /// False for [`ErrorKind::Service`]: only the inner service's error says whether it is
    /// transient.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unavailable
                | ErrorKind::InvalidResponse
                | ErrorKind::Store
                | ErrorKind::Interrupted
        )
    }

    /// Whether the program has to be fixed: a setting, a request, or which store it uses.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Configuration | ErrorKind::Request | ErrorKind::ForeignGrant
        )
    }

    /// Whether a response was lost: the request may have reached the provider, and no usable
    /// response came back. The [table of outcomes](crate::oauth#outcomes-of-a-token-request) has
    /// all cases.
    #[must_use]
    pub fn is_response_lost(&self) -> bool {
        self.inner.response.is_lost
    }

    /// Whether the provider rejected the code or refresh token for good: by `invalid_grant`, or in
    /// the way that the provider's [refusals](crate::provider::Refusal) define.
    #[must_use]
    pub fn is_invalid_grant(&self) -> bool {
        self.inner.response.is_dead
    }

    /// Returns the inner service's error by value.
    ///
    /// # Errors
    ///
    /// Returns the error itself if its kind is not [`Service`](ErrorKind::Service), or if a clone
    /// of it exists.
    pub fn into_service_error(self) -> Result<Box<dyn StdError + Send + Sync>, Self> {
        if self.kind() != ErrorKind::Service {
            return Err(self);
        }
        match Arc::try_unwrap(self.inner) {
            Ok(Inner {
                source: Some(source),
                ..
            }) => Ok(source),
            Ok(inner) => Err(Self::from_inner(inner)),
            Err(inner) => Err(Self { inner }),
        }
    }
}

impl Error {
    /// Whether the provider rejected the client id or secret (`invalid_client`), unless its data
    /// define that response as the end of the grant.
    pub(crate) fn is_invalid_client(&self) -> bool {
        self.oauth_code() == Some(OAuthErrorCode::InvalidClient) && !self.is_invalid_grant()
    }

    /// Whether the failure of a refresh says something about the grant: the endpoint has responded,
    /// and neither with the end of the grant, nor with a rejection of the client, nor with an
    /// outage.
    pub(crate) fn is_of_grant(&self) -> bool {
        matches!(self.kind(), ErrorKind::Refused | ErrorKind::InvalidResponse)
            && !self.is_invalid_grant()
            && !self.is_invalid_client()
    }

    /// Whether the endpoint caused the failure, and not the grant: there was no response, it was a
    /// 5xx or 408, or the circuit breaker rejected the request.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
            && !self.is_invalid_client()
            && self.status().is_none_or(|status| {
                status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT
            })
    }

    /// Whether an open circuit breaker rejected the request.
    pub(crate) fn is_circuit_open(&self) -> bool {
        self.inner.response.is_circuit_open
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::from_inner(Inner {
            kind,
            message: message.into(),
            response: ResponseDetails::default(),
            source: None,
            refresh_token: None,
            provider_text: None,
        })
    }

    pub(crate) fn configuration(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// The error of a layer's inner service.
    #[cold]
    pub(crate) fn service(error: impl Into<BoxError>) -> Self {
        Self::new(ErrorKind::Service, "inner service failed: see the source").with_source(error)
    }

    pub(crate) fn outside_of_a_runtime() -> Self {
        Self::new(
            ErrorKind::Interrupted,
            "called outside of a tokio runtime; call it inside one",
        )
        .with_token_unused()
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.change(|inner| inner.source = Some(source.into()))
    }

    /// The error without its sources, if one of them shows one of these texts.
    pub(crate) fn without_sources_that_show(self, texts: &[&str]) -> Self {
        let mut sources = std::iter::successors(self.source(), |&error| error.source());
        let shows = sources.any(|source| {
            let shown = Zeroizing::new(format!("{source} {source:?}"));
            texts.iter().any(|text| shown.contains(text))
        });
        if shows {
            self.change(|inner| inner.source = None)
        } else {
            self
        }
    }

    /// Replaces the message by one that knows more about the request.
    pub(crate) fn with_message(self, message: impl Into<Cow<'static, str>>) -> Self {
        self.change(|inner| inner.message = message.into())
    }

    /// Marks the response to a request that was sent as lost.
    pub(crate) fn with_response_lost(self) -> Self {
        self.change(|inner| inner.response.is_lost = true)
    }

    /// Marks the code or refresh token as certainly not used.
    pub(crate) fn with_token_unused(self) -> Self {
        self.change(|inner| inner.response.is_unused = true)
    }

    /// Marks a failure of the program's own code before anything was sent: it says nothing about
    /// the endpoint.
    pub(crate) fn with_local_failure(self) -> Self {
        self.with_token_unused()
            .change(|inner| inner.response.is_local = true)
    }

    /// Whether the program's own code failed before anything was sent.
    pub(crate) fn is_local(&self) -> bool {
        self.inner.response.is_local
    }

    /// Whether another client secret or key may help: the provider rejected the client, or the code
    /// that signs failed.
    pub(crate) fn is_of_credentials(&self) -> bool {
        self.is_invalid_client() || self.is_local()
    }

    /// Whether it is certain that the provider did not use the code or refresh token.
    pub(crate) fn is_token_unused(&self) -> bool {
        self.inner.response.is_unused
    }

    /// Whether the provider's data define the refusal as none of the code or refresh token.
    pub(crate) fn is_not_dead(&self) -> bool {
        self.inner.response.is_not_dead
    }

    /// Marks an error as one about another grant, whose token a token source needs.
    pub(crate) fn with_other_grant(self) -> Self {
        self.change(|inner| inner.response.is_of_other_grant = true)
    }

    /// Whether the error is about another grant, whose token a token source needs.
    pub(crate) fn is_of_other_grant(&self) -> bool {
        self.inner.response.is_of_other_grant
    }

    /// Whether the customer has to consent again for the grant itself.
    pub(crate) fn is_end_of_grant(&self) -> bool {
        self.is_consent_required() && !self.is_of_other_grant()
    }

    pub(crate) fn with_response(self, response: ResponseDetails) -> Self {
        self.change(|inner| inner.response = response)
    }

    /// Adds to the message why this happened.
    pub(crate) fn with_explanation(self, explanation: &str) -> Self {
        self.change(|inner| inner.message = format!("{}; {explanation}", inner.message).into())
    }

    /// Adds what the provider says about the error.
    pub(crate) fn with_provider_text(self, text: ProviderText) -> Self {
        self.change(|inner| inner.provider_text = Some(Box::new(text)))
    }

    /// Adds what the provider says in another error, which caused this one.
    pub(crate) fn with_provider_text_of(self, other: &Self) -> Self {
        let text = ProviderText {
            code: other.provider_code().map(Box::from),
            message: other.provider_message().map(Box::from),
        };
        if text.code.is_none() && text.message.is_none() {
            return self;
        }
        self.with_provider_text(text)
    }

    /// Adds the refresh token of a response whose access token cannot be used. Then the response is
    /// not lost. Neither `Debug` nor `Display` shows it.
    pub(crate) fn with_issued_refresh_token(
        self,
        refresh_token: Zeroizing<String>,
        issued_at: SystemTime,
    ) -> Self {
        self.change(|inner| {
            inner.refresh_token = Some(Box::new(IssuedRefreshToken(refresh_token, issued_at)));
        })
    }

    /// The refresh token of a response whose access token cannot be used, and when it was issued.
    pub(crate) fn issued_refresh_token(&self) -> Option<(&str, SystemTime)> {
        let IssuedRefreshToken(token, issued_at) = self.inner.refresh_token.as_deref()?;
        Some((token.as_str(), *issued_at))
    }

    /// The error without its refresh token, for code that must not see it. Such an error has no
    /// source.
    pub(crate) fn without_refresh_token(&self) -> Self {
        if self.inner.refresh_token.is_none() {
            return self.clone();
        }
        Self::new(self.kind(), self.inner.message.clone())
            .with_response(self.inner.response)
            .with_provider_text_of(self)
    }

    /// The error of a token request without a consent: it ends no grant, because the next request
    /// has other credentials, and a refresh token of its response is not used.
    pub(crate) fn of_no_consent(self) -> Self {
        let error = if self.inner.refresh_token.is_some() {
            self.without_refresh_token()
        } else {
            self
        };
        error.change(|inner| inner.response.is_dead = false)
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            change(inner);
            return self;
        }
        // A token source may return a clone of its own error.
        let mut inner = Inner {
            kind: self.inner.kind,
            message: self.inner.message.clone(),
            response: self.inner.response,
            refresh_token: None,
            provider_text: self.inner.provider_text.clone(),
            source: Some(Box::new(self)),
        };
        change(&mut inner);
        Self::from_inner(inner)
    }

    fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message);
        if let Some(status) = self.status() {
            debug.field("status", &status);
        }
        if let Some(code) = self.provider_code() {
            debug.field("provider_code", &code);
        }
        if let Some(message) = self.provider_message() {
            debug.field("provider_message", &message);
        }
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_wide_and_shareable() {
        fn shareable<T: Clone + Send + Sync + 'static>() {}
        shareable::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Option<Error>>(), size_of::<usize>());
    }

    #[test]
    fn source_is_kept() {
        let error = Error::store(std::io::Error::other("disk full"));
        assert_eq!(error.source().unwrap().to_string(), "disk full");
        assert!(error.source().unwrap().is::<std::io::Error>());
        assert!(error.clone().source().is_some());
    }

    #[test]
    fn kinds_fall_into_at_most_one_group() {
        for kind in [
            ErrorKind::Configuration,
            ErrorKind::Request,
            ErrorKind::Callback,
            ErrorKind::NoGrant,
            ErrorKind::ReauthorizationRequired,
            ErrorKind::Revoked,
            ErrorKind::Refused,
            ErrorKind::Unavailable,
            ErrorKind::InvalidResponse,
            ErrorKind::Store,
            ErrorKind::ForeignGrant,
            ErrorKind::KeptValue,
            ErrorKind::Interrupted,
            ErrorKind::Service,
        ] {
            let error = Error::new(kind, "");
            let groups = [
                error.is_consent_required(),
                error.is_transient(),
                error.is_misuse(),
            ];
            assert!(
                groups.iter().filter(|group| **group).count() <= 1,
                "{kind:?}"
            );
        }
    }
}
