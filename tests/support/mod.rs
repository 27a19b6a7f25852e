//! Shared test support: a clock that the test sets, and scripted token sources and stores.

#![allow(dead_code, reason = "each test uses its own part of this")]

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Semaphore;
use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenCacheBuilder, TokenSource},
    clock::{Clock, SystemClock},
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, Subscription, TokenStore},
    tenants::{Tenants, TenantsBuilder},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

pub(crate) mod log;

pub(crate) const API: &str = "https://api.example.com";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The runtime's clock, paused or not, with a wall clock that can be set apart from it. Counts how
/// often it is read.
#[derive(Clone)]
pub(crate) struct ManualClock {
    start: tokio::time::Instant,
    offset: Arc<Mutex<i64>>,
    advanced: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
            offset: Arc::default(),
            advanced: Arc::default(),
            reads: Arc::default(),
        }
    }

    /// Shifts the wall clock forward, as a suspend does, or back.
    pub(crate) fn shift_wall(&self, seconds: i64) {
        *self.offset.lock().unwrap() += seconds;
    }

    /// Advances both clocks, for tests in real time.
    pub(crate) fn advance(&self, seconds: u64) {
        self.advanced.fetch_add(seconds, Ordering::SeqCst);
    }

    fn advanced(&self) -> Duration {
        Duration::from_secs(self.advanced.load(Ordering::SeqCst))
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

/// A clock that is 10 seconds ahead. A cache with it counts a new token of an [`OAuthClient`] as
/// old enough to be known to the API.
///
/// [`OAuthClient`]: tower_oauth2_client::oauth::OAuthClient
#[derive(Clone, Copy, Debug)]
pub(crate) struct AheadClock;

impl Clock for AheadClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + 10 * SECOND
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + 10 * SECOND
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Instant {
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::Instant::now().into_std() + self.advanced()
    }

    fn wall(&self) -> SystemTime {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let offset = *self.offset.lock().unwrap();
        let shift = Duration::from_secs(offset.unsigned_abs());
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000) + self.start.elapsed();
        let time = time + self.advanced();
        if offset < 0 {
            time - shift
        } else {
            time + shift
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManualClock")
    }
}

/// The result of one call of a [`Source`].
pub(crate) enum Scripted {
    /// Returns tokens with this lifetime.
    Tokens(Option<Duration>),
    Fail(Error),
    Panic,
    Hang,
}

/// A source of tokens `a1`, `a2`, … with refresh tokens `r1`, `r2`, …. Records the refresh tokens
/// that it gets.
#[derive(Clone)]
pub(crate) struct Source {
    clock: ManualClock,
    inner: Arc<Inner>,
}

struct Inner {
    script: Mutex<VecDeque<Scripted>>,
    usual: Mutex<Option<Duration>>,
    sent_refresh_tokens: Mutex<Vec<Option<String>>>,
    revoked: Mutex<Vec<String>>,
    revocation_fails: Mutex<bool>,
    /// Whether the refresh token is not rotated.
    keeps_refresh_token: Mutex<bool>,
    /// How long a refresh takes. In addition, each one needs a permit of `gate`.
    delay: Mutex<Duration>,
    gate: Semaphore,
    issued: AtomicU64,
}

