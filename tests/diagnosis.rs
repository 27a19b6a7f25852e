//! A diagnosis names the cause of a failure from the evidence alone.
//!
//! Each seed breaks one thing, as it happens in production, and the diagnosis is made by a replica
//! that was not there, unless the cause is in the process itself.

#[path = "support/mod.rs"]
mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuthLayer, ReplayBody},
    cache::{Cause, Diagnosis},
    clock::Clock,
    oauth::OAuthClient,
    provider,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, MemoryStore, TokenStore},
    tenants::{StoreHealth, Tenants},
    token::{
        AccessToken, Generation, Grant, GrantState, HistoryEvent, ReauthorizationReason,
        RefreshToken, TenantId, TokenSet,
    },
};

use crate::support::{DAY, HOUR, MINUTE, ManualClock, SECOND, Store};

const OK: &str = r#"{"access_token":"a2","refresh_token":"r2","expires_in":86400}"#;

/// The behavior of the token endpoint.
#[derive(Clone)]
enum Responds {
    With(u16, &'static str),
    WithRetryAfter,
    Not(io::ErrorKind),
    Never,
}

/// One provider, one store, and the replicas that use them.
#[derive(Clone)]
struct World {
    clock: ManualClock,
    responds: Arc<Mutex<Responds>>,
    store: Store,
}

impl World {
    fn new() -> Self {
        Self {
            clock: ManualClock::new(),
            responds: Arc::new(Mutex::new(Responds::With(200, OK))),
            store: Store::default(),
        }
    }

    fn endpoint(&self, responds: Responds) {
        *self.responds.lock().unwrap() = responds;
    }

    fn client(&self, id: &str) -> OAuthClient {
        let responds = Arc::clone(&self.responds);
        let http = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let responds = responds.lock().unwrap().clone();
            async move {
                let response = Response::builder().header("content-type", "application/json");
                let (response, body) = match responds {
                    Responds::With(status, body) => (response.status(status), body),
                    Responds::WithRetryAfter => {
                        (response.status(429).header("retry-after", "120"), "{}")
                    }
                    Responds::Not(kind) => return Err(io::Error::from(kind)),
                    Responds::Never => std::future::pending().await,
                };
                Ok(response.body(Full::<Bytes>::from(body)).unwrap())
            }
        });
        OAuthClient::builder(provider::justworks(), id)
            .client_secret("the-secret")
            .redirect_uri("https://partner.example.com/callback")
            .clock(self.clock.clone())
            .build(http)
            .unwrap()
    }

    fn replica(&self, name: &str) -> Tenants {
        self.replica_over(name, self.store.clone())
    }

    fn replica_over(&self, name: &str, store: impl TokenStore) -> Tenants {
        Tenants::builder(self.client("the-client"))
            .store(store)
            .clock(self.clock.clone())
            .replica(name)
            .build()
            .unwrap()
    }

    /// A grant whose access token has expired, and whose tokens were issued so long ago.
    async fn expired(&self, age: Duration) {
        self.put(self.grant(age, Some("r1"))).await;
    }

    fn grant(&self, age: Duration, refresh_token: Option<&str>) -> Grant {
        let issued = self.clock.wall() - age;
        let mut tokens = TokenSet::new(AccessToken::new("a1").unwrap(), DAY, issued);
        if let Some(token) = refresh_token {
            tokens = tokens.with_refresh_token(RefreshToken::new(token), issued);
        }
        Grant::new(Generation::FIRST, GrantState::Active(tokens))
    }

    async fn put(&self, grant: Grant) {
        self.store.memory.save(&acme(), None, &grant).await.unwrap();
    }
}

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

const DEAD: Responds = Responds::With(400, r#"{"error":"invalid_grant"}"#);

/// The diagnosis of a replica that has seen nothing of it.
async fn elsewhere(world: &World) -> Diagnosis {
    world.replica("support").diagnose(&acme()).await
}

async fn a_customer_removes_the_access(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(DEAD);
    assert!(world.replica("pod-1").token(&acme()).await.is_err());
    elsewhere(&world).await
}

async fn nothing_ran_for_forty_days(world: World) -> Diagnosis {
    world.expired(40 * DAY).await;
    world.endpoint(DEAD);
    assert!(world.replica("pod-1").token(&acme()).await.is_err());
    elsewhere(&world).await
}

async fn a_pod_is_killed_while_it_waits_for_the_response(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::Never);
    let killed = world.replica("pod-7");
    tokio::spawn(async move { killed.token(&acme()).await.map(drop) });
    sleep(SECOND).await;
    // From here on it does nothing: the others see what it has left in the store.
    let left = world.store.memory.load(&acme()).await.unwrap().unwrap();
    let world = World {
        store: Store::default(),
        ..world
    };
    world.put(left).await;
    sleep(10 * MINUTE).await;
    world.endpoint(DEAD);
    assert!(world.replica("pod-8").token(&acme()).await.is_err());
    elsewhere(&world).await
}

