//! The commands of the program: which one was the last, and what a revocation left to do.

use std::time::Instant;

use crate::token::{Generation, TokenSet};

/// The position of a command among all commands of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sequence(u32);

/// Why the tokens of a consent are not saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotInstalled {
    /// A later command has installed the tokens of another consent.
    Replaced,
    /// A later command has revoked the grant.
    Revoked,
    /// A refresh may be using the refresh token that is to be kept.
    Refreshing,
    /// The program has to decide about the stored grant of this generation, or about the consent
    /// alone if there is none.
    Undecided(Option<Generation>),
    /// The program has decided that the stored grant stays.
    Rejected { revoke: bool },
    /// The stored grant stays, because it has a refresh token and the new token set has none.
    RefreshTokenMissing,
    /// The stored grant stays, because its refresh token belongs to other addresses.
    OtherAddresses,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Commands {
    last: Sequence,
    /// The last command that installed a grant.
    consent_epoch: Sequence,
    /// The last command that revoked a grant.
    revocation_epoch: Sequence,
    /// Whether this process revoked the grant and the store does not know it yet. Nothing that the
    /// store or a refresh returns brings the grant back.
    is_revoked_locally: bool,
    /// Tokens whose revocation the provider has not confirmed, and the time of the last attempt.
    /// Boxed, because most caches have none.
    unconfirmed: Option<Box<(TokenSet, Instant)>>,
}

impl Commands {
    /// The position of a new command.
    pub(super) fn next(&mut self) -> Sequence {
        self.last = Sequence(self.last.0.saturating_add(1));
        self.last
    }

    /// The consent that the current grant stems from.
    pub(super) fn consent_epoch(&self) -> Sequence {
        self.consent_epoch
    }

    pub(super) fn is_revoked_locally(&self) -> bool {
        self.is_revoked_locally
    }

    pub(super) fn revoke(&mut self) -> Sequence {
        self.is_revoked_locally = true;
        self.revocation_epoch = self.next();
        self.revocation_epoch
    }

    /// The store knows that the grant was revoked.
    pub(super) fn end_saved(&mut self) {
        self.is_revoked_locally = false;
    }

    /// Decides whether the tokens of the command at `sequence` are still to be saved. The last
    /// command wins, whatever order they run in.
    pub(super) fn may_install(&self, sequence: Sequence) -> Result<(), NotInstalled> {
        if self.consent_epoch > sequence {
            Err(NotInstalled::Replaced)
        } else if self.revocation_epoch > sequence {
            Err(NotInstalled::Revoked)
        } else {
            Ok(())
        }
    }

    /// Begins a new grant, which has been saved. Returns false if a later command has revoked or
    /// replaced it meanwhile.
    pub(super) fn install(&mut self, sequence: Sequence) -> bool {
        if self.consent_epoch > sequence {
            // The runtime of this command stood still. The store decides which grant is newer.
            return false;
        }
        self.consent_epoch = sequence;
        if self.revocation_epoch > sequence {
            // That command waits for this one, and saves the end next.
            return false;
        }
        self.is_revoked_locally = false;
        self.unconfirmed = None;
        true
    }

    pub(super) fn unconfirmed(&self) -> Option<&TokenSet> {
        self.unconfirmed.as_deref().map(|(tokens, _)| tokens)
    }

    /// When the provider last failed to confirm a revocation.
    pub(super) fn unconfirmed_at(&self) -> Option<Instant> {
        self.unconfirmed.as_deref().map(|(_, at)| *at)
    }

    pub(super) fn set_unconfirmed(&mut self, tokens: Option<TokenSet>, now: Instant) {
        self.unconfirmed = tokens.map(|tokens| Box::new((tokens, now)));
    }
}
