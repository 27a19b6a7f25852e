//! Token sets.

use std::time::{Duration, SystemTime};

use super::{AccessToken, DpopKey, KeptValues, RefreshToken};

/// The longest lifetime that is believed: a century. Longer ones stand for "never", as an expiry in
/// the year 9999 does, and would overflow clocks.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// How far two statements of the same time are apart: responses take different times, and clocks
/// differ.
const SAME_END: Duration = Duration::from_secs(60);
const LONGEST_SAME_END: Duration = Duration::from_secs(3_600);

/// An access token with its lifetime, and usually a refresh token.
///
/// Times are by this machine's clock. The lifetime is a duration from when the token request was
/// *sent*, so that neither a slow response nor a wrong clock at the provider lengthens it. A
/// lifetime may be unknown: requests then use the token until the API rejects it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_oauth2_client::token::{AccessToken, RefreshToken, TokenSet};
///
/// let sent = SystemTime::UNIX_EPOCH;
/// let tokens = TokenSet::new(AccessToken::new("a1")?, Duration::from_secs(86_400), sent)
///     .with_refresh_token(RefreshToken::new("r1"), sent);
///
/// assert_eq!(tokens.expires_at(), Some(sent + Duration::from_secs(86_400)));
/// assert!(!format!("{tokens:?}").contains("r1"));
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSet {
    access_token: AccessToken,
    /// `None` if it is unknown.
    lifetime: Option<Duration>,
    issued_at: SystemTime,
    refresh_token: Option<(RefreshToken, SystemTime)>,
    scope: Option<Box<str>>,
    /// Details that few providers send. Boxed, because idle grants of the others need no room for
    /// it.
    details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    refresh_token_lifetime: Option<Duration>,
    values: KeptValues,
    dpop_key: Option<DpopKey>,
}

static NO_VALUES: KeptValues = KeptValues::NONE;

impl TokenSet {
    /// Creates a token set without a refresh token.
    ///
    /// `issued_at` is when the token request was sent. The lifetime is `None` if it is unknown:
    /// requests then use the access token until the API rejects it with a 401. A lifetime of more
    /// than 100 years counts as unknown. It is cut to whole milliseconds.
    #[must_use]
    pub fn new(
        access_token: AccessToken,
        lifetime: impl Into<Option<Duration>>,
        issued_at: SystemTime,
    ) -> Self {
        Self {
            access_token,
            lifetime: lifetime.into().and_then(believed),
            issued_at,
            refresh_token: None,
            scope: None,
            details: None,
        }
    }

    /// Sets the refresh token, and when it was issued.
    ///
    /// If the provider does not rotate refresh tokens, that is earlier than the access token.
    #[must_use]
    pub fn with_refresh_token(
        mut self,
        refresh_token: RefreshToken,
        issued_at: SystemTime,
    ) -> Self {
        self.refresh_token = Some((refresh_token, issued_at));
        self
    }