async fn the_connection_breaks_after_the_request(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::Not(io::ErrorKind::ConnectionReset));
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    sleep(10 * MINUTE + SECOND).await;
    world.endpoint(DEAD);
    // After the backoff.
    sleep(MINUTE).await;
    assert!(replica.token(&acme()).await.is_err());
    elsewhere(&world).await
}

async fn the_provider_is_in_maintenance(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::With(503, ""));
    let replica = world.replica("pod-1");
    for _ in 0..3 {
        assert!(replica.token(&acme()).await.is_err());
        sleep(MINUTE).await;
    }
    replica.diagnose(&acme()).await
}

async fn a_firewall_drops_the_packets(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::Not(io::ErrorKind::ConnectionRefused));
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

async fn the_secret_was_changed_at_the_provider(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::With(401, r#"{"error":"invalid_client"}"#));
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

fn encrypted(store: &MemoryStore, key: &str) -> EncryptedStore<MemoryStore> {
    let keys = EncryptionKeys::new(EncryptionKey::generate(key).unwrap());
    EncryptedStore::new(store.clone(), keys, "the-client").unwrap()
}

async fn the_deployment_has_another_key(world: World) -> Diagnosis {
    let grant = world.grant(HOUR, Some("r1"));
    let old = encrypted(&world.store.memory, "2026-01");
    old.save(&acme(), None, &grant).await.unwrap();
    let replica = world.replica_over("pod-1", encrypted(&world.store.memory, "2026-02"));
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

async fn the_database_is_down(world: World) -> Diagnosis {
    world.expired(HOUR).await;
    world.store.fail_loads(true);
    elsewhere(&world).await
}

async fn the_customer_has_not_begun(world: World) -> Diagnosis {
    elsewhere(&world).await
}

async fn another_replica_disconnected(world: World) -> Diagnosis {
    world.expired(HOUR).await;
    let _ = world.replica("pod-1").revoke(&acme()).await;
    elsewhere(&world).await
}

async fn two_applications_share_a_table(world: World) -> Diagnosis {
    let other = Tenants::builder(world.client("another-client"))
        .store(world.store.clone())
        .clock(world.clock.clone())
        .build()
        .unwrap();
    let tokens = world.grant(HOUR, Some("r1")).tokens().unwrap().clone();
    other.set_tokens(&acme(), tokens).await.unwrap();
    elsewhere(&world).await
}

async fn too_many_requests(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::WithRetryAfter);
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

async fn the_account_is_suspended(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::With(400, r#"{"error":"account_suspended"}"#));
    let replica = world.replica("pod-1");
    for _ in 0..8 {
        assert!(replica.token(&acme()).await.is_err());
        sleep(5 * MINUTE).await;
    }
    elsewhere(&world).await
}

async fn the_api_is_of_another_environment(world: World) -> Diagnosis {
    world.put(world.grant(HOUR, Some("r1"))).await;
    let replica = world.replica("pod-1");
    let api = tower::service_fn(|_: Request<ReplayBody<Empty<Bytes>>>| async {
        let response = Response::builder().status(401);
        Ok::<_, io::Error>(response.body(Empty::<Bytes>::new()).unwrap())
    });
    let layer: BearerAuthLayer<ReplayBody<Empty<Bytes>>> = BearerAuthLayer::new(replica.clone());
    for _ in 0..3 {
        let request = Request::get("https://public-api.justworks.com/v1/company")
            .extension(acme())
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = layer.layer(api).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401);
        sleep(MINUTE).await;
    }
    replica.diagnose(&acme()).await
}

async fn the_disk_is_full(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    let replica = world.replica("pod-1");
    world.store.fail_intents(true);
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

async fn a_proxy_responds_for_the_provider(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::With(403, "<html>Access denied</html>"));
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    replica.diagnose(&acme()).await
}

async fn the_consent_brought_no_refresh_token(world: World) -> Diagnosis {
    world.put(world.grant(2 * DAY, None)).await;
    assert!(world.replica("pod-1").token(&acme()).await.is_err());
    elsewhere(&world).await
}

async fn the_database_was_restored(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    let old = world.store.memory.load(&acme()).await.unwrap().unwrap();
    let replica = world.replica("pod-1");
    replica.token(&acme()).await.unwrap();
    let newest = world.store.memory.load(&acme()).await.unwrap().unwrap();
    world
        .store
        .memory
        .save(&acme(), Some(newest.generation), &old)
        .await
        .unwrap();
    replica.diagnose(&acme()).await
}

/// Another replica has refreshed the grant since.
async fn the_disk_was_full_for_a_while(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    let replica = world.replica("pod-1");
    world.store.fail_intents(true);
    assert!(replica.token(&acme()).await.is_err());
    world.store.fail_intents(false);
    sleep(SECOND / 10).await;
    world.replica("pod-2").token(&acme()).await.unwrap();
    sleep(MINUTE).await;
    replica.token(&acme()).await.unwrap();
    replica.diagnose(&acme()).await
}

/// A new token set is used before it is saved.
async fn a_save_takes_some_seconds(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    let replica = world.replica("pod-1");
    world.store.before_next_save(|| sleep(5 * SECOND));
    replica.token(&acme()).await.unwrap();
    let saved = world.store.memory.load(&acme()).await.unwrap().unwrap();
    assert!(
        matches!(saved.state, GrantState::Refreshing { .. }),
        "{saved:?}"
    );
    replica.diagnose(&acme()).await
}

async fn the_connection_breaks_and_then_the_store(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.endpoint(Responds::Not(io::ErrorKind::ConnectionReset));
    let replica = world.replica("pod-1");
    assert!(replica.token(&acme()).await.is_err());
    sleep(11 * MINUTE).await;
    world.endpoint(DEAD);
    world.store.fail_saves(true);
    assert!(replica.token(&acme()).await.is_err());
    sleep(MINUTE).await;
    world.store.fail_saves(false);
    assert!(replica.token(&acme()).await.is_err());
    sleep(MINUTE).await;
    elsewhere(&world).await
}

/// A store of the program keeps no record.
async fn a_rotation_was_lost_without_a_record(world: World) -> Diagnosis {
    let tokens = world.grant(2 * DAY, Some("r1")).tokens().unwrap().clone();
    let ended = GrantState::ReauthorizationRequired {
        tokens,
        reason: ReauthorizationReason::RotationLost,
        since: world.clock.wall(),
    };
    world.put(Grant::new(Generation::FIRST, ended)).await;
    elsewhere(&world).await
}

async fn nothing(world: World) -> Diagnosis {
    world.expired(2 * DAY).await;
    world.replica("pod-1").token(&acme()).await.unwrap();
    elsewhere(&world).await
}

#[tokio::test(start_paused = true)]
async fn each_seeded_cause_is_named() {
    let mut missed = Vec::new();
    macro_rules! seeds {
        ($($seed:ident => $cause:ident,)*) => {$(
            let diagnosis = $seed(World::new()).await;
            println!("{}\n{diagnosis}\n", stringify!($seed).replace('_', " "));
            if diagnosis.cause != Cause::$cause {
                missed.push(format!(
                    "{}: {}", stringify!($seed), diagnosis.cause.as_str()
                ));
            }
            assert_no_secret(&diagnosis);
        )*};
    }
    seeds! {
        a_customer_removes_the_access => RevokedAtProvider,
        nothing_ran_for_forty_days => RefreshTokenExpired,
        a_pod_is_killed_while_it_waits_for_the_response => ReplicaCrashed,
        the_connection_breaks_after_the_request => ResponseLost,
        the_provider_is_in_maintenance => EndpointFailing,
        a_firewall_drops_the_packets => EndpointUnreachable,
        the_secret_was_changed_at_the_provider => ClientRejected,
        the_deployment_has_another_key => StoreUnreadable,
        the_database_is_down => StoreUnreachable,
        the_customer_has_not_begun => NeverConnected,
        another_replica_disconnected => Disconnected,
        two_applications_share_a_table => OtherClient,
        too_many_requests => RateLimited,
        the_account_is_suspended => Refused,
        the_api_is_of_another_environment => TokensRejected,
        the_disk_is_full => StoreNotWritable,
        a_proxy_responds_for_the_provider => ResponseUnusable,
        the_consent_brought_no_refresh_token => NoRefreshToken,
        the_database_was_restored => StoreWentBack,
        the_disk_was_full_for_a_while => None,
        a_save_takes_some_seconds => None,
        the_connection_breaks_and_then_the_store => ResponseLost,
        a_rotation_was_lost_without_a_record => ResponseLost,
        nothing => None,
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// No secret is in any form of a diagnosis, and no tenant name in those for operators.
fn assert_no_secret(diagnosis: &Diagnosis) {
    let json = serde_json::to_string(diagnosis).unwrap();
    let shown = format!("{diagnosis} {json}");
    let debug = format!("{diagnosis:?}");
    let contains = |text: &str, secret: &str| {
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.any(|word| word == secret)
    };
    for secret in ["a1", "a2", "r1", "r2", "the-secret"] {
        assert!(
            !contains(&shown, secret) && !contains(&debug, secret),
            "{secret}: {shown}"
        );
    }
    assert!(!contains(&shown, "acme"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn the_record_names_the_replicas_and_survives_a_restart() {
    let world = World::new();
    let tokens = world.grant(HOUR, Some("r1")).tokens().unwrap().clone();
    world
        .replica("pod-1")
        .set_tokens(&acme(), tokens)
        .await
        .unwrap();
    for pod in ["pod-2", "pod-3"] {
        let cache = world.replica(pod).cache(&acme()).await.unwrap();
        cache.refresh_now().await.unwrap();
        sleep(MINUTE).await;
    }
    let diagnosis = elsewhere(&world).await;
    let seen: Vec<_> = diagnosis
        .history
        .entries()
        .iter()
        .map(|entry| (&*entry.replica, entry.event.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("pod-1", "connected"),
            ("pod-2", "refreshed"),
            ("pod-3", "refreshed")
        ]
    );

    // A thousand refreshes later it is as long.
    let cache = world.replica("pod-3").cache(&acme()).await.unwrap();
    for _ in 0..1_000 {
        cache.refresh_now().await.unwrap();
        sleep(2 * SECOND).await;
    }
    let diagnosis = elsewhere(&world).await;
    let entries = diagnosis.history.entries();
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[2].times, 1_001);
    assert_eq!(entries[2].event, HistoryEvent::Refreshed);
}

#[tokio::test(start_paused = true)]
async fn a_health_check_distinguishes_a_wrong_key_from_one_damaged_grant() {
    let world = World::new();
    let memory = &world.store.memory;
    let (right, wrong) = (encrypted(memory, "2026-01"), encrypted(memory, "2026-02"));
    let named = |number| TenantId::new(format!("customer-{number}")).unwrap();
    for number in 1..3 {
        let grant = world.grant(HOUR, Some("r1"));
        right.save(&named(number), None, &grant).await.unwrap();
    }
    // Its envelope is of another tenant.
    let damaged = memory.load(&named(1)).await.unwrap().unwrap();
    memory.save(&named(0), None, &damaged).await.unwrap();

    let health = world.replica_over("pod-1", right).health().await;
    assert!(health.is_ready());
    // A consent that it has saved itself, which comes first in the list.
    let own = TenantId::new("a-customer").unwrap();
    let grant = world.grant(HOUR, Some("r1"));
    wrong.save(&own, None, &grant).await.unwrap();
    let health = world.replica_over("pod-2", wrong).health().await;
    assert!(!health.is_ready());
    let StoreHealth::Unreadable(error) = &health.store else {
        panic!("{health:?}");
    };
    assert!(error.to_string().contains("2026-01"), "{error}");
    let json = serde_json::to_string(&health).unwrap();
    assert!(json.contains(r#""state":"unreadable""#), "{json}");
    assert!(!json.contains("customer-"), "{json}");
}

/// Otherwise the customer would be stuck once the process has the right key.
#[tokio::test(start_paused = true)]
async fn a_process_with_a_wrong_key_sends_no_code() {
    let world = World::new();
    let memory = &world.store.memory;
    let (right, wrong) = (encrypted(memory, "2026-01"), encrypted(memory, "2026-02"));
    let grant = world.grant(HOUR, Some("r1"));
    right.save(&acme(), None, &grant).await.unwrap();
    let initech = TenantId::new("initech").unwrap();
    let oauth = world.client("the-client");
    let connect = |tenants: Tenants| {
        let (oauth, initech) = (oauth.clone(), initech.clone());
        async move {
            let (url, pending) = oauth.authorization_url().unwrap();
            let state = url.split("state=").nth(1).unwrap();
            let state = state.split('&').next().unwrap();
            let callback = format!("code=c1&state={state}");
            let completed = tenants.complete_authorization(&initech, &oauth, &pending, &callback);
            completed.await
        }
    };
    let error = connect(world.replica_over("pod-2", wrong))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(
        error.to_string().contains("check the encryption key"),
        "{error}"
    );
    assert!(memory.load(&initech).await.unwrap().is_none());
    connect(world.replica_over("pod-1", right)).await.unwrap();
    assert!(memory.load(&initech).await.unwrap().is_some());
}
