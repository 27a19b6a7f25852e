//! Many callers, one refresh (scenarios 1 and 12).

use std::time::Duration;

use http::StatusCode;
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::support::{DAY, HOUR, Partner, SECOND, connected, connected_at, pass};

/// The duration of a refresh or an API call.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// Sends this many calls at the same instant, which all succeed. Returns how long the last one
/// waited.
async fn stampede(partner: &Partner, callers: usize) -> Duration {
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let partner = partner.clone();
        calls.spawn(async move {
            let before = Instant::now();
            partner.works().await;
            before.elapsed()
        });
    }
    calls.join_all().await.into_iter().max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn s01_a_thousand_callers_with_an_expired_token_cause_one_refresh() {
    let partner = connected().await;
    pass(DAY + HOUR).await;
    partner.fail(Fault::delay(ROUND_TRIP).always());
    let longest = stampede(&partner, 1_000).await;
    assert!(longest < 2 * ROUND_TRIP, "{longest:?}");
    let counters = partner.sandbox.counters();
    assert_eq!(counters.refreshes, 1);
    assert_eq!((counters.authorized, counters.unauthorized), (1_000, 0));
}

#[tokio::test(start_paused = true)]
async fn s01_a_thousand_callers_with_a_rejected_token_cause_one_refresh() {
    let partner = connected().await;
    pass(HOUR).await;
    partner.sandbox.expire_access_tokens();
    partner.fail(Fault::delay(ROUND_TRIP).always());
    let longest = stampede(&partner, 1_000).await;
    assert!(longest < 2 * ROUND_TRIP, "{longest:?}");
    let counters = partner.sandbox.counters();
    assert_eq!(counters.refreshes, 1);
    assert_eq!((counters.authorized, counters.unauthorized), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn s12_fifty_requests_with_the_old_token_are_retried_with_the_new_one() {
    // The old token ends with the refresh, so the requests with it are rejected.
    let partner = connected_at(|sandbox| {
        sandbox.behavior(|behavior| behavior.rotation_revokes_access_token = true)
    })
    .await;
    let slow = Fault::delay(5 * SECOND).times(50);
    partner.sandbox.inject(Endpoint::Company, slow);
    let in_flight: Vec<_> = (0..50).map(|_| partner.calling()).collect();
    pass(SECOND).await;
    assert_eq!(partner.sandbox.counters().in_flight, 50);
    partner.refresh().await.unwrap();
    for call in in_flight {
        assert_eq!(call.await.unwrap(), Ok(StatusCode::OK));
    }
    let counters = partner.sandbox.counters();
    assert_eq!(counters.refreshes, 1, "only the requested refresh");
    assert_eq!((counters.authorized, counters.unauthorized), (50, 50));
}