    /// Sets the granted scopes, separated by spaces. They may be fewer than requested.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into().into());
        self
    }

    /// Sets the lifetime of the refresh token, from when it was
    /// [issued](Self::refresh_token_issued_at), if the provider names it for this token. A lifetime
    /// of more than 100 years counts as unknown. It is cut to whole milliseconds.
    #[must_use]
    pub fn with_refresh_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.set_refresh_token_lifetime(believed(lifetime));
        self
    }

    /// Adds a value to keep with the grant, such as the address of a customer's API. Replaces the
    /// value of the same name.
    ///
    /// Up to 16 values of 8 KiB in total are kept, and what exceeds that is left out.
    #[must_use]
    pub fn with_value(mut self, name: &str, value: &str) -> Self {
        self.keep_value(name, value);
        self
    }

    /// Adds a value to keep with the grant. Returns false, and changes nothing, if there is no room
    /// for it.
    pub(crate) fn keep_value(&mut self, name: &str, value: &str) -> bool {
        self.change_details(|details| details.values.to_mut().set_kept(name, value))
    }

    /// Sets the values that are kept with the grant.
    #[must_use]
    pub(crate) fn with_values(mut self, values: impl Into<KeptValues>) -> Self {
        let values = values.into();
        if self.details.is_some() || !values.is_empty() {
            self.change_details(|details| details.values = values);
        }
        self
    }

    /// Adds a value as a store keeps it.
    #[must_use]
    pub(crate) fn with_stored_value(mut self, name: &str, value: &str) -> Self {
        self.change_details(|details| details.values.to_mut().set_stored(name, value));
        self
    }

    /// Binds the token set to a key by DPoP (RFC 9449): requests with its access token, and
    /// refreshes, carry a proof of the key.
    ///
    /// Only stores need this. An [`OAuthClient`](crate::oauth::OAuthClient) creates the key.
    #[must_use]
    pub fn with_dpop_key(mut self, key: DpopKey) -> Self {
        self.set_dpop_key(Some(key));
        self
    }

    fn set_dpop_key(&mut self, key: Option<DpopKey>) {
        if self.details.is_some() || key.is_some() {
            self.change_details(|details| details.dpop_key = key);
        }
    }

    /// Without any details, the set is equal to one that never had some, as a store returns it.
    fn change_details<T>(&mut self, change: impl FnOnce(&mut Details) -> T) -> T {
        let mut details = self.details.take().unwrap_or_default();
        let result = change(&mut details);
        if *details != Details::default() {
            self.details = Some(details);
        }
        result
    }

    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    /// The lifetime of the access token, from [`issued_at`](Self::issued_at) on. `None` if it is
    /// unknown.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// When the token request was sent, by this machine's wall clock.
    #[must_use]
    pub fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    /// When the access token expires, by this machine's wall clock. `None` if that is unknown.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        let expires_at = self.issued_at.checked_add(self.lifetime?);
        Some(expires_at.unwrap_or(self.issued_at))
    }

    /// The refresh token, if the provider issued one.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref().map(|(token, _)| token)
    }

    /// When the refresh token was issued, by this machine's wall clock. Its lifetime starts here:
    /// if a refresh did not prolong that, the first one of these refresh tokens was issued then.
    #[must_use]
    pub fn refresh_token_issued_at(&self) -> Option<SystemTime> {
        self.refresh_token.as_ref().map(|(_, issued_at)| *issued_at)
    }

    /// The lifetime of the refresh token, if the provider named it for this token. Otherwise it is
    /// that of the [provider's data](crate::provider::ProviderBuilder::refresh_token_lifetime).
    #[must_use]
    pub fn refresh_token_lifetime(&self) -> Option<Duration> {
        self.refresh_token.as_ref()?;
        self.details.as_ref()?.refresh_token_lifetime
    }

    /// The values that are kept with the grant: those that the
    /// [provider's data](crate::provider::ProviderBuilder::kept_value) name.
    #[must_use]
    pub fn values(&self) -> &KeptValues {
        self.details
            .as_ref()
            .map_or(&NO_VALUES, |details| &details.values)
    }

    /// The key that the tokens are bound to by DPoP (RFC 9449), if they are.
    #[must_use]
    pub fn dpop_key(&self) -> Option<&DpopKey> {
        self.details.as_ref()?.dpop_key.as_ref()
    }

    /// The granted scopes, separated by spaces, if the provider named them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Whether `scope` was granted. `None` if the provider did not name the granted scopes.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> Option<bool> {
        self.scope()
            .map(|granted| granted.split(' ').any(|granted| granted == scope))
    }

    /// Replaces the refresh token after a response without a usable access token. The access token
    /// keeps its lifetime.
    #[must_use]
    pub(crate) fn with_rotated(&self, refresh_token: &str, issued_at: SystemTime) -> Self {
        let mut tokens = self.clone();
        // A repeated token is not newer, because that does not restart its lifetime.
        if self.refresh_token().map(RefreshToken::expose) != Some(refresh_token) {
            tokens.refresh_token = Some((RefreshToken::new(refresh_token), issued_at));
            tokens.set_refresh_token_lifetime(None);
        }
        tokens
    }

    /// Drops the refresh token.
    #[must_use]
    pub(crate) fn without_refresh_token(mut self) -> Self {
        self.refresh_token = None;
        self.set_refresh_token_lifetime(None);
        self
    }

    /// Takes the refresh token of `other`, with its age and key, and the kept values that this set
    /// lacks.
    ///
    /// A set has one key. If this set's access token is bound to another one, it has expired, and
    /// the refresh token brings one that is bound to the same key as itself.
    #[must_use]
    pub(crate) fn with_refresh_token_of(mut self, other: &Self) -> Self {
        self.refresh_token.clone_from(&other.refresh_token);
        self.set_refresh_token_lifetime(other.refresh_token_lifetime());
        if other.dpop_key().is_some() && other.dpop_key() != self.dpop_key() {
            self.set_dpop_key(other.dpop_key().cloned());
            self.lifetime = Some(Duration::ZERO);
        }
        self.with_values_omitted_from(other)
    }

    fn with_values_omitted_from(mut self, previous: &Self) -> Self {
        for (name, value) in previous.values().iter() {
            if self.values().get(name).is_none() {
                self = self.with_value(name, value);
            }
        }
        self
    }

    /// Keeps the age and lifetime of the previous refresh token if both end at the same time: the
    /// response then states how much of the same lifetime is left.
    ///
    /// A lifetime that starts again with each refresh ends later, by the time between the two
    /// refreshes.
    fn with_unchanged_end(mut self, previous: &Self) -> Self {
        let (Some(end), Some(previous_end)) =
            (self.refresh_token_end(), previous.refresh_token_end())
        else {
            return self;
        };
        let between = self.issued_at.duration_since(previous.issued_at);
        let tolerance = (between.unwrap_or_default() / 2).clamp(SAME_END, LONGEST_SAME_END);
        let moved = end
            .duration_since(previous_end)
            .unwrap_or_else(|earlier| earlier.duration());
        if moved <= tolerance
            && let (Some((_, issued_at)), Some((_, previous_issued_at))) =
                (&mut self.refresh_token, &previous.refresh_token)
        {
            *issued_at = *previous_issued_at;
            self.set_refresh_token_lifetime(previous.refresh_token_lifetime());
        }
        self
    }

    /// When the refresh token expires by its own lifetime, if that is known.
    fn refresh_token_end(&self) -> Option<SystemTime> {
        let lifetime = self.refresh_token_lifetime()?;
        self.refresh_token_issued_at()?.checked_add(lifetime)
    }

    fn set_refresh_token_lifetime(&mut self, lifetime: Option<Duration>) {
        if self.details.is_some() || lifetime.is_some() {
            self.change_details(|details| details.refresh_token_lifetime = lifetime);
        }
    }

    /// Ends the lifetime of the access token, because the API has rejected it.
    #[must_use]
    pub(crate) fn with_rejected_access_token(&self) -> Self {
        Self {
            lifetime: Some(Duration::ZERO),
            ..self.clone()
        }
    }

    /// Whether both sets have the access token of one response.
    pub(crate) fn has_access_token_of(&self, other: &Self) -> bool {
        self.access_token == other.access_token
            && self.lifetime == other.lifetime
            && self.issued_at == other.issued_at
    }

    /// Takes from `previous` what the response to a refresh omits: the refresh token, which then
    /// stays valid (RFC 6749 section 6), the scopes, which are then unchanged (section 5.1), and
    /// the key of the grant.
    #[must_use]
    pub(crate) fn with_omitted_from(mut self, previous: &Self) -> Self {
        let unchanged = match (&self.refresh_token, &previous.refresh_token) {
            (None, _) => true,
            (Some((new, _)), Some((old, _))) => new == old,
            (Some(_), None) => false,
        };
        // Also if the response repeats the token, because that does not restart its lifetime;
        // unless the response says how long it lives from now on.
        if unchanged && self.refresh_token_lifetime().is_none() {
            let lifetime = previous.refresh_token_lifetime();
            self.refresh_token.clone_from(&previous.refresh_token);
            self.set_refresh_token_lifetime(lifetime);
        }
        self = self.with_unchanged_end(previous);
        if self.scope.is_none() {
            self.scope.clone_from(&previous.scope);
        }
        if self.dpop_key().is_none() {
            self.set_dpop_key(previous.dpop_key().cloned());
        }
        self.with_values_omitted_from(previous)
    }
}

