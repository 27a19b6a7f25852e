//! P19 at scale: one process keeps the grants of idle tenants alive, at a limited rate.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenSource,
    clock::Clock,
    store::{MemoryStore, TokenStore},
    telemetry::GrantListener,
    tenants::{Tenants, TenantsBuilder},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, MONTH, ManualClock, Source, Store, numbered, pass, tenants_over,
};

const SECOND: Duration = Duration::from_secs(1);

/// Refreshes grants and records when. Some refreshes fail.
#[derive(Clone)]
struct Provider {
    clock: ManualClock,
    refreshes: Arc<Mutex<Vec<(SystemTime, String)>>>,
    /// The prefix of the tenants whose refreshes fail.
    failing_prefix: &'static str,
}

impl Provider {
    fn new(clock: &ManualClock) -> Self {
        Self {
            clock: clock.clone(),
            refreshes: Arc::default(),
            failing_prefix: "none",
        }
    }

    fn names(&self) -> Vec<String> {
        let refreshes = self.refreshes.lock().unwrap();
        refreshes.iter().map(|(_, name)| name.clone()).collect()
    }

    fn times(&self) -> Vec<SystemTime> {
        let refreshes = self.refreshes.lock().unwrap();
        refreshes.iter().map(|(at, _)| *at).collect()
    }
}

impl TokenSource for Provider {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let name = held.unwrap().refresh_token().unwrap().expose().to_owned();
        let now = self.clock.wall();
        self.refreshes.lock().unwrap().push((now, name.clone()));
        tokio::time::sleep(SECOND / 10).await;
        if name.starts_with(self.failing_prefix) {
            return Err(Error::unavailable("as the test asked for"));
        }
        Ok(TokenSet::new(AccessToken::new("a").unwrap(), DAY, now)
            .with_refresh_token(RefreshToken::new(name), now))
    }
}

fn over(provider: &Provider, store: impl TokenStore) -> TenantsBuilder {
    Tenants::builder(provider.clone())
        .background_delay(Duration::ZERO)
        .store(store)
        .origin(API)
        .clock(provider.clock.clone())
        .refresh_token_lifetime(MONTH)
}

/// Puts a grant that was last refreshed `age` ago.
async fn put(store: &MemoryStore, tenant: &TenantId, clock: &ManualClock, age: Duration) {
    let then = clock.wall() - age;
    let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, then)
        .with_refresh_token(RefreshToken::new(tenant.as_str()), then);
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    store.save(tenant, None, &grant).await.unwrap();
}

/// Numbered tenants. Every `every`th is due.
async fn stored(count: u64, every: u64, clock: &ManualClock) -> MemoryStore {
    let store = MemoryStore::new();
    for number in 0..count {
        let age = if number % every == 0 {
            23 * DAY
        } else {
            10 * DAY
        };
        put(&store, &numbered(number), clock, age).await;
    }
    store
}

#[tokio::test(start_paused = true)]
async fn p19_a_sweep_of_100_000_tenants_refreshes_the_due_ones_one_per_second() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(100_000, 100, &clock).await;
    let tenants = over(&provider, store).build().unwrap();
    let report = tenants.sweep().await.unwrap();
    assert_eq!(
        (report.active, report.ended, report.unreadable),
        (100_000, 0, 0)
    );
    assert_eq!((report.kept_alive, report.failed), (1_000, 0));
    assert!(report.expiring.is_empty());
    let mut names = provider.names();
    names.sort();
    let due: Vec<_> = (0..100_000)
        .step_by(100)
        .map(|it| numbered(it).to_string())
        .collect();
    assert_eq!(names, due);
    let times = provider.times();
    assert!(
        times
            .windows(2)
            .all(|two| two[1].duration_since(two[0]).unwrap() >= SECOND)
    );
    // The next sweep has nothing to refresh.
    assert_eq!(tenants.sweep().await.unwrap().kept_alive, 0);
    assert_eq!(provider.names().len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn p19_two_hundred_idle_tenants_are_alive_after_a_hundred_days() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = MemoryStore::new();
    for number in 0..200 {
        put(&store, &numbered(number), &clock, Duration::ZERO).await;
    }
    let tenants = over(&provider, store.clone())
        .sweep_interval(6 * HOUR)
        .build()
        .unwrap();
    pass(100 * DAY).await;
    // Each after 20 to 22 days.
    assert_eq!(provider.names().len(), 800);
    let days = |name: &str| {
        let refreshes = provider.refreshes.lock().unwrap();
        let mut last = None;
        let mut gaps = Vec::new();
        for (at, refreshed) in refreshes.iter() {
            if refreshed == name {
                gaps.extend(last.map(|last| at.duration_since(last).unwrap()));
                last = Some(*at);
            }
        }
        gaps
    };
    for gap in days(numbered(50).as_str()) {
        assert!((20 * DAY..=22 * DAY + 7 * HOUR).contains(&gap), "{gap:?}");
    }
    assert!(
        tenants.resident_count() <= 40,
        "{}",
        tenants.resident_count()
    );
}

