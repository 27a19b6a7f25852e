//! An endpoint that is down for all, slow for all, or sick for one (scenario 20).

use std::time::Duration;

use http::StatusCode;
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::{
    fleet::{FAILS, Fleet, HANGS, all_call},
    support::{DAY, HOUR, MINUTE, SECOND, pass},
};

#[tokio::test(start_paused = true)]
async fn s20_a_storm_of_503_across_five_hundred_tenants_is_kept_small() {
    let fleet = Fleet::at(|sandbox| {
        sandbox.behavior(|behavior| behavior.access_token_lifetime = 10 * MINUTE)
    });
    let tenants = fleet.tenants(500, Duration::ZERO).await;
    pass(HOUR).await;
    let down = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    fleet.sandbox.inject(Endpoint::Token, down.always());
    let before = Instant::now();
    while before.elapsed() < 10 * MINUTE {
        assert_eq!(all_call(&tenants).await, 0);
        pass(10 * SECOND).await;
    }
    // Eight exchanges until the gate closes, and one in half a minute then, each of three requests.
    let requests = fleet.sandbox.counters().faults_triggered;
    assert!(requests <= 3 * (8 + 20 + 1), "{requests}");
    fleet.sandbox.clear_faults();
    pass(MINUTE).await;
    assert_eq!(all_call(&tenants).await, 500);
    let counters = fleet.sandbox.counters();
    assert_eq!(counters.refreshes, 500);
    assert_eq!(counters.refresh_tokens_reused, 0);
}

/// How long each of twenty had to try, once a minute another, while the sick one tries every second.
async fn delays_beside(sick: &str) -> Vec<Duration> {
    let fleet = Fleet::at(|sandbox| sandbox);
    let tenants = fleet.tenants(20, Duration::ZERO).await;
    pass(DAY + HOUR).await;
    let sick = fleet.sick(sick).await;
    let trying = tokio::spawn(async move {
        loop {
            sick.call().await.unwrap_err();
            pass(SECOND).await;
        }
    });
    pass(5 * MINUTE).await;
    let mut delays = Vec::new();
    for tenant in tenants {
        pass(MINUTE + SECOND / 2).await;
        let before = Instant::now();
        while tenant.call().await != Ok(StatusCode::OK) {
            assert!(before.elapsed() < HOUR, "kept out for good");
            pass(SECOND).await;
        }
        delays.push(before.elapsed());
    }
    trying.abort();
    delays
}

#[tokio::test(start_paused = true)]
async fn s20_one_sick_tenant_does_not_keep_the_rest_out() {
    for sick in [FAILS, HANGS] {
        let delays = delays_beside(sick).await;
        let longest = delays.iter().max().unwrap();
        assert!(*longest <= 5 * MINUTE, "{sick}: {delays:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s20_one_sick_tenant_does_not_delay_the_rest() {
    let delays = [delays_beside(FAILS).await, delays_beside(HANGS).await];
    let longest = delays.iter().flatten().max().unwrap();
    assert!(*longest < SECOND, "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn s20_one_tenant_whose_grant_has_ended_does_not_delay_the_rest() {
    let delays = delays_beside("not-known-there").await;
    assert!(delays.iter().all(|delay| *delay < SECOND), "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn s20_a_slow_endpoint_is_asked_four_times_at_once_until_all_are_served() {
    let fleet = Fleet::at(|sandbox| {
        sandbox.behavior(|behavior| behavior.access_token_lifetime = 10 * MINUTE)
    });
    let tenants = fleet.tenants(500, Duration::ZERO).await;
    pass(HOUR).await;
    fleet
        .sandbox
        .change_behavior(|behavior| behavior.access_token_lifetime = DAY);
    let slow = Fault::delay(SECOND);
    fleet.sandbox.inject(Endpoint::Token, slow.always());
    let mut served = JoinSet::new();
    for tenant in tenants {
        served.spawn(async move {
            let before = Instant::now();
            while tenant.call().await != Ok(StatusCode::OK) {
                assert!(before.elapsed() < HOUR, "kept out for good");
                pass(SECOND).await;
            }
            before.elapsed()
        });
    }
    let longest = served.join_all().await.into_iter().max().unwrap();
    let counters = fleet.sandbox.counters();
    assert_eq!(counters.refreshes, 500);
    // An API call comes between them.
    assert!(counters.max_in_flight <= 4 + 1, "{counters:?}");
    // 125 seconds are what it takes, and then some for those who lost their turn.
    assert!(longest <= 4 * MINUTE, "{longest:?}");
}
