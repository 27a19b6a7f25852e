//! The tenants that are held in memory: found without a lock, let go when they are idle.
//!
//! Requests read a concurrent map. All else goes by the places, under a lock that no warm request takes: where a tenant is held
//! or let go, and whose turn it is to be looked after. A request leaves a mark, once between two rounds, so that threads do
//! not contend for it; who has none gives way first.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use papaya::HashMap;

use crate::{
    cache::TokenCache,
    error::{Error, ErrorKind},
    token::TenantId,
};

/// Each is looked after once in this time.
const ROUND: Duration = Duration::from_secs(30);
/// In so many parts, so that not all that is due is begun at once.
const PARTS: u32 = 30;

/// How many places are looked at, to make room.
const TRIES: usize = 1_024;

pub(super) struct Residents {
    /// Changed only with the lock of `places` held.
    by_tenant: HashMap<TenantId, Arc<Resident>, RandomState>,
    places: Mutex<Places>,
    capacity: usize,
    idle_after: Duration,
}

struct Resident {
    tokens: TokenCache,
    /// Whether somebody has asked for it since it was last looked after.
    is_asked_for: AtomicBool,
}

#[derive(Default)]
struct Places {
    all: Vec<Place>,
    /// Whose turn it is to be looked after, and to make room.
    next: usize,
    hand: usize,
}

struct Place {
    resident: Arc<Resident>,
    asked_for_at: Instant,
}

impl Residents {
    pub(super) fn new(capacity: usize, idle_after: Duration) -> Self {
        Self {
            by_tenant: HashMap::with_hasher(RandomState::default()),
            places: Mutex::default(),
            capacity,
            idle_after,
        }
    }

    pub(super) fn find(&self, tenant: &TenantId) -> Option<TokenCache> {
        let map = self.by_tenant.pin();
        let resident = map.get(tenant)?;
        resident.mark();
        Some(resident.tokens.clone())
    }

    /// The same, where it matters that no other is held from now on: nobody is let go between the look and the handle.
    pub(super) fn keep(&self, tenant: &TenantId) -> Option<TokenCache> {
        let _places = self.places();
        self.find(tenant)
    }

    /// The one that is held, or else a new one from now on.
    pub(super) fn find_or_hold(
        &self,
        tenant: &TenantId,
        begin: impl FnOnce() -> TokenCache,
        now: Instant,
    ) -> Result<TokenCache, Error> {
        let mut places = self.places();
        if let Some(held) = self.find(tenant) {
            return Ok(held);
        }
        if places.all.len() >= self.capacity {
            self.make_room(&mut places, now)?;
        }
        let tokens = begin();
        let resident = Arc::new(Resident {
            tokens: tokens.clone(),
            is_asked_for: AtomicBool::new(false),
        });
        places.all.push(Place {
            resident: Arc::clone(&resident),
            asked_for_at: now,
        });
        self.by_tenant.pin().insert(tenant.clone(), resident);
        Ok(tokens)
    }

    /// Lets a tenant go of whom nothing came to be known.
    pub(super) fn let_go_if_empty(&self, tenant: &TenantId) {
        let mut places = self.places();
        let is_it = |place: &Place| place.resident.tokens.tenant() == tenant;
        if let Some(at) = places.all.iter().position(is_it)
            && places.all[at].resident.tokens.is_empty()
        {
            self.remove(&mut places, at);
        }
    }

    /// Those whose turn it is to be looked after, and how long until it is the next ones' turn. Who was idle for too long is
    /// let go.
    pub(super) fn round(&self, now: Instant) -> (Vec<TokenCache>, Duration) {
        let mut places = self.places();
        let count = places.all.len();
        if count == 0 {
            return (Vec::new(), ROUND);
        }
        let at_once = count.div_ceil(PARTS as usize);
        let parts = u32::try_from(count.div_ceil(at_once)).unwrap_or(PARTS);
        let mut turn = Vec::with_capacity(at_once);
        for _ in 0..at_once {
            if places.next >= places.all.len() {
                places.next = 0;
            }
            let at = places.next;
            let Some(place) = places.all.get_mut(at) else {
                break;
            };
            if place.resident.take_mark() {
                place.asked_for_at = now;
            }
            let is_idle = now.saturating_duration_since(place.asked_for_at) >= self.idle_after;
            if is_idle && place.resident.is_dispensable() {
                self.remove(&mut places, at);
            } else {
                turn.push(place.resident.tokens.clone());
                places.next += 1;
            }
        }
        (turn, ROUND / parts)
    }

    pub(super) fn len(&self) -> usize {
        self.places().all.len()
    }

    pub(super) fn all(&self) -> Vec<TokenCache> {
        let places = self.places();
        places
            .all
            .iter()
            .map(|place| place.resident.tokens.clone())
            .collect()
    }

    /// A second chance for whoever was asked for since the hand last came by, or has an exchange still to make: that must not
    /// keep others from being served, as where the provider is down and everybody is due.
    fn make_room(&self, places: &mut Places, now: Instant) -> Result<(), Error> {
        let tries_each = TRIES.min(places.all.len());
        for tries in 0..2 * tries_each {
            if places.hand >= places.all.len() {
                places.hand = 0;
            }
            let at = places.hand;
            let place = &mut places.all[at];
            let is_let_go = if tries >= tries_each {
                place.resident.tokens.is_expendable()
            } else if place.resident.take_mark() {
                place.asked_for_at = now;
                false
            } else {
                place.resident.is_dispensable()
            };
            if is_let_go {
                self.remove(places, at);
                return Ok(());
            }
            places.hand += 1;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "as many tenants are in use at once as may be held: allow more by TenantsBuilder::capacity",
        ))
    }

    fn remove(&self, places: &mut Places, at: usize) {
        let place = places.all.swap_remove(at);
        let tenant = place.resident.tokens.tenant();
        self.by_tenant.pin().remove(tenant);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // A panic elsewhere leaves at worst a place without an entry, or the reverse, which only costs a load.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resident {
    fn mark(&self) {
        if !self.is_asked_for.load(Ordering::Relaxed) {
            self.is_asked_for.store(true, Ordering::Relaxed);
        }
    }

    fn take_mark(&self) -> bool {
        self.is_asked_for.swap(false, Ordering::Relaxed)
    }

    /// Whoever gets a handle at this very moment goes on with a cache that is not held: to the others that is another replica,
    /// and leases and generations keep the two apart.
    fn is_dispensable(&self) -> bool {
        self.tokens.is_dispensable()
    }
}
