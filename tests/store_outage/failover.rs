//! A failover of Redis by Sentinel while several processes refresh. No refresh token is sent twice,
//! and no grant is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    Client, Cmd, ErrorKind, Pipeline, RedisFuture, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    sentinel::{SentinelClient, SentinelServerType},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_oauth2_client::{
    cache::TokenCache,
    sandbox::Sandbox,
    store::{Announcement, RedisStore, TokenStore},
};

use crate::{
    sentinel::{Deployment, LIMIT, NAME},
    support, worker,
};

const PROCESSES: usize = 3;
const TENANTS: usize = 4;

/// Without these, a failover may lose the newest saves.
const SERVER_OPTIONS: [&str; 2] = ["--min-replicas-to-write", "1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_failover_behind_a_proxy_sends_no_refresh_token_twice() {
    fail_over_during_load(async |deployment| {
        let client = Client::open(deployment.url()).unwrap();
        // The first attempts may reach the old primary.
        until_ok(async || RedisStore::connect(client.clone()).await).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p14_failover_of_connections_by_sentinel_sends_no_refresh_token_twice() {
    fail_over_during_load(async |deployment| {
        let sentinels = deployment.sentinels();
        let master = SentinelServerType::Master;
        let client = SentinelClient::build(sentinels, NAME, None, master).unwrap();
        // Replicas forward notifications, so any server that lives is suitable.
        let server = deployment.servers[2].client();
        RedisStore::new(PrimaryConnection::new(client)).watch(server)
    })
    .await;
}

async fn fail_over_during_load<C>(connect: impl AsyncFn(&Deployment) -> RedisStore<C>)
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    let mut deployment = Deployment::start(&SERVER_OPTIONS).await;
    let connect = async |deployment: &Deployment| {
        let store = connect(deployment).await;
        store.wait_for_replicas(1, Duration::from_millis(500))
    };
    let sandbox = Sandbox::start().await.unwrap();
    let store = connect(&deployment).await;
    for tenant in 0..TENANTS {
        let tokens = cache(&sandbox, store.clone(), tenant);
        support::connect(&sandbox, &worker::client_of(&sandbox), &tokens).await;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..PROCESSES {
        let store = connect(&deployment).await;
        for tenant in 0..TENANTS {
            let tokens = cache(&sandbox, store.clone(), tenant);
            let is_over = Arc::clone(&is_over);
            load.spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    // Fails during the outage.
                    let _ = tokens.refresh_now().await;
                    sleep(Duration::from_millis(20)).await;
                }
                tokens
            });
        }
    }
    sleep(Duration::from_secs(1)).await;
    deployment.servers[0].kill();
    let has_failed_over = async {
        while matches!(deployment.primary().await, Some(0) | None) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, has_failed_over).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    // The old primary returns with older grants, and reports the role of a primary until a Sentinel
    // changes it, which takes about 10 seconds. Processes that start meanwhile know no newer grant.
    deployment.servers[0].start().await;
    for round in 0..4 * TENANTS {
        let tokens = cache(&sandbox, connect(&deployment).await, round % TENANTS);
        until_ok(async || tokens.refresh_now().await).await;
    }
    is_over.store(true, Ordering::SeqCst);
    let mut subscription = store.subscribe().unwrap();
    let caches = load.join_all().await;
    let refresh_all = async || {
        for tokens in &caches {
            until_ok(async || tokens.refresh_now().await).await;
        }
    };
    refresh_all().await;
    let announced = async {
        let is_save = |next| matches!(next, Some(Announcement::Saved { .. }));
        while !is_save(subscription.next().await) {
            // The subscription begins in the background, and misses what was saved before.
            refresh_all().await;
        }
    };
    timeout(LIMIT, announced).await.unwrap();
    let counters = sandbox.counters();
    assert_eq!(counters.refresh_tokens_reused, 0);
    assert_eq!(counters.grants_revoked, 0);
}

fn cache(sandbox: &Sandbox, store: impl TokenStore, tenant: usize) -> TokenCache {
    TokenCache::builder(worker::client_of(sandbox))
        .store(store)
        .tenant(format!("customer-{tenant}"))
        .min_refresh_interval(Duration::from_millis(1))
        .build()
        .unwrap()
}

/// Repeats a call until the store is available again.
async fn until_ok<T>(mut call: impl AsyncFnMut() -> Result<T, tower_oauth2_client::Error>) -> T {
    let repeated = async {
        loop {
            match call().await {
                Ok(value) => return value,
                Err(error) => assert_eq!(error.kind(), tower_oauth2_client::ErrorKind::Store),
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, repeated).await.unwrap()
}

/// A connection to the primary, which is looked up at a Sentinel whenever the connection is lost.
#[derive(Clone)]
struct PrimaryConnection {
    client: Arc<Mutex<SentinelClient>>,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl PrimaryConnection {
    fn new(client: SentinelClient) -> Self {
        Self {
            client: Arc::new(Mutex::new(client)),
            current: Arc::default(),
        }
    }

    async fn current(&self) -> RedisResult<MultiplexedConnection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let limit = Duration::from_secs(2);
        let connecting = async {
            let mut client = self.client.lock().await;
            client.get_async_connection().await
        };
        let late = |_| redis::RedisError::from((ErrorKind::Io, "no primary in time"));
        let mut connection = timeout(limit, connecting).await.map_err(late)??;
        connection.set_response_timeout(limit);
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn check<T>(&self, response: RedisResult<T>) -> RedisResult<T> {
        let is_lost = response.as_ref().is_err_and(|error| {
            error.is_unrecoverable_error()
                || error.is_timeout()
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        if is_lost {
            *self.current.lock().await = None;
        }
        response
    }
}

impl ConnectionLike for PrimaryConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let mut connection = self.current().await?;
            self.check(connection.req_packed_command(command).await)
                .await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut connection = self.current().await?;
            let responses = connection.req_packed_commands(pipeline, offset, count);
            self.check(responses.await).await
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}