#[tokio::test(start_paused = true)]
async fn p19_of_five_replicas_one_sweeps() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(1_000, 10, &clock).await;
    let replicas: Vec<_> = (0..5)
        .map(|_| over(&provider, store.clone()).build().unwrap())
        .collect();
    pass(3 * HOUR).await;
    assert_eq!(provider.names().len(), 100);
    let sweepers = replicas.iter().filter(|it| it.last_sweep().is_some());
    assert_eq!(sweepers.count(), 1);
    let idle = replicas
        .iter()
        .find(|it| it.last_sweep().is_none())
        .unwrap();
    assert_eq!(
        idle.sweep().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn p19_another_replica_continues_a_sweep_and_refreshes_no_grant_twice() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(1_000, 2, &clock).await;
    let first = over(&provider, store.clone()).build().unwrap();
    pass(MINUTE).await;
    let second = over(&provider, store).build().unwrap();
    pass(3 * MINUTE).await;
    let before = provider.names().len();
    assert!((200..260).contains(&before), "{before}");
    drop(first);
    // The lease has to expire first.
    pass(2 * MINUTE).await;
    assert!(provider.names().len() > before + 10);
    pass(HOUR).await;
    let mut names = provider.names();
    assert_eq!(names.len(), 500);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 500);
    assert!(second.last_sweep().is_some());
}

#[tokio::test(start_paused = true)]
async fn p19_a_shutdown_lets_another_replica_sweep_at_once() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(100, 1, &clock).await;
    let first = over(&provider, store.clone()).build().unwrap();
    pass(10 * SECOND).await;
    let second = over(&provider, store).build().unwrap();
    pass(10 * SECOND).await;
    first.shutdown(MINUTE).await.unwrap();
    let before = provider.names().len();
    // The other replica tries to acquire the lease every 20 seconds.
    pass(22 * SECOND).await;
    assert!(provider.names().len() > before);
    pass(10 * MINUTE).await;
    assert_eq!(provider.names().len(), 100);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn p19_grants_that_expire_first_are_refreshed_first() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = MemoryStore::new();
    for (number, age) in [(0, 23), (1, 29), (2, 10), (3, 25), (4, 27)] {
        put(&store, &numbered(number), &clock, age * DAY).await;
    }
    let tenants = over(&provider, store).build().unwrap();
    tenants.sweep().await.unwrap();
    let order: Vec<_> = [1, 4, 3, 0].map(|it| numbered(it).to_string()).into();
    assert_eq!(provider.names(), order);
}

/// Records which refresh tokens expire in how many days.
#[derive(Clone, Default)]
struct Expiring(Arc<Mutex<Vec<(String, u64)>>>);

impl GrantListener for Expiring {
    fn refresh_token_expiring(&self, tenant: &TenantId, days_left: u64) {
        self.0.lock().unwrap().push((tenant.to_string(), days_left));
    }
}

#[tokio::test(start_paused = true)]
async fn p19_the_report_lists_expiring_grants() {
    let clock = ManualClock::new();
    let mut provider = Provider::new(&clock);
    provider.failing_prefix = "tenant-00000";
    let (store, expiring) = (MemoryStore::new(), Expiring::default());
    let started_at = clock.wall();
    put(&store, &numbered(3), &clock, 22 * DAY).await;
    put(&store, &numbered(1), &clock, 26 * DAY).await;
    put(&store, &numbered(11), &clock, 28 * DAY).await;
    let tenants = Tenants::builder(provider.clone())
        .background_delay(Duration::ZERO)
        .store(store)
        .origin(API)
        .clock(clock.clone())
        .refresh_token_lifetime(MONTH)
        .listener(expiring.clone())
        .build()
        .unwrap();
    pass(MINUTE).await;
    let report = tenants.last_sweep().unwrap();
    assert_eq!((report.kept_alive, report.failed), (1, 2));
    let [first] = &*report.expiring else {
        panic!("{:?}", report.expiring);
    };
    assert_eq!(first.tenant, numbered(1));
    assert_eq!(first.expires_at, started_at + 4 * DAY);
    pass(5 * DAY).await;
    let days_reported = |tenant: &TenantId| {
        let expiring = expiring.0.lock().unwrap();
        let of = expiring.iter().filter(|(name, _)| name == tenant.as_str());
        of.map(|(_, days)| *days).collect::<Vec<_>>()
    };
    // Reported once each, however many attempts there were.
    assert_eq!(days_reported(&numbered(1)), [7, 3, 1]);
    assert_eq!(days_reported(&numbered(3)), [7, 3]);
    // Reported before the grant was kept alive.
    assert_eq!(days_reported(&numbered(11)), [3]);
    assert!(provider.names().len() > 20);
}

