//! PgBouncer between the store and the server.

use sqlx::postgres::PgConnectOptions;
use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::{
    Error,
    store::{Announcement, PostgresStore, Subscription, TokenStore},
};

use crate::{
    SERVER, generation, grant,
    pgbouncer::{PgBouncer, supports_prepared_statements},
    pool, replica, store,
    support::MINUTE,
    tenant,
};

fn through(proxy: &PgBouncer, options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().port(proxy.port())
}

/// The first subscription of a store, once the store has connected.
async fn connected(store: &PostgresStore) -> Subscription {
    let mut subscription = store.subscribe().unwrap();
    let first = timeout(MINUTE, subscription.next()).await.unwrap();
    assert_eq!(first, Some(Announcement::Missed));
    subscription
}

/// The subscription announces a save.
async fn announces(mut subscription: Subscription, writer: &PostgresStore) {
    let acme = tenant("acme");
    let stored = writer.load(&acme).await.unwrap();
    let last = stored.map_or(0, |stored| stored.generation.as_u64());
    let next = grant(last + 1, "next");
    writer.save(&acme, generation(last), &next).await.unwrap();
    let announced = async {
        loop {
            match subscription.next().await.unwrap() {
                Announcement::Saved { generation, .. } if generation == next.generation => return,
                _ => {}
            }
        }
    };
    timeout(MINUTE, announced).await.unwrap();
}

#[tokio::test]
async fn p12_store_that_gets_no_notifications_announces_nothing() {
    let (options, _) = store().await;
    let proxy = PgBouncer::start(SERVER.port(), "transaction").await;
    for schema in [None, Some("public")] {
        let mut store = replica(&options).watch(through(&proxy, &options));
        if let Some(schema) = schema {
            store = store.schema(schema).unwrap();
        }
        let mut subscription = store.subscribe().unwrap();
        let ended = async { while subscription.next().await.is_some() {} };
        timeout(MINUTE, ended).await.unwrap();
        // Caches load the grants in use every 30 seconds instead.
        assert!(store.subscribe().is_none());
        assert!(store.load(&tenant("acme")).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn p12_store_announces_through_session_pooling() {
    let (options, _) = store().await;
    let proxy = PgBouncer::start(SERVER.port(), "session").await;
    let one = PostgresStore::new(pool(&through(&proxy, &options), 2));
    announces(connected(&one).await, &one).await;
    // Another process, without the proxy.
    announces(one.subscribe().unwrap(), &replica(&options)).await;
}

#[tokio::test]
async fn p12_store_announces_over_a_direct_connection() {
    let (options, writer) = store().await;
    let proxy = PgBouncer::start(SERVER.port(), "transaction").await;
    let one = PostgresStore::new(pool(&through(&proxy, &options), 1)).watch(options);
    announces(connected(&one).await, &writer).await;
}

/// Several processes share the connections of a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_pooling_works_with_prepared_statements_and_is_named_without() {
    let (options, _) = store().await;
    let proxy = PgBouncer::start(SERVER.port(), "transaction").await;
    let mut processes = JoinSet::new();
    for process in 0..8 {
        let store = PostgresStore::new(pool(&through(&proxy, &options), 2));
        processes.spawn(async move {
            let tenant = tenant(&format!("customer-{process}"));
            for save in 0..20 {
                let next = grant(save + 1, "a");
                store.save(&tenant, generation(save), &next).await?;
                store.load(&tenant).await?;
            }
            Ok::<_, Error>(())
        });
    }
    let outcomes = processes.join_all().await;
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.is_empty(), supports_prepared_statements());
    for error in failed {
        let text = error.to_string();
        assert!(text.contains("prepared statements"), "{text}");
    }
}
