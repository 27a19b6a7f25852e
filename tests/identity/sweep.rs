//! Sweeps of several clients over one store, and of a replica that cannot sweep.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower_oauth2_client::{
    cache::TokenSource,
    oauth::OAuthClient,
    provider::Provider,
    store::{MemoryStore, TokenStore},
    tenants::{Tenants, TenantsBuilder},
    token::{Generation, Grant, GrantState, TenantId},
};

use crate::{
    shared::Store,
    support::{
        API, Client, DAY, HOUR, MINUTE, MONTH, ManualClock, different, encrypted, pass, places,
        tenant,
    },
};

fn numbered(prefix: &str, number: usize) -> TenantId {
    tenant(&format!("{prefix}-{number}"))
}

#[tokio::test(start_paused = true)]
async fn p25_each_client_sweeps_its_own_grants() {
    for [one, two] in different() {
        for place in places() {
            let (one, two) = (one.clone(), two.clone());
            let clock = ManualClock::new();
            if two.is_none() {
                // Its grants are of unknown identity. It needs a store for itself.
                continue;
            }
            let clients = [
                Client::new("one", one, &clock),
                Client::new("two", two, &clock),
            ];
            for (client, store) in clients.iter().zip(&place.stores) {
                for number in 0..5 {
                    let tenant = numbered(client.name(), number);
                    store.put(client, &tenant, 23 * DAY).await;
                }
            }
            // Both at the same time, and both stay.
            let running: Vec<_> = clients
                .iter()
                .zip(&place.stores)
                .map(|(client, store)| client.tenants(store.clone()).build().unwrap())
                .collect();
            pass(10 * MINUTE).await;
            for (client, tenants) in clients.iter().zip(&running) {
                let report = tenants.last_sweep().unwrap();
                let counts = (report.kept_alive, report.failed, report.unreadable);
                assert_eq!(counts, (5, 0, 0), "{}", place.name);
                assert_eq!((report.active, report.foreign), (5, 5), "{}", place.name);
                assert!(report.expiring.is_empty());
                assert_eq!(client.sent().len(), 5);
                assert!(client.has_seen_own_tokens_only());
            }
            for tenants in running {
                tenants.shutdown(MINUTE).await.unwrap();
            }
        }
    }
}

