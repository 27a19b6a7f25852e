//! The cost of each store in a refresh: its calls, and the total time with a token source that
//! responds at once.
//!
//! ```sh
//! cargo bench -p benches --bench stores
//! # needs Debian's `postgresql` and `redis-server`:
//! cargo bench -p benches --bench stores --features servers
//! ```
//!
//! The time is that of `refresh_now`: it acquires the lease, loads the grant, persists the intent,
//! calls the token source, saves the token set and releases the lease. Files are in the target
//! directory, because `/tmp` is often not on a disk. The bench starts the servers itself, on
//! loopback; they write each change to the disk before they respond. There is no goal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
    token::{AccessToken, Generation, Grant, RefreshToken, TenantId, TokenSet},
};

use benches::{
    API,
    report::{Table, median, output_dir, quantile},
};

#[cfg(feature = "servers")]
#[path = "../tests/support/postgres.rs"]
mod postgres;
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
    runtime.block_on(measure());
}

async fn measure() {
    let columns = [
        "store",
        "loads",
        "saves",
        "leases acquired",
        "leases released",
        "median ms",
        "p90 ms",
    ];
    let mut table = Table::new("stores", &columns);
    row(&mut table, "`MemoryStore`", MemoryStore::new()).await;
    let files = tempfile::tempdir_in(output_dir()).unwrap();
    let open = |name: &str| FileStore::open(files.path().join(name)).unwrap();
    row(&mut table, "`FileStore`", open("plain")).await;
    let keys = EncryptionKeys::new(EncryptionKey::generate("2026-03").unwrap());
    let encrypted = EncryptedStore::new(open("encrypted"), keys, "client-id").unwrap();
    row(&mut table, "`EncryptedStore` around `FileStore`", encrypted).await;
    servers(&mut table).await;
    table.finish();
}

#[cfg(feature = "servers")]
async fn servers(table: &mut Table) {
    use sqlx::postgres::PgPoolOptions;
    use tower_oauth2_client::store::{PostgresStore, RedisStore};

    let server = postgres::Server::new();
    let options = server.database().await;
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect_with(options);
    let store = PostgresStore::new(pool.await.unwrap());
    store.migrate().await.unwrap();
    row(table, "`PostgresStore`, on loopback", store).await;

    let server = redis_server::Server::launch().await;
    let store = RedisStore::connect(server.client()).await.unwrap();
    row(table, "`RedisStore`, on loopback", store).await;
}

#[cfg(not(feature = "servers"))]
async fn servers(_: &mut Table) {
    println!("PostgresStore and RedisStore need `--features servers`");
}

/// Measures refreshes one after another, each through `refresh_now`.
async fn row(table: &mut Table, name: &str, store: impl TokenStore) {
    let calls = Arc::new(Calls::default());
    let store = Counted {
        store,
        calls: Arc::clone(&calls),
    };
    let tokens = TokenCache::builder(Issuer)
        .origin(API)
        .store(store)
        .min_refresh_interval(Duration::ZERO)
        .build()
        .unwrap();
    for _ in 0..WARM_UP {
        tokens.refresh_now().await.unwrap();
    }
    let before = calls.all();
    let mut times = Vec::new();
    for _ in 0..REFRESHES {
        let started = SystemClock.monotonic();
        tokens.refresh_now().await.unwrap();
        let elapsed = SystemClock.monotonic() - started;
        times.push(elapsed.as_secs_f64() * 1e3);
    }
    let after = calls.all();
    let per_refresh = |of: usize| (after[of] - before[of]) as f64 / REFRESHES as f64;
    let mut cells = vec![name.to_owned()];
    cells.extend((0..after.len()).map(|of| format!("{:.2}", per_refresh(of))));
    let [middle, high] = [median(times.clone()), quantile(times, 0.9)];
    cells.extend([middle, high].map(|time| format!("{time:.3}")));
    table.row(&cells);
    tokens.shutdown(Duration::from_secs(5)).await.unwrap();
}

/// Responds at once, with a token set of usual size.
struct Issuer;

impl TokenSource for Issuer {
    async fn fetch(&self, _current: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let now = SystemClock.wall();
        let token = AccessToken::new("t".repeat(1_024))?;
        let refresh_token = RefreshToken::new("r".repeat(64));
        let day = Duration::from_secs(86_400);
        Ok(TokenSet::new(token, day, now).with_refresh_token(refresh_token, now))
    }
}

/// The number of calls of a store.
#[derive(Default)]
struct Calls {
    load: AtomicU64,
    save: AtomicU64,
    acquire: AtomicU64,
    release: AtomicU64,
}

impl Calls {
    fn all(&self) -> [u64; 4] {
        [&self.load, &self.save, &self.acquire, &self.release]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

struct Counted<S> {
    store: S,
    calls: Arc<Calls>,
}

impl<S: TokenStore> TokenStore for Counted<S> {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.calls.load.fetch_add(1, Ordering::Relaxed);
        self.store.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.calls.save.fetch_add(1, Ordering::Relaxed);
        self.store.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.calls.acquire.fetch_add(1, Ordering::Relaxed);
        self.store.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.calls.release.fetch_add(1, Ordering::Relaxed);
        self.store.release(tenant, owner).await
    }

    async fn changed(&self, tenant: &TenantId) {
        self.store.changed(tenant).await;
    }
}
