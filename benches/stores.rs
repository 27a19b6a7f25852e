//! The cost of each store in a refresh: its round trips, the time of each part, and the total time
//! with a token source that responds at once.
//!
//! ```sh
//! cargo bench -p benches --bench stores
//! # needs Debian's `postgresql` and `redis-server`:
//! cargo bench -p benches --bench stores --features servers
//! ```
//!
//! The parts are the calls of the store and of the token source that a refresh makes: it acquires
//! the lease and loads the grant, saves the intent, fetches, and saves the token set and releases
//! the lease. *Other* is any other call. The total is that of `refresh_now`. Round trips are
//! counted over connections of their own, which do not slow down those that are timed; concurrent
//! commands are one round trip. Files are in the target directory, because `/tmp` is often not on a
//! disk.
//! The bench starts the servers itself, on loopback; they write each change to the disk before they
//! respond. There is no goal. The table is also written to `target/performance/stores.md`.

use std::{
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenSource},
    clock::{Clock, SystemClock},
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, LeaseOutcome, LeaseOwner,
        MemoryStore, SaveOutcome, TokenStore,
    },
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use benches::{
    API,
    report::{median, output_dir, quantile},
};

#[cfg(feature = "servers")]
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[cfg(feature = "servers")]
#[path = "../tests/support/postgres_round_trips.rs"]
mod postgres_round_trips;
#[cfg(feature = "servers")]
#[path = "../tests/support/redis_round_trips.rs"]
mod redis_round_trips;
#[cfg(feature = "servers")]
#[path = "../tests/support/redis.rs"]
mod redis_server;

const REFRESHES: usize = 300;
const WARM_UP: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let table = runtime.block_on(table());
    print!("{table}");
    fs::write(output_dir().join("stores.md"), table).unwrap();
}

