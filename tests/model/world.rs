//! What is true, as opposed to what a cache knows of it: token sets, grants, and what has been done with them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tower_oauth2_client::{
    store::MemoryStore,
    token::{Grant, GrantState, TokenSet},
};

use crate::{
    step::{Fault, Turn},
    support::HOUR,
    times::{Life, Times},
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
    /// The newest token that was handed out in this process.
    pub(crate) seen: Option<usize>,
    pub(crate) turns: VecDeque<Turn>,
    pub(crate) delay: Duration,
    pub(crate) revocations_fail: bool,
    pub(crate) shelf: Shelf,
    /// The process that runs now; earlier ones may have left something under way.
    pub(crate) process: u32,
    /// When somebody last called `refresh_now`.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) revoked: Revoked,
    /// The customer's last consent that is known to have arrived.
    pub(crate) family: usize,
    /// When something last went wrong, by the world's time.
    pub(crate) trouble: Duration,
    /// What each request through the layer got, try by try.
    pub(crate) calls: Vec<Vec<(usize, bool)>>,
    pub(crate) is_over: bool,
    pub(crate) violations: Vec<String>,
}

/// Whether the grant was revoked in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    No,
    Yes,
    /// A consent is being stored, or was, but nobody has heard of it.
    Unclear,
}

/// What does not change in a life.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// Whether the provider forgives a second use.
    pub(crate) forgives: bool,
    /// Whether the cache holds a refresh token back after a lost answer.
    pub(crate) holds: bool,
}

/// The store.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) grant: Option<Grant>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) latency: Duration,
    /// Who may make an exchange. This part does not fail.
    pub(crate) leases: MemoryStore,
    /// Whether it ever took its time.
    pub(crate) was_slow: bool,
}

/// What one exchange, or a consent, has given.
pub(crate) struct Set {
    pub(crate) family: usize,
    pub(crate) life: Life,
    pub(crate) born: Duration,
    /// What was spent for it; `None` for a consent.
    pub(crate) parent: Option<usize>,
    pub(crate) answered: Option<Instant>,
    /// The process that got it from the provider, and so knows its age by the monotonic clock.
    pub(crate) received_by: Option<u32>,
    pub(crate) is_committed: bool,
    pub(crate) is_banned: bool,
    pub(crate) is_invalidated: bool,
    /// The process that was told not to use it any more, while it was the newest there.
    pub(crate) given_up_by: Option<u32>,
    pub(crate) rejected_at: Option<Instant>,
    /// When its refresh token was first taken, by the world's time.
    pub(crate) spent: Option<Duration>,
    /// How often the store was told that its refresh token is about to be sent.
    pub(crate) notes: usize,
    pub(crate) uses: Vec<Use>,
}

/// One presentation of a refresh token.
pub(crate) struct Use {
    pub(crate) process: u32,
    pub(crate) began: Instant,
    /// Whether nothing but a 401 can have been the reason.
    pub(crate) is_forced: bool,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    InProgress,
    Given(usize),
    /// Nothing was used up, and the cache knows.
    Unused,
    /// The cache does not know.
    Lost,
    /// With whether the store could be read then, and written.
    Refused {
        can_look: bool,
        can_store: bool,
    },
}

/// The token sets that come from one consent.
#[derive(Default)]
pub(crate) struct Family {
    pub(crate) is_dead: bool,
    /// Whether the program has heard so.
    pub(crate) is_refused: bool,
}

impl World {
    pub(crate) fn new(forgives: bool, holds: bool) -> Self {
        let times = Times::new();
        let state = State {
            times: times.clone(),
            terms: Terms { forgives, holds },
            sets: Vec::new(),
            families: Vec::new(),
            seen: None,
            turns: VecDeque::new(),
            delay: Duration::from_millis(50),
            revocations_fail: false,
            shelf: Shelf::default(),
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

impl Shelf {
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

    /// The next token set of a grant. Handed over yet.
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
            life: Life {
                sent: now,
                issued_at,
                lifetime,
            },
            born: self.times.truth(),
            parent,
            answered: None,
            received_by: None,
            is_committed: false,
            is_banned: false,
            is_invalidated: false,
            given_up_by: None,
            rejected_at: None,
            spent: None,
            notes: 0,
            uses: Vec::new(),
        });
        let tokens = crate::support::token_set(number as u64, lifetime, issued_at);
        (number, tokens)
    }

    /// How long tokens live if nothing else is said.
    pub(crate) fn turn(&mut self) -> Turn {
        self.turns.pop_front().unwrap_or(Turn::Give(HOUR))
    }

    /// Whether the API takes an access token now.
    pub(crate) fn is_good(&self, number: usize) -> bool {
        let set = &self.sets[number];
        !set.is_banned
            && !self.families[set.family].is_dead
            && self.times.truth() < set.born + set.life.lifetime
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self) {
        self.turns.clear();
        self.delay = Duration::from_millis(50);
        self.revocations_fail = false;
        self.shelf.faults.clear();
        self.shelf.latency = Duration::ZERO;
        self.trouble = self.times.truth();
    }

    /// Whether the program may be told that the grant has ended.
    pub(crate) fn may_have_ended(&self) -> bool {
        self.families[self.family..]
            .iter()
            .any(|family| family.is_refused)
    }

    pub(crate) fn is_stored_as_revoked(&self) -> bool {
        let grant = self.shelf.grant.as_ref();
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
