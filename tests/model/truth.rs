//! What the cache says of itself and what it hands out, compared with what is true; and what changes the truth.

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
    /// Whether what was handed out last has to serve the next request at once.
    pub(crate) fn serves(&self) -> bool {
        let Some(seen) = self.seen.filter(|_| self.revoked == Revoked::No) else {
            return false;
        };
        let is_good = |number: usize| {
            let set = &self.sets[number];
            let mandatory = MINUTE.min(set.life.lifetime / 10);
            !set.is_invalidated
                && set.rejected_at.is_none()
                && self
                    .times
                    .is_surely_alive(set.life, mandatory + Duration::from_secs(1))
        };
        // What came later, and is in use instead of it, must be good as well.
        let later = seen + 1..self.sets.len();
        is_good(seen)
            && later
                .into_iter()
                .all(|number| !self.sets[number].is_committed || is_good(number))
    }

    /// Which one the cache holds may be a later one than was seen.
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
            self.violated(format!("is revoked or is not: {status:?}"));
        }
        if has_ended && !self.may_have_ended() {
            self.violated(format!("P15: has ended without an answer: {status:?}"));
        }
        let Some(stored) = &self.shelf.grant else {
            return;
        };
        if status.generation == Some(stored.generation) && self.revoked == Revoked::No {
            let as_stored = match stored.state {
                GrantState::Revoked { .. } => is_revoked,
                GrantState::ReauthorizationRequired { .. } => has_ended,
                // An end that could not be stored stands against what an earlier process has stored meanwhile.
                _ => !is_revoked && (!has_ended || self.process > 0),
            };
            if !as_stored {
                let what = format!("not as the store has it: {status:?}, {stored:?}");
                self.violated(what);
            }
        }
    }

    /// What changes the world around the cache.
    pub(crate) fn arrange(&mut self, step: &Step) {
        match *step {
            Step::Next(turn) => self.turns.push_back(turn),
            Step::Delay(delay) => self.delay = delay,
            Step::Ban => {
                if let Some(set) = self.sets.last_mut() {
                    set.is_banned = true;
                }
            }
            Step::Revocations(work) => self.revocations_fail = !work,
            Step::Latency(latency) => {
                self.shelf.latency = latency;
                self.shelf.was_slow |= !latency.is_zero();
            }
            Step::Store(fault, is_on) => {
                let shelf = &mut self.shelf;
                shelf.was_slow |= is_on && fault == Fault::SavesHang;
                shelf.faults.retain(|one| *one != fault);
                if is_on {
                    shelf.faults.push(fault);
                }
                self.trouble = self.times.truth();
            }
            _ => unreachable!("{step:?} is done by the run"),
        }
    }
}
