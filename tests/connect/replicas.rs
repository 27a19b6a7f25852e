//! Two replicas over one store, and no sticky sessions.

use http::StatusCode;

use crate::support::{Browser, MINUTE, replica};

#[tokio::test(start_paused = true)]
async fn off_from_one_back_to_the_other_and_ended_at_the_first() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    assert_eq!(browser.get(&other, &callback).await.text, "connected acme");
    for replica in [&one, &other] {
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
    let answer = browser.disconnect(&one).await;
    assert_eq!(answer.text, "disconnected acme");
    assert!(one.call("acme").await.is_err());
    assert_ne!(other.call("acme").await, Ok(StatusCode::OK));
    assert!(other.call("acme").await.is_err());

    // And back again, the other way round.
    let callback = browser.consent(&other).await;
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    tokio::time::sleep(MINUTE).await;
    for replica in [&one, &other] {
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_the_way_changes_nothing() {
    let before = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&before).await;
    let after = before.another();
    drop(before);
    assert_eq!(browser.get(&after, &callback).await.text, "connected acme");
    assert_eq!(after.codes_exchanged(), 1);
}
