//! The store in PostgreSQL, against a server of the tests' own.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/postgres.rs"]
mod server;

mod absence;
mod cache;
mod grants;
mod leases;
mod list;
mod tables;
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

/// For all tests that do not stop it.
static SERVER: LazyLock<Server> = LazyLock::new(Server::new);

/// One that connects when it is needed.
fn pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.clone())
}

/// A new database with tables, and a store in it.
async fn store() -> (PgConnectOptions, PostgresStore) {
    let options = SERVER.database().await;
    let store = PostgresStore::new(pool(&options, 4));
    store.migrate().await.unwrap();
    (options, store)
}

/// What another process would have on the same database.
fn replica(options: &PgConnectOptions) -> PostgresStore {
    PostgresStore::new(pool(options, 4))
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// What is expected where the last one saved is this. 0 is that of no grant.
fn generation(number: u64) -> Option<Generation> {
    (number > 0).then(|| Generation::from_u64(number))
}

fn grant(generation: u64, token: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(token).unwrap();
    Grant {
        generation: Generation::from_u64(generation),
        state: GrantState::Active(TokenSet::new(access_token, Duration::from_secs(60), at)),
    }
}
