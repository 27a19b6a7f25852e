//! A client secret that is replaced while the program runs (scenario 21).

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{Endpoint, Fault},
};

use crate::{
    fleet::{Fleet, Tenant, all_call},
    support::{DAY, HOUR, MINUTE, SECOND, pass},
    tenants::has_ended,
};

const WRONG: &str = "not-the-secret";

/// Tenants whose partner continues with a wrong secret, and how long ago they consented.
async fn fleet_with_wrong_secret(count: u64, since: Duration) -> (Fleet, Vec<Tenant>) {
    let fleet = Fleet::at(|sandbox| sandbox);
    let tenants = fleet.tenants(count, SECOND).await;
    fleet.oauth.replace_secret(WRONG).unwrap();
    pass(since).await;
    (fleet, tenants)
}

fn refused(fleet: &Fleet) -> u64 {
    fleet.sandbox.counters().token_requests_refused
}

fn refreshed(fleet: &Fleet) -> u64 {
    fleet.sandbox.counters().refreshes
}

fn replace(fleet: &Fleet) {
    let secret = fleet.sandbox.client_secret();
    fleet.oauth.clone().replace_secret(secret).unwrap();
}

#[tokio::test(start_paused = true)]
async fn s21_next_calls_succeed_with_the_right_secret() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, DAY + HOUR).await;
    // Until the circuit breaker is open for half an hour.
    for _ in 0..(3 * 60) {
        assert_eq!(all_call(&tenants).await, 0);
        pass(MINUTE).await;
    }
    assert_eq!(all_call(&tenants).await, 0);
    for tenant in &tenants {
        assert!(!has_ended(&fleet, tenant).await);
    }
    let before = refused(&fleet);
    assert!((8..=12).contains(&before), "{before}");

    replace(&fleet);
    assert_eq!(all_call(&tenants).await, 20);
    assert_eq!(refreshed(&fleet), 20);
    assert_eq!(refused(&fleet), before);
}

#[tokio::test(start_paused = true)]
async fn s21_early_refreshes_succeed_with_the_right_secret() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, 23 * HOUR).await;
    assert_eq!(all_call(&tenants).await, 20);
    pass(SECOND).await;
    let before = refused(&fleet);
    assert!(before > 0);
    assert_eq!(refreshed(&fleet), 0);

    replace(&fleet);
    assert_eq!(all_call(&tenants).await, 20);
    pass(SECOND).await;
    assert_eq!(refreshed(&fleet), 20);
    assert_eq!(refused(&fleet), before);
}

#[tokio::test(start_paused = true)]
async fn s21_second_wrong_secret_is_detected_by_one_request() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, DAY + HOUR).await;
    for tried in 1..=5 {
        assert_eq!(all_call(&tenants).await, 0);
        assert_eq!(refused(&fleet), tried);
        assert_eq!(all_call(&tenants).await, 0, "the circuit breaker is open");
        assert_eq!(refused(&fleet), tried);
        fleet.oauth.replace_secret(WRONG).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s21_request_with_the_old_secret_does_not_open_the_circuit_breaker() {
    // With a closed circuit breaker, and with a probe in flight.
    for was_refused in [false, true] {
        let (fleet, tenants) = fleet_with_wrong_secret(10, DAY + HOUR).await;
        if was_refused {
            assert_eq!(all_call(&tenants).await, 0);
        }
        let slow = Fault::delay(5 * SECOND);
        fleet.sandbox.inject(Endpoint::Token, slow);
        let mut calls = Vec::new();
        while fleet.sandbox.counters().faults_triggered == 0 {
            let tenant = tenants[0].clone();
            calls.push(tokio::spawn(async move { tenant.call().await }));
            pass(SECOND).await;
        }
        let before = refused(&fleet);

        replace(&fleet);
        let all = tenants.clone();
        let all = tokio::spawn(async move { all_call(&all).await });
        pass(SECOND).await;
        assert_eq!(refreshed(&fleet), 9);
        assert_eq!(refused(&fleet), before, "it is still in flight");
        // A waiter for that refresh gets one with the new secret.
        assert_eq!(all.await.unwrap(), 10);
        assert_eq!(refused(&fleet), before + 1);
        assert_eq!(refreshed(&fleet), 10);
        if !was_refused {
            // Also the waiters that came before.
            assert_eq!(calls.len(), 1);
            assert_eq!(calls.remove(0).await.unwrap(), Ok(StatusCode::OK));
        }
        tenants[1].tokens.refresh_now().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s21_backoff_for_other_reasons_remains() {
    let (fleet, tenants) = fleet_with_wrong_secret(5, DAY + HOUR).await;
    let later = Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("120");
    fleet.sandbox.inject(Endpoint::Token, later);
    assert_eq!(tenants[0].call().await, Err(ErrorKind::Unavailable));
    replace(&fleet);
    let before = fleet.sandbox.counters().requests;
    for _ in 0..119 {
        assert_eq!(all_call(&tenants).await, 0);
        pass(SECOND).await;
    }
    assert_eq!(fleet.sandbox.counters().requests, before);
    // Each grant has a backoff of its own, too.
    pass(MINUTE).await;
    assert_eq!(all_call(&tenants).await, 5);
}
