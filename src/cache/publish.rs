//! Replaces the snapshot that requests read. This happens only here, under the state lock, and only
//! by a newer snapshot.

use std::sync::Arc;

use super::{
    cache_state::{CacheState, Sequence},
    core::Core,
    refresh::next_generation,
    snapshot::{Moment, Snapshot, is_refreshable},
    worker,
};
use crate::token::{Grant, GrantState};

/// Which snapshots a new one replaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Snapshots of an older generation.
    Newer,
    /// Also a snapshot of the same generation: the store takes precedence over this process.
    Stored,
}

impl Core {
    /// Lets requests use a snapshot that this process made, unless there is a newer one.
    pub(super) fn publish(self: &Arc<Self>, snapshot: Snapshot) {
        self.replace_snapshot(snapshot, Precedence::Newer);
    }

    /// Adopts a stored grant, if it is newer.
    pub(super) fn adopt(self: &Arc<Self>, stored: Option<&Grant>) {
        let Some(grant) = stored else { return };
        let snapshot = Snapshot::of_stored(grant.clone(), self.moment());
        self.replace_snapshot(snapshot, Precedence::Stored);
    }

    /// Ends the grant in this process. Returns the replaced snapshot and the position of the
    /// command.
    pub(super) fn revoke_locally(&self) -> (Arc<Snapshot>, Sequence) {
        let moment = self.moment();
        let mut state = self.lock();
        state.is_revoked_locally = true;
        let sequence = state.next_sequence();
        state.revocation_epoch = sequence;
        let held = Arc::clone(&self.snapshot());
        let grant = Grant {
            generation: next_generation(held.generation(), None),
            state: GrantState::Revoked { since: moment.wall },
        };
        self.put(Snapshot::of_stored(grant, moment));
        (held, sequence)
    }

    /// Installs a grant that a command has saved, whatever was held before.
    pub(super) fn install_grant(self: &Arc<Self>, stored: &Grant, sequence: Sequence) {
        let mut state = self.lock();
        state.consent_epoch = sequence;
        if state.revocation_epoch > sequence {
            // The program has already revoked this grant. That command runs next.
            return;
        }
        state.is_revoked_locally = false;
        state.unconfirmed = None;
        // The failures, and any refresh in flight, belong to the replaced grant.
        state.refresh = None;
        state.backoff.clear();
        state.forced_refresh_at = None;
        drop(state);
        self.adopt(Some(stored));
    }

    /// Stops using the held token, and reports its generation.
    pub(super) fn invalidate(self: &Arc<Self>) {
        let now = self.now();
        let mut state = self.lock();
        let held = Arc::clone(&self.snapshot());
        if held.alive(now).is_none() {
            return;
        }
        state.rejected = held.generation();
        self.put(held.invalidated(now));
        self.ensure_worker(&mut state);
        drop(state);
        if let Some(generation) = held.generation() {
            self.telemetry.invalidated(generation);
        }
    }

    /// Shortens the token's lifetime by what the wall clock says.
    pub(super) fn correct(&self) {
        let Moment { now, wall, .. } = self.moment();
        let state = self.lock();
        let corrected = self.snapshot().corrected(now, wall);
        let by = corrected.map(|(snapshot, by)| {
            self.put(snapshot);
            by
        });
        drop(state);
        if let Some(by) = by {
            self.telemetry.expiry_corrected(by);
        }
    }

    fn replace_snapshot(self: &Arc<Self>, new: Snapshot, precedence: Precedence) {
        let mut state = self.lock();
        let current = Arc::clone(&self.snapshot());
        let Some(new_grant) = new.grant() else { return };
        let is_end = matches!(new_grant.state, GrantState::Revoked { .. });
        if state.is_revoked_locally && !is_end {
            return;
        }
        let is_same_token = new.tokens().is_some() && new.tokens() == current.tokens();
        let is_news = match current.grant() {
            None => true,
            Some(old) if old == new_grant => false,
            // Only the intent differs: it was saved or removed.
            Some(old) if old.generation == new_grant.generation && is_same_token => {
                let is_own = |snapshot: &Snapshot| {
                    snapshot.intent_since().is_some() && snapshot.intent_since() == state.own_intent
                };
                // This process knows more about its own intent than a load that was started
                // earlier.
                let is_outdated = (is_own(&new) && current.intent_since().is_none())
                    || (is_own(&current) && new.intent_since().is_none());
                precedence == Precedence::Newer || !is_outdated
            }
            Some(old) if old.generation == new_grant.generation => precedence == Precedence::Stored,
            Some(old) => old.generation < new_grant.generation,
        };
        if !is_news {
            return;
        }
        let generation = new_grant.generation;
        let is_later = current.generation() < Some(generation);
        // Not reported again if an earlier process has already reported it.
        let was_good = current
            .grant()
            .is_some_and(|old| is_refreshable(&old.state));
        let end = match &new_grant.state {
            GrantState::ReauthorizationRequired { reason, .. } if is_later && was_good => {
                Some(*reason)
            }
            _ => None,
        };
        let is_adopted =
            is_later && is_refreshable(&new_grant.state) && precedence == Precedence::Stored;
        let new = new.with_history_of(&current);
        let Moment { now, wall, .. } = self.moment();
        // The token may have waited to be saved, or the machine may have been suspended.
        let corrected = new.corrected(now, wall).map(|(corrected, _)| corrected);
        self.put(corrected.unwrap_or(new));
        self.ensure_worker(&mut state);
        drop(state);
        if let Some(reason) = end {
            self.telemetry.reauthorization_required(reason);
        }
        if is_adopted {
            self.telemetry.adopted(generation);
        }
    }

    pub(super) fn wake_worker(&self) {
        if let Some(published) = &self.published {
            published.notify_one();
        }
    }

    /// Starts the worker if it is not running. It may have ended with its runtime.
    pub(super) fn ensure_worker(self: &Arc<Self>, state: &mut CacheState) {
        self.wake_worker();
        let has_ended = state
            .worker
            .as_ref()
            .is_none_or(tokio::task::JoinHandle::is_finished);
        if has_ended && !state.is_shut_down {
            state.worker = worker::spawn(self);
        }
    }
}
