//! Restarts, rotation, and the end of a grant.

use std::{
    error::Error as StdError,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;
use tower_oauth2_client::{
    Error, ErrorKind,
    jose::SigningKey,
    mcp::{McpAuth, PreRegistered},
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

use crate::support::{ISSUER, World, query, send_by};

fn auth(world: &World, store: &MemoryStore) -> McpAuth {
    world.builder().store(store.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn restart_needs_no_consent_no_registration_and_no_discovery() {
    let (world, store) = (World::new(), MemoryStore::new());
    let first = auth(&world, &store);
    assert_eq!(send_by(&first, &world).await.unwrap(), 200);
    drop(first);
    let before = world.state().requests.len();
    let second = auth(&world, &store);
    assert_eq!(send_by(&second, &world).await.unwrap(), 200);
    assert_eq!(world.state().requests.len() - before, 1);
    // Its refreshes rotate the stored refresh token, for the same resource.
    drop(second);
    sleep(Duration::from_secs(3_600)).await;
    for restart in 1..=3 {
        assert_eq!(send_by(&auth(&world, &store), &world).await.unwrap(), 200);
        assert_eq!(world.count("/token"), 1 + restart);
        sleep(Duration::from_secs(3_600)).await;
    }
    assert_eq!((world.asked(), world.probes()), (1, 1));
    assert_eq!(world.count("/register"), 1);
}

#[tokio::test(start_paused = true)]
async fn p06_rejected_token_is_refreshed_without_the_user() {
    let (world, store) = (World::new(), MemoryStore::new());
    let auth = auth(&world, &store);
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    sleep(Duration::from_secs(60)).await;
    world.revoke_access_tokens();
    let requests = (0..20).map(|_| send_by(&auth, &world));
    for status in join_all(requests).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!((world.asked(), world.count("/token")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn grant_that_ends_leads_to_one_new_consent_of_the_same_client() {
    for issues_refresh_tokens in [true, false] {
        let (world, store) = (World::new(), MemoryStore::new());
        world.state().issues_refresh_tokens = issues_refresh_tokens;
        let auth = auth(&world, &store);
        assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
        sleep(Duration::from_secs(60)).await;
        world.revoke_grants();
        let requests = (0..20).map(|_| send_by(&auth, &world));
        for status in join_all(requests).await {
            assert_eq!(status.unwrap(), 200);
        }
        assert_eq!((world.asked(), world.probes()), (2, 1));
        assert_eq!(world.count("/register"), 1);
        // Tokens that expire without a refresh token need the user again; no request goes out as
        // one without a user.
        sleep(Duration::from_secs(3_600)).await;
        assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
        let asked = if issues_refresh_tokens { 2 } else { 3 };
        assert_eq!((world.asked(), world.probes()), (asked, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_the_server_has_forgotten_registers_again() {
    let (world, store) = (World::new(), MemoryStore::new());
    let auth = auth(&world, &store);
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    let id = query(&world.state().asked[0], "client_id").unwrap();
    world.state().forgotten.push(id.clone());
    sleep(Duration::from_secs(3_700)).await;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.count("/register")), (2, 2));
    assert_ne!(query(&world.state().asked[1], "client_id").unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn replica_adopts_the_grant_of_another_one() {
    let (world, store) = (World::new(), MemoryStore::new());
    let (one, two) = (auth(&world, &store), auth(&world, &store));
    // The second one has found no grant, and connects after the first one.
    two.tokens().await.unwrap();
    assert_eq!(send_by(&one, &world).await.unwrap(), 200);
    assert_eq!(send_by(&two, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.count("/register")), (1, 1));
    // So it does after a step-up.
    world.state().needs = "write".into();
    assert_eq!(send_by(&one, &world).await.unwrap(), 200);
    assert_eq!(send_by(&two, &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 2);
    // And after the end of the grant.
    sleep(Duration::from_secs(60)).await;
    world.revoke_grants();
    assert_eq!(send_by(&one, &world).await.unwrap(), 200);
    assert_eq!(send_by(&two, &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_that_register_at_the_same_time_use_one_client() {
    let (world, store) = (World::new(), MemoryStore::new());
    let (one, two) = (auth(&world, &store), auth(&world, &store));
    let (first, second) = tokio::join!(send_by(&one, &world), send_by(&two, &world));
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    let state = world.state();
    let ids: Vec<_> = state
        .asked
        .iter()
        .map(|url| query(url, "client_id"))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn tenants_and_endpoints_share_a_store_without_sharing_grants() {
    let (world, store) = (World::new(), MemoryStore::new());
    let of = |tenant: &str| {
        let builder = world.builder().store(store.clone()).tenant(tenant);
        builder.build().unwrap()
    };
    assert_eq!(send_by(&of("a"), &world).await.unwrap(), 200);
    assert_eq!(send_by(&of("b"), &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 2);
    let names = store.tenants(None, 100).await.unwrap();
    assert_eq!(names.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn grant_survives_another_way_to_authenticate_its_client() {
    let (world, store) = (World::new(), MemoryStore::new());
    world.state().metadata["token_endpoint_auth_methods_supported"] =
        json!(["client_secret_basic", "private_key_jwt"]);
    let of = |client: PreRegistered| {
        let builder = world.builder().store(store.clone());
        builder.pre_registered(client).build().unwrap()
    };
    let client = || PreRegistered::new(ISSUER, "mine");
    assert_eq!(
        send_by(&of(client().client_secret("seeded")), &world)
            .await
            .unwrap(),
        200
    );
    let key = || SigningKey::generate_es256().unwrap();
    assert_eq!(
        send_by(&of(client().signer(key())), &world).await.unwrap(),
        200
    );
    sleep(Duration::from_secs(3_600)).await;
    // The refresh is authenticated in the new way, also after a restart.
    assert_eq!(
        send_by(&of(client().signer(key())), &world).await.unwrap(),
        200
    );
    {
        let state = world.state();
        let last = state.requests.iter().rfind(|sent| sent.is_to("/token"));
        assert!(last.unwrap().form("client_assertion").is_some());
    }
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(
        send_by(&of(client().client_secret("seeded")), &world)
            .await
            .unwrap(),
        200
    );
    assert_eq!(world.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn denied_step_up_of_a_new_registration_keeps_the_grant() {
    let (world, store) = (World::new(), MemoryStore::new());
    assert_eq!(send_by(&auth(&world, &store), &world).await.unwrap(), 200);
    // The redirect URI has another port, so that the client has to register again.
    let builder = world.builder().store(store.clone());
    let denies = builder.authorize("http://127.0.0.1:9/callback", |_| async {
        Err("the user has closed the page".into())
    });
    world.state().needs = "write".into();
    let error = send_by(&denies.build().unwrap(), &world).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Callback);
    assert_eq!(world.count("/register"), 2);
    world.state().needs = "read".into();
    assert_eq!(send_by(&auth(&world, &store), &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 1);
}

/// A store whose connections cannot be saved after the consent.
#[derive(Clone, Default)]
struct Breaking {
    store: MemoryStore,
    is_broken: Arc<AtomicBool>,
}

impl TokenStore for Breaking {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.store.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let is_connection = tenant.as_str().contains("/mcp-connection/");
        if is_connection && self.is_broken.load(Ordering::Relaxed) {
            return Err(Error::store("the disk is full"));
        }
        self.store.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.store.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.store.release(tenant, owner).await
    }
}

#[tokio::test(start_paused = true)]
async fn p13_grant_is_found_again_if_only_its_connection_was_not_saved() {
    for is_pre_registered in [false, true] {
        let (world, store) = (World::new(), Breaking::default());
        let of = |store: Breaking| {
            let builder = world.builder().store(store);
            if !is_pre_registered {
                return builder.build().unwrap();
            }
            let client = PreRegistered::new(ISSUER, "mine").client_secret("seeded");
            builder.pre_registered(client).build().unwrap()
        };
        let first = of(store.clone());
        let breaks = async {
            // The user consents after 10 seconds.
            sleep(Duration::from_secs(5)).await;
            store.is_broken.store(true, Ordering::Relaxed);
        };
        let (error, ()) = tokio::join!(send_by(&first, &world), breaks);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Store);
        assert_eq!(world.count("/token"), 1);
        store.is_broken.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(31)).await;
        assert_eq!(send_by(&first, &world).await.unwrap(), 200);
        assert_eq!(send_by(&of(store), &world).await.unwrap(), 200);
        assert_eq!(world.asked(), 1, "{is_pre_registered}");
    }
}

#[tokio::test(start_paused = true)]
async fn p21_no_secret_is_shown() {
    let (world, store) = (World::new(), MemoryStore::new());
    let auth = auth(&world, &store);
    send_by(&auth, &world).await.unwrap();
    world.state().forgotten.push("client-1".into());
    world.revoke_grants();
    sleep(Duration::from_secs(4_000)).await;
    let error = send_by(&auth, &world).await;
    let mut shown = format!("{auth:?} {error:?}");
    if let Err(error) = error {
        let mut source: Option<&dyn StdError> = Some(&error);
        while let Some(found) = source {
            write!(shown, "{found} {found:?}").unwrap();
            source = found.source();
        }
    }
    assert!(!shown.contains("seeded"), "{shown}");
}
