//! Leases that are lost during a refresh: no request is sent, and the work of another owner
//! remains.

use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenSource},
    oauth::EndpointGate,
    token::{GrantState, TokenSet},
};

use crate::support::{
    API, DAY, MINUTE, ManualClock, SECOND, Scripted, Source, Store, header, pass, unavailable,
};

/// Two replicas that hold the same token. Only the first one's store is scripted.
struct Pair {
    clock: ManualClock,
    source: Source,
    store: Store,
    one: TokenCache,
    two: TokenCache,
}

async fn pair(gate: Option<&EndpointGate>) -> Pair {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let one = match gate {
        Some(gate) => TokenCache::builder(Gated(source.clone(), gate.clone()))
            .origin(API)
            .clock(clock.clone()),
        None => source.cache(),
    };
    let one = one
        .acquire_timeout(MINUTE)
        .store(store.clone())
        .build()
        .unwrap();
    let two = source.cache().store(store.memory.clone()).build().unwrap();
    one.set_tokens(source.issue(DAY)).await.unwrap();
    header(&one).await;
    header(&two).await;
    Pair {
        clock,
        source,
        store,
        one,
        two,
    }
}

/// Starts a refresh, and lets the test continue.
fn refreshing(tokens: &TokenCache) -> tokio::task::JoinHandle<Result<(), Error>> {
    let tokens = tokens.clone();
    tokio::spawn(async move { tokens.refresh_now().await.map(drop) })
}

impl Pair {
    fn sent_no_refresh_token_twice(&self) {
        let mut sent = self.source.sent_refresh_tokens();
        let times = sent.len();
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), times, "{:?}", self.source.sent_refresh_tokens());
    }
}

#[derive(Clone)]
pub(crate) struct Gated(pub(crate) Source, pub(crate) EndpointGate);

impl TokenSource for Gated {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        TokenSource::fetch(&self.0, held).await
    }

    fn gate(&self) -> Option<&EndpointGate> {
        Some(&self.1)
    }
}

#[tokio::test(start_paused = true)]
async fn p11_lease_lost_while_waiting_for_a_permit_prevents_the_request() {
    let gate = EndpointGate::new();
    let pair = pair(Some(&gate)).await;
    // Four other grants are slow at the same endpoint.
    for number in 0..4 {
        let busy = Source::new(&pair.clock);
        busy.set_delay(12 * SECOND);
        let busy = TokenCache::builder(Gated(busy, gate.clone()))
            .origin(API)
            .tenant(format!("busy {number}"))
            .clock(pair.clock.clone());
        let busy = busy.build().unwrap();
        tokio::spawn(async move { busy.token().await });
    }
    pass(SECOND).await;
    let first = refreshing(&pair.one);
    pass(SECOND).await;
    pair.store.lose_lease().await;
    pair.source.set_delay(14 * SECOND);
    let second = refreshing(&pair.two);
    assert!(first.await.unwrap().is_err());
    second.await.unwrap().unwrap();
    pair.sent_no_refresh_token_twice();
}

#[tokio::test(start_paused = true)]
async fn p13_intent_of_another_process_is_not_removed_after_a_lost_lease() {
    let pair = pair(None).await;
    pair.source.set_delay(12 * SECOND);
    pair.source.then(Scripted::Fail(unavailable()));
    let first = refreshing(&pair.one);
    pass(2 * SECOND).await;
    pair.store.lose_lease().await;
    pair.source.set_delay(14 * SECOND);
    let second = refreshing(&pair.two);
    first.await.unwrap().unwrap_err();
    let stored = pair.store.stored().await.unwrap();
    assert!(matches!(stored.state, GrantState::Refreshing { .. }));
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_one_hanging_extension_does_not_lose_the_lease() {
    let pair = pair(None).await;
    pair.source.set_delay(14 * SECOND);
    pair.store.slow_intents(9 * SECOND);
    let first = refreshing(&pair.one);
    pass(2 * SECOND).await;
    pair.store.hang_next_acquire();
    pass(14 * SECOND).await;
    let second = refreshing(&pair.two);
    first.await.unwrap().unwrap();
    let _ = second.await.unwrap();
    pair.sent_no_refresh_token_twice();
}

#[tokio::test(start_paused = true)]
async fn p11_refresh_of_a_replaced_grant_does_not_release_its_successors_lease() {
    let pair = pair(None).await;
    pass(5 * SECOND).await;
    pair.store.slow_releases(SECOND / 5);
    pair.source.set_delay(3 * SECOND);
    let old = refreshing(&pair.one);
    pass(SECOND).await;
    pair.one.set_tokens(pair.source.issue(DAY)).await.unwrap();
    // The refresh of the old grant is about to end, and releases its lease.
    pass(2 * SECOND + SECOND / 10).await;
    pair.source.set_delay(8 * SECOND);
    let new = refreshing(&pair.one);
    pass(SECOND).await;
    let other = refreshing(&pair.two);
    old.await.unwrap().ok();
    new.await.unwrap().unwrap();
    other.await.unwrap().ok();
    pair.sent_no_refresh_token_twice();
}
