//! What several tests share: a clock that moves by hand, and token sources and stores that do as they are told.

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
    clock::Clock,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    tenants::{Tenants, TenantsBuilder},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

pub(crate) const API: &str = "https://api.example.com";
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// The runtime's clock, paused or not, with a wall clock that can be set apart from it. Counts how often it is read.
#[derive(Clone)]
pub(crate) struct HandClock {
    start: tokio::time::Instant,
    apart: Arc<Mutex<i64>>,
    jumped: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
}

impl HandClock {
    pub(crate) fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
            apart: Arc::default(),
            jumped: Arc::default(),
            reads: Arc::default(),
        }
    }

    /// Sets the wall clock forwards, as a suspend does, or back.
    pub(crate) fn shift_wall(&self, seconds: i64) {
        *self.apart.lock().unwrap() += seconds;
    }

    /// Moves both hands on, where the runtime's time is the real one.
    pub(crate) fn jump(&self, seconds: u64) {
        self.jumped.fetch_add(seconds, Ordering::SeqCst);
    }

    fn jumped(&self) -> Duration {
        Duration::from_secs(self.jumped.load(Ordering::SeqCst))
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Clock for HandClock {
    fn monotonic(&self) -> Instant {
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::Instant::now().into_std() + self.jumped()
    }

    fn wall(&self) -> SystemTime {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let apart = *self.apart.lock().unwrap();
        let shift = Duration::from_secs(apart.unsigned_abs());
        let time =
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000) + self.start.elapsed();
        let time = time + self.jumped();
        if apart < 0 {
            time - shift
        } else {
            time + shift
        }
    }
}

impl fmt::Debug for HandClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandClock")
    }
}

/// What a source does when it is asked.
pub(crate) enum Turn {
    /// Gives tokens that live this long.
    Give(Duration),
    Fail(Error),
    Panic,
    Hang,
}

/// A source of tokens `a1`, `a2`, … with refresh tokens `r1`, `r2`, …, that notes what it was asked with.
#[derive(Clone)]
pub(crate) struct Source {
    clock: HandClock,
    inner: Arc<Inner>,
}

struct Inner {
    script: Mutex<VecDeque<Turn>>,
    usual: Mutex<Duration>,
    asked_with: Mutex<Vec<Option<String>>>,
    revoked: Mutex<Vec<String>>,
    revocation_fails: Mutex<bool>,
    /// Whether the refresh token stays as it is.
    keeps: Mutex<bool>,
    /// How long an exchange takes; and a gate that each has to pass.
    delay: Mutex<Duration>,
    gate: Semaphore,
    given: AtomicU64,
}

impl Source {
    pub(crate) fn new(clock: &HandClock) -> Self {
        Self {
            clock: clock.clone(),
            inner: Arc::new(Inner {
                script: Mutex::default(),
                usual: Mutex::new(DAY),
                asked_with: Mutex::default(),
                revoked: Mutex::default(),
                revocation_fails: Mutex::new(false),
                keeps: Mutex::new(false),
                delay: Mutex::new(Duration::from_millis(50)),
                gate: Semaphore::new(Semaphore::MAX_PERMITS),
                given: AtomicU64::new(0),
            }),
        }
    }

