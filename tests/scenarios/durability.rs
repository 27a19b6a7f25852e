//! The store cannot be written after the exchange (scenario 9).

use tower_oauth2_client::{
    ErrorKind,
    sandbox::TokenHash,
    token::{Generation, ReauthorizationReason},
};

use crate::support::{DAY, HOUR, SECOND, Store, connected, pass};

#[tokio::test(start_paused = true)]
async fn s09_a_store_that_is_down_for_thirty_seconds_costs_no_caller_anything() {
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
    assert_eq!(partner.renewals(), 1, "no second rotation");
    partner.store.fail_saves(false);
    pass(11 * SECOND).await;
    let held = partner.store.stored().await.unwrap();
    assert_eq!(held.generation, Generation::FIRST.next());
    let newest = partner.exchanged().pop().unwrap().access_token;
    assert_eq!(
        TokenHash::of(partner.stored_tokens().await.access_token().expose()),
        newest
    );
    partner.works().await;
    assert_eq!(partner.renewals(), 1);
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s09_with_no_old_token_to_serve_the_new_one_does_before_it_is_stored() {
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
    assert_eq!(partner.renewals(), 1);
}

#[tokio::test(start_paused = true)]
async fn s09_a_process_killed_before_its_save_is_known_for_a_lost_rotation() {
    let partner = connected().await;
    pass(HOUR).await;
    partner.store.fail_saves(true);
    partner.refresh().await.unwrap_err();
    // What the next process finds is what the store held at that moment.
    let left = Store::default();
    left.put(partner.store.stored().await.unwrap()).await;
    // Too late to ask for the answer once more.
    pass(HOUR).await;
    let again = partner.restarted_over(left);
    again.works().await;
    pass(DAY).await;
    assert_eq!(again.call().await, Err(ErrorKind::ReauthorizationRequired));
    assert_eq!(again.reason(), Some(ReauthorizationReason::RotationLost));
    assert_eq!(again.heard.lines(), ["lost", "rotation_lost"]);
}
