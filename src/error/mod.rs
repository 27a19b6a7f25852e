//! What can go wrong, grouped by who can mend it.
//!
//! An [`Error`] is one word wide, cheap to clone (all who waited for one exchange get the same error), and opaque: it is
//! told apart by its [`kind`](Error::kind) or by a predicate, and its message says what to do next. Neither message nor
//! [`source`](std::error::Error::source) holds a secret, nor anything else that a server sent as free text.
//!
//! ```
//! use tower_oauth2_client::{ErrorKind, provider::Provider};
//!
//! let error = Provider::new("http://example.com/authorize", "https://example.com/token").unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Configuration);
//! assert_eq!(
//!     error.to_string(),
//!     "authorization endpoint: use https (http is for loopback addresses only)"
//! );
//! ```

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

use http::StatusCode;

mod code;

pub use self::code::OAuthErrorCode;

/// Any error behind a box, as tower's services have it.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of this crate. See the module page for how to read it.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    answer: Answer,
    source: Option<BoxError>,
}

/// What a token endpoint said, as far as it is safe to repeat.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<OAuthErrorCode>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether a request was sent and nobody knows what the provider made of it.
    pub(crate) is_lost: bool,
}

/// What an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is wrong, or a provider does not offer what was asked of it. The program is at fault.
    Configuration,
    /// A request may not carry the token: another origin, or an `Authorization` of its own. The program is at fault.
    Request,
    /// The browser came back with an error, or with an answer to a question that was not asked.
    Callback,
    /// There is no grant yet: let the customer consent, then give the tokens to the cache.
    NoGrant,
    /// The grant has ended at the provider: let the customer consent again.
    ReauthorizationRequired,
    /// The grant was revoked on purpose, by this program or by one that shares its store.
    Revoked,
    /// The provider understood and said no, with an OAuth error code.
    Refused,
    /// The provider could not be reached, did not answer in time, or asked to be left alone. It may pass.
    Unavailable,
    /// The provider's answer was not what the specifications allow.
    InvalidResponse,
    /// The store could not be read or written.
    Store,
    /// The work was cut short, or not begun: a runtime or cache that shut down, or a panic in a token source or a store.
    Interrupted,
}

/// For those who implement [`TokenSource`](crate::cache::TokenSource) or [`TokenStore`](crate::store::TokenStore).
impl Error {
    /// A store that could not be read or written. Counts as passing: it is tried again.
    pub fn store(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Store,
            "the token store failed: see the cause, and check that it is reachable and writable",
        )
        .with_source(source)
    }

    /// A token source that got no token this time. Counts as passing: it is tried again.
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the token source gave no token: see the cause",
        )
        .with_source(source)
    }

    /// A token source that has sent a request and got no answer, or none that can be read: whether the refresh token was
    /// used up is not known. Sent once more or held back, as [`LostResponse`](crate::cache::LostResponse) says.
    pub fn response_lost(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the answer to an exchange was lost: whether the refresh token was used up is not known",
        )
        .with_source(source)
        .with_answer(Answer {
            is_lost: true,
            ..Answer::default()
        })
    }

    /// A token source whose grant has ended for good, as an `invalid_grant` says. It is not asked again before a new
    /// grant arrives.
    #[must_use]
    pub fn invalid_grant() -> Self {
        Self::new(
            ErrorKind::Refused,
            "the provider refused the grant (invalid_grant)",
        )
        .with_answer(Answer {
            code: Some(OAuthErrorCode::InvalidGrant),
            ..Answer::default()
        })
    }
}

impl Error {
    /// What the error is about.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The OAuth error code, if the provider gave one that is known.
    #[must_use]
    pub fn oauth_code(&self) -> Option<OAuthErrorCode> {
        self.inner.answer.code
    }

    /// The status of the provider's answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.inner.answer.status
    }

    /// How long to wait: what the provider asked for, as far as that is within reason (10 minutes at most), or what is left of
    /// a pause that its [gate](crate::oauth::EndpointGate) keeps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.answer.retry_after
    }

    /// Whether the customer has to consent, for the first time or again.
    #[must_use]
    pub fn is_consent_required(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::NoGrant | ErrorKind::ReauthorizationRequired | ErrorKind::Revoked
        )
    }

    /// Whether the same may succeed later without anybody doing anything. (A code is gone all the same: see
    /// [`exchange_code`](crate::oauth::OAuthClient::exchange_code).)
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

    /// Whether a setting or a request of the program is at fault.
    #[must_use]
    pub fn is_misuse(&self) -> bool {
        matches!(self.kind(), ErrorKind::Configuration | ErrorKind::Request)
    }

    /// Whether a request was sent whose answer was lost, so that nobody knows what the provider made of it.
    #[must_use]
    pub fn is_response_lost(&self) -> bool {
        self.inner.answer.is_lost
    }

    /// Whether the provider refused the code or refresh token (`invalid_grant`).
    #[must_use]
    pub fn is_invalid_grant(&self) -> bool {
        self.oauth_code() == Some(OAuthErrorCode::InvalidGrant)
    }
}

impl Error {
    /// Whether the endpoint does not know the client, or not with this secret (`invalid_client`).
    pub(crate) fn is_invalid_client(&self) -> bool {
        self.oauth_code() == Some(OAuthErrorCode::InvalidClient)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::from_inner(Inner {
            kind,
            message: message.into(),
            answer: Answer::default(),
            source: None,
        })
    }

    pub(crate) fn configuration(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    pub(crate) fn outside_of_a_runtime() -> Self {
        Self::new(
            ErrorKind::Interrupted,
            "called outside of a tokio runtime: call it inside one",
        )
    }

    pub(crate) fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.change(|inner| inner.source = Some(source.into()))
    }

    /// Marks that a request was sent and nobody knows what became of it.
    pub(crate) fn with_response_lost(self) -> Self {
        self.change(|inner| inner.answer.is_lost = true)
    }

    pub(crate) fn with_answer(self, answer: Answer) -> Self {
        self.change(|inner| inner.answer = answer)
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        // Only ever called before the error is shared.
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            change(inner);
        }
        self
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
            ErrorKind::Interrupted,
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
