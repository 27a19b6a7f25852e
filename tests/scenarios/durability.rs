//! A store that cannot be saved after the refresh (scenario 9).

use tower_oauth2_client::{
    ErrorKind,
    sandbox::TokenHash,
    token::{Generation, ReauthorizationReason},
};

use crate::support::{DAY, HOUR, SECOND, Store, connected, pass};

#[tokio::test(start_paused = true)]
async fn s09_store_outage_of_30_seconds_does_not_affect_callers() {
    let partner = connected().await;
    pass(HOUR).await;
    partner.store.fail_saves(true);
    let error = partner.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    for _ in 0..30 {
        partner.works().await;
        assert_eq!(
            partner.refresh().await.unwrap_err().kind(),
            ErrorKind::Store
        );
        pass(SECOND).await;
    }
    assert_eq!(partner.refreshes(), 1, "no second rotation");
    partner.store.fail_saves(false);
    pass(11 * SECOND).await;
    let held = partner.store.stored().await.unwrap();
    assert_eq!(held.generation, Generation::FIRST.next());
    let newest = partner.token_requests().pop().unwrap().access_token;
    assert_eq!(
        TokenHash::of(partner.stored_tokens().await.access_token().expose()),
        newest
    );
    partner.works().await;
    assert_eq!(partner.refreshes(), 1);
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s09_new_token_serves_unsaved_without_an_old_one() {
    let partner = connected().await;
    pass(DAY + HOUR).await;
    partner.store.fail_saves(true);
    for _ in 0..30 {
        partner.works().await;
        pass(SECOND).await;
    }
    partner.store.fail_saves(false);
    pass(11 * SECOND).await;
    let held = partner.store.stored().await.unwrap();
    assert_eq!(held.generation, Generation::FIRST.next());
    assert_eq!(partner.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn s09_process_killed_before_its_save_is_reported_as_a_lost_rotation() {
    let partner = connected().await;
    pass(HOUR).await;
    partner.store.fail_saves(true);
    partner.refresh().await.unwrap_err();
    // The next process finds the content of the store at that moment.
    let left = Store::default();
    left.put(partner.store.stored().await.unwrap()).await;
    // Too late for a replay.
    pass(HOUR).await;
    let again = partner.restarted_over(left);
    again.works().await;
    pass(DAY).await;
    assert_eq!(again.call().await, Err(ErrorKind::ReauthorizationRequired));
    assert_eq!(again.reason(), Some(ReauthorizationReason::RotationLost));
    assert_eq!(again.events.lines(), ["lost", "rotation_lost"]);
}
