//! Turns at a token endpoint, where many caches share its gate.

use std::time::Duration;

use tower_oauth2_client::{cache::TokenCache, oauth::EndpointGate};

use crate::{
    fencing::Gated,
    support::{API, HOUR, MINUTE, ManualClock, Source},
};

/// Caches that hold a token each, over sources that share a gate.
struct Fleet {
    source: Source,
    tokens: Vec<TokenCache>,
}

impl Fleet {
    async fn of(count: usize) -> Self {
        let (clock, gate) = (ManualClock::new(), EndpointGate::new());
        let source = Source::new(&clock);
        let mut tokens = Vec::new();
        for number in 0..count {
            let cache = TokenCache::builder(Gated(source.clone(), gate.clone()))
                .origin(API)
                .clock(clock.clone())
                .jitter_seed(number as u64)
                .build()
                .unwrap();
            cache.set_tokens(source.issue(HOUR)).await.unwrap();
            tokens.push(cache);
        }
        Self { source, tokens }
    }

    /// All of them are to be renewed, and wait for their turns. None is in use, so none has begun by itself.
    async fn queued(count: usize) -> Self {
        let fleet = Self::of(count).await;
        pass(HOUR - 3 * MINUTE).await;
        fleet.source.block();
        for tokens in &fleet.tokens[1..] {
            tokens.token().await.unwrap();
        }
        pass(Duration::from_secs(1)).await;
        assert_eq!(fleet.source.refreshes(), 2);
        fleet
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn renewing(tokens: &TokenCache) -> tokio::task::JoinHandle<()> {
    let tokens = tokens.clone();
    tokio::spawn(async move { drop(tokens.refresh_now().await.unwrap()) })
}

#[tokio::test(start_paused = true)]
async fn p16_one_who_waits_goes_before_a_thousand_renewals_ahead_of_time() {
    let fleet = Fleet::queued(1_001).await;
    let waiting = renewing(&fleet.tokens[0]);
    pass(Duration::from_secs(1)).await;
    assert_eq!(fleet.source.refreshes(), 3);
    fleet.source.unblock();
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p16_so_does_one_who_joins_such_a_renewal() {
    let fleet = Fleet::queued(1_001).await;
    let waiting = [renewing(&fleet.tokens[1_000]), renewing(&fleet.tokens[999])];
    pass(Duration::from_secs(1)).await;
    let asked_with = fleet.source.sent_refresh_tokens();
    assert_eq!(asked_with.len(), 4);
    let mut joined = asked_with[2..].to_vec();
    joined.sort();
    assert_eq!(joined, [Some("r1000".to_owned()), Some("r1001".to_owned())]);
    fleet.source.unblock();
    for waiting in waiting {
        waiting.await.unwrap();
    }
}
