//! The Redis store, with servers of its own.

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/redis_round_trips.rs"]
mod counting;
#[path = "../support/redis.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/switch.rs"]
mod switch;

mod cache;
mod cluster;
mod contract;
mod failure;
mod index;
mod interference;
mod keys;
mod persistence;
mod round_trips;
mod tls;
mod watch;

use std::time::{Duration, SystemTime};

use redis::aio::ConnectionManager;
use tower_oauth2_client::{
    store::{RedisStore, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, TenantId, TokenSet},
};

use self::server::Server;

/// Longer than any operation here takes.
const LIMIT: Duration = Duration::from_secs(30);

async fn store(server: &Server) -> RedisStore<ConnectionManager> {
    RedisStore::connect(server.client()).await.unwrap()
}

async fn server_and_store() -> (Server, RedisStore<ConnectionManager>) {
    let server = Server::launch().await;
    let store = store(&server).await;
    (server, store)
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn generation(number: u64) -> Generation {
    Generation::from_u64(number)
}

fn grant(generation: u64, token: &str) -> Grant {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let access_token = AccessToken::new(token).unwrap();
    Grant::new(
        Generation::from_u64(generation),
        GrantState::Active(TokenSet::new(access_token, Duration::from_secs(60), at)),
    )
}

async fn commit<S: TokenStore>(store: &S, tenant: &TenantId, expected: Option<u64>, new: &Grant) {
    let expected = expected.map(Generation::from_u64);
    let outcome = store.save(tenant, expected, new).await.unwrap();
    assert_eq!(outcome, SaveOutcome::Committed);
}

/// An error with its sources, as text.
fn with_sources(error: &tower_oauth2_client::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ")
}
