//! The PostgreSQL store, with a server of its own.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/authority.rs"]
mod authority;

#[path = "../support/postgres.rs"]
mod server;

#[path = "../support/postgres_round_trips.rs"]
mod counting;

#[path = "../support/pgbouncer.rs"]
mod pgbouncer;

#[path = "../support/switch.rs"]
mod switch;

mod cache;
mod failover;
mod grants;
mod leases;
mod list;
mod outages;
mod proxies;
mod round_trips;
mod tables;
mod tls;
mod watch;
mod writers;

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower_oauth2_client::{
    store::PostgresStore,
    token::{AccessToken, Generation, Grant, GrantState, TenantId, TokenSet},
};

use crate::server::Server;

/// The server of all tests that do not stop it.
static SERVER: LazyLock<Server> = LazyLock::new(Server::new);

/// A pool that connects lazily.
fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.clone())
}

/// A store in a new database with tables.
async fn store() -> (PgConnectOptions, PostgresStore) {
    let options = SERVER.database().await;
    let store = PostgresStore::new(pool(&options, 4));
    store.migrate().await.unwrap();
    (options, store)
}

/// A store of another process on the same database.
fn replica(options: &PgConnectOptions) -> PostgresStore {
    PostgresStore::new(pool(options, 4))
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// The generation that a save expects. 0 expects no grant.
fn generation(number: u64) -> Option<Generation> {
    (number > 0).then(|| Generation::from_u64(number))
}

fn grant(generation: u64, token: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(token).unwrap();
    Grant::new(
        Generation::from_u64(generation),
        GrantState::Active(TokenSet::new(access_token, Duration::from_secs(60), at)),
    )
}
