//! Which calls of the store a refresh makes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, Subscription, TokenStore},
    token::{Generation, Grant, GrantState, TenantId},
};

use crate::support::{ManualClock, Scripted, Source};

/// A store that records its calls.
#[derive(Clone, Default)]
struct Recording {
    memory: MemoryStore,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

impl Recording {
    fn record(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl TokenStore for Recording {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.record("load");
        self.memory.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let is_intent = matches!(grant.state, GrantState::Refreshing { .. });
        self.record(if is_intent { "save intent" } else { "save" });
        self.memory.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.record("acquire");
        self.memory.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.record("release");
        self.memory.release(tenant, owner).await
    }

    async fn acquire_and_load(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<(LeaseOutcome, Option<Grant>), Error> {
        self.record("acquire and load");
        // As a store with a server: the refresh waits, and prepares to extend the lease.
        tokio::task::yield_now().await;
        self.memory.acquire_and_load(tenant, owner, duration).await
    }

    async fn save_and_release(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
        owner: &LeaseOwner,
    ) -> Result<SaveOutcome, Error> {
        self.record("save and release");
        let save = (self.memory).save_and_release(tenant, expected, grant, owner);
        save.await
    }

    fn subscribe(&self) -> Option<Subscription> {
        self.memory.subscribe()
    }
}

/// A process that starts loads the grant first, since it may need no refresh.
#[tokio::test(start_paused = true)]
async fn p10_refresh_makes_three_calls() {
    let (source, store) = (Source::new(&ManualClock::new()), Recording::default());
    let builder = source.cache().store(store.clone());
    let tokens = builder
        .min_refresh_interval(Duration::ZERO)
        .build()
        .unwrap();
    tokens.refresh_now().await.unwrap();
    let first = store.take();
    assert_eq!(first[..3], ["load", "acquire and load", "save and release"]);
    let refresh = ["acquire and load", "save intent", "save and release"];
    for _ in 0..2 {
        tokens.refresh_now().await.unwrap();
        assert_eq!(store.take(), refresh);
    }
    // The intent is removed.
    source.then(Scripted::Fail(Error::unavailable("down")));
    tokens.refresh_now().await.unwrap_err();
    assert_eq!(store.take(), refresh);
}

/// Another replica has the lease at first, and has refreshed the grant when it releases it.
#[tokio::test(start_paused = true)]
async fn p06_grant_of_another_replica_is_found_with_the_lease() {
    let (source, store) = (Source::new(&ManualClock::new()), Recording::default());
    let cache = || source.cache().store(store.clone()).build().unwrap();
    let (one, two) = (cache(), cache());
    one.token().await.unwrap();
    two.token().await.unwrap();
    source.set_delay(Duration::from_secs(1));
    let (first, second) = tokio::join!(one.refresh_now(), two.refresh_now());
    assert_eq!(first.unwrap().generation(), second.unwrap().generation());
    assert_eq!(source.refreshes(), 2);
}