/// A replica that cannot do the work starts first. Another one of the same client follows.
async fn is_handed_over(
    bad: TenantsBuilder,
    good: TenantsBuilder,
    refreshed: impl Fn() -> usize,
    due: usize,
) {
    let bad = bad.build().unwrap();
    pass(MINUTE).await;
    assert_eq!(refreshed(), 0);
    let good = good.build().unwrap();
    pass(10 * MINUTE).await;
    assert_eq!(refreshed(), due);
    assert!(good.last_sweep().is_some());
    // The lease stays with the replica that can do the work.
    pass(25 * DAY).await;
    assert_eq!(refreshed(), 2 * due);
    bad.shutdown(MINUTE).await.unwrap();
    good.shutdown(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p25_a_replica_without_the_key_hands_the_sweep_over() {
    let (clock, memory) = (ManualClock::new(), MemoryStore::new());
    let identity = different().remove(0)[0].clone();
    let client = Client::new("one", identity, &clock);
    for number in 0..4 {
        let store = encrypted(&memory, 1);
        store.put(&client, &numbered("t", number), 23 * DAY).await;
    }
    let (bad, good) = (encrypted(&memory, 2), encrypted(&memory, 1));
    let refreshed = || client.sent().len();
    let (bad, good) = (client.tenants(bad), client.tenants(good));
    is_handed_over(bad, good, refreshed, 4).await;
}

#[tokio::test(start_paused = true)]
async fn p25_a_replica_without_one_of_the_keys_hands_the_sweep_over() {
    let (clock, memory) = (ManualClock::new(), MemoryStore::new());
    let identity = different().remove(0)[0].clone();
    let client = Client::new("one", identity, &clock);
    // A key rotation that one replica has missed: it reads what is not due yet.
    encrypted(&memory, 1)
        .put(&client, &tenant("old"), DAY)
        .await;
    let keys = |current: u8, other: u8| {
        use tower_oauth2_client::store::{EncryptedStore, EncryptionKey, EncryptionKeys};
        let key = |key: u8| EncryptionKey::new(format!("k{key}"), [key; 32]).unwrap();
        let keys = EncryptionKeys::new(key(current)).with_decryption_key(key(other));
        EncryptedStore::new(memory.clone(), keys.unwrap(), "application").unwrap()
    };
    encrypted(&memory, 2)
        .put(&client, &tenant("new"), 23 * DAY)
        .await;
    let bad = client.tenants(encrypted(&memory, 1)).build().unwrap();
    pass(MINUTE).await;
    let good = client.tenants(keys(2, 1)).build().unwrap();
    pass(10 * MINUTE).await;
    assert_eq!(client.sent().len(), 1);
    assert_eq!(good.last_sweep().unwrap().kept_alive, 1);
    assert_eq!(bad.last_sweep().unwrap().unreadable, 1);
}

#[tokio::test(start_paused = true)]
async fn p25_a_replica_whose_loads_fail_hands_the_sweep_over() {
    let (clock, store) = (ManualClock::new(), Store::default());
    let identity = different().remove(0)[0].clone();
    let client = Client::new("one", identity, &clock);
    for number in 0..4 {
        let grant = Grant::new(
            Generation::FIRST,
            GrantState::Active(client.issue(23 * DAY)),
        );
        let grant = grant.with_identity(client.identity());
        let name = numbered("t", number);
        store.memory.save(&name, None, &grant).await.unwrap();
    }
    store.fail_loads(true);
    let refreshed = || client.sent().len();
    let (bad, good) = (client.tenants(store.clone()), client.tenants(store.memory));
    is_handed_over(bad, good, refreshed, 4).await;
}

#[tokio::test(start_paused = true)]
async fn p25_a_replica_that_cannot_write_hands_the_sweep_over() {
    let (clock, store) = (ManualClock::new(), Store::default());
    let identity = different().remove(0)[0].clone();
    let client = Client::new("one", identity, &clock);
    let grant = Grant::new(
        Generation::FIRST,
        GrantState::Active(client.issue(23 * DAY)),
    );
    let name = numbered("t", 0);
    store.memory.save(&name, None, &grant).await.unwrap();
    store.fail_intents(true);
    let refreshed = || client.sent().len();
    let (bad, good) = (client.tenants(store.clone()), client.tenants(store.memory));
    is_handed_over(bad, good, refreshed, 1).await;
}

/// A client at a token endpoint that accepts one secret.
fn oauth(secret: &str, clock: &ManualClock) -> OAuthClient {
    let http = tower::service_fn(async |request: Request<Full<Bytes>>| {
        use http_body_util::BodyExt;
        let form = request.into_body().collect().await.unwrap().to_bytes();
        let is_known = form_urlencoded::parse(&form)
            .any(|(name, value)| name == "client_secret" && value == "new");
        let (status, body) = if is_known {
            (
                200,
                r#"{"access_token":"a","token_type":"Bearer","refresh_token":"r","expires_in":86400}"#,
            )
        } else {
            (401, r#"{"error":"invalid_client"}"#)
        };
        let response = Response::builder().status(status);
        let response = response.header("content-type", "application/json");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::from(body)).unwrap())
    });
    let provider = Provider::builder("https://one.example.com/token")
        .client_authentication(tower_oauth2_client::provider::ClientAuthentication::RequestBody);
    OAuthClient::builder(provider.build().unwrap(), "partner")
        .client_secret(secret)
        .clock(clock.clone())
        .build(http)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn p25_a_replica_with_a_rejected_secret_hands_the_sweep_over() {
    let (clock, memory) = (ManualClock::new(), MemoryStore::new());
    let client = Client::new("one", Some(oauth("new", &clock).identity()), &clock);
    for number in 0..4 {
        let grant = Grant::new(
            Generation::FIRST,
            GrantState::Active(client.issue(23 * DAY)),
        );
        let grant = grant.with_identity(client.identity());
        let name = numbered("t", number);
        memory.save(&name, None, &grant).await.unwrap();
    }
    let replica = |secret| {
        Tenants::builder(oauth(secret, &clock))
            .background_delay(Duration::ZERO)
            .origin(API)
            .clock(clock.clone())
            .refresh_token_lifetime(MONTH)
            .store(memory.clone())
            .build()
            .unwrap()
    };
    let old = replica("old");
    pass(MINUTE).await;
    let report = old.last_sweep().unwrap();
    assert_eq!((report.kept_alive, report.failed), (0, 4));
    let new = replica("new");
    pass(10 * MINUTE).await;
    assert_eq!(new.last_sweep().unwrap().kept_alive, 4);
    // Without another replica, it tries again.
    new.shutdown(MINUTE).await.unwrap();
    drop(new);
    pass(2 * HOUR).await;
    assert_eq!(old.last_sweep().unwrap().active, 4);
}
