//! Commands of the program: revoke, install or invalidate a grant.

use std::sync::Arc;

use super::{
    CacheState, commands::Sequence, event::Event, moment::Moment, next_generation,
    snapshot::Snapshot,
};
use crate::token::{Grant, GrantState, TokenSet};

impl CacheState {
    /// The position of a new command.
    pub(crate) fn next_sequence(&mut self) -> Sequence {
        self.commands.next()
    }

    /// Ends the grant in this process, whatever fails afterwards. Returns the replaced snapshot and
    /// the position of the command.
    pub(crate) fn revoke(&mut self, m: Moment<'_>) -> (Arc<Snapshot>, Sequence) {
        let sequence = self.commands.revoke();
        let held = Arc::clone(&self.held);
        let grant = Grant::new(
            next_generation(held.generation(), None),
            GrantState::Revoked { since: m.wall },
        );
        self.held = Arc::new(Snapshot::of_stored(grant, m));
        self.events.push(Event::Revoked);
        (held, sequence)
    }

    /// Whether a consent was installed after the command at `sequence` began.
    pub(crate) fn is_outrun(&self, sequence: Sequence) -> bool {
        self.commands.consent_epoch() > sequence
    }

    /// The end of a grant that was revoked locally has been saved.
    pub(crate) fn end_saved(&mut self, grant: &Grant, m: Moment<'_>) {
        self.adopt(Some(grant), m);
        self.commands.end_saved();
    }

    /// Tokens whose revocation the provider has not confirmed.
    pub(crate) fn unconfirmed(&self) -> Option<&TokenSet> {
        self.commands.unconfirmed()
    }

    /// Remembers tokens that the provider did not revoke, unless others are remembered.
    pub(crate) fn remember_unconfirmed(&mut self, tokens: TokenSet, m: Moment<'_>) {
        if self.commands.unconfirmed().is_none() {
            self.commands.set_unconfirmed(Some(tokens), m.now);
        }
    }

    pub(crate) fn set_unconfirmed(&mut self, tokens: Option<TokenSet>, m: Moment<'_>) {
        self.commands.set_unconfirmed(tokens, m.now);
    }

    /// Decides whether the tokens of the command at `sequence` are still to be saved.
    /// Installs a grant that a command has saved, whatever was held before.
    pub(crate) fn install(&mut self, stored: &Grant, sequence: Sequence, m: Moment<'_>) {
        // The failures, and any refresh in flight, belong to the replaced grant.
        self.refresh = None;
        self.end_backoff(m);
        self.forced = None;
        self.suspicion = None;
        if self.commands.install(sequence) {
            self.adopt(Some(stored), m);
        }
        self.events.push(Event::Installed(stored.generation));
    }

    /// Stops using the held token.
    pub(crate) fn invalidate(&mut self, m: Moment<'_>) {
        let held = &self.held;
        if held.alive(m.now).is_none() {
            return;
        }
        self.rejected = held.generation();
        self.events
            .extend(held.generation().map(Event::Invalidated));
        self.end_rejected_token(m);
        self.held = Arc::new(self.held.invalidated(m.now));
    }
}
