//! Two replicas share one store, without sticky sessions.

use http::StatusCode;

use crate::support::{Browser, MINUTE, replica};

#[tokio::test(start_paused = true)]
async fn a_flow_can_start_end_and_be_revoked_on_different_replicas() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    assert_eq!(browser.get(&other, &callback).await.text, "connected acme");
    for replica in [&one, &other] {
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
    let response = browser.disconnect(&one).await;
    assert_eq!(response.text, "disconnected acme");
    assert!(one.call("acme").await.is_err());
    assert_ne!(other.call("acme").await, Ok(StatusCode::OK));
    assert!(other.call("acme").await.is_err());

    // Connected again, in the other direction.
    let callback = browser.consent(&other).await;
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    tokio::time::sleep(MINUTE).await;
    for replica in [&one, &other] {
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_pending_flows() {
    let before = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&before).await;
    let after = before.another();
    drop(before);
    assert_eq!(browser.get(&after, &callback).await.text, "connected acme");
    assert_eq!(after.code_exchanges(), 1);
}
