//! Two replicas whose steps interleave while one waits for a permit of the token endpoint.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    cache::{LostResponse, TokenCache},
    oauth::EndpointGate,
    store::MemoryStore,
    token::GrantState,
};

use crate::{
    fencing::Gated,
    replicas::Silent,
    support::{API, DAY, MINUTE, ManualClock, SECOND, Scripted, Source, Store, header, pass},
};

/// A response that takes longer than the tests look.
const SLOW: Duration = Duration::from_secs(14);

#[tokio::test(start_paused = true)]
async fn p14_release_that_hangs_does_not_fail_a_committed_save() {
    let (source, store) = (Source::new(&ManualClock::new()), Store::default());
    let tokens = source.cache().store(store.clone()).build().unwrap();
    header(&tokens).await;
    store.slow_releases(11 * SECOND);
    let other = tokens.clone();
    let refresh = tokio::spawn(async move { other.refresh_now().await });
    pass(2 * SECOND).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    refresh.await.unwrap().unwrap();
}

/// Four other grants keep the endpoint's permits for this time.
fn busy(clock: &ManualClock, gate: &EndpointGate, delay: Duration) {
    for number in 0..4 {
        let busy = Source::new(clock);
        busy.set_delay(delay);
        let busy = TokenCache::builder(Gated(busy, gate.clone()))
            .origin(API)
            .tenant(format!("busy {number}"))
            .clock(clock.clone());
        let busy = busy.build().unwrap();
        tokio::spawn(async move { busy.token().await });
    }
}

struct Scene {
    clock: ManualClock,
    source: Source,
    gates: [EndpointGate; 2],
    stores: [Store; 2],
    caches: [TokenCache; 2],
}

/// Two replicas of one store, with a gate each, and nothing in the background.
async fn scene(policy: LostResponse) -> Scene {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let gates = [EndpointGate::new(), EndpointGate::new()];
    let memory = MemoryStore::new();
    let store = || {
        let mut store = Store::default();
        store.memory = memory.clone();
        store
    };
    let stores = [store(), store()];
    let caches = [0, 1].map(|i: usize| {
        TokenCache::builder(Gated(source.clone(), gates[i].clone()))
            .origin(API)
            .clock(clock.clone())
            .background_delay(1_000 * DAY)
            .acquire_timeout(MINUTE)
            .lost_response(policy)
            .store(Silent(stores[i].clone()))
            .build()
            .unwrap()
    });
    caches[0].set_tokens(source.issue(DAY)).await.unwrap();
    header(&caches[0]).await;
    header(&caches[1]).await;
    Scene {
        clock,
        source,
        gates,
        stores,
        caches,
    }
}

/// The store loses the lease. Its former owner sends the refresh token, while the new one waits for
/// a permit. Returns the refresh tokens that were sent, and the stored state.
async fn lost_lease(policy: LostResponse) -> (Vec<Option<String>>, GrantState) {
    let Scene {
        clock,
        source,
        gates,
        stores,
        caches,
    } = scene(policy).await;
    pass(DAY - 50 * SECOND).await;
    assert_eq!(source.refreshes(), 0);
    busy(&clock, &gates[0], 3 * SECOND);
    busy(&clock, &gates[1], 7 * SECOND);
    pass(SECOND / 2).await;
    let one = caches[0].clone();
    let first = tokio::spawn(async move { one.refresh_now().await.map(drop) });
    pass(SECOND / 2).await;
    stores[0].lose_lease().await;
    source.set_delay(SLOW);
    let two = caches[1].clone();
    let second = tokio::spawn(async move { two.token().await.map(drop) });
    pass(SECOND * 4).await;
    pass(SECOND * 3).await;
    let state = stores[0].stored().await.unwrap().state;
    first.abort();
    second.abort();
    (source.sent_refresh_tokens(), state)
}

#[tokio::test(start_paused = true)]
async fn p11_replay_of_another_replica_is_recorded_after_a_lost_lease() {
    let (sent, state) = lost_lease(LostResponse::RetryOnce).await;
    assert_eq!(sent.len(), 2);
    assert!(
        matches!(
            state,
            GrantState::Refreshing {
                is_replayed: true,
                ..
            }
        ),
        "{state:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p11_refresh_token_is_not_sent_again_after_a_lost_lease() {
    let (sent, _) = lost_lease(LostResponse::Defer).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
}

/// A look at the store that began before an intent was saved ends while the next owner of the lease
/// waits for a permit. Returns the refresh tokens that were sent then, and the stored state.
async fn late_look(policy: LostResponse) -> (Vec<Option<String>>, GrantState) {
    let Scene {
        clock,
        source,
        gates,
        stores,
        caches,
    } = scene(policy).await;
    // The looks are 30 s apart.
    pass(DAY - 31 * SECOND).await;
    assert_eq!(source.refreshes(), 0);
    stores[1].slow_next_load(5 * SECOND);
    pass(SECOND + SECOND / 10).await;
    // The look has read the grant. The other replica loses a response.
    source.then(Scripted::Fail(Error::response_lost("cut off: scripted")));
    if policy == LostResponse::RetryOnce {
        source.then(Scripted::Fail(Error::response_lost("cut off: scripted")));
    }
    caches[0].refresh_now().await.unwrap_err();
    let before = source.refreshes();
    busy(&clock, &gates[1], 7 * SECOND);
    pass(SECOND / 10).await;
    source.set_delay(SLOW);
    let two = caches[1].clone();
    let second = tokio::spawn(async move { two.token().await.map(drop) });
    pass(9 * SECOND).await;
    let state = stores[0].stored().await.unwrap().state;
    second.abort();
    (source.sent_refresh_tokens()[before..].to_vec(), state)
}

#[tokio::test(start_paused = true)]
async fn p11_late_look_does_not_hide_a_recorded_replay() {
    let (_, state) = late_look(LostResponse::RetryOnce).await;
    assert!(
        matches!(
            state,
            GrantState::Refreshing {
                is_replayed: true,
                ..
            }
        ),
        "{state:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p11_late_look_does_not_hide_a_lost_response() {
    let (sent, _) = late_look(LostResponse::Defer).await;
    assert!(sent.is_empty(), "{sent:?}");
}
