//! Grants, as stores keep them.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{ClientIdentity, History, ReauthorizationReason, TokenSet};
use crate::error::Error;

/// The name of a tenant, chosen by the program, such as the id of a customer's row.
///
/// Names are compared byte for byte. They appear in logs and file names, so do not derive them from
/// a secret. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The maximum length of a name, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// Names that start with this are reserved for the leases of this crate.
    pub(crate) const RESERVED: &str = "tower-oauth2-client/";

    /// Creates a tenant id.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if the name is empty, is longer than
    /// [`MAX_LENGTH`](Self::MAX_LENGTH) bytes, contains control characters, or starts with
    /// `tower-oauth2-client/`. Such names are reserved for leases of this crate.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        if name.is_empty() {
            return Err(Error::configuration(
                "tenant: the name is empty; use one with 1 to 255 bytes",
            ));
        }
        if name.len() > Self::MAX_LENGTH {
            return Err(Error::configuration(
                "tenant: the name is longer than 255 bytes; use a shorter one",
            ));
        }
        if name.chars().any(char::is_control) {
            return Err(Error::configuration(
                "tenant: the name contains control characters; remove them",
            ));
        }
        if name.starts_with(Self::RESERVED) {
            return Err(Error::configuration(
                "tenant: names that start with \"tower-oauth2-client/\" are reserved; use another one",
            ));
        }
        Ok(Self(name.into()))
    }

    /// Whether this is the name of a lease that is not the lease of a grant.
    pub(crate) fn is_reserved(&self) -> bool {
        self.as_str().starts_with(Self::RESERVED)
    }

    /// The reserved name of a lease that is not the lease of a grant. [`new`](Self::new) rejects
    /// it, so no tenant has it.
    pub(crate) fn reserved(name: &str) -> Self {
        Self(format!("{}{name}", Self::RESERVED).into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({:?})", self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A counter that every save of a grant raises. Of two states of a grant, the one with the higher
/// generation is newer.
///
/// A store compares it before a conditional save. After a 401, it shows whether the request carried
/// the newest token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The generation of a grant's first token set.
    pub const FIRST: Self = Self(1);

    /// Converts from a number, as stores keep it.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Converts to a number, for stores.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The next generation. It saturates at `u64::MAX`, which no grant reaches.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A customer's consent, and the token set that came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The generation of this state.
    pub generation: Generation,
    /// The state, with the token set.
    pub state: GrantState,
    /// The client that the grant was issued to, and at which token endpoint. `None` if that is
    /// unknown, as in grants that were stored by a version of this crate without identities.
    ///
    /// A store keeps it as it is. The cache sets it with each save, and checks it with each load:
    /// see [`TokenSource::identity`](crate::cache::TokenSource::identity).
    pub identity: Option<ClientIdentity>,
    /// The last events of the grant. A store keeps them as they are, or drops them.
    pub history: History,
}

/// The state of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantState {
    /// The grant can be used and refreshed.
    Active(TokenSet),
    /// A refresh was started and its token response is not stored. It is in flight, or its response
    /// was lost. It is unknown whether the provider has rotated the refresh token.
    ///
    /// This is the write-ahead intent. It is saved before the refresh token is sent, with the same
    /// generation as before, because the access token is still the same.
    Refreshing {
        /// The token set whose refresh token is sent.
        tokens: TokenSet,
        /// When the refresh was started, by this machine's wall clock.
        since: SystemTime,
        /// Whether the refresh token was sent before, by a refresh whose response was lost.
        is_replayed: bool,
    },
    /// The grant cannot be refreshed any more. The access token is used until it expires. If
    /// the API has rejected it, its lifetime is zero.
    ReauthorizationRequired {
        /// The last token set, which is kept in case the provider was wrong.
        tokens: TokenSet,
        /// Why the customer has to consent again.
        reason: ReauthorizationReason,
        /// When that became known, by this machine's wall clock.
        since: SystemTime,
    },
    /// The program revoked the grant, and its tokens were deleted.
    Revoked {
        /// When it was revoked, by this machine's wall clock.
        since: SystemTime,
    },
}

impl GrantState {
    /// Whether a grant in this state can be refreshed.
    pub(crate) fn is_refreshable(&self) -> bool {
        matches!(self, Self::Active(_) | Self::Refreshing { .. })
    }
}

impl Grant {
    /// Creates a grant of an unknown identity.
    #[must_use]
    pub fn new(generation: Generation, state: GrantState) -> Self {
        Self {
            generation,
            state,
            identity: None,
            history: History::default(),
        }
    }

    /// Sets the identity.
    #[must_use]
    pub fn with_identity(mut self, identity: impl Into<Option<ClientIdentity>>) -> Self {
        self.identity = identity.into();
        self
    }

    /// Sets the history.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// When its token set was issued, if that can be refreshed by a refresh token.
    pub(crate) fn refreshed_at(&self) -> Option<SystemTime> {
        let tokens = self.tokens().filter(|_| self.state.is_refreshable())?;
        tokens.refresh_token().map(|_| tokens.issued_at())
    }

    /// The newest token set, unless the grant was revoked.
    #[must_use]
    pub fn tokens(&self) -> Option<&TokenSet> {
        match &self.state {
            GrantState::Active(tokens)
            | GrantState::Refreshing { tokens, .. }
            | GrantState::ReauthorizationRequired { tokens, .. } => Some(tokens),
            GrantState::Revoked { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_names_are_short_and_printable() {
        for bad in ["", "line\nbreak", "nul\0", &"x".repeat(256)] {
            assert!(TenantId::new(bad).is_err());
        }
        for reserved in ["", "sweep/00", "a"].map(TenantId::reserved) {
            assert!(TenantId::new(reserved.as_str()).is_err());
        }
        for good in [
            "acme",
            "tower-oauth2-client",
            "id/with:separators",
            "ünïcödé",
            &"x".repeat(255),
        ] {
            assert_eq!(TenantId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn next_generation_is_higher_and_saturates() {
        assert!(Generation::FIRST.next() > Generation::FIRST);
        assert_eq!(
            Generation::from_u64(u64::MAX).next(),
            Generation::from_u64(u64::MAX)
        );
    }
}
