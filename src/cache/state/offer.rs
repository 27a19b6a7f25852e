//! Whether requests use a new grant: only if it is newer than the held one.

use std::sync::Arc;

use super::{CacheState, event::Event, moment::Moment, snapshot::Snapshot};
use crate::{
    error::Error,
    token::{Generation, Grant, GrantState},
};

/// Where an offered grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// This process made it.
    ThisProcess,
    /// It was loaded. The store takes precedence over this process, also for the same generation.
    Store,
}

impl CacheState {
    /// Whether the store may hold a newer grant than this cache, after a save of the `announced`
    /// generation. Without one, any grant may have been saved.
    ///
    /// A save that keeps the generation changes the intent only. Whatever depends on the intent
    /// loads it first.
    pub(crate) fn is_behind(&self, announced: Option<Generation>) -> bool {
        announced.is_none_or(|announced| self.held.generation() < Some(announced))
    }

    /// Whether nothing was loaded yet, and nothing is being loaded.
    pub(crate) fn is_unused(&self) -> bool {
        self.held.grant().is_none() && self.is_idle() && self.store_checked_at.is_none()
    }

    /// Adopts a stored grant, if it is newer.
    pub(crate) fn adopt(&mut self, stored: Option<&Grant>, m: Moment<'_>) {
        if let Some(grant) = stored {
            self.offer(Snapshot::of_stored(grant.clone(), m), Provenance::Store, m);
        }
    }

    /// Holds a snapshot that this process made, unless there is a newer one.
    pub(super) fn publish(&mut self, snapshot: Snapshot, m: Moment<'_>) {
        self.offer(snapshot, Provenance::ThisProcess, m);
    }

    /// Holds the end of the grant, which the provider has ended by this refusal.
    pub(super) fn publish_end(&mut self, snapshot: Snapshot, refusal: &Error, m: Moment<'_>) {
        let reported = self.events.len();
        self.publish(snapshot, m);
        for event in self.events.iter_mut().skip(reported) {
            if let Event::ReauthorizationRequired { refusal: of, .. } = event {
                *of = Some(refusal.clone());
            }
        }
    }

    /// Records whether the end of the grant is saved, once this process has tried to save it.
    pub(super) fn end_of_grant_saved(&mut self, is_saved: bool) {
        self.is_end_unsaved = !is_saved;
        if is_saved
            && let Some(Grant {
                state: GrantState::ReauthorizationRequired { reason, .. },
                ..
            }) = self.held.grant()
        {
            self.events.push(Event::EndSaved(*reason));
        }
    }

    /// Holds a snapshot if it is newer than the held one.
    pub(super) fn offer(&mut self, new: Snapshot, from: Provenance, m: Moment<'_>) {
        let Some(new_grant) = new.grant() else { return };
        if !self.is_news(&new, new_grant, from) {
            return;
        }
        let current = Arc::clone(&self.held);
        let is_later = current.generation() < Some(new_grant.generation);
        let is_good = new_grant.state.is_refreshable();
        // Not reported again if an earlier process has already reported it.
        let was_good = current
            .grant()
            .is_some_and(|old| old.state.is_refreshable());
        if is_later {
            match &new_grant.state {
                GrantState::ReauthorizationRequired { reason, .. } if was_good => {
                    self.events.push(Event::ReauthorizationRequired {
                        reason: *reason,
                        refusal: None,
                    });
                }
                _ if is_good && from == Provenance::Store => {
                    self.events.push(Event::Adopted(new_grant.generation));
                }
                _ => {}
            }
        }
        let new = new.with_history_of(&current);
        // The token may have waited to be saved, or the machine may have been suspended.
        let corrected = new.corrected(m.now, m.wall).map(|(corrected, _)| corrected);
        self.held = Arc::new(corrected.unwrap_or(new));
        self.is_end_unsaved = false;
        self.end_rejected_token(m);
        if is_later && is_good && from == Provenance::Store && self.refresh.is_none() {
            // The failures belong to the replaced token set. A refresh in flight ends the backoff
            // itself.
            self.end_backoff(m);
        }
    }

    fn is_news(&self, new: &Snapshot, new_grant: &Grant, from: Provenance) -> bool {
        let is_end = matches!(new_grant.state, GrantState::Revoked { .. });
        if self.commands.is_revoked_locally() && !is_end {
            return false;
        }
        let current = &self.held;
        let is_same_token = new.tokens().is_some() && new.tokens() == current.tokens();
        match current.grant() {
            None => true,
            Some(old) if old == new_grant => false,
            // Only the intent differs: it was saved or removed.
            Some(old) if old.generation == new_grant.generation && is_same_token => {
                let is_own = |snapshot: &Snapshot| {
                    snapshot.intent_since().is_some() && snapshot.intent_since() == self.own_intent
                };
                // This process knows more about its own intent than a load that was started
                // earlier. Another process that replays it within a reuse grace keeps its time.
                let is_removed = current.intent_since().is_none() && !new.is_replayed();
                let is_outdated = (is_own(new) && is_removed)
                    || (is_own(current) && new.intent_since().is_none());
                from == Provenance::ThisProcess || !is_outdated
            }
            Some(old) if old.generation == new_grant.generation => from == Provenance::Store,
            Some(old) => old.generation < new_grant.generation,
        }
    }
}
