//! What requests read is replaced here, and nowhere else: under the slot's lock, by something newer.

use std::sync::Arc;

use super::{
    core::Core,
    keeper,
    renewal::following,
    slot::Slot,
    snapshot::{Moment, Snapshot, is_renewed},
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
        self.exchange_snapshot(snapshot, Precedence::Newer);
    }

    /// Takes over what the store holds, if that is news.
    pub(super) fn adopt(self: &Arc<Self>, stored: Option<&Grant>) {
        let Some(grant) = stored else { return };
        let snapshot = Snapshot::of_stored(grant.clone(), self.moment());
        self.exchange_snapshot(snapshot, Precedence::Stored);
    }

    /// Ends the grant for this process, and returns what was held, and the place of this command among all.
    pub(super) fn end_here(&self) -> (Arc<Snapshot>, u64) {
        let moment = self.moment();
        let mut slot = self.lock();
        slot.is_revoked_here = true;
        let order = slot.order();
        slot.newest_revocation = order;
        let held = Arc::clone(&self.snapshot());
        let grant = Grant {
            generation: following(held.generation(), None),
            state: GrantState::Revoked { since: moment.wall },
        };
        self.put(Snapshot::of_stored(grant, moment));
        (held, order)
    }

    /// Begins anew, whatever was before this command: the store has a new consent.
    pub(super) fn begin_anew(self: &Arc<Self>, stored: &Grant, order: u64) {
        let mut slot = self.lock();
        slot.newest_consent = order;
        if slot.newest_revocation > order {
            // Its end was asked for already, and comes next.
            return;
        }
        slot.is_revoked_here = false;
        slot.unconfirmed = None;
        // The failures were those of another grant, and so is the exchange that may be under way.
        slot.exchange = None;
        slot.cooldown.clear();
        slot.forced_at = None;
        drop(slot);
        self.adopt(Some(stored));
    }

    /// Sees to it that the held token is not used any more, and says which one it was.
    pub(super) fn invalidate(self: &Arc<Self>) {
        let now = self.now();
        let mut slot = self.lock();
        let held = Arc::clone(&self.snapshot());
        if held.alive(now).is_none() {
            return;
        }
        slot.rejected = held.generation();
        self.put(held.invalidated(now));
        self.keep(&mut slot);
        drop(slot);
        if let Some(generation) = held.generation() {
            self.telemetry.invalidated(generation);
        }
    }

    /// Brings the end of the held token in line with the wall clock.
    pub(super) fn correct(&self) {
        let Moment { now, wall, .. } = self.moment();
        let slot = self.lock();
        let corrected = self.snapshot().corrected(now, wall);
        let by = corrected.map(|(snapshot, by)| {
            self.put(snapshot);
            by
        });
        drop(slot);
        if let Some(by) = by {
            self.telemetry.clock_corrected(by);
        }
    }

    fn exchange_snapshot(self: &Arc<Self>, new: Snapshot, precedence: Precedence) {
        let mut slot = self.lock();
        let current = Arc::clone(&self.snapshot());
        let Some(new_grant) = new.grant() else { return };
        let is_end = matches!(new_grant.state, GrantState::Revoked { .. });
        if slot.is_revoked_here && !is_end {
            return;
        }
        let is_same_token = new.tokens().is_some() && new.tokens() == current.tokens();
        let is_news = match current.grant() {
            None => true,
            Some(old) if old == new_grant => false,
            // An exchange was noted, or a note was taken back.
            Some(old) if old.generation == new_grant.generation && is_same_token => {
                let is_own = |snapshot: &Snapshot| {
                    snapshot.unanswered().is_some() && snapshot.unanswered() == slot.noted
                };
                // Of its own notes this process knows more than a store that was asked a moment ago.
                let is_outdated = (is_own(&new) && current.unanswered().is_none())
                    || (is_own(&current) && new.unanswered().is_none());
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
        let was_good = current.grant().is_some_and(|old| is_renewed(&old.state));
        let end = match &new_grant.state {
            GrantState::ReauthorizationRequired { reason, .. } if is_later && was_good => {
                Some(*reason)
            }
            _ => None,
        };
        let is_adopted =
            is_later && is_renewed(&new_grant.state) && precedence == Precedence::Stored;
        let new = new.knowing(&current);
        let Moment { now, wall, .. } = self.moment();
        // It may have waited to be stored, or the machine may have slept.
        let corrected = new.corrected(now, wall).map(|(corrected, _)| corrected);
        self.put(corrected.unwrap_or(new));
        self.keep(&mut slot);
        drop(slot);
        if let Some(reason) = end {
            self.telemetry.reauthorization_required(reason);
        }
        if is_adopted {
            self.telemetry.adopted(generation);
        }
    }

    pub(super) fn wake_keeper(&self) {
        if let Some(published) = &self.published {
            published.notify_one();
        }
    }

    /// Sees to it that a keeper runs, if it is to have one: the last one may have ended with its runtime.
    pub(super) fn keep(self: &Arc<Self>, slot: &mut Slot) {
        self.wake_keeper();
        let has_ended = slot
            .keeper
            .as_ref()
            .is_none_or(tokio::task::JoinHandle::is_finished);
        if has_ended && !slot.is_shut_down {
            slot.keeper = keeper::begin(self);
        }
    }
}
