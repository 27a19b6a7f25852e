//! The provider: which refresh tokens it accepts, and what it issues for them.

use super::setting::{Setting, tokens};
use crate::{error::Error, token::TokenSet};

/// How long a provider with a reuse grace accepts a rotated refresh token again, in milliseconds.
const REUSE_GRACE: u64 = 30_000;

/// How a provider rotates refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rotation {
    /// Each refresh token is valid once. Any reuse ends the grant.
    Strict,
    /// As `Strict`, but the last rotated refresh token is accepted again for 30 seconds. Each of
    /// its successors is valid until one of them is used.
    Grace,
    /// A refresh token is valid until a successor is used. A rejection does not end the grant.
    Overlap,
    /// The refresh token stays the same.
    None,
}

pub(super) const ROTATIONS: [Rotation; 4] = [
    Rotation::Strict,
    Rotation::Grace,
    Rotation::Overlap,
    Rotation::None,
];

/// The provider's view of the grant. Tokens are numbered as they are issued.
#[derive(Clone, Debug, Hash)]
pub(super) struct Provider {
    rotation: Rotation,
    /// Whether the grant has not ended.
    pub(super) is_alive: bool,
    /// The newest access token.
    access: u8,
    /// The newest refresh token.
    newest: u8,
    /// The refresh token that `newest` was issued for, and when that was first presented.
    parent: (u8, u64),
    /// The first refresh token that was issued for `parent`.
    first_sibling: u8,
    /// The API rejects access tokens up to this number.
    pub(super) rejected_access: u8,
}

impl Provider {
    pub(super) fn new(rotation: Rotation) -> Self {
        Self {
            rotation,
            is_alive: true,
            access: 1,
            newest: 1,
            parent: (0, 0),
            first_sibling: 1,
            rejected_access: 0,
        }
    }

    pub(super) fn newest(&self) -> u8 {
        self.newest
    }

    /// Whether the provider accepts the refresh token.
    pub(super) fn accepts(&self, refresh: u8, now: u64) -> bool {
        let (parent, used_at) = self.parent;
        let is_valid = match self.rotation {
            Rotation::Strict => refresh == self.newest,
            Rotation::Grace => {
                refresh >= self.first_sibling || (refresh == parent && now <= used_at + REUSE_GRACE)
            }
            Rotation::Overlap => refresh == parent || refresh >= self.first_sibling,
            Rotation::None => true,
        };
        self.is_alive && is_valid
    }

    /// Processes a token request.
    pub(super) fn present(
        &mut self,
        refresh: u8,
        setting: &Setting,
        now: u64,
    ) -> Result<TokenSet, Error> {
        if !self.accepts(refresh, now) {
            if self.rotation != Rotation::Overlap {
                self.is_alive = false;
            }
            return Err(Error::invalid_grant());
        }
        self.access += 1;
        if self.rotation != Rotation::None {
            if refresh != self.parent.0 {
                self.parent = (refresh, now);
                self.first_sibling = self.newest + 1;
            }
            self.newest += 1;
        }
        Ok(tokens(self.access, self.newest, setting.wall(now)))
    }

    /// Ends the grant, as the customer can.
    pub(super) fn end(&mut self) {
        self.is_alive = false;
    }
}
