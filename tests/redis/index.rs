//! The index of tenants.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tower_oauth2_client::{
    store::{RedisStore, SaveOutcome, TokenStore},
    token::TenantId,
};

use crate::{
    Server, commit, generation, grant, server_and_store, store, support::all_tenants as all,
    tenant, with_sources,
};

const INDEX: &str = "tower-oauth2:tenants";

/// In the order of their encoded names, which is the order of pages.
const NAMES: [&str; 8] = ["{a}", "é", "*", "a", "a+b", "a/b", "ab", "tenants"];

async fn eight(store: &RedisStore) -> Vec<TenantId> {
    let tenants: Vec<_> = NAMES.map(tenant).into();
    for tenant in tenants.iter().rev() {
        commit(store, tenant, None, &grant(1, "a")).await;
    }
    tenants
}

#[tokio::test]
async fn pages_list_each_tenant_once_in_one_order() {
    let (_server, store) = server_and_store().await;
    assert_eq!(all(&store, 10).await, []);
    let tenants = eight(&store).await;
    for limit in [1, 2, 3, 4, 7, 8, usize::MAX] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
    assert_eq!(store.tenants(None, 0).await.unwrap(), []);
    let other = store.clone().prefix("other:").unwrap();
    assert_eq!(all(&other, 10).await, [], "prefixes are isolated");
}

/// Counts the commands for the index.
#[derive(Clone)]
struct Counting(MultiplexedConnection, Arc<AtomicUsize>);

impl Counting {
    async fn connect(server: &Server) -> Self {
        let connection = server.client().get_multiplexed_async_connection().await;
        Self(connection.unwrap(), Arc::default())
    }

    fn take(&self) -> usize {
        self.1.swap(0, Ordering::SeqCst)
    }
}

impl ConnectionLike for Counting {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let packed = cmd.get_packed_command();
        let is_of_index = packed
            .windows(INDEX.len())
            .any(|part| part == INDEX.as_bytes());
        self.1.fetch_add(usize::from(is_of_index), Ordering::SeqCst);
        self.0.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

#[tokio::test]
async fn only_the_first_save_of_a_process_writes_the_index() {
    let server = Server::launch().await;
    let acme = tenant("acme");
    // The server caches the scripts from here on, so each command is sent once.
    commit(
        &store(&server).await,
        &tenant("other"),
        None,
        &grant(1, "a"),
    )
    .await;
    let mut stored = None;
    for process in 0..3 {
        let connection = Counting::connect(&server).await;
        let store = RedisStore::new(connection.clone());
        for save in 0..3 {
            let next = grant(stored.unwrap_or(0) + 1, "a");
            commit(&store, &acme, stored, &next).await;
            stored = Some(next.generation.as_u64());
            let sent = connection.take();
            assert_eq!(sent, usize::from(save == 0), "{process} {save}");
        }
        let late = store.save(&acme, None, &grant(1, "b")).await.unwrap();
        assert!(matches!(late, SaveOutcome::Superseded(Some(_))));
        store.load(&acme).await.unwrap();
        assert_eq!(connection.take(), 0);
    }
}

#[tokio::test]
async fn index_is_written_before_the_grant() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    // A user that can write the index, but no grants.
    server
        .command::<()>("ACL SETUSER app on >word ~* &* +@all -hset")
        .await;
    let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
    let limited = RedisStore::connect(redis::Client::open(url).unwrap());
    let limited = limited.await.unwrap();
    limited.save(&acme, None, &grant(1, "a")).await.unwrap_err();
    assert_eq!(store.load(&acme).await.unwrap(), None);
    assert_eq!(all(&store, 10).await, [acme]);
}

#[tokio::test]
async fn lost_names_are_restored_by_the_next_process_that_saves() {
    let (server, one) = server_and_store().await;
    let acme = tenant("acme");
    commit(&one, &acme, None, &grant(1, "a")).await;
    server.command::<()>(&format!("DEL {INDEX}")).await;
    let two = store(&server).await;
    commit(&two, &acme, Some(1), &grant(2, "b")).await;
    assert_eq!(all(&two, 10).await, [acme]);
}

#[tokio::test]
async fn command_on_the_module_page_adds_all_tenants() {
    let (server, store) = server_and_store().await;
    let tenants = eight(&store).await;
    server.command::<()>(&format!("DEL {INDEX}")).await;
    let page = include_str!("../../src/store/redis/mod.rs");
    let line = page.lines().find(|line| line.contains("--scan")).unwrap();
    let here = format!("redis-cli -p {}", server.port());
    let line = line.trim_start_matches("//! ").replace("redis-cli", &here);
    let is_installed = Command::new("redis-cli").arg("--version").output().is_ok();
    let line = if is_installed {
        line
    } else {
        line.replace("redis-cli", "valkey-cli")
    };
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(all(&store, 3).await, tenants);
}

#[tokio::test]
async fn expiry_that_was_set_by_hand_is_removed() {
    let (server, store) = server_and_store().await;
    commit(&store, &tenant("a"), None, &grant(1, "a")).await;
    server.command::<()>(&format!("EXPIRE {INDEX} 1000")).await;
    commit(&store, &tenant("b"), None, &grant(1, "a")).await;
    assert_eq!(server.command::<i64>(&format!("PTTL {INDEX}")).await, -1);
}

#[tokio::test]
async fn invalid_names_are_neither_listed_nor_end_the_listing() {
    let (server, store) = server_and_store().await;
    let tenants = [tenant("b"), tenant("y")];
    for tenant in &tenants {
        commit(&store, tenant, None, &grant(1, "a")).await;
    }
    // Invalid names, and other encodings of valid names.
    for other in ["%61", "%79", "c=d", "c&d", "d{}", "é", "%00", "z%FF"] {
        server
            .command::<()>(&format!("ZADD {INDEX} 0 {other}"))
            .await;
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
}

#[tokio::test]
async fn unwritable_index_prevents_only_new_grants() {
    let (server, one) = server_and_store().await;
    let (acme, new) = (tenant("acme"), tenant("new"));
    commit(&one, &acme, None, &grant(1, "a")).await;
    server
        .command::<()>(&format!("SET {INDEX} secret-word"))
        .await;
    let two = store(&server).await;
    commit(&two, &acme, Some(1), &grant(2, "b")).await;
    for error in [
        two.save(&new, None, &grant(1, "a")).await.unwrap_err(),
        two.tenants(None, 10).await.unwrap_err(),
    ] {
        let message = with_sources(&error);
        assert!(
            message.contains("WRONGTYPE") && message.contains(INDEX),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
    assert_eq!(
        two.load(&new).await.unwrap(),
        None,
        "no grant without an index entry"
    );
    server.command::<()>(&format!("DEL {INDEX}")).await;
    // A failed entry is repeated.
    let expected = Some(generation(2));
    two.save(&acme, expected, &grant(3, "c")).await.unwrap();
    assert_eq!(all(&two, 10).await, [acme]);
}