/// The lifetime that a response states for its refresh token takes precedence over a month.
#[tokio::test(start_paused = true)]
async fn p19_a_sweep_uses_the_lifetimes_that_responses_state() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = MemoryStore::new();
    for (number, hours, lifetime) in [
        (1, 24, 2 * DAY),
        (2, 36, 2 * DAY),
        (3, 23 * 24, 100 * DAY),
        (4, 80 * 24, 100 * DAY),
        (5, 25, HOUR / 2),
    ] {
        let then = clock.wall() - hours * HOUR;
        let tenant = numbered(number);
        let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, then)
            .with_refresh_token(RefreshToken::new(tenant.as_str()), then)
            .with_refresh_token_lifetime(lifetime);
        let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
        store.save(&tenant, None, &grant).await.unwrap();
    }
    let tenants = over(&provider, store).build().unwrap();
    let report = tenants.sweep().await.unwrap();
    assert_eq!((report.kept_alive, report.failed), (3, 0));
    let mut names = provider.names();
    names.sort();
    assert_eq!(names, [2, 4, 5].map(|number| numbered(number).to_string()));
    assert!(report.expiring.is_empty());
    assert_eq!(tenants.sweep().await.unwrap().kept_alive, 0);
}

/// Each refresh states how much is left until the same end.
struct Fixed {
    clock: ManualClock,
    end: SystemTime,
    refreshes: Arc<Mutex<u32>>,
}

impl TokenSource for Fixed {
    async fn fetch(&self, _: Option<&TokenSet>) -> Result<TokenSet, Error> {
        *self.refreshes.lock().unwrap() += 1;
        let now = self.clock.wall();
        let left = self
            .end
            .duration_since(now)
            .map_err(|_| Error::invalid_grant())?;
        Ok(TokenSet::new(AccessToken::new("a").unwrap(), DAY, now)
            .with_refresh_token(RefreshToken::new("r"), now)
            .with_refresh_token_lifetime(left))
    }
}

/// A refresh does not help, so the report still lists the grant.
#[tokio::test(start_paused = true)]
async fn p19_the_report_lists_a_grant_whose_end_does_not_move() {
    let clock = ManualClock::new();
    let end = clock.wall() + 6 * DAY;
    let (store, refreshes) = (MemoryStore::new(), Arc::default());
    let then = clock.wall() - 24 * DAY;
    let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, then)
        .with_refresh_token(RefreshToken::new("r"), then)
        .with_refresh_token_lifetime(30 * DAY);
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    store.save(&numbered(1), None, &grant).await.unwrap();
    let fixed = Fixed {
        clock: clock.clone(),
        end,
        refreshes: Arc::clone(&refreshes),
    };
    let tenants = Tenants::builder(fixed)
        .background_delay(Duration::ZERO)
        .store(store)
        .origin(API)
        .clock(clock.clone())
        .build()
        .unwrap();
    let report = tenants.sweep().await.unwrap();
    assert_eq!((report.kept_alive, report.failed), (1, 0));
    let [expiring] = &*report.expiring else {
        panic!("{:?}", report.expiring);
    };
    assert_eq!((&expiring.tenant, expiring.expires_at), (&numbered(1), end));
}

#[tokio::test(start_paused = true)]
async fn ended_grants_are_not_refreshed() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(10, 1, &clock).await;
    for number in 0..5 {
        let ended = Grant::new(
            Generation::FIRST.next(),
            GrantState::Revoked {
                since: clock.wall(),
            },
        );
        let expected = Some(Generation::FIRST);
        store
            .save(&numbered(number), expected, &ended)
            .await
            .unwrap();
    }
    let tenants = over(&provider, store).build().unwrap();
    let report = tenants.sweep().await.unwrap();
    assert_eq!((report.active, report.ended, report.kept_alive), (5, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn p13_the_first_sweep_replays_a_response_lost_in_a_crash() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = MemoryStore::new();
    put(&store, &numbered(0), &clock, DAY / 2).await;
    let grant = store.load(&numbered(0)).await.unwrap().unwrap();
    let noted = Grant::new(
        grant.generation,
        GrantState::Refreshing {
            tokens: grant.tokens().unwrap().clone(),
            since: clock.wall(),
            is_replayed: false,
        },
    );
    let expected = Some(grant.generation);
    store.save(&numbered(0), expected, &noted).await.unwrap();
    pass(5 * SECOND).await;
    let _tenants = over(&provider, store.clone()).build().unwrap();
    pass(MINUTE).await;
    assert_eq!(provider.names(), [numbered(0).to_string()]);
    let grant = store.load(&numbered(0)).await.unwrap().unwrap();
    assert!(matches!(grant.state, GrantState::Active(_)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_background_tasks() {
    let clock = ManualClock::new();
    let provider = Provider::new(&clock);
    let store = stored(1_000, 1, &clock).await;
    let tenants = over(&provider, store).build().unwrap();
    pass(5 * MINUTE).await;
    drop(tenants);
    let before = provider.names().len();
    pass(HOUR).await;
    assert!(provider.names().len() <= before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_waits_for_a_failing_store() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = Store::default();
    for number in 0..10 {
        put(&store.memory, &numbered(number), &clock, 23 * DAY).await;
    }
    store.fail_loads(true);
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    pass(MINUTE).await;
    let report = tenants.last_sweep().unwrap();
    assert_eq!((report.unreadable, report.kept_alive), (10, 0));
    store.fail_loads(false);
    pass(2 * HOUR).await;
    assert_eq!(source.refreshes(), 10);
}
