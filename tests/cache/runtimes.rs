//! Refreshes in a runtime that ends, or stands still, while callers wait in another one.
//!
//! Each runtime has a virtual clock of its own, and runs only during `block_on`.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
    time::{advance, sleep, timeout},
};
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenCacheBuilder, TokenState},
    clock::{Clock, SystemClock},
    store::{LeaseOutcome, LeaseOwner, TokenStore},
    tenants::Tenants,
    token::{GrantState, TenantId},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, header,
};

/// A clock that belongs to no runtime.
#[derive(Clone, Debug, Default)]
struct FixedClock(Arc<AtomicU64>);

impl FixedClock {
    fn passed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }
}

static START: LazyLock<Instant> = LazyLock::new(|| SystemClock.monotonic());

impl Clock for FixedClock {
    fn monotonic(&self) -> Instant {
        *START + self.passed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000) + self.passed()
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

struct Scene {
    clock: FixedClock,
    provider_clock: ManualClock,
    source: Source,
    store: Store,
    tokens: TokenCache,
}

/// A cache whose access token, `a1`, has expired.
fn scene(settings: impl FnOnce(TokenCacheBuilder) -> TokenCacheBuilder) -> Scene {
    let clock = FixedClock::default();
    let provider_clock = ManualClock::new();
    let source = Source::new(&provider_clock);
    let store = Store::default();
    let tokens = TokenCache::builder(source.clone())
        .origin(API)
        .clock(clock.clone())
        .store(store.clone());
    let tokens = settings(tokens).build().unwrap();
    let issued = source.issue(DAY);
    let no_pauses = Builder::new_current_thread().enable_time().build().unwrap();
    no_pauses.block_on(tokens.set_tokens(issued)).unwrap();
    let scene = Scene {
        clock,
        provider_clock,
        source,
        store,
        tokens,
    };
    scene.pass(DAY + HOUR);
    scene
}

impl Scene {
    fn pass(&self, time: Duration) {
        self.clock.pass(time);
        self.provider_clock.advance(time.as_secs());
    }

    /// Calls in this runtime, and gives up after a second.
    fn call_for_a_second(&self, runtime: &Runtime) {
        for_a_second(runtime, self.tokens.token());
    }

    /// Installs a consent, which may fail once, while another command is still waited for.
    fn consent_twice(&self, runtime: &Runtime, case: &str) {
        let issued = self.source.issue(DAY);
        let mut installed = Err(ErrorKind::Interrupted);
        for _ in 0..2 {
            installed = within(runtime, 70 * SECOND, self.tokens.set_tokens(issued.clone()))
                .map_err(|error| error.kind());
        }
        assert_eq!(installed, Ok(()), "{case}");
    }

    fn sent(&self) -> Vec<String> {
        let sent = self.source.sent_refresh_tokens();
        sent.into_iter().flatten().collect()
    }
}

/// Runs work in this runtime that does not end within a second.
fn for_a_second<T>(runtime: &Runtime, work: impl Future<Output = T>) {
    runtime.block_on(async {
        let given_up = timeout(SECOND, work).await;
        assert!(given_up.is_err());
    });
}

/// Runs the work for at most this long, by the runtime's clock.
fn within<T>(runtime: &Runtime, limit: Duration, work: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        let started = tokio::time::Instant::now();
        let result = work.await;
        let elapsed = started.elapsed();
        assert!(elapsed <= limit, "{elapsed:?}");
        result
    })
}

type Begin = fn(&Scene);

/// Where the refresh is when its runtime stops.
const STANDSTILLS: [(&str, Begin); 6] = [
    ("load", |scene| scene.store.slow_next_load(HOUR)),
    ("lease", |scene| scene.store.hang_next_acquire()),
    ("intent", |scene| scene.store.slow_intents(HOUR)),
    ("request", |scene| scene.source.then(Scripted::Hang)),
    ("response", |scene| scene.source.set_delay(5 * SECOND)),
    ("save", |scene| scene.store.hang_saves(true)),
];

/// The end of what made it stop. Its own call still stands still.
fn end_standstill(scene: &Scene) {
    scene.store.slow_intents(Duration::ZERO);
    scene.source.set_delay(Duration::ZERO);
    scene.store.hang_saves(false);
}