/// A lifetime in whole milliseconds, so that a store returns an equal token set. `None` if it is
/// too long to be true.
fn believed(lifetime: Duration) -> Option<Duration> {
    (lifetime <= LONGEST_LIFETIME)
        .then(|| Duration::from_millis(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(at: SystemTime) -> TokenSet {
        TokenSet::new(AccessToken::new("a").unwrap(), Duration::from_secs(60), at)
    }

    #[test]
    fn omitted_refresh_token_and_scope_keep_their_age() {
        let then = SystemTime::UNIX_EPOCH;
        let now = then + Duration::from_secs(1_000);
        let old = tokens(then)
            .with_refresh_token(RefreshToken::new("r1"), then)
            .with_scope("one two");

        let refreshed = tokens(now).with_omitted_from(&old);
        assert_eq!(refreshed.refresh_token().unwrap().expose(), "r1");
        assert_eq!(refreshed.refresh_token_issued_at(), Some(then));
        assert_eq!(refreshed.has_scope("two"), Some(true));

        let repeated = tokens(now)
            .with_refresh_token(RefreshToken::new("r1"), now)
            .with_omitted_from(&old);
        assert_eq!(repeated.refresh_token_issued_at(), Some(then));

        let rotated = tokens(now)
            .with_refresh_token(RefreshToken::new("r2"), now)
            .with_scope("one")
            .with_omitted_from(&old);
        assert_eq!(rotated.refresh_token().unwrap().expose(), "r2");
        assert_eq!(rotated.refresh_token_issued_at(), Some(now));
        assert_eq!(rotated.has_scope("two"), Some(false));
    }

    #[test]
    fn kept_values_and_the_stated_lifetime_survive_a_refresh() {
        let then = SystemTime::UNIX_EPOCH;
        let now = then + Duration::from_secs(1_000);
        let day = Duration::from_secs(86_400);
        let with_token =
            |token: &str, at| tokens(at).with_refresh_token(RefreshToken::new(token), at);
        let old = with_token("r1", then)
            .with_refresh_token_lifetime(100 * day)
            .with_value("realm_id", "42")
            .with_value("instance_url", "https://a.example");

        let omitted = tokens(now).with_omitted_from(&old);
        assert_eq!(omitted.refresh_token_issued_at(), Some(then));
        assert_eq!(omitted.refresh_token_lifetime(), Some(100 * day));
        assert_eq!(omitted.values(), old.values());

        let restated = with_token("r1", now).with_refresh_token_lifetime(99 * day);
        let restated = restated.with_omitted_from(&old);
        assert_eq!(restated.refresh_token_issued_at(), Some(now));
        assert_eq!(restated.refresh_token_lifetime(), Some(99 * day));

        let rotated = with_token("r2", now).with_value("instance_url", "https://b.example");
        let rotated = rotated.with_omitted_from(&old);
        assert_eq!(rotated.refresh_token_lifetime(), None);
        assert_eq!(rotated.values().get("realm_id"), Some("42"));
        assert_eq!(
            rotated.values().get("instance_url"),
            Some("https://b.example")
        );

        assert_eq!(old.with_rotated("r3", now).refresh_token_lifetime(), None);
        let lent = tokens(now).with_value("realm_id", "43");
        let lent = lent.with_refresh_token_of(&old);
        assert_eq!(lent.refresh_token_lifetime(), Some(100 * day));
        assert_eq!(lent.values().get("realm_id"), Some("43"));
        assert_eq!(lent.values().get("instance_url"), Some("https://a.example"));
    }

    #[test]
    fn key_stays_with_its_refresh_token() {
        let at = SystemTime::UNIX_EPOCH;
        let bound = |key: &str, token: &str| {
            tokens(at)
                .with_refresh_token(RefreshToken::new(token), at)
                .with_dpop_key(DpopKey::new(key))
        };
        let key = |tokens: &TokenSet| tokens.dpop_key().map(|key| key.expose().to_owned());
        let old = bound("k1", "r1");
        for set in [
            tokens(at).with_omitted_from(&old),
            old.with_rotated("r2", at),
            old.with_rejected_access_token(),
        ] {
            assert_eq!(key(&set).as_deref(), Some("k1"));
        }

        // A new consent without a refresh token keeps the stored one, which is bound to its key.
        for consent in [tokens(at), tokens(at).with_dpop_key(DpopKey::new("k2"))] {
            let lent = consent.with_refresh_token_of(&old);
            assert_eq!(key(&lent).as_deref(), Some("k1"));
            assert_eq!(
                lent.lifetime(),
                Some(Duration::ZERO),
                "bound to another key"
            );
        }
        let unbound = tokens(at).with_refresh_token(RefreshToken::new("r1"), at);
        for other in [&unbound, &bound("k2", "r1")] {
            let consent = tokens(at).with_dpop_key(DpopKey::new("k2"));
            let lent = consent.with_refresh_token_of(other);
            assert_eq!(key(&lent).as_deref(), Some("k2"));
            assert_eq!(lent.lifetime(), Some(Duration::from_secs(60)));
        }
        assert_eq!(key(&tokens(at).with_refresh_token_of(&unbound)), None);
    }

    #[test]
    fn set_without_details_is_equal_to_one_that_never_had_some() {
        let at = SystemTime::UNIX_EPOCH;
        let with_token = |token: &str| tokens(at).with_refresh_token(RefreshToken::new(token), at);
        let stated = with_token("r1").with_refresh_token_lifetime(Duration::from_secs(60));
        assert_ne!(stated, with_token("r1"));
        assert_eq!(stated.with_rotated("r2", at), with_token("r2"));
        let lent = stated.with_refresh_token_of(&with_token("r3"));
        assert_eq!(lent, with_token("r3"));
        let absurd = with_token("r1").with_refresh_token_lifetime(Duration::MAX);
        assert_eq!(absurd, with_token("r1"));
        let too_large = "x".repeat(9_000);
        assert_eq!(tokens(at).with_value("realm_id", &too_large), tokens(at));
    }

    #[test]
    fn p18_absurd_lifetime_is_unknown_and_a_long_one_is_not() {
        let at = SystemTime::UNIX_EPOCH;
        let of = |lifetime| TokenSet::new(AccessToken::new("a").unwrap(), lifetime, at);
        for absurd in [LONGEST_LIFETIME + Duration::from_secs(1), Duration::MAX] {
            assert_eq!(of(absurd).lifetime(), None);
            assert_eq!(of(absurd).expires_at(), None);
            let unknown = TokenSet::new(AccessToken::new("a").unwrap(), None, at);
            assert_eq!(of(absurd), unknown);
        }
        for days in [0, 1, 367, 10 * 366] {
            let lifetime = Duration::from_secs(days * 86_400);
            assert_eq!(of(lifetime).lifetime(), Some(lifetime));
            assert_eq!(of(lifetime).expires_at(), Some(at + lifetime));
        }
    }
}