async fn table() -> String {
    let mut table = String::from(
        "| store | round trips | acquire and load ms | save intent ms | fetch ms | \
         save and release ms | other calls | median ms | p90 ms |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    row(&mut table, "`MemoryStore`", "", MemoryStore::new()).await;
    let files = tempfile::tempdir_in(output_dir()).unwrap();
    let open = |name: &str| FileStore::open(files.path().join(name)).unwrap();
    row(&mut table, "`FileStore`", "", open("plain")).await;
    let encrypted = encrypted(open("encrypted"));
    row(
        &mut table,
        "`EncryptedStore` around `FileStore`",
        "",
        encrypted,
    )
    .await;
    servers(&mut table).await;
    table
}

fn encrypted<S: TokenStore>(store: S) -> EncryptedStore<S> {
    let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03").unwrap());
    EncryptedStore::new(store, keys, "client-id").unwrap()
}

#[cfg(feature = "servers")]
async fn servers(table: &mut String) {
    use sqlx::postgres::PgPoolOptions;
    use tower_oauth2_client::store::{PostgresStore, RedisStore};

    use self::{postgres_round_trips::RoundTrips, redis_round_trips::Counting};

    let server = postgres::Server::new();
    let options = server.database().await;
    let store = async |port: u16| {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_with(options.clone().port(port));
        PostgresStore::new(pool.await.unwrap())
    };
    let direct = store(server.port()).await;
    direct.migrate().await.unwrap();
    let proxy = RoundTrips::to(server.port()).await;
    let counted = store(proxy.port()).await;
    let trips = per_refresh(counted, || proxy.count()).await;
    row(
        table,
        "`PostgresStore`, on loopback",
        &trips,
        direct.clone(),
    )
    .await;
    let counted = encrypted(store(proxy.port()).await);
    let trips = per_refresh(counted, || proxy.count()).await;
    let name = "`EncryptedStore` around `PostgresStore`";
    row(table, name, &trips, encrypted(direct)).await;

    let server = redis_server::Server::launch().await;
    let counts = Arc::default();
    let connection = Counting::connect(&server.client(), &counts).await;
    let trips = per_refresh(RedisStore::new(connection), || counts.all()[1]).await;
    let store = RedisStore::connect(server.client()).await.unwrap();
    row(table, "`RedisStore`, on loopback", &trips, store).await;
}

#[cfg(not(feature = "servers"))]
async fn servers(_: &mut String) {
    println!("PostgresStore and RedisStore need `--features servers`");
}

/// The round trips of a refresh, by a counter of all.
#[cfg(feature = "servers")]
async fn per_refresh(store: impl TokenStore, count: impl Fn() -> u64) -> String {
    let tokens = cache("counted", store, &Arc::default()).await;
    let before = count();
    for _ in 0..WARM_UP {
        tokens.refresh_now().await.unwrap();
    }
    let trips = (count() - before) as f64 / WARM_UP as f64;
    tokens.shutdown(Duration::from_secs(5)).await.unwrap();
    format!("{trips:.2}")
}

/// A cache whose refreshes are warm.
async fn cache(tenant: &str, store: impl TokenStore, parts: &Arc<Parts>) -> TokenCache {
    let store = Timed {
        store,
        parts: Arc::clone(parts),
    };
    let tokens = TokenCache::builder(Issuer(Arc::clone(parts)))
        .origin(API)
        .store(store)
        .tenant(tenant)
        .min_refresh_interval(Duration::ZERO)
        .build()
        .unwrap();
    for _ in 0..WARM_UP {
        tokens.refresh_now().await.unwrap();
    }
    tokens
}

/// Measures refreshes one after another, each through `refresh_now`.
async fn row(table: &mut String, name: &str, trips: &str, store: impl TokenStore) {
    let parts = Arc::default();
    let tokens = cache("timed", store, &parts).await;
    parts.take();
    let mut times = Vec::new();
    for _ in 0..REFRESHES {
        let started = SystemClock.monotonic();
        tokens.refresh_now().await.unwrap();
        times.push(milliseconds_since(started));
    }
    let _ = write!(table, "| {name} | {trips} ");
    let mut of_part = parts.take();
    let other = of_part.pop().unwrap_or_default().len();
    for part in of_part {
        assert_eq!(part.len(), REFRESHES, "{name}");
        let _ = write!(table, "| {:.3} ", median(part));
    }
    let _ = write!(table, "| {:.2} ", other as f64 / REFRESHES as f64);
    let (middle, high) = (median(times.clone()), quantile(times, 0.9));
    let _ = writeln!(table, "| {middle:.3} | {high:.3} |");
    tokens.shutdown(Duration::from_secs(5)).await.unwrap();
}

fn milliseconds_since(started: std::time::Instant) -> f64 {
    (SystemClock.monotonic() - started).as_secs_f64() * 1e3
}

/// Responds at once, with a token set of usual size.
struct Issuer(Arc<Parts>);

impl TokenSource for Issuer {
    async fn fetch(&self, _current: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let issue = async {
            let now = SystemClock.wall();
            let token = AccessToken::new("t".repeat(1_024))?;
            let refresh_token = RefreshToken::new("r".repeat(64));
            let day = Duration::from_secs(86_400);
            Ok(TokenSet::new(token, day, now).with_refresh_token(refresh_token, now))
        };
        self.0.timed(Part::Fetch, issue).await
    }
}

/// A part of a refresh.
#[derive(Clone, Copy)]
enum Part {
    Begin,
    Intent,
    Fetch,
    End,
    Other,
}

/// The times of each part, in milliseconds.
#[derive(Default)]
struct Parts([Mutex<Vec<f64>>; 5]);

impl Parts {
    async fn timed<T>(&self, part: Part, work: impl Future<Output = T>) -> T {
        let started = SystemClock.monotonic();
        let output = work.await;
        let times = &self.0[part as usize];
        times.lock().unwrap().push(milliseconds_since(started));
        output
    }

    fn take(&self) -> Vec<Vec<f64>> {
        let take = |times: &Mutex<Vec<f64>>| std::mem::take(&mut *times.lock().unwrap());
        self.0.iter().map(take).collect()
    }
}

/// A store that times its calls.
struct Timed<S> {
    store: S,
    parts: Arc<Parts>,
}

impl<S: TokenStore> TokenStore for Timed<S> {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.parts.timed(Part::Other, self.store.load(tenant)).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let part = match grant.state {
            GrantState::Refreshing { .. } => Part::Intent,
            _ => Part::Other,
        };
        let save = self.store.save(tenant, expected, grant);
        self.parts.timed(part, save).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let acquire = self.store.acquire(tenant, owner, duration);
        self.parts.timed(Part::Other, acquire).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let release = self.store.release(tenant, owner);
        self.parts.timed(Part::Other, release).await
    }

    async fn acquire_and_load(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<(LeaseOutcome, Option<Grant>), Error> {
        let begin = self.store.acquire_and_load(tenant, owner, duration);
        self.parts.timed(Part::Begin, begin).await
    }

    async fn save_and_release(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
        owner: &LeaseOwner,
    ) -> Result<SaveOutcome, Error> {
        let end = (self.store).save_and_release(tenant, expected, grant, owner);
        self.parts.timed(Part::End, end).await
    }

    async fn changed(&self, tenant: &TenantId) {
        self.store.changed(tenant).await;
    }
}
