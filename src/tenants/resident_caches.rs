//! The caches of resident tenants: found without a lock, evicted when idle.
//!
//! A request reads a concurrent map. Everything else works on the slots, under a lock that no
//! request for a resident tenant takes. Eviction is CLOCK: a request sets the reference bit of its
//! tenant, at most once between two visits, so that threads do not contend for it. A tenant without
//! the bit is evicted first.

use std::{
    collections::HashSet,
    hash::BuildHasher,
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

/// How many evicted tenants are remembered, in 8 bytes each.
const MAX_EVICTED: usize = 100_000;

/// Each resident cache is maintained once in this time.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(30);
/// The batches of one interval, so that the refreshes that are due do not start at the same time.
const BATCHES: u32 = 30;

/// The way to make room for a tenant that becomes resident at the capacity limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Another tenant is evicted. If all are in use, it is an error.
    Evict,
    /// The capacity is exceeded, until [`ResidentCaches::shrink`]: a consent must find room,
    /// because its code can be used once, but a code that fails must evict no tenant.
    Exceed,
}

/// How many slots an eviction visits at most, in each of its two passes.
const MAX_VISITS: usize = 1_024;

pub(super) struct ResidentCaches {
    /// Changed only while `slots` is locked.
    by_tenant: HashMap<TenantId, Arc<Resident>, RandomState>,
    slots: Mutex<Slots>,
    hasher: RandomState,
    capacity: usize,
    idle_after: Duration,
}

struct Resident {
    cache: TokenCache,
    /// The reference bit: whether the tenant was requested since the last visit of its slot.
    referenced: AtomicBool,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    /// The slot to be maintained next.
    next_maintained: usize,
    /// The slot to be considered for eviction next.
    clock_hand: usize,
    /// The evicted tenants, as hashes of their names.
    evicted: HashSet<u64>,
}

struct Slot {
    resident: Arc<Resident>,
    last_used: Instant,
}

impl ResidentCaches {
    pub(super) fn new(capacity: usize, idle_after: Duration) -> Self {
        Self {
            by_tenant: HashMap::with_hasher(RandomState::default()),
            slots: Mutex::default(),
            hasher: RandomState::default(),
            capacity,
            idle_after,
        }
    }

    pub(super) fn get(&self, tenant: &TenantId) -> Option<TokenCache> {
        let map = self.by_tenant.pin();
        let resident = map.get(tenant)?;
        resident.set_referenced();
        Some(resident.cache.clone())
    }

    /// Like [`get`](Self::get), but no request: the reference bit stays as it is.
    pub(super) fn peek(&self, tenant: &TenantId) -> Option<TokenCache> {
        Some(self.by_tenant.pin().get(tenant)?.cache.clone())
    }

    /// Like [`get`](Self::get), but no eviction can take place between the lookup and the clone,
    /// after which the cache of this tenant would not be the resident one.
    pub(super) fn get_locked(&self, tenant: &TenantId) -> Option<TokenCache> {
        let _slots = self.slots();
        self.get(tenant)
    }

    /// The resident cache of a tenant, or a new one that becomes resident.
    pub(super) fn get_or_insert(
        &self,
        tenant: &TenantId,
        new_cache: impl FnOnce() -> TokenCache,
        room: Room,
        now: Instant,
    ) -> Result<TokenCache, Error> {
        let mut slots = self.slots();
        if let Some(resident) = self.get(tenant) {
            return Ok(resident);
        }
        while room == Room::Evict && slots.all.len() >= self.capacity {
            self.evict_one(&mut slots, now)?;
        }
        slots.evicted.remove(&self.hash(tenant));
        let cache = new_cache();
        let resident = Arc::new(Resident {
            cache: cache.clone(),
            referenced: AtomicBool::new(false),
        });
        slots.all.push(Slot {
            resident: Arc::clone(&resident),
            last_used: now,
        });
        self.by_tenant.pin().insert(tenant.clone(), resident);
        Ok(cache)
    }

    /// Evicts tenants that are not in use, down to the capacity.
    pub(super) fn shrink(&self, now: Instant) {
        let mut slots = self.slots();
        while slots.all.len() > self.capacity && self.evict_one(&mut slots, now).is_ok() {}
    }

    /// Whether a tenant has a grant for certain: it was resident, and was evicted.
    pub(super) fn was_evicted(&self, tenant: &TenantId) -> bool {
        let hash = self.hash(tenant);
        self.slots().evicted.contains(&hash)
    }

    /// Evicts a tenant if its cache knows of no grant.
    pub(super) fn evict_if_empty(&self, tenant: &TenantId) {
        let mut slots = self.slots();
        let is_of_tenant = |slot: &Slot| slot.resident.cache.tenant() == tenant;
        if let Some(index) = slots.all.iter().position(is_of_tenant)
            && slots.all[index].resident.cache.is_empty()
        {
            self.evict(&mut slots, index);
        }
    }