    /// What it does next, before it goes back to giving tokens.
    pub(crate) fn then(&self, turn: Turn) {
        self.inner.script.lock().unwrap().push_back(turn);
    }

    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        *self.inner.usual.lock().unwrap() = lifetime;
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.inner.delay.lock().unwrap() = delay;
    }

    /// What was to come is off.
    pub(crate) fn forget_turns(&self) {
        self.inner.script.lock().unwrap().clear();
    }

    /// Answers bring no new refresh token from now on.
    pub(crate) fn keep_refresh_tokens(&self, keep: bool) {
        *self.inner.keeps.lock().unwrap() = keep;
    }

    /// How long ago the test began.
    pub(crate) fn age(&self) -> Duration {
        self.clock.start.elapsed()
    }

    /// Exchanges wait from now on, until they are let through.
    pub(crate) fn close_gate(&self) {
        self.inner.gate.forget_permits(usize::MAX);
    }

    pub(crate) fn open_gate(&self) {
        self.inner.gate.add_permits(1_000);
    }

    pub(crate) fn fail_revocations(&self, fail: bool) {
        *self.inner.revocation_fails.lock().unwrap() = fail;
    }

    /// How many exchanges there have been.
    pub(crate) fn exchanges(&self) -> usize {
        self.inner.asked_with.lock().unwrap().len()
    }

    /// The refresh tokens that exchanges were made with.
    pub(crate) fn asked_with(&self) -> Vec<Option<String>> {
        self.inner.asked_with.lock().unwrap().clone()
    }

    pub(crate) fn revoked(&self) -> Vec<String> {
        self.inner.revoked.lock().unwrap().clone()
    }

    pub(crate) fn give(&self, lifetime: Duration) -> TokenSet {
        let number = self.inner.given.fetch_add(1, Ordering::SeqCst) + 1;
        token_set(number, lifetime, self.clock.wall())
    }

    /// A builder of tenants over this source, on its clock, that always makes the same choices.
    pub(crate) fn tenants(&self) -> TenantsBuilder {
        Tenants::builder(self.clone())
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
    }

    /// A builder of a cache over this source, on its clock, that always makes the same choices.
    pub(crate) fn cache(&self) -> TokenCacheBuilder {
        TokenCache::builder(self.clone())
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
    }
}

impl TokenSource for Source {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let refresh_token = held.and_then(TokenSet::refresh_token);
        self.inner
            .asked_with
            .lock()
            .unwrap()
            .push(refresh_token.map(|token| token.expose().to_owned()));
        let turn = self.inner.script.lock().unwrap().pop_front();
        let delay = *self.inner.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let _permit = self.inner.gate.acquire().await.unwrap();
        let usual = *self.inner.usual.lock().unwrap();
        match turn.unwrap_or(Turn::Give(usual)) {
            Turn::Give(lifetime) => {
                let given = self.give(lifetime);
                let keeps = *self.inner.keeps.lock().unwrap();
                let kept = held.filter(|_| keeps).and_then(|held| {
                    Some((held.refresh_token()?, held.refresh_token_issued_at()?))
                });
                Ok(match kept {
                    Some((token, issued_at)) => given.with_refresh_token(token.clone(), issued_at),
                    None => given,
                })
            }
            Turn::Fail(error) => Err(error),
            Turn::Panic => panic!("as the test asked for"),
            Turn::Hang => std::future::pending().await,
        }
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        let token = held.refresh_token().map(|token| token.expose().to_owned());
        self.inner.revoked.lock().unwrap().extend(token);
        if *self.inner.revocation_fails.lock().unwrap() {
            return Err(Error::unavailable("no revocations today"));
        }
        Ok(())
    }
}

/// `a7` with `r7`.
pub(crate) fn token_set(number: u64, lifetime: Duration, at: SystemTime) -> TokenSet {
    let access_token = AccessToken::new(format!("a{number}")).unwrap();
    TokenSet::new(access_token, lifetime, at)
        .with_refresh_token(RefreshToken::new(format!("r{number}")), at)
}

pub(crate) fn down() -> Error {
    Error::unavailable("down, as the test asked for")
}

/// A store in memory that can be made to fail, to hang, and to be slow.
#[derive(Clone, Default)]
pub(crate) struct Store {
    pub(crate) memory: MemoryStore,
    loads_fail: Arc<Mutex<bool>>,
    notes_fail: Arc<Mutex<bool>>,
    saves_fail: Arc<Mutex<bool>>,
    saves_hang: Arc<Mutex<bool>>,
    /// How long it takes to note that an exchange is made, and that it is made again.
    slow_notes: Arc<Mutex<Duration>>,
    slow_replays: Arc<Mutex<Duration>>,
    /// Who has asked for the lease last; and what becomes of the next call for it, or to give it back.
    lessee: Arc<Mutex<Option<LeaseOwner>>>,
    hang_acquire: Arc<Mutex<bool>>,
    slow_release: Arc<Mutex<Duration>>,
    /// How long the next load takes to come back with what it has seen.
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

