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
    tenants::is_marked,
};

const WRONG: &str = "not-the-secret";

/// Customers whose partner goes on with a wrong secret, and how long ago they have consented.
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

fn renewed(fleet: &Fleet) -> u64 {
    fleet.sandbox.counters().refreshes
}

fn replace(fleet: &Fleet) {
    let secret = fleet.sandbox.client_secret();
    fleet.oauth.clone().replace_secret(secret).unwrap();
}

#[tokio::test(start_paused = true)]
async fn s21_with_the_right_secret_every_next_call_succeeds() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, DAY + HOUR).await;
    // Until the endpoint is left alone for half an hour.
    for _ in 0..(3 * 60) {
        assert_eq!(all_call(&tenants).await, 0);
        pass(MINUTE).await;
    }
    assert_eq!(all_call(&tenants).await, 0);
    for tenant in &tenants {
        assert!(!is_marked(&fleet, tenant).await);
    }
    let before = refused(&fleet);
    assert!((8..=12).contains(&before), "{before}");

    replace(&fleet);
    assert_eq!(all_call(&tenants).await, 20);
    assert_eq!(renewed(&fleet), 20);
    assert_eq!(refused(&fleet), before);
}

#[tokio::test(start_paused = true)]
async fn s21_so_does_every_renewal_ahead_of_time() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, 23 * HOUR).await;
    assert_eq!(all_call(&tenants).await, 20);
    pass(SECOND).await;
    let before = refused(&fleet);
    assert!(before > 0);
    assert_eq!(renewed(&fleet), 0);

    replace(&fleet);
    assert_eq!(all_call(&tenants).await, 20);
    pass(SECOND).await;
    assert_eq!(renewed(&fleet), 20);
    assert_eq!(refused(&fleet), before);
}

#[tokio::test(start_paused = true)]
async fn s21_a_wrong_one_after_a_wrong_one_is_found_out_by_one_request() {
    let (fleet, tenants) = fleet_with_wrong_secret(20, DAY + HOUR).await;
    for tried in 1..=5 {
        assert_eq!(all_call(&tenants).await, 0);
        assert_eq!(refused(&fleet), tried);
        assert_eq!(all_call(&tenants).await, 0, "the endpoint is left alone");
        assert_eq!(refused(&fleet), tried);
        fleet.oauth.replace_secret(WRONG).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s21_what_was_sent_with_the_old_secret_closes_nothing() {
    // Where all is well so far; and where the one under way is to find out whether it is again.
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
        assert_eq!(renewed(&fleet), 9);
        assert_eq!(refused(&fleet), before, "it is still under way");
        // Who waits for that one gets an exchange with the new secret.
        assert_eq!(all.await.unwrap(), 10);
        assert_eq!(refused(&fleet), before + 1);
        assert_eq!(renewed(&fleet), 10);
        if !was_refused {
            // Also who had come before.
            assert_eq!(calls.len(), 1);
            assert_eq!(calls.remove(0).await.unwrap(), Ok(StatusCode::OK));
        }
        tenants[1].tokens.refresh_now().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s21_pauses_for_other_reasons_stay() {
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
    // Each grant has paused by itself, too.
    pass(MINUTE).await;
    assert_eq!(all_call(&tenants).await, 5);
}
