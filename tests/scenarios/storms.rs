//! An endpoint that fails for all, is slow for all, or fails for one (scenario 20).

use std::time::Duration;

use http::StatusCode;
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::sandbox::{Endpoint, Fault};

use crate::{
    fleet::{FAILS, Fleet, HANGS, all_call},
    support::{DAY, HOUR, MINUTE, SECOND, pass},
};

#[tokio::test(start_paused = true)]
async fn s20_few_requests_are_sent_while_503_hits_five_hundred_tenants() {
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
    // Eight refreshes until the circuit breaker opens, and then one every half minute. Each is
    // three requests.
    let requests = fleet.sandbox.counters().faults_triggered;
    assert!(requests <= 3 * (8 + 20 + 1), "{requests}");
    fleet.sandbox.clear_faults();
    pass(MINUTE).await;
    assert_eq!(all_call(&tenants).await, 500);
    let counters = fleet.sandbox.counters();
    assert_eq!(counters.refreshes, 500);
    assert_eq!(counters.refresh_tokens_reused, 0);
}

/// The delays of twenty tenants, one a minute, while the failing one retries every second.
async fn delays_beside(failing: &str) -> Vec<Duration> {
    let fleet = Fleet::at(|sandbox| sandbox);
    let tenants = fleet.tenants(20, Duration::ZERO).await;
    pass(DAY + HOUR).await;
    let failing = fleet.failing(failing).await;
    let trying = tokio::spawn(async move {
        loop {
            failing.call().await.unwrap_err();
            pass(SECOND).await;
        }
    });
    pass(5 * MINUTE).await;
    let mut delays = Vec::new();
    for tenant in tenants {
        pass(MINUTE + SECOND / 2).await;
        let before = Instant::now();
        while tenant.call().await != Ok(StatusCode::OK) {
            assert!(before.elapsed() < HOUR, "blocked for good");
            pass(SECOND).await;
        }
        delays.push(before.elapsed());
    }
    trying.abort();
    delays
}

#[tokio::test(start_paused = true)]
async fn s20_one_failing_tenant_does_not_block_the_others() {
    for failing in [FAILS, HANGS] {
        let delays = delays_beside(failing).await;
        let longest = delays.iter().max().unwrap();
        assert!(*longest <= 5 * MINUTE, "{failing}: {delays:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s20_one_failing_tenant_does_not_delay_the_others() {
    let delays = [delays_beside(FAILS).await, delays_beside(HANGS).await];
    let longest = delays.iter().flatten().max().unwrap();
    assert!(*longest < SECOND, "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn s20_one_tenant_with_an_ended_grant_does_not_delay_the_others() {
    let delays = delays_beside("not-known-there").await;
    assert!(delays.iter().all(|delay| *delay < SECOND), "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn s20_slow_endpoint_gets_four_requests_at_once_until_all_are_served() {
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
                assert!(before.elapsed() < HOUR, "blocked for good");
                pass(SECOND).await;
            }
            before.elapsed()
        });
    }
    let longest = served.join_all().await.into_iter().max().unwrap();
    let counters = fleet.sandbox.counters();
    assert_eq!(counters.refreshes, 500);
    // An API call comes in between.
    assert!(counters.max_in_flight <= 4 + 1, "{counters:?}");
    // All refreshes take 125 seconds, and some calls lose their permit once.
    assert!(longest <= 4 * MINUTE, "{longest:?}");
}
