//! Failovers to a standby, behind an address that stays.

use std::time::Duration;

use sqlx::{Executor, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};
use tower_oauth2_client::{
    ErrorKind,
    store::{LeaseOwner, PostgresStore, SaveOutcome, TokenStore},
    token::Grant,
};

use crate::{
    generation, grant, pool,
    server::Server,
    support::{MINUTE, ManualClock, Source, header},
    switch::Switch,
    tenant,
};

struct Pair {
    primary: Server,
    standby: Server,
    address: Switch,
    options: PgConnectOptions,
}

impl Pair {
    /// A primary and its standby. Saves are on both if `is_synchronous`.
    async fn start(is_synchronous: bool) -> Self {
        let primary = Server::new();
        let options = primary.database().await;
        let standby = primary.new_standby();
        if is_synchronous {
            let admin = pool(&options, 1);
            let set = "ALTER SYSTEM SET synchronous_standby_names = '*'";
            admin.execute(set).await.unwrap();
            let set = "ALTER SYSTEM SET synchronous_commit = 'remote_apply'";
            admin.execute(set).await.unwrap();
            admin.execute("SELECT pg_reload_conf()").await.unwrap();
            let in_effect = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            while sqlx::query_scalar::<_, i64>(in_effect)
                .fetch_one(&admin)
                .await
                .unwrap()
                == 0
            {
                sleep(Duration::from_millis(20)).await;
            }
        }
        let address = Switch::to(primary.port()).await;
        let options = options.port(address.port());
        Self {
            primary,
            standby,
            address,
            options,
        }
    }

    fn store(&self, connections: u32) -> PostgresStore {
        PostgresStore::new(pool(&self.options, connections))
    }

    /// A store that is connected to the standby.
    async fn store_of_standby(&self) -> PostgresStore {
        let options = self.options.clone().port(self.standby.port());
        let store = PostgresStore::new(pool(&options, 2));
        // The standby may not have received the tables yet.
        let received = async {
            while store.migrate().await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(MINUTE, received).await.unwrap();
        store
    }

    /// Kills the primary, promotes the standby, and sends new connections there.
    fn fail_over(&self) {
        self.primary.kill();
        self.standby.promote();
        self.address.switch_to(self.standby.port());
    }
}

#[tokio::test]
async fn p12_standby_is_an_error_and_not_an_older_grant() {
    let pair = Pair::start(false).await;
    pair.store(1).migrate().await.unwrap();
    let acme = tenant("acme");
    pair.store(1)
        .save(&acme, None, &grant(1, "a"))
        .await
        .unwrap();
    let store = pair.store_of_standby().await;
    let owner = LeaseOwner::random();
    for tenant in [&acme, &tenant("absent")] {
        for error in [
            store.load(tenant).await.unwrap_err(),
            store.save(tenant, None, &grant(1, "b")).await.unwrap_err(),
            store.acquire(tenant, &owner, MINUTE).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(
                error.to_string().contains("connect to the primary"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn p14_connections_that_reach_a_standby_are_replaced() {
    let pair = Pair::start(false).await;
    let acme = tenant("acme");
    pair.store(1).migrate().await.unwrap();
    drop(pair.store_of_standby().await);
    pair.store(1)
        .save(&acme, None, &grant(1, "a"))
        .await
        .unwrap();
    let owner = LeaseOwner::random();
    for call in ["load", "save", "acquire", "release"] {
        // All connections of the pool reach the standby, as with an outdated address.
        pair.address.switch_to(pair.standby.port());
        let pool = pool(&pair.options, 4);
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(pool.acquire().await.unwrap());
        }
        drop(open);
        pair.address.switch_to(pair.primary.port());
        let store = PostgresStore::new(pool);
        match call {
            "load" => assert!(store.load(&acme).await.unwrap().is_some()),
            "save" => {
                let saved = store.save(&acme, generation(1), &grant(2, "b")).await;
                assert_eq!(saved.unwrap(), SaveOutcome::Committed);
            }
            "acquire" => drop(store.acquire(&acme, &owner, MINUTE).await.unwrap()),
            _ => store.release(&acme, &owner).await.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_failover_to_a_synchronous_standby_during_load_loses_nothing() {
    let pair = Pair::start(true).await;
    let (store, acme) = (pair.store(4), tenant("acme"));
    store.migrate().await.unwrap();
    let writing = tokio::spawn({
        let (store, acme) = (store.clone(), acme.clone());
        async move {
            let mut last = 0;
            loop {
                let next = grant(last + 1, &format!("a{}", last + 1));
                match store.save(&acme, generation(last), &next).await {
                    Ok(SaveOutcome::Committed) => last += 1,
                    Ok(outcome) => panic!("{outcome:?}"),
                    Err(_) => return last,
                }
            }
        }
    });
    sleep(Duration::from_millis(300)).await;
    pair.fail_over();
    let committed = timeout(MINUTE, writing).await.unwrap().unwrap();
    assert!(committed > 0);
    let stored = until_loaded(&store).await;
    let number = stored.generation.as_u64();
    // The response to the last save may be lost.
    assert!(
        number == committed || number == committed + 1,
        "{number} {committed}"
    );
    let next = grant(number + 1, "next");
    let saved = store.save(&acme, generation(number), &next).await.unwrap();
    assert_eq!(saved, SaveOutcome::Committed);
}

/// With asynchronous replication the new primary may lack the newest token set. A process that
/// holds it does not send the older refresh token again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_rotation_that_a_failover_lost_is_saved_again_by_its_process() {
    let pair = Pair::start(false).await;
    let store = pair.store(4);
    store.migrate().await.unwrap();
    let source = Source::new(&ManualClock::new());
    let tokens = source
        .cache()
        .store(store.clone())
        .tenant("acme")
        .build()
        .unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    let copy = pair.store_of_standby().await;
    drop(copy);
    let replicated = "SELECT count(*) FROM pg_stat_replication \
                      WHERE replay_lsn = pg_current_wal_lsn()";
    let primary = pool(&pair.options, 1);
    while sqlx::query_scalar::<_, i64>(replicated)
        .fetch_one(&primary)
        .await
        .unwrap()
        == 0
    {
        sleep(Duration::from_millis(20)).await;
    }
    pair.standby.stop();
    tokens.refresh_now().await.unwrap();
    pair.primary.kill();
    pair.standby.start();
    pair.standby.promote();
    pair.address.switch_to(pair.standby.port());
    let stored = until_loaded(&store).await;
    assert_eq!(
        stored.generation.as_u64(),
        1,
        "the failover lost the rotation"
    );
    let refreshed = async {
        while tokens.refresh_now().await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(MINUTE, refreshed).await.unwrap();
    let stored = until_loaded(&store).await;
    let newest = header(&tokens).await;
    let access_token = stored.tokens().unwrap().access_token().expose();
    assert_eq!(format!("Bearer {access_token}"), newest);
    assert_eq!(newest, "Bearer a3");
    assert_eq!(source.refreshes(), 3, "each refresh token is sent once");
}

/// The pool takes a moment to replace its connections.
async fn until_loaded(store: &PostgresStore) -> Grant {
    let loaded = async {
        loop {
            if let Ok(Some(stored)) = store.load(&tenant("acme")).await {
                return stored;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(MINUTE, loaded).await.unwrap()
}
