//! A lease that is lost on the way: nothing is sent on the strength of it, and nothing of another's is undone.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenSource},
    oauth::EndpointGate,
    token::{GrantState, TokenSet},
};

use crate::support::{API, DAY, ManualClock, Scripted, Source, Store, header, unavailable};

const SECOND: Duration = Duration::from_secs(1);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Two replicas that hold the same token. The first sees the store through what happens to it.
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
    let one = one.store(store.clone()).build().unwrap();
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

/// Begins to renew, and lets the test go on.
fn renewing(tokens: &TokenCache) -> tokio::task::JoinHandle<Result<(), Error>> {
    let tokens = tokens.clone();
    tokio::spawn(async move { tokens.refresh_now().await.map(drop) })
}

impl Pair {
    fn has_presented_none_twice(&self) {
        let mut asked_with = self.source.sent_refresh_tokens();
        let times = asked_with.len();
        asked_with.sort();
        asked_with.dedup();
        assert_eq!(
            asked_with.len(),
            times,
            "{:?}",
            self.source.sent_refresh_tokens()
        );
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
async fn p11_who_loses_the_lease_while_waiting_for_a_turn_sends_nothing() {
    let gate = EndpointGate::new();
    let pair = pair(Some(&gate)).await;
    // Four others are slow at the same endpoint.
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
    let first = renewing(&pair.one);
    pass(SECOND).await;
    pair.store.lose_lease().await;
    pair.source.set_delay(14 * SECOND);
    let second = renewing(&pair.two);
    assert!(first.await.unwrap().is_err());
    second.await.unwrap().unwrap();
    pair.has_presented_none_twice();
}

#[tokio::test(start_paused = true)]
async fn p13_who_has_lost_the_lease_takes_back_no_note_of_another() {
    let pair = pair(None).await;
    pair.source.set_delay(12 * SECOND);
    pair.source.then(Scripted::Fail(unavailable()));
    let first = renewing(&pair.one);
    pass(2 * SECOND).await;
    pair.store.lose_lease().await;
    pair.source.set_delay(14 * SECOND);
    let second = renewing(&pair.two);
    first.await.unwrap().unwrap_err();
    let stored = pair.store.stored().await.unwrap();
    assert!(matches!(stored.state, GrantState::Exchanging { .. }));
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_one_extension_that_is_not_heard_of_loses_no_lease() {
    let pair = pair(None).await;
    pair.source.set_delay(14 * SECOND);
    pair.store.slow_intents(9 * SECOND);
    let first = renewing(&pair.one);
    pass(2 * SECOND).await;
    pair.store.hang_next_acquire();
    pass(14 * SECOND).await;
    let second = renewing(&pair.two);
    first.await.unwrap().unwrap();
    let _ = second.await.unwrap();
    pair.has_presented_none_twice();
}

#[tokio::test(start_paused = true)]
async fn p11_a_replaced_grant_does_not_give_back_its_successors_lease() {
    let pair = pair(None).await;
    pass(5 * SECOND).await;
    pair.store.slow_releases(SECOND / 5);
    pair.source.set_delay(3 * SECOND);
    let old = renewing(&pair.one);
    pass(SECOND).await;
    pair.one.set_tokens(pair.source.issue(DAY)).await.unwrap();
    // The old one is about to end, and gives back what it has taken.
    pass(2 * SECOND + SECOND / 10).await;
    pair.source.set_delay(8 * SECOND);
    let new = renewing(&pair.one);
    pass(SECOND).await;
    let other = renewing(&pair.two);
    old.await.unwrap().ok();
    new.await.unwrap().unwrap();
    other.await.unwrap().ok();
    pair.has_presented_none_twice();
}
