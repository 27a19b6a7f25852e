//! Callbacks with codes that the provider never issued take nothing from refreshes or from other
//! tenants.

use std::time::Duration;

use http::StatusCode;
use tokio::{task::JoinHandle, time::sleep};
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::support::{Browser, Replica, SECOND, parameter, replica, tenant};

/// Twenty callbacks a second of one customer, each of a flow of its own.
fn flood(replica: &Replica, session: &'static str, seconds: u32) -> JoinHandle<()> {
    let replica = replica.clone();
    tokio::spawn(async move {
        for _ in 0..seconds * 20 {
            let replica = replica.clone();
            tokio::spawn(async move {
                let mut browser = Browser::of(session);
                let state = parameter(&browser.start(&replica).await, "state");
                let callback = format!("/connect/callback?code=nonsense&state={state}");
                browser.get(&replica, &callback).await;
            });
            sleep(SECOND / 20).await;
        }
    })
}

const CUSTOMERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[tokio::test(start_paused = true)]
async fn p16_nonsense_callbacks_of_one_customer_delay_no_refresh_and_no_other_consent() {
    // The responses of the token endpoint: slow, and also failing for each code.
    for delay in [250, 1_000, 5_000] {
        let replica = replica();
        for customer in CUSTOMERS {
            Browser::of(customer).connect(&replica).await;
        }
        let slow = Fault::delay(Duration::from_millis(delay)).always();
        replica.sandbox.inject(Endpoint::Token, slow);
        let flood = flood(&replica, "acme", 60);
        sleep(20 * SECOND).await;
        let refreshes: Vec<_> = CUSTOMERS[..4]
            .iter()
            .map(|customer| {
                let (tenants, tenant) = (replica.tenants.clone(), tenant(customer));
                tokio::spawn(async move {
                    let cache = tenants.cache(&tenant).await?;
                    cache.refresh_now().await.map(drop)
                })
            })
            .collect();
        let mut browser = Browser::of("initech");
        let callback = browser.consent(&replica).await;
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.text, "connected initech", "{delay} ms");
        for refresh in refreshes {
            refresh.await.unwrap().unwrap();
        }
        flood.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p16_a_second_flow_of_a_tenant_fails_fast_and_can_be_repeated() {
    let replica = replica();
    let mut first = Browser::of("acme");
    let mut second = Browser::of("acme");
    let mut other = Browser::of("initech");
    let callbacks = [
        first.consent(&replica).await,
        second.consent(&replica).await,
        other.consent(&replica).await,
    ];
    let slow = Fault::delay(5 * SECOND).times(2);
    replica.sandbox.inject(Endpoint::Token, slow);
    let [first, other] = [(first, &callbacks[0]), (other, &callbacks[2])].map(|(browser, path)| {
        let (mut browser, replica, path) = (browser, replica.clone(), path.clone());
        tokio::spawn(async move { browser.get(&replica, &path).await })
    });
    sleep(SECOND).await;
    let started = tokio::time::Instant::now();
    let response = second.get(&replica, &callbacks[1]).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(response.status, StatusCode::CONFLICT);
    assert!(response.text.contains("is being connected right now"));
    assert_eq!(replica.failure(), Some(ConnectFailureKind::InProgress));
    assert_eq!(first.await.unwrap().text, "connected acme");
    assert_eq!(other.await.unwrap().text, "connected initech");
    // Its code was not sent, so the same callback still works.
    let response = second.get(&replica, &callbacks[1]).await;
    assert_eq!(response.text, "connected acme");
    assert_eq!(replica.codes_sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn p16_nonsense_callbacks_do_not_open_the_breaker_for_refreshes() {
    for status in [400_u16, 401, 429, 500, 503] {
        let replica = replica();
        Browser::of("initech").connect(&replica).await;
        let failing = Fault::status(StatusCode::from_u16(status).unwrap())
            .body(r#"{"error":"invalid_client"}"#)
            .retry_after("600")
            .times(20);
        replica.sandbox.inject(Endpoint::Token, failing);
        for _ in 0..20 {
            let mut browser = Browser::of("acme");
            let state = parameter(&browser.start(&replica).await, "state");
            let callback = format!("/connect/callback?code=nonsense&state={state}");
            browser.get(&replica, &callback).await;
            assert_eq!(replica.failure(), Some(ConnectFailureKind::CodeExchange));
        }
        let cache = replica.tenants.cache(&tenant("initech")).await.unwrap();
        cache.refresh_now().await.unwrap();
    }
}
