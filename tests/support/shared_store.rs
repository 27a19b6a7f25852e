//! Stores that several processes share, each opened by a word that fits into an environment variable.

#![allow(dead_code, reason = "each test uses its own part of this")]
#![allow(clippy::unused_async, reason = "those with a server are")]

use std::time::Duration;

#[cfg(feature = "__server-tests")]
use tower_oauth2_client::store::{PostgresStore, RedisStore};
use tower_oauth2_client::{
    Error,
    store::{FileStore, LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

#[cfg(feature = "__server-tests")]
use crate::{postgres, redis_server};

/// A store of one sort or another.
pub(crate) enum SharedStore {
    File(FileStore),
    #[cfg(feature = "__server-tests")]
    Postgres(PostgresStore),
    #[cfg(feature = "__server-tests")]
    Redis(RedisStore),
}

impl SharedStore {
    pub(crate) async fn open(place: &str) -> Self {
        match place.split_once(':') {
            Some(("file", folder)) => Self::File(FileStore::open(folder).unwrap()),
            #[cfg(feature = "__server-tests")]
            Some(("postgres", _)) => {
                let pool = sqlx::postgres::PgPoolOptions::new()
                    .max_connections(2)
                    .acquire_timeout(Duration::from_secs(5))
                    .connect(place)
                    .await;
                let store = PostgresStore::new(pool.unwrap());
                store.migrate().await.unwrap();
                Self::Postgres(store)
            }
            #[cfg(feature = "__server-tests")]
            Some(("redis", _)) => {
                let client = redis::Client::open(place).unwrap();
                Self::Redis(RedisStore::connect(client).await.unwrap())
            }
            _ => panic!("no such place: {place}"),
        }
    }
}

/// The same call of whichever store it is.
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

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        each!(self, store => store.tenants(after, limit).await)
    }
}

/// Where stores come from, one after another, all empty.
pub(crate) enum Backend {
    File,
    #[cfg(feature = "__server-tests")]
    Postgres(postgres::Server),
    #[cfg(feature = "__server-tests")]
    Redis(redis_server::Server),
}

/// An empty store, as long as this lives. Of Redis, the last one only.
pub(crate) struct Place {
    pub(crate) word: String,
    _folder: Option<tempfile::TempDir>,
}

impl Backend {
    pub(crate) async fn place(&self) -> Place {
        match self {
            Self::File => {
                let folder = tempfile::tempdir().unwrap();
                Place {
                    word: format!("file:{}", folder.path().display()),
                    _folder: Some(folder),
                }
            }
            #[cfg(feature = "__server-tests")]
            Self::Postgres(server) => {
                let options = server.database().await;
                let (port, name) = (options.get_port(), options.get_database().unwrap());
                Place {
                    word: format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable"),
                    _folder: None,
                }
            }
            #[cfg(feature = "__server-tests")]
            Self::Redis(server) => {
                server.command::<()>("FLUSHALL").await;
                Place {
                    word: server.url(),
                    _folder: None,
                }
            }
        }
    }
}
