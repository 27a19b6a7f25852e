//! Processes that share a store: one refreshes at a time, and no refresh token is sent twice.
//!
//! `SOAK_SECONDS=60 cargo test --all-features --test replicas -- --nocapture` runs for longer.

use std::time::Duration;

use tower_oauth2_client::{
    cache::{TokenCache, TokenCacheBuilder},
    sandbox::{ExpiresAt, Rotation, Sandbox},
};

#[cfg(feature = "__server-tests")]
#[path = "support/postgres.rs"]
mod postgres;
#[cfg(feature = "__server-tests")]
#[path = "support/redis.rs"]
mod redis_server;
#[path = "support/shared_store.rs"]
mod shared_store;
#[path = "support/mod.rs"]
mod support;
#[path = "support/worker.rs"]
mod worker;

use shared_store::{Backend, SharedStore};
use worker::{Partner, Replica, setting, soak};

const PROCESSES: usize = 8;
const LIFETIME: Duration = Duration::from_millis(300);

/// The work of one process: as many requests as possible, and a line about them at the end.
#[tokio::test]
#[ignore = "the other tests run it as a process"]
async fn replica() {
    let store = SharedStore::open(&setting("STORE").unwrap()).await;
    let partner = Partner::of_this_process(|builder| of_short_life(builder.store(store)));
    let until = Duration::from_millis(setting("MILLISECONDS").unwrap().parse().unwrap());
    let started = tokio::time::Instant::now();
    let (mut served, mut failed) = (0, 0);
    println!("\nstarted");
    while started.elapsed() < until {
        match partner.call().await {
            Ok(status) if status == 200 => served += 1,
            other => {
                failed += 1;
                eprintln!("failed: {other:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Otherwise a refresh in flight would end with the process, and the others would lose its
    // response.
    let drained = partner.tokens.shutdown(Duration::from_secs(30)).await;
    drained.unwrap();
    println!("\nserved {served} {failed}");
}

/// Permits more than one refresh a second, because these tokens live for less.
fn of_short_life(builder: TokenCacheBuilder) -> TokenCacheBuilder {
    builder.min_refresh_interval(Duration::from_millis(10))
}

async fn sandbox() -> Sandbox {
    Sandbox::builder()
        .behavior(|behavior| {
            behavior.rotation = Rotation::FamilyRevocation;
            behavior.access_token_lifetime = LIFETIME;
        })
        // With whole seconds, most of these tokens would have expired on arrival.
        .behavior(|behavior| behavior.expires_at = ExpiresAt::Fraction(3))
        .start()
        .await
        .unwrap()
}

/// A customer consents, and the first tokens are stored.
async fn connect(sandbox: &Sandbox, store: &str) {
    let oauth = worker::client_of(sandbox);
    let store = SharedStore::open(store).await;
    let tokens = of_short_life(TokenCache::builder(oauth.clone()).store(store));
    let tokens = tokens.build().unwrap();
    support::connect(sandbox, &oauth, &tokens).await;
}

async fn eight_processes(backend: Backend) {
    eight_processes_of(sandbox().await, LIFETIME, backend, &[]).await;
}

async fn eight_processes_of(
    sandbox: Sandbox,
    lifetime: Duration,
    backend: Backend,
    more: &[(&'static str, String)],
) {
    let location = backend.new_store().await;
    connect(&sandbox, &location.url).await;
    // Several refreshes, however long the tokens live.
    let lasting = soak(lifetime * 14);
    let mut settings = vec![
        ("STORE", location.url.clone()),
        ("MILLISECONDS", lasting.as_millis().to_string()),
    ];
    settings.extend_from_slice(more);
    let replicas: Vec<_> = (0..PROCESSES)
        .map(|_| Replica::spawn("replica", &sandbox, &settings))
        .collect();
    let served = tokio::task::spawn_blocking(|| {
        let (mut served, mut failed) = (0, 0);
        for mut replica in replicas {
            let line = replica.wait_for("served").expect("the process ends");
            let (good, bad) = line.split_once(' ').unwrap();
            failed += bad.parse::<u64>().unwrap();
            served += good.parse::<u64>().unwrap();
            assert!(replica.end());
        }
        (served, failed)
    });
    let (served, failed) = served.await.unwrap();
    let counters = sandbox.counters();
    println!(
        "{PROCESSES} processes, {lasting:?}, {}: {served} requests served, {} rotations, {} refused, {} sent twice, {} grants revoked, {} 401s",
        location.url.split(':').next().unwrap(),
        counters.refreshes,
        counters.token_requests_refused,
        counters.refresh_tokens_reused,
        counters.grants_revoked,
        counters.unauthorized,
    );
    assert_eq!(failed, 0, "every request succeeds");
    assert!(counters.refreshes > 5);
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_eight_processes_send_no_refresh_token_twice() {
    eight_processes(Backend::File).await;
}

/// All of them share the key of the grant, to which its tokens are bound.
#[cfg(feature = "dpop")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_eight_processes_prove_the_key_of_each_refresh_token() {
    // Proofs take time. A token must not expire while eight processes wait for two cores.
    let lifetime = LIFETIME * 3;
    let sandbox = sandbox().await;
    sandbox.change_behavior(|behavior| {
        behavior.dpop = tower_oauth2_client::sandbox::Dpop::REQUIRED;
        behavior.access_token_lifetime = lifetime;
    });
    let settings = [("DPOP", "1".to_owned())];
    eight_processes_of(sandbox.clone(), lifetime, Backend::File, &settings).await;
    let counters = sandbox.counters();
    assert_eq!(counters.token_requests_refused, 0);
    assert_eq!(counters.proofs_refused, 0);
}

#[cfg(feature = "__server-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_eight_processes_over_postgres_send_no_refresh_token_twice() {
    eight_processes(Backend::Postgres(postgres::Server::new())).await;
}

#[cfg(feature = "__server-tests")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_eight_processes_over_redis_send_no_refresh_token_twice() {
    eight_processes(Backend::Redis(redis_server::Server::launch().await)).await;
}
