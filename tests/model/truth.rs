//! Compares the cache's status and tokens with the truth, and changes the truth.

use std::time::Duration;

use tower_oauth2_client::{
    cache::{Status, TokenState},
    token::GrantState,
};

use crate::{
    step::{Fault, Step},
    support::MINUTE,
    world::{Revoked, State},
};

impl State {
    /// Whether the token that was returned last must serve the next request at once.
    pub(crate) fn serves(&self) -> bool {
        let Some(seen) = self.seen.filter(|_| self.revoked == Revoked::No) else {
            return false;
        };
        let is_good = |number: usize| {
            let set = &self.sets[number];
            let mandatory = MINUTE.min(set.validity.lifetime / 10);
            !set.is_invalidated
                && set.rejected_at.is_none()
                && self
                    .times
                    .is_certainly_valid(set.validity, mandatory + Duration::from_secs(1))
        };
        // A later token that is in use instead must be valid as well.
        let later = seen + 1..self.sets.len();
        is_good(seen)
            && later
                .into_iter()
                .all(|number| !self.sets[number].is_committed || is_good(number))
    }

    /// The cache may hold a later token than the last one that was returned.
    pub(crate) fn invalidated(&mut self) {
        for set in &mut self.sets {
            set.is_invalidated = true;
        }
        if let Some(seen) = self.seen {
            self.sets[seen].given_up_by = Some(self.process);
        }
    }

    pub(crate) fn compare(&mut self, status: &Status) {
        let is_revoked = matches!(status.state, TokenState::Revoked { .. });
        let has_ended = matches!(status.state, TokenState::ReauthorizationRequired { .. });
        let is_right = match self.revoked {
            Revoked::Yes => is_revoked,
            Revoked::No => !is_revoked || self.is_stored_as_revoked(),
            Revoked::Unclear => true,
        };
        if !is_right {
            self.violated(format!("the revocation is reported wrongly: {status:?}"));
        }
        if has_ended && !self.may_have_ended() {
            self.violated(format!("P15: has ended without a response: {status:?}"));
        }
        let Some(stored) = &self.store.grant else {
            return;
        };
        if status.generation == Some(stored.generation) && self.revoked == Revoked::No {
            let as_stored = match stored.state {
                GrantState::Revoked { .. } => is_revoked,
                GrantState::ReauthorizationRequired { .. } => has_ended,
                // An end that could not be saved contradicts what an earlier process has saved
                // meanwhile.
                _ => !is_revoked && (!has_ended || self.process > 0),
            };
            if !as_stored {
                let what = format!("not as it is stored: {status:?}, {stored:?}");
                self.violated(what);
            }
        }
    }

    /// Changes the world around the cache.
    pub(crate) fn arrange(&mut self, step: &Step) {
        match *step {
            Step::Next(handling) => self.script.push_back(handling),
            Step::Delay(delay) => self.delay = delay,
            Step::Ban => {
                if let Some(set) = self.sets.last_mut() {
                    set.is_banned = true;
                }
            }
            Step::Revocations(work) => self.revocations_fail = !work,
            Step::Latency(latency) => {
                self.store.latency = latency;
                self.store.was_slow |= !latency.is_zero();
            }
            Step::Store(fault, is_on) => {
                let store = &mut self.store;
                store.was_slow |= is_on && fault == Fault::SavesHang;
                store.faults.retain(|one| *one != fault);
                if is_on {
                    store.faults.push(fault);
                }
                self.trouble = self.times.truth();
            }
            _ => unreachable!("{step:?} is done by the run"),
        }
    }
}
