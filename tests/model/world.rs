//! The truth, as opposed to what a cache knows: token sets, grants, and their uses.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tower_oauth2_client::{
    store::{Announcer, MemoryStore},
    token::{Grant, GrantState, TokenSet},
};

use crate::{
    step::{Fault, Handling},
    support::HOUR,
    times::{Times, Validity},
};

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) times: Times,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) times: Times,
    pub(crate) terms: Terms,
    /// Token set 7 is `a7` with `r7`.
    pub(crate) sets: Vec<Set>,
    pub(crate) families: Vec<Family>,
    /// The newest token that was returned in this process.
    pub(crate) seen: Option<usize>,
    pub(crate) script: VecDeque<Handling>,
    pub(crate) delay: Duration,
    pub(crate) revocations_fail: bool,
    pub(crate) store: StoreState,
    /// The number of the process that runs now. Earlier ones may have left work in progress.
    pub(crate) process: u32,
    /// When `refresh_now` was last called.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) revoked: Revoked,
    /// The last consent of the customer that is known to have arrived.
    pub(crate) family: usize,
    /// When the last fault occurred, by the world's time.
    pub(crate) trouble: Duration,
    /// The responses to each request through the layer, attempt by attempt.
    pub(crate) calls: Vec<Vec<(usize, bool)>>,
    pub(crate) is_over: bool,
    pub(crate) violations: Vec<String>,
}

/// Whether the grant was revoked in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    No,
    Yes,
    /// A consent is being saved, or was saved without a response.
    Unclear,
}

/// The constants of a life.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// Whether the provider has a reuse grace.
    pub(crate) has_reuse_grace: bool,
    /// Whether the cache defers a refresh token whose response was lost.
    pub(crate) defers: bool,
}

/// The content and the faults of the store.
#[derive(Default)]
pub(crate) struct StoreState {
    pub(crate) grant: Option<Grant>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) latency: Duration,
    /// The leases. This part does not fail.
    pub(crate) leases: MemoryStore,
    /// Without announcements, a cache loads its grant every 30 seconds of a life of months.
    pub(crate) announcer: Announcer,
    /// Whether it was ever slow.
    pub(crate) was_slow: bool,
}

/// A token set from a refresh or a consent.
pub(crate) struct Set {
    pub(crate) family: usize,
    pub(crate) validity: Validity,
    pub(crate) born: Duration,
    /// The token set that was used for it; `None` for a consent.
    pub(crate) parent: Option<usize>,
    pub(crate) received_at: Option<Instant>,
    /// The process that got it from the provider, and so knows its age by the monotonic clock.
    pub(crate) received_by: Option<u32>,
    pub(crate) is_committed: bool,
    pub(crate) is_banned: bool,
    pub(crate) is_invalidated: bool,
    /// The process that invalidated it while it was the newest one there.
    pub(crate) given_up_by: Option<u32>,
    pub(crate) rejected_at: Option<Instant>,
    /// When its refresh token was first accepted, by the world's time.
    pub(crate) spent: Option<Duration>,
    /// How often an intent to send its refresh token was saved.
    pub(crate) intents: usize,
    pub(crate) uses: Vec<Use>,
}

/// One use of a refresh token.
pub(crate) struct Use {
    pub(crate) process: u32,
    pub(crate) began: Instant,
    /// Whether a 401 must have been the reason.
    pub(crate) is_forced: bool,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    InProgress,
    Tokens(usize),
    /// The refresh token was not used, and the cache knows that.
    Unused,
    /// The response was lost.
    Lost,
    /// Whether the store could be loaded, and saved, at that time.
    Rejected {
        can_look: bool,
        can_store: bool,
    },
}

/// The token sets of one consent.
#[derive(Default)]
pub(crate) struct Family {
    pub(crate) has_ended: bool,
    /// Whether the program knows that.
    pub(crate) is_rejected: bool,
}

impl World {
    pub(crate) fn new(has_reuse_grace: bool, defers: bool) -> Self {
        let times = Times::new();
        let state = State {
            times: times.clone(),
            terms: Terms {
                has_reuse_grace,
                defers,
            },
            sets: Vec::new(),
            families: Vec::new(),
            seen: None,
            script: VecDeque::new(),
            delay: Duration::from_millis(50),
            revocations_fail: false,
            store: StoreState::default(),
            process: 0,
            asked_at: None,
            revoked: Revoked::No,
            family: 0,
            trouble: Duration::ZERO,
            calls: Vec::new(),
            is_over: false,
            violations: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        Self { times, state }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl StoreState {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

impl State {
    pub(crate) fn violated(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// A customer consents.
    pub(crate) fn consent(&mut self, lifetime: Duration) -> (usize, TokenSet) {
        self.families.push(Family::default());
        self.issue(self.families.len() - 1, None, lifetime)
    }

    /// Issues the next token set of a grant, which the caller still has to deliver.
    pub(crate) fn issue(
        &mut self,
        family: usize,
        parent: Option<usize>,
        lifetime: Duration,
    ) -> (usize, TokenSet) {
        use tower_oauth2_client::clock::Clock;
        let (now, issued_at) = (self.times.now(), self.times.clock.wall());
        let number = self.sets.len();
        self.sets.push(Set {
            family,
            validity: Validity {
                sent: now,
                issued_at,
                lifetime,
            },
            born: self.times.truth(),
            parent,
            received_at: None,
            received_by: None,
            is_committed: false,
            is_banned: false,
            is_invalidated: false,
            given_up_by: None,
            rejected_at: None,
            spent: None,
            intents: 0,
            uses: Vec::new(),
        });
        let tokens = crate::support::token_set(number as u64, lifetime, issued_at);
        (number, tokens)
    }

    /// The scripted handling of the next token request.
    pub(crate) fn handling(&mut self) -> Handling {
        self.script.pop_front().unwrap_or(Handling::Issue(HOUR))
    }

    /// Whether the API accepts an access token now.
    pub(crate) fn is_good(&self, number: usize) -> bool {
        let set = &self.sets[number];
        !set.is_banned
            && !self.families[set.family].has_ended
            && self.times.truth() < set.born + set.validity.lifetime
    }

    /// Ends all faults.
    pub(crate) fn end_faults(&mut self) {
        self.script.clear();
        self.delay = Duration::from_millis(50);
        self.revocations_fail = false;
        self.store.faults.clear();
        self.store.latency = Duration::ZERO;
        self.trouble = self.times.truth();
    }

    /// Whether the program may learn that the grant has ended.
    pub(crate) fn may_have_ended(&self) -> bool {
        self.families[self.family..]
            .iter()
            .any(|family| family.is_rejected)
    }

    pub(crate) fn is_stored_as_revoked(&self) -> bool {
        let grant = self.store.grant.as_ref();
        grant.is_some_and(|grant| matches!(grant.state, GrantState::Revoked { .. }))
    }
}

/// The number of `r7`, or of `a7`.
pub(crate) fn number_in(token: &str) -> usize {
    token
        .get(1..)
        .and_then(|number| number.parse().ok())
        .unwrap()
}