impl Source {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self {
            clock: clock.clone(),
            inner: Arc::new(Inner {
                script: Mutex::default(),
                usual: Mutex::new(Some(DAY)),
                sent_refresh_tokens: Mutex::default(),
                revoked: Mutex::default(),
                revocation_fails: Mutex::new(false),
                keeps_refresh_token: Mutex::new(false),
                delay: Mutex::new(Duration::from_millis(50)),
                gate: Semaphore::new(Semaphore::MAX_PERMITS),
                issued: AtomicU64::new(0),
            }),
        }
    }

    /// Scripts the next call. Without a script, calls return tokens.
    pub(crate) fn then(&self, scripted: Scripted) {
        self.inner.script.lock().unwrap().push_back(scripted);
    }

    /// Sets the lifetime of tokens. `None` if responses do not state it.
    pub(crate) fn set_lifetime(&self, lifetime: impl Into<Option<Duration>>) {
        *self.inner.usual.lock().unwrap() = lifetime.into();
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.inner.delay.lock().unwrap() = delay;
    }

    /// Removes the remaining script.
    pub(crate) fn clear_script(&self) {
        self.inner.script.lock().unwrap().clear();
    }

    /// Sets whether responses contain no new refresh token from now on.
    pub(crate) fn keep_refresh_tokens(&self, keep: bool) {
        *self.inner.keeps_refresh_token.lock().unwrap() = keep;
    }

    /// The time since the start of the test.
    pub(crate) fn age(&self) -> Duration {
        self.clock.start.elapsed()
    }

    /// Makes refreshes wait until [`unblock`](Self::unblock).
    pub(crate) fn block(&self) {
        self.inner.gate.forget_permits(usize::MAX);
    }

    pub(crate) fn unblock(&self) {
        self.inner.gate.add_permits(1_000);
    }

    pub(crate) fn fail_revocations(&self, fail: bool) {
        *self.inner.revocation_fails.lock().unwrap() = fail;
    }

    /// The number of refreshes so far.
    pub(crate) fn refreshes(&self) -> usize {
        self.inner.sent_refresh_tokens.lock().unwrap().len()
    }

    /// The refresh tokens of all refreshes so far.
    pub(crate) fn sent_refresh_tokens(&self) -> Vec<Option<String>> {
        self.inner.sent_refresh_tokens.lock().unwrap().clone()
    }

    pub(crate) fn revoked(&self) -> Vec<String> {
        self.inner.revoked.lock().unwrap().clone()
    }

    pub(crate) fn issue(&self, lifetime: impl Into<Option<Duration>>) -> TokenSet {
        let number = self.inner.issued.fetch_add(1, Ordering::SeqCst) + 1;
        token_set(number, lifetime, self.clock.wall())
    }

    /// A builder of tenants with this source and its clock, and with a fixed jitter seed.
    pub(crate) fn tenants(&self) -> TenantsBuilder {
        Tenants::builder(self.clone())
            .background_delay(Duration::ZERO)
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
    }

    /// A builder of a cache of a program that stays, with this source and its clock, and with a
    /// fixed jitter seed.
    pub(crate) fn cache(&self) -> TokenCacheBuilder {
        TokenCache::builder(self.clone())
            .background_delay(Duration::ZERO)
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
    }
}

impl TokenSource for Source {
    fn fetch_timeout(&self) -> Duration {
        20 * SECOND
    }

    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let refresh_token = held.and_then(TokenSet::refresh_token);
        self.inner
            .sent_refresh_tokens
            .lock()
            .unwrap()
            .push(refresh_token.map(|token| token.expose().to_owned()));
        let scripted = self.inner.script.lock().unwrap().pop_front();
        let delay = *self.inner.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let _permit = self.inner.gate.acquire().await.unwrap();
        let usual = *self.inner.usual.lock().unwrap();
        match scripted.unwrap_or(Scripted::Tokens(usual)) {
            Scripted::Tokens(lifetime) => {
                let given = self.issue(lifetime);
                let keeps_refresh_token = *self.inner.keeps_refresh_token.lock().unwrap();
                let kept = held.filter(|_| keeps_refresh_token).and_then(|held| {
                    Some((held.refresh_token()?, held.refresh_token_issued_at()?))
                });
                Ok(match kept {
                    Some((token, issued_at)) => given.with_refresh_token(token.clone(), issued_at),
                    None => given,
                })
            }
            Scripted::Fail(error) => Err(error),
            Scripted::Panic => panic!("scripted panic"),
            Scripted::Hang => std::future::pending().await,
        }
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        let access_token = held.access_token().expose();
        let token = held
            .refresh_token()
            .map_or(access_token, |token| token.expose());
        self.inner.revoked.lock().unwrap().push(token.to_owned());
        if *self.inner.revocation_fails.lock().unwrap() {
            return Err(Error::unavailable("the revocation fails: scripted"));
        }
        Ok(())
    }
}

