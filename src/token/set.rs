//! What one exchange returns.

use std::time::{Duration, SystemTime};

use super::{AccessToken, RefreshToken};

/// The longest life that is believed. A provider that says more is asked again after this time.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// An access token, how long it lives, and what comes with it.
///
/// Times are this machine's: the lifetime is a duration, counted from when the exchange's request was *sent*, so that
/// neither a slow answer nor a provider whose clock is wrong makes the token look alive after its end.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_oauth2_client::token::{AccessToken, RefreshToken, TokenSet};
///
/// let sent = SystemTime::UNIX_EPOCH;
/// let tokens = TokenSet::new(AccessToken::new("a1")?, Duration::from_secs(86_400), sent)
///     .with_refresh_token(RefreshToken::new("r1"), sent);
///
/// assert_eq!(tokens.expires_at(), sent + Duration::from_secs(86_400));
/// assert!(!format!("{tokens:?}").contains("r1"));
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    access_token: AccessToken,
    lifetime: Duration,
    issued_at: SystemTime,
    refresh_token: Option<(RefreshToken, SystemTime)>,
    scope: Option<String>,
}

impl TokenSet {
    /// A token set without a refresh token.
    ///
    /// `issued_at` is when the request for it was sent. Lifetimes count in whole milliseconds, and as 366 days at most.
    #[must_use]
    pub fn new(access_token: AccessToken, lifetime: Duration, issued_at: SystemTime) -> Self {
        Self {
            access_token,
            // Whole milliseconds, so that a store gives back what it was given.
            lifetime: Duration::from_millis(
                u64::try_from(lifetime.min(LONGEST_LIFETIME).as_millis()).unwrap_or(u64::MAX),
            ),
            issued_at,
            refresh_token: None,
            scope: None,
        }
    }

    /// Adds the refresh token, and when it was issued, which is earlier than the access token's time if the provider
    /// goes on with an older refresh token.
    #[must_use]
    pub fn with_refresh_token(
        mut self,
        refresh_token: RefreshToken,
        issued_at: SystemTime,
    ) -> Self {
        self.refresh_token = Some((refresh_token, issued_at));
        self
    }

    /// Adds the scopes that were granted, separated by spaces. They may be fewer than those asked for.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// What a request carries.
    #[must_use]
    pub fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    /// How long the access token lives, from [`issued_at`](Self::issued_at) on.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// When the request for the access token was sent, by this machine's wall clock.
    #[must_use]
    pub fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    /// When the access token dies, by this machine's wall clock.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.issued_at
            .checked_add(self.lifetime)
            .unwrap_or(self.issued_at)
    }

    /// What buys the next token set, if the provider gave it.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref().map(|(token, _)| token)
    }

    /// When the refresh token was issued: its own life is counted from here.
    #[must_use]
    pub fn refresh_token_issued_at(&self) -> Option<SystemTime> {
        self.refresh_token.as_ref().map(|(_, issued_at)| *issued_at)
    }

    /// The granted scopes, separated by spaces, if the provider named them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether `scope` is among the granted ones. `None` if the provider did not name them.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> Option<bool> {
        self.scope()
            .map(|granted| granted.split(' ').any(|one| one == scope))
    }

    /// Keeps what the provider left out of its answer to a refresh: RFC 6749 section 6 lets it omit the refresh token
    /// (the old one stays good), section 5.1 the scopes (unchanged).
    #[must_use]
    pub(crate) fn renewing(mut self, previous: &Self) -> Self {
        let unchanged = match (&self.refresh_token, &previous.refresh_token) {
            (None, _) => true,
            (Some((new, _)), Some((old, _))) => new == old,
            (Some(_), None) => false,
        };
        if unchanged {
            // Also when the same one is repeated: nothing says that its own life began anew.
            self.refresh_token.clone_from(&previous.refresh_token);
        }
        if self.scope.is_none() {
            self.scope.clone_from(&previous.scope);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(at: SystemTime) -> TokenSet {
        TokenSet::new(AccessToken::new("a").unwrap(), Duration::from_secs(60), at)
    }

    #[test]
    fn omitted_refresh_token_and_scope_are_kept_with_their_age() {
        let then = SystemTime::UNIX_EPOCH;
        let now = then + Duration::from_secs(1_000);
        let old = tokens(then)
            .with_refresh_token(RefreshToken::new("r1"), then)
            .with_scope("one two");

        let renewed = tokens(now).renewing(&old);
        assert_eq!(renewed.refresh_token().unwrap().expose(), "r1");
        assert_eq!(renewed.refresh_token_issued_at(), Some(then));
        assert_eq!(renewed.has_scope("two"), Some(true));

        let repeated = tokens(now)
            .with_refresh_token(RefreshToken::new("r1"), now)
            .renewing(&old);
        assert_eq!(repeated.refresh_token_issued_at(), Some(then));

        let rotated = tokens(now)
            .with_refresh_token(RefreshToken::new("r2"), now)
            .with_scope("one")
            .renewing(&old);
        assert_eq!(rotated.refresh_token().unwrap().expose(), "r2");
        assert_eq!(rotated.refresh_token_issued_at(), Some(now));
        assert_eq!(rotated.has_scope("two"), Some(false));
    }

    #[test]
    fn p18_nonsense_lifetimes_do_not_overflow() {
        let tokens = TokenSet::new(
            AccessToken::new("a").unwrap(),
            Duration::MAX,
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(tokens.lifetime(), LONGEST_LIFETIME);
        assert_eq!(
            tokens.expires_at(),
            SystemTime::UNIX_EPOCH + LONGEST_LIFETIME
        );
    }
}