    /// The next caches to maintain, and the time until the next batch. Evicts idle tenants on the
    /// way.
    pub(super) fn next_batch(&self, now: Instant) -> (Vec<TokenCache>, Duration) {
        let mut slots = self.slots();
        let count = slots.all.len();
        if count == 0 {
            return (Vec::new(), MAINTENANCE_INTERVAL);
        }
        let batch_size = count.div_ceil(BATCHES as usize);
        let batches = u32::try_from(count.div_ceil(batch_size)).unwrap_or(BATCHES);
        let mut batch = Vec::with_capacity(batch_size);
        for _ in 0..batch_size {
            if slots.next_maintained >= slots.all.len() {
                slots.next_maintained = 0;
            }
            let index = slots.next_maintained;
            let Some(slot) = slots.all.get_mut(index) else {
                break;
            };
            if slot.resident.take_referenced() {
                slot.last_used = now;
            }
            let is_idle = now.saturating_duration_since(slot.last_used) >= self.idle_after;
            if is_idle && slot.resident.cache.is_evictable() {
                self.evict(&mut slots, index);
            } else {
                batch.push(slot.resident.cache.clone());
                slots.next_maintained += 1;
            }
        }
        (batch, MAINTENANCE_INTERVAL / batches)
    }

    /// All resident tenants. Those that requests have used recently come last.
    pub(super) fn tenants(&self) -> Vec<TenantId> {
        let slots = self.slots();
        let (used, unused): (Vec<_>, Vec<_>) = slots
            .all
            .iter()
            .partition(|slot| slot.resident.is_referenced());
        let tenant = |slot: &Slot| slot.resident.cache.tenant().clone();
        unused.into_iter().chain(used).map(tenant).collect()
    }

    /// The tenants that requests have used within about this time.
    pub(super) fn used_within(&self, time: Duration, now: Instant) -> Vec<TenantId> {
        let slots = self.slots();
        let is_used = |slot: &&Slot| {
            slot.resident.is_referenced() || now.saturating_duration_since(slot.last_used) < time
        };
        let used = slots.all.iter().filter(is_used);
        used.map(|slot| slot.resident.cache.tenant().clone())
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots().all.len()
    }

    pub(super) fn all(&self) -> Vec<TokenCache> {
        let slots = self.slots();
        slots
            .all
            .iter()
            .map(|slot| slot.resident.cache.clone())
            .collect()
    }

    /// Advances the clock hand until it has evicted a tenant.
    ///
    /// The first pass spares tenants that were requested since the last visit, and those that have
    /// a refresh to make. The second pass evicts the latter too: while the provider is down, every
    /// refresh is due, and other tenants must still be loaded.
    fn evict_one(&self, slots: &mut Slots, now: Instant) -> Result<(), Error> {
        let visits_per_pass = MAX_VISITS.min(slots.all.len());
        for visit in 0..2 * visits_per_pass {
            if slots.clock_hand >= slots.all.len() {
                slots.clock_hand = 0;
            }
            let index = slots.clock_hand;
            let slot = &mut slots.all[index];
            // If another thread clones the cache at this moment, it continues with a cache that is
            // not resident. To the resident one, that is another replica: leases and generations
            // keep the two apart.
            let is_evictable = if visit >= visits_per_pass {
                slot.resident.cache.is_evictable_under_pressure()
            } else if slot.resident.take_referenced() {
                slot.last_used = now;
                false
            } else {
                slot.resident.cache.is_evictable()
            };
            if is_evictable {
                self.evict(slots, index);
                return Ok(());
            }
            slots.clock_hand += 1;
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "tenant capacity exhausted: every resident tenant is in use; raise \
             TenantsBuilder::capacity",
        ))
    }

    fn evict(&self, slots: &mut Slots, index: usize) {
        let slot = slots.all.swap_remove(index);
        let tenant = slot.resident.cache.tenant();
        self.by_tenant.pin().remove(tenant);
        if slot.resident.cache.is_empty() {
            return;
        }
        if slots.evicted.len() >= MAX_EVICTED {
            // Those that return are remembered again.
            slots.evicted.clear();
        }
        slots.evicted.insert(self.hash(tenant));
    }

    fn hash(&self, tenant: &TenantId) -> u64 {
        self.hasher.hash_one(tenant)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // A panic while this is locked leaves at worst a slot without a map entry, or the reverse,
        // which costs a load.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resident {
    fn set_referenced(&self) {
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    fn is_referenced(&self) -> bool {
        self.referenced.load(Ordering::Relaxed)
    }

    fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }
}