/// A token set such as `a7` with `r7`.
pub(crate) fn token_set(
    number: u64,
    lifetime: impl Into<Option<Duration>>,
    at: SystemTime,
) -> TokenSet {
    let access_token = AccessToken::new(format!("a{number}")).unwrap();
    TokenSet::new(access_token, lifetime, at)
        .with_refresh_token(RefreshToken::new(format!("r{number}")), at)
}

pub(crate) fn unavailable() -> Error {
    Error::unavailable("unavailable: scripted")
}

/// A memory store that can be made to fail, to hang, and to be slow.
#[derive(Clone, Default)]
pub(crate) struct Store {
    pub(crate) memory: MemoryStore,
    loads_fail: Arc<Mutex<bool>>,
    intents_fail: Arc<Mutex<bool>>,
    saves_fail: Arc<Mutex<bool>>,
    saves_hang: Arc<Mutex<bool>>,
    /// How long it takes to save an intent, and a replay.
    slow_intents: Arc<Mutex<Duration>>,
    slow_replays: Arc<Mutex<Duration>>,
    /// The last caller of `acquire`, and the scripted behavior of the lease.
    lease_owner: Arc<Mutex<Option<LeaseOwner>>>,
    hang_acquire: Arc<Mutex<bool>>,
    slow_release: Arc<Mutex<Duration>>,
    /// How long the next load takes to return what it has read.
    slow_load: Arc<Mutex<Duration>>,
    saves: Arc<AtomicU64>,
    loads: Arc<AtomicU64>,
    before_save: Arc<Mutex<Option<BeforeSave>>>,
}

type BeforeSave = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Store {
    pub(crate) fn fail_loads(&self, fail: bool) {
        *self.loads_fail.lock().unwrap() = fail;
    }

    /// Makes saves of an intent fail.
    pub(crate) fn fail_intents(&self, fail: bool) {
        *self.intents_fail.lock().unwrap() = fail;
    }

    /// Makes saves of new token sets and ends fail.
    pub(crate) fn fail_saves(&self, fail: bool) {
        *self.saves_fail.lock().unwrap() = fail;
    }

    /// Makes saves commit and never return.
    pub(crate) fn hang_saves(&self, hang: bool) {
        *self.saves_hang.lock().unwrap() = hang;
    }

    /// Drops the lease, as a store may.
    pub(crate) async fn lose_lease(&self) {
        let lease_owner = self.lease_owner.lock().unwrap().clone().unwrap();
        let tenant = TenantId::new("default").unwrap();
        self.memory.release(&tenant, &lease_owner).await.unwrap();
    }

    /// Makes the next call of `acquire` hang.
    pub(crate) fn hang_next_acquire(&self) {
        *self.hang_acquire.lock().unwrap() = true;
    }

    pub(crate) fn slow_next_load(&self, by: Duration) {
        *self.slow_load.lock().unwrap() = by;
    }

    pub(crate) fn slow_releases(&self, by: Duration) {
        *self.slow_release.lock().unwrap() = by;
    }

    pub(crate) fn slow_intents(&self, by: Duration) {
        *self.slow_intents.lock().unwrap() = by;
    }

    pub(crate) fn slow_replays(&self, by: Duration) {
        *self.slow_replays.lock().unwrap() = by;
    }

    /// The number of loads so far. Endless loading panics.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// The number of attempted saves so far.
    pub(crate) fn saves(&self) -> u64 {
        self.saves.load(Ordering::SeqCst)
    }

    /// Runs an action, such as that of another replica, just before the next save.
    pub(crate) fn before_next_save<F: Future<Output = ()> + Send + 'static>(
        &self,
        act: impl FnOnce() -> F + Send + 'static,
    ) {
        *self.before_save.lock().unwrap() = Some(Box::new(|| Box::pin(act())));
    }

    /// Saves a grant that an earlier process has left.
    pub(crate) async fn put(&self, grant: Grant) {
        let tenant = TenantId::new("default").unwrap();
        let outcome = self.memory.save(&tenant, None, &grant).await.unwrap();
        assert_eq!(outcome, SaveOutcome::Committed);
    }

    /// The stored token set of one of many tenants.
    pub(crate) async fn stored_tokens(&self, tenant: &TenantId) -> TokenSet {
        let held = self.memory.load(tenant).await.unwrap().unwrap();
        held.tokens().unwrap().clone()
    }

    pub(crate) async fn stored(&self) -> Option<Grant> {
        self.memory
            .load(&TenantId::new("default").unwrap())
            .await
            .unwrap()
    }
}