#[test]
fn p04_refresh_in_a_runtime_that_stands_still_strands_no_caller() {
    for (step, begin) in STANDSTILLS {
        let scene = scene(|cache| cache);
        let (still, other) = (runtime(), runtime());
        begin(&scene);
        scene.call_for_a_second(&still);
        end_standstill(&scene);
        let token = within(&other, 15 * SECOND, async {
            match scene.tokens.token().await {
                Ok(token) => Ok(token),
                // The first caller may have noticed it at its deadline.
                Err(_) => scene.tokens.token().await,
            }
        });
        let token = token.unwrap_or_else(|error| panic!("{step}: {error}"));
        let sent = scene.sent().len();

        // It continues, and does no harm.
        still.block_on(async { sleep(10 * MINUTE).await });
        other.block_on(async { sleep(10 * MINUTE).await });
        assert_eq!(scene.sent().len(), sent, "{step}: sent again");
        let stored = other.block_on(scene.store.stored()).unwrap();
        assert!(matches!(stored.state, GrantState::Active(_)), "{step}");
        assert!(stored.generation >= token.generation(), "{step}");
        let held = other.block_on(scene.tokens.token()).unwrap();
        assert_eq!(held.generation(), stored.generation, "{step}");
        // The next refresh works in either.
        still.block_on(scene.tokens.refresh_now()).unwrap();
        other.block_on(scene.tokens.refresh_now()).unwrap();
    }
}

#[test]
fn p04_commands_do_not_wait_for_a_runtime_that_stands_still() {
    for (step, begin) in STANDSTILLS {
        let scene = scene(|cache| cache);
        let (still, other) = (runtime(), runtime());
        begin(&scene);
        scene.call_for_a_second(&still);
        end_standstill(&scene);
        scene.consent_twice(&other, step);
        other.block_on(scene.tokens.revoke()).unwrap();
        still.block_on(async { sleep(10 * MINUTE).await });
        let error = other.block_on(scene.tokens.token()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Revoked, "{step}");
    }
}

#[test]
fn p12_command_whose_runtime_stood_still_changes_nothing_of_a_later_consent() {
    type Command = fn(&Scene, &Runtime);
    let commands: [(&str, Command); 2] = [
        ("set_tokens", |scene, still| {
            let older = scene.source.issue(DAY);
            for_a_second(still, scene.tokens.set_tokens(older));
        }),
        ("revoke", |scene, still| {
            for_a_second(still, scene.tokens.revoke());
        }),
    ];
    for (name, begin) in commands {
        let scene = scene(|cache| cache);
        let (still, other) = (runtime(), runtime());
        scene.store.slow_next_load(5 * SECOND);
        begin(&scene, &still);
        scene.consent_twice(&other, name);
        let expected = other.block_on(scene.store.stored()).unwrap();
        still.block_on(async { sleep(10 * MINUTE).await });
        let stored = other.block_on(scene.store.stored()).unwrap();
        assert_eq!(stored.state, expected.state, "{name}");
        assert!(scene.tokens.status().state == TokenState::Fresh, "{name}");
    }
}

