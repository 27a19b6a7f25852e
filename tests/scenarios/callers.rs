//! Many callers, one exchange (scenarios 1 and 12).

use std::time::Duration;

use http::StatusCode;
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::support::{DAY, HOUR, Partner, SECOND, connected, connected_to, pass};

/// How an exchange, or an API call, takes its time.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// So many callers at the same instant, all served; and how long the last of them waited.
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
async fn s01_a_thousand_callers_and_one_expired_token_make_one_exchange() {
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
async fn s01_a_thousand_callers_whose_token_was_rejected_make_one_exchange() {
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
async fn s12_fifty_requests_in_flight_with_the_old_token_are_retried_with_the_new_one() {
    // The old token ends with the exchange, so that those who carry it are refused.
    let partner = connected_to(|sandbox| {
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
    assert_eq!(counters.refreshes, 1, "none but the one asked for");
    assert_eq!((counters.authorized, counters.unauthorized), (50, 50));
}
