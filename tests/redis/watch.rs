//! Notifications of changes by other processes.

use std::{fmt::Debug, time::Duration};

use redis::aio::ConnectionLike;
use tokio::time::{sleep, timeout};
use tower_oauth2_client::{
    store::{LeaseOwner, RedisStore, TokenStore},
    token::TenantId,
};

use crate::{LIMIT, commit, grant, server_and_store, store, tenant};

/// Makes a change and waits until the store reports it.
pub(crate) async fn is_notified_of<C, T: Debug>(
    store: &RedisStore<C>,
    tenant: &TenantId,
    change: impl Future<Output = T>,
) where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    settled(store, tenant).await;
    let changed = async {
        tokio::join!(store.changed(tenant), change);
    };
    timeout(LIMIT, changed).await.unwrap();
}

/// Waits until the store has subscribed, which it reports as a change.
async fn subscribed<C>(store: &RedisStore<C>, tenant: &TenantId)
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    timeout(LIMIT, store.changed(tenant)).await.unwrap();
    settled(store, tenant).await;
}

/// Waits until earlier notifications have arrived.
async fn settled<C>(store: &RedisStore<C>, tenant: &TenantId)
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    while timeout(Duration::from_millis(300), store.changed(tenant))
        .await
        .is_ok()
    {}
}

#[tokio::test]
async fn saves_and_releases_of_other_processes_are_reported() {
    let (server, one) = server_and_store().await;
    let two = store(&server).await;
    let (acme, owner) = (tenant("acme {é}"), LeaseOwner::random());
    is_notified_of(&one, &acme, commit(&two, &acme, None, &grant(1, "a"))).await;
    two.acquire(&acme, &owner, LIMIT).await.unwrap();
    is_notified_of(&one, &acme, two.release(&acme, &owner)).await;
    is_notified_of(&one, &acme, commit(&one, &acme, Some(1), &grant(1, "b"))).await;
}

#[tokio::test]
async fn waiters_share_one_subscription() {
    let (server, one) = server_and_store().await;
    let two = store(&server).await;
    let acme = tenant("acme");
    subscribed(&one, &acme).await;
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (one, acme) = (one.clone(), acme.clone());
            tokio::spawn(async move { one.changed(&acme).await })
        })
        .collect();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(subscribers(&server).await, 1);
    commit(&two, &acme, None, &grant(1, "a")).await;
    for waiting in waiting {
        timeout(LIMIT, waiting).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_prefix_has_its_own_channel() {
    let (_server, one) = server_and_store().await;
    let two = one.clone().prefix("two:").unwrap();
    let acme = tenant("acme");
    subscribed(&one, &acme).await;
    is_notified_of(&two, &acme, commit(&two, &acme, None, &grant(1, "a"))).await;
    let next = grant(2, "b");
    let nothing = timeout(Duration::from_millis(300), async {
        tokio::join!(one.changed(&acme), commit(&two, &acme, Some(1), &next));
    });
    nothing.await.unwrap_err();
}

#[tokio::test]
async fn subscription_is_restored_with_the_server() {
    let (mut server, one) = server_and_store().await;
    let acme = tenant("acme");
    subscribed(&one, &acme).await;
    let waiting = tokio::spawn({
        let (one, acme) = (one.clone(), acme.clone());
        async move { one.changed(&acme).await }
    });
    server.kill();
    server.start().await;
    // A change during the outage may have been missed, so the task is woken.
    timeout(LIMIT, waiting).await.unwrap().unwrap();
    let two = store(&server).await;
    is_notified_of(&one, &acme, commit(&two, &acme, None, &grant(1, "a"))).await;
}

#[tokio::test]
async fn subscription_ends_with_the_last_clone() {
    let (server, one) = server_and_store().await;
    let acme = tenant("acme");
    assert_eq!(subscribers(&server).await, 0, "no task waits");
    let two = one.clone();
    subscribed(&one, &acme).await;
    drop(one);
    settled(&two, &acme).await;
    assert_eq!(subscribers(&server).await, 1);
    drop(two);
    let gone = async {
        while subscribers(&server).await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn store_without_a_client_reports_no_changes() {
    let (server, two) = server_and_store().await;
    let connection = server.client().get_multiplexed_async_connection().await;
    let one = RedisStore::new(connection.unwrap());
    let acme = tenant("acme");
    let first = grant(1, "a");
    let nothing = timeout(Duration::from_millis(300), async {
        tokio::join!(one.changed(&acme), commit(&two, &acme, None, &first));
    });
    nothing.await.unwrap_err();
    assert_eq!(two.load(&acme).await.unwrap(), Some(first));
}

async fn subscribers(server: &crate::Server) -> usize {
    let list: String = server.command("CLIENT LIST TYPE pubsub").await;
    list.lines().filter(|line| !line.is_empty()).count()
}
