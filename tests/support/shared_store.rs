//! Stores that several processes share. Each is opened by a URL, which a replica receives in an
//! environment variable.

#![allow(dead_code, reason = "each test uses a part of this module")]
#![allow(clippy::unused_async, reason = "stores with a server need it")]

use std::time::Duration;

#[cfg(feature = "__server-tests")]
use tower_oauth2_client::store::{PostgresStore, RedisStore};
use tower_oauth2_client::{
    Error,
    store::{FileStore, LeaseOutcome, LeaseOwner, SaveOutcome, Subscription, TokenStore},
    token::{Generation, Grant, TenantId},
};

#[cfg(feature = "__server-tests")]
use crate::{postgres, redis_server};

/// A store of any backend.
pub(crate) enum SharedStore {
    File(FileStore),
    #[cfg(feature = "__server-tests")]
    Postgres(PostgresStore),
    #[cfg(feature = "__server-tests")]
    Redis(RedisStore),
}

impl SharedStore {
    pub(crate) async fn open(url: &str) -> Self {
        match url.split_once(':') {
            Some(("file", directory)) => Self::File(FileStore::open(directory).unwrap()),
            #[cfg(feature = "__server-tests")]
            Some(("postgres", _)) => {
                let pool = sqlx::postgres::PgPoolOptions::new()
                    .max_connections(2)
                    .acquire_timeout(Duration::from_secs(5))
                    .connect(url)
                    .await;
                let store = PostgresStore::new(pool.unwrap());
                store.migrate().await.unwrap();
                Self::Postgres(store)
            }
            #[cfg(feature = "__server-tests")]
            Some(("redis", _)) => {
                let client = redis::Client::open(url).unwrap();
                Self::Redis(RedisStore::connect(client).await.unwrap())
            }
            _ => panic!("unknown store: {url}"),
        }
    }
}

/// Calls the store of any backend.
macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::File($store) => $call,
            #[cfg(feature = "__server-tests")]
            Self::Postgres($store) => $call,
            #[cfg(feature = "__server-tests")]
            Self::Redis($store) => $call,
        }
    };
}

impl TokenStore for SharedStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        each!(self, store => store.load(tenant).await)
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        each!(self, store => store.save(tenant, expected, grant).await)
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        each!(self, store => store.acquire(tenant, owner, duration).await)
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        each!(self, store => store.release(tenant, owner).await)
    }

    async fn changed(&self, tenant: &TenantId) {
        each!(self, store => store.changed(tenant).await);
    }

    fn subscribe(&self) -> Option<Subscription> {
        each!(self, store => store.subscribe())
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        each!(self, store => store.tenants(after, limit).await)
    }
}

/// A source of empty stores.
pub(crate) enum Backend {
    File,
    #[cfg(feature = "__server-tests")]
    Postgres(postgres::Server),
    #[cfg(feature = "__server-tests")]
    Redis(redis_server::Server),
}

/// The URL of an empty store, which exists until this is dropped. In Redis only the newest store
/// exists.
pub(crate) struct Location {
    pub(crate) url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Backend {
    pub(crate) async fn new_store(&self) -> Location {
        match self {
            Self::File => {
                let directory = tempfile::tempdir().unwrap();
                Location {
                    url: format!("file:{}", directory.path().display()),
                    _directory: Some(directory),
                }
            }
            #[cfg(feature = "__server-tests")]
            Self::Postgres(server) => {
                let options = server.database().await;
                let (port, name) = (options.get_port(), options.get_database().unwrap());
                Location {
                    url: format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable"),
                    _directory: None,
                }
            }
            #[cfg(feature = "__server-tests")]
            Self::Redis(server) => {
                server.command::<()>("FLUSHALL").await;
                Location {
                    url: server.url(),
                    _directory: None,
                }
            }
        }
    }
}
