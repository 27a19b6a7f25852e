//! A customer's consent, as a store keeps it.

use std::{fmt, sync::Arc, time::SystemTime};

use super::TokenSet;
use crate::error::Error;

/// Whose grant it is: the caller's own name for a customer, such as a row's id.
///
/// Names are compared byte for byte and never derived from a secret. Cheap to clone: clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 255;

    /// Takes the name.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if it is empty, longer than [`MAX_LENGTH`](Self::MAX_LENGTH)
    /// bytes, or holds control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        if name.is_empty() {
            return Err(Error::configuration("tenant: the name is empty"));
        }
        if name.len() > Self::MAX_LENGTH {
            return Err(Error::configuration(
                "tenant: the name is over 255 bytes long",
            ));
        }
        if name.chars().any(char::is_control) {
            return Err(Error::configuration(
                "tenant: the name holds control characters",
            ));
        }
        Ok(Self(name.into()))
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

/// A counter that each stored change of a grant raises: of two states of one grant, the higher generation is newer.
///
/// It is what a 401 is judged by (which token did this request carry?), and what a store compares before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// That of a grant's first token set.
    pub const FIRST: Self = Self(1);

    /// From a number, as a store has it.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// As a number, for a store.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The next higher one. Stays at the highest, which no grant reaches in the life of a star.
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

/// A customer's consent: alive as long as its newest refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data, which stores build")]
pub struct Grant {
    /// Which state of the grant this is.
    pub generation: Generation,
    /// What the grant is good for.
    pub state: GrantState,
}

/// What a grant is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantState {
    /// It can be used and renewed.
    Active(TokenSet),
    /// The same, but an exchange has begun whose answer is not stored: it is under way, or was lost with a connection or a
    /// process. Whether the provider has used up the refresh token is not known.
    ///
    /// Written before the refresh token is sent, under the generation that is stored already, since the access token is
    /// still the same one.
    Refreshing {
        /// The token set that the exchange was begun with.
        tokens: TokenSet,
        /// When it began, by this machine's wall clock.
        since: SystemTime,
        /// Whether the refresh token had been sent before, in an exchange whose answer was lost.
        is_replayed: bool,
    },
    /// The provider renews it no more. The held access token serves until it expires.
    ReauthorizationRequired {
        /// The last token set. Kept, so that nothing is lost if the provider was wrong.
        tokens: TokenSet,
        /// Why it ended.
        reason: ReauthorizationReason,
        /// When that was found out, by this machine's wall clock.
        since: SystemTime,
    },
    /// It was ended on purpose. Its tokens are gone.
    Revoked {
        /// When, by this machine's wall clock.
        since: SystemTime,
    },
}

/// Why a customer must consent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReauthorizationReason {
    /// The provider answered `invalid_grant`, and no other replica had renewed the grant: it was revoked there.
    InvalidGrant,
    /// The same, after the refresh token's own life had ended.
    RefreshTokenExpired,
    /// The same, after the answer to an earlier exchange with this refresh token was lost: most likely the provider had
    /// replaced it, and the new one never arrived.
    RotationLost,
}

impl ReauthorizationReason {
    /// The reason in one word, as it stands in events and on labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::RotationLost => "rotation_lost",
        }
    }
}

impl Grant {
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
    fn tenant_names_are_checked() {
        for bad in ["", "line\nbreak", "nul\0", &"x".repeat(256)] {
            assert!(TenantId::new(bad).is_err());
        }
        for good in ["acme", "id/with:separators", "ünïcödé", &"x".repeat(255)] {
            assert_eq!(TenantId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn generations_are_ordered() {
        assert!(Generation::FIRST.next() > Generation::FIRST);
        assert_eq!(
            Generation::from_u64(u64::MAX).next(),
            Generation::from_u64(u64::MAX)
        );
    }
}