impl TokenStore for Store {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        if *self.loads_fail.lock().unwrap() {
            return Err(Error::store("the grant cannot be loaded: scripted"));
        }
        let loads = self.loads.fetch_add(1, Ordering::SeqCst);
        assert!(loads < 100_000, "the store is loaded all the time");
        let seen = self.memory.load(tenant).await;
        let by = std::mem::take(&mut *self.slow_load.lock().unwrap());
        tokio::time::sleep(by).await;
        seen
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        // An intent, or its removal.
        if expected == Some(grant.generation) {
            if *self.intents_fail.lock().unwrap() {
                return Err(Error::store("intents cannot be saved: scripted"));
            }
            if let GrantState::Refreshing { is_replayed, .. } = grant.state {
                let slow = if is_replayed {
                    &self.slow_replays
                } else {
                    &self.slow_intents
                };
                let by = *slow.lock().unwrap();
                tokio::time::sleep(by).await;
            }
            return self.memory.save(tenant, expected, grant).await;
        }
        self.saves.fetch_add(1, Ordering::SeqCst);
        let act = self.before_save.lock().unwrap().take();
        if let Some(act) = act {
            act().await;
        }
        if *self.saves_fail.lock().unwrap() {
            return Err(Error::store("the grant cannot be saved: scripted"));
        }
        let outcome = self.memory.save(tenant, expected, grant).await;
        if *self.saves_hang.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        outcome
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        *self.lease_owner.lock().unwrap() = Some(owner.clone());
        let hangs = std::mem::take(&mut *self.hang_acquire.lock().unwrap());
        if hangs {
            std::future::pending::<()>().await;
        }
        self.memory.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let by = *self.slow_release.lock().unwrap();
        tokio::time::sleep(by).await;
        self.memory.release(tenant, owner).await
    }

    async fn changed(&self, tenant: &TenantId) {
        self.memory.changed(tenant).await;
    }

    fn subscribe(&self) -> Option<Subscription> {
        self.memory.subscribe()
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.memory.tenants(after, limit).await
    }
}

/// All tenants of a store that has few, page by page.
pub(crate) async fn all_tenants(store: &impl TokenStore, limit: usize) -> Vec<TenantId> {
    let mut all: Vec<TenantId> = Vec::new();
    loop {
        let page = store.tenants(all.last(), limit).await.unwrap();
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        all.extend(page);
        assert!(all.len() <= 100, "no end");
    }
}

/// A cache that holds its first token, over a scripted source and store.
pub(crate) async fn cache_with_token() -> (Source, Store, TokenCache) {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    (source, store, tokens)
}

/// The `Authorization` header of a request.
pub(crate) async fn header(tokens: &TokenCache) -> String {
    let token = tokens.token().await.unwrap();
    token.header_value().to_str().unwrap().to_owned()
}

/// A customer consents at the sandbox, and the cache gets the tokens.
#[cfg(feature = "sandbox")]
pub(crate) async fn connect(
    sandbox: &tower_oauth2_client::sandbox::Sandbox,
    oauth: &tower_oauth2_client::oauth::OAuthClient,
    tokens: &TokenCache,
) {
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let completed = tokens
        .complete_authorization(oauth, &pending, &callback)
        .await;
    completed.unwrap();
}
