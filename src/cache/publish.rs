//! What requests read is replaced here, and nowhere else: under the state's lock, by something newer.

use std::sync::Arc;

use super::{
    cache_state::{CacheState, Sequence},
    core::Core,
    refresh::following,
    snapshot::{Moment, Snapshot, is_refreshable},
    worker,
};
use crate::token::{Grant, GrantState};

/// Which snapshots give way to a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Those of an older generation.
    Newer,
    /// Also one of the same generation: the store's word counts for more than this process's.
    Stored,
}

impl Core {
    /// Lets requests use what this process has brought about, unless something newer is there.
    pub(super) fn publish(self: &Arc<Self>, snapshot: Snapshot) {
        self.replace_snapshot(snapshot, Precedence::Newer);
    }

    /// Takes over what the store holds, if that is news.
    pub(super) fn adopt(self: &Arc<Self>, stored: Option<&Grant>) {
        let Some(grant) = stored else { return };
        let snapshot = Snapshot::of_stored(grant.clone(), self.moment());
        self.replace_snapshot(snapshot, Precedence::Stored);
    }

    /// Ends the grant for this process, and returns what was held, and the place of this command among all.
    pub(super) fn revoke_locally(&self) -> (Arc<Snapshot>, Sequence) {
        let moment = self.moment();
        let mut state = self.lock();
        state.is_revoked_locally = true;
        let sequence = state.next_sequence();
        state.revocation_epoch = sequence;
        let held = Arc::clone(&self.snapshot());
        let grant = Grant {
            generation: following(held.generation(), None),
            state: GrantState::Revoked { since: moment.wall },
        };
        self.put(Snapshot::of_stored(grant, moment));
        (held, sequence)
    }

    /// Begins anew, whatever was before this command: the store has a new consent.
    pub(super) fn install_grant(self: &Arc<Self>, stored: &Grant, sequence: Sequence) {
        let mut state = self.lock();
        state.consent_epoch = sequence;
        if state.revocation_epoch > sequence {
            // Its end was asked for already, and comes next.
            return;
        }
        state.is_revoked_locally = false;
        state.unconfirmed = None;
        // The failures were those of another grant, and so is the exchange that may be under way.
        state.refresh = None;
        state.backoff.clear();
        state.forced_refresh_at = None;
        drop(state);
        self.adopt(Some(stored));
    }

    /// Sees to it that the held token is not used any more, and says which one it was.
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

    /// Brings the end of the held token in line with the wall clock.
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
            // An exchange was noted, or a intent was taken back.
            Some(old) if old.generation == new_grant.generation && is_same_token => {
                let is_own = |snapshot: &Snapshot| {
                    snapshot.intent_since().is_some() && snapshot.intent_since() == state.own_intent
                };
                // Of its own notes this process knows more than a store that was asked a moment ago.
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
        // Not what an earlier process has been told already.
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
        // It may have waited to be stored, or the machine may have slept.
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

    /// Sees to it that a worker runs, if it is to have one: the last one may have ended with its runtime.
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
