//! The limiter of a token endpoint that many caches share.

use std::time::Duration;

use tower_oauth2_client::{cache::TokenCache, oauth::EndpointGate};

use crate::{
    fencing::Gated,
    support::{API, HOUR, MINUTE, ManualClock, Source, pass},
};

/// Caches that hold one token each, with sources that share a gate.
struct Fleet {
    source: Source,
    tokens: Vec<TokenCache>,
}

impl Fleet {
    async fn new(count: usize) -> Self {
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

    /// A fleet whose tokens are in their advisory window, and whose refreshes wait for permits.
    /// Only the first cache has no refresh queued.
    async fn queued(count: usize) -> Self {
        let fleet = Self::new(count).await;
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

fn refreshing(tokens: &TokenCache) -> tokio::task::JoinHandle<()> {
    let tokens = tokens.clone();
    tokio::spawn(async move { drop(tokens.refresh_now().await.unwrap()) })
}

#[tokio::test(start_paused = true)]
async fn p16_awaited_refresh_precedes_a_thousand_background_refreshes() {
    let fleet = Fleet::queued(1_001).await;
    let waiting = refreshing(&fleet.tokens[0]);
    pass(Duration::from_secs(1)).await;
    assert_eq!(fleet.source.refreshes(), 3);
    fleet.source.unblock();
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p16_background_refresh_that_a_caller_joins_precedes_the_others() {
    let fleet = Fleet::queued(1_001).await;
    let waiting = [
        refreshing(&fleet.tokens[1_000]),
        refreshing(&fleet.tokens[999]),
    ];
    pass(Duration::from_secs(1)).await;
    let sent = fleet.source.sent_refresh_tokens();
    assert_eq!(sent.len(), 4);
    let mut joined = sent[2..].to_vec();
    joined.sort();
    assert_eq!(joined, [Some("r1000".to_owned()), Some("r1001".to_owned())]);
    fleet.source.unblock();
    for waiting in waiting {
        waiting.await.unwrap();
    }
}