    /// A store that cannot be written when an exchange begins.
    pub(crate) fn fail_notes(&self, fail: bool) {
        *self.notes_fail.lock().unwrap() = fail;
    }

    /// A store that cannot be written when it has ended.
    pub(crate) fn fail_saves(&self, fail: bool) {
        *self.saves_fail.lock().unwrap() = fail;
    }

    /// Saves happen, but nobody hears of it.
    pub(crate) fn hang_saves(&self, hang: bool) {
        *self.saves_hang.lock().unwrap() = hang;
    }

    /// The store forgets the lease, as it may.
    pub(crate) async fn lose_lease(&self) {
        let lessee = self.lessee.lock().unwrap().clone().unwrap();
        let tenant = TenantId::new("default").unwrap();
        self.memory.release(&tenant, &lessee).await.unwrap();
    }

    /// Nothing is heard of the next call for the lease.
    pub(crate) fn hang_next_acquire(&self) {
        *self.hang_acquire.lock().unwrap() = true;
    }

    pub(crate) fn slow_next_load(&self, by: Duration) {
        *self.slow_load.lock().unwrap() = by;
    }

    pub(crate) fn slow_releases(&self, by: Duration) {
        *self.slow_release.lock().unwrap() = by;
    }

    pub(crate) fn slow_notes(&self, by: Duration) {
        *self.slow_notes.lock().unwrap() = by;
    }

    pub(crate) fn slow_replays(&self, by: Duration) {
        *self.slow_replays.lock().unwrap() = by;
    }

    /// How often it was looked into. Endless looking ends in a panic.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// How many saves have been tried.
    pub(crate) fn saves(&self) -> u64 {
        self.saves.load(Ordering::SeqCst)
    }

    /// What another replica does just before the next save.
    pub(crate) fn before_next_save<F: Future<Output = ()> + Send + 'static>(
        &self,
        act: impl FnOnce() -> F + Send + 'static,
    ) {
        *self.before_save.lock().unwrap() = Some(Box::new(|| Box::pin(act())));
    }

    /// What an earlier process has left.
    pub(crate) async fn put(&self, grant: Grant) {
        let tenant = TenantId::new("default").unwrap();
        let outcome = self.memory.save(&tenant, None, &grant).await.unwrap();
        assert_eq!(outcome, SaveOutcome::Committed);
    }

    /// What it holds of one of many tenants.
    pub(crate) async fn memory_of(&self, tenant: &TenantId) -> TokenSet {
        let held = self.memory.load(tenant).await.unwrap().unwrap();
        held.tokens().unwrap().clone()
    }

    pub(crate) async fn held(&self) -> Option<Grant> {
        self.memory
            .load(&TenantId::new("default").unwrap())
            .await
            .unwrap()
    }
}

impl TokenStore for Store {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        if *self.loads_fail.lock().unwrap() {
            return Err(Error::store("loads fail, as the test asked for"));
        }
        let loads = self.loads.fetch_add(1, Ordering::SeqCst);
        assert!(loads < 100_000, "somebody looks all the time");
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
        // That an exchange begins, or that it came to nothing.
        if expected == Some(grant.generation) {
            if *self.notes_fail.lock().unwrap() {
                return Err(Error::store("notes fail, as the test asked for"));
            }
            if let GrantState::Exchanging { is_replayed, .. } = grant.state {
                let slow = if is_replayed {
                    &self.slow_replays
                } else {
                    &self.slow_notes
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
            return Err(Error::store("saves fail, as the test asked for"));
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
        *self.lessee.lock().unwrap() = Some(owner.clone());
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

/// A cache that holds its first token, over a source and a store that do as they are told.
pub(crate) async fn begun() -> (Source, Store, TokenCache) {
    let source = Source::new(&HandClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    (source, store, tokens)
}

/// What a request would carry.
pub(crate) async fn header(tokens: &TokenCache) -> String {
    let token = tokens.token().await.unwrap();
    token.header_value().to_str().unwrap().to_owned()
}

/// A person consents at the sandbox, and the cache gets the tokens that come of it.
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