#[test]
fn p04_store_check_in_a_runtime_that_stands_still_is_given_up() {
    let scene = scene(|cache| cache);
    let (still, other) = (runtime(), runtime());
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    other.block_on(scene.tokens.token()).unwrap_err();
    scene.pass(MINUTE);
    scene.store.slow_next_load(HOUR);
    scene.call_for_a_second(&still);
    scene.pass(MINUTE);
    let error = within(&other, 15 * SECOND, scene.tokens.token()).unwrap_err();
    drop(error);
    scene.pass(MINUTE);
    let error = within(&other, SECOND, scene.tokens.token()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
}

#[test]
fn p04_refreshes_after_a_standstill_release_their_leases() {
    let scene = scene(|cache| cache);
    let (still, other) = (runtime(), runtime());
    scene.source.then(Scripted::Hang);
    scene.call_for_a_second(&still);
    for _ in 0..2 {
        let _ = within(&other, 15 * SECOND, scene.tokens.token());
    }
    for _ in 0..3 {
        other.block_on(scene.tokens.refresh_now()).unwrap();
        let tenant = TenantId::new("default").unwrap();
        let owner = LeaseOwner::random();
        let lease = other.block_on(scene.store.memory.acquire(&tenant, &owner, SECOND));
        assert_eq!(lease.unwrap(), LeaseOutcome::Acquired);
        let released = other.block_on(scene.store.memory.release(&tenant, &owner));
        released.unwrap();
    }
}

#[test]
fn p04_waiters_start_again_when_the_runtime_of_the_refresh_ends() {
    for (step, begin) in STANDSTILLS {
        let scene = scene(|cache| cache);
        let (ending, other) = (runtime(), runtime());
        begin(&scene);
        scene.call_for_a_second(&ending);
        end_standstill(&scene);
        let token = within(&other, 2 * SECOND, async {
            let waiting = tokio::spawn({
                let tokens = scene.tokens.clone();
                async move { tokens.token().await }
            });
            yield_now().await;
            ending.shutdown_background();
            waiting.await.unwrap()
        });
        token.unwrap_or_else(|error| panic!("{step}: {error}"));
        // The others are served too.
        within(&other, SECOND, scene.tokens.token()).unwrap();
        let last_error = scene.tokens.status().last_error;
        assert!(last_error.is_none(), "{step}: {last_error:?}");
    }
}

#[test]
fn p13_program_of_short_calls_starts_no_background_refresh() {
    let scene = scene(|cache| cache);
    let short = runtime();
    short.block_on(scene.tokens.token()).unwrap();
    assert_eq!(scene.sent(), ["r1"]);
    scene.pass(23 * HOUR);
    for _ in 0..100 {
        short.block_on(async {
            // The time between two calls, in which no timer fires.
            advance(59 * SECOND).await;
            header(&scene.tokens).await;
            sleep(2 * SECOND).await;
        });
    }
    assert_eq!(scene.sent(), ["r1"]);
    // Once the runtime stays, the refresh is made.
    short.block_on(async {
        for _ in 0..70 {
            header(&scene.tokens).await;
            sleep(SECOND).await;
        }
    });
    assert_eq!(scene.sent(), ["r1", "r2"]);
}

#[test]
fn p04_configured_runtime_makes_the_refreshes_of_other_runtimes() {
    let own = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let scene = scene(|cache| cache.runtime(own.handle().clone()));
    // A runtime that stops, no runtime at all, and another one.
    let short = runtime();
    short.block_on(async {
        let _ = timeout(Duration::ZERO, scene.tokens.token()).await;
    });
    let token = block_on_outside(scene.tokens.token()).unwrap();
    assert_eq!(token.header_value(), "Bearer a2");
    assert_eq!(scene.sent(), ["r1"]);
    let issued = scene.source.issue(DAY);
    block_on_outside(scene.tokens.set_tokens(issued)).unwrap();
    block_on_outside(scene.tokens.revoke()).unwrap();
    block_on_outside(scene.tokens.shutdown(SECOND)).unwrap();
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits outside of a tokio runtime.
fn block_on_outside<T>(work: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        thread::park();
    }
}

#[test]
fn p04_load_of_a_tenant_in_a_runtime_that_stands_still_strands_no_caller() {
    let clock = FixedClock::default();
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let (still, other) = (runtime(), runtime());
    let tenants = Tenants::builder(source.clone()).origin(API);
    let tenants = tenants.clock(clock.clone()).store(store.clone());
    let (tenants, tenant) = (tenants.build().unwrap(), TenantId::new("default").unwrap());
    let issued = source.issue(DAY);
    let saved = Tenants::builder(source)
        .origin(API)
        .clock(clock.clone())
        .store(store.clone());
    let saved = other.block_on(async { saved.build().unwrap().set_tokens(&tenant, issued).await });
    saved.unwrap();
    store.slow_next_load(HOUR);
    let given_up = still.block_on(async { timeout(SECOND, tenants.token(&tenant)).await });
    assert!(given_up.is_err());
    let error = within(&other, 15 * SECOND, tenants.token(&tenant)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    clock.pass(MINUTE);
    within(&other, SECOND, tenants.token(&tenant)).unwrap();
}
