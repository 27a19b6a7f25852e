//! Consent anew, and revocation, while an exchange of the old grant is in flight (scenarios 25 and 31).

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{Endpoint, EventKind, Fault, GrantType, TokenHash},
    token::GrantState,
};

use crate::support::{HOUR, MINUTE, Partner, SECOND, connected, connected_to, pass};

/// The provider has rotated, and its answer is on its way for five seconds.
async fn with_an_exchange_in_flight(
    partner: &Partner,
) -> tokio::task::JoinHandle<Result<(), tower_oauth2_client::Error>> {
    pass(HOUR).await;
    partner.fail(Fault::delay(5 * SECOND).after_processing());
    let refreshing = partner.refreshing();
    pass(SECOND).await;
    assert_eq!(partner.renewals(), 1);
    refreshing
}

/// The tokens that the provider was asked to revoke.
fn revoked(partner: &Partner) -> Vec<TokenHash> {
    let events = partner.sandbox.events().into_iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::RevocationRequested { token, .. } => Some(token),
            _ => None,
        })
        .collect()
}

async fn is_unusable(partner: &Partner) {
    assert_eq!(partner.call().await, Err(ErrorKind::Revoked));
    let counters = partner.sandbox.counters();
    assert_eq!((counters.authorized, counters.unauthorized), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn s25_a_late_answer_does_not_overwrite_a_new_consent() {
    let partner = connected().await;
    let late = with_an_exchange_in_flight(&partner).await;
    partner.connect().await;
    let consented = partner.exchanged().pop().unwrap();
    assert_eq!(
        (consented.grant_type, consented.grant),
        (GrantType::AuthorizationCode, 2)
    );
    late.await.unwrap().unwrap();
    pass(MINUTE).await;
    let held = partner.stored_tokens().await;
    assert_eq!(
        TokenHash::of(held.access_token().expose()),
        consented.access_token
    );
    partner.works().await;
    partner.refresh().await.unwrap();
    assert_eq!(partner.exchanged().pop().unwrap().grant, 2);
    let again = partner.restarted();
    again.works().await;
    assert_eq!(again.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s25_neither_a_late_refusal_nor_a_lost_answer_ends_a_new_consent() {
    for (fault, is_refused) in [
        (Fault::delay(5 * SECOND), true),
        (Fault::hang().after_processing(), false),
    ] {
        let partner = connected().await;
        if is_refused {
            partner.sandbox.revoke_grants();
        }
        partner.fail(fault);
        let late = partner.refreshing();
        pass(SECOND).await;
        partner.connect().await;
        let _ = late.await.unwrap();
        pass(MINUTE).await;
        assert!(matches!(partner.stored().await, GrantState::Active(_)));
        assert!(partner.heard.lines().is_empty());
        partner.works().await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.exchanged().pop().unwrap().grant, 2);
        let counters = partner.sandbox.counters();
        assert_eq!(counters.refresh_tokens_reused, 0, "the old one rests");
    }
}

/// The 401 is for the new grant's token, and the exchange in flight is the old grant's.
#[tokio::test(start_paused = true)]
async fn s25_a_refused_call_of_the_new_grant_is_retried_beside_the_old_ones_exchange() {
    let partner = connected().await;
    let late = with_an_exchange_in_flight(&partner).await;
    partner.connect().await;
    partner.sandbox.revoke_access_tokens();
    partner.works().await;
    let _ = late.await.unwrap();
    assert_eq!(partner.exchanged().pop().unwrap().grant, 2);
}

#[tokio::test(start_paused = true)]
async fn s25_a_late_answer_does_not_bring_a_revoked_grant_back() {
    let partner = connected().await;
    let late = with_an_exchange_in_flight(&partner).await;
    let new = partner.exchanged().pop().unwrap();
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    assert_eq!(late.await.unwrap().unwrap_err().kind(), ErrorKind::Revoked);
    is_unusable(&partner).await;
    assert!(matches!(partner.stored().await, GrantState::Revoked { .. }));
    let revoked = revoked(&partner);
    assert!(
        revoked.contains(&new.access_token),
        "also what came in late"
    );
    assert!(revoked.contains(&new.refresh_token.unwrap()));
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_after_a_revocation_nobody_waits_for_the_exchange_in_flight() {
    let partner = connected().await;
    let _late = with_an_exchange_in_flight(&partner).await;
    partner.tokens.revoke().await.unwrap();
    let before = tokio::time::Instant::now();
    is_unusable(&partner).await;
    assert!(before.elapsed() < SECOND, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s31_a_token_that_the_provider_does_not_know_is_revoked_all_the_same() {
    let partner = connected().await;
    partner.sandbox.revoke_grants();
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_a_refusal_to_revoke_is_told_and_the_grant_is_unusable_here() {
    let partner = connected_to(|sandbox| {
        sandbox.behavior(|behavior| behavior.unknown_revocation_succeeds = false)
    })
    .await;
    let held = partner.stored_tokens().await;
    partner
        .oauth
        .revoke(held.refresh_token().unwrap())
        .await
        .unwrap();
    let _ = partner.tokens.revoke().await;
    is_unusable(&partner).await;
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_a_503_is_followed_by_another_attempt() {
    let partner = connected().await;
    let busy = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    partner.sandbox.inject(Endpoint::Revoke, busy);
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    assert_eq!(revoked(&partner).len(), 2, "both tokens");
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_a_revocation_that_times_out_ends_use_at_once() {
    let partner = connected().await;
    partner
        .sandbox
        .inject(Endpoint::Revoke, Fault::hang().always());
    let revoking = tokio::spawn({
        let tokens = partner.tokens.clone();
        async move { tokens.revoke().await }
    });
    pass(SECOND).await;
    is_unusable(&partner).await;
    assert!(!revoking.is_finished());
    let error = revoking.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    is_unusable(&partner).await;
    partner.sandbox.clear_faults();
    partner.tokens.revoke().await.unwrap();
    assert_eq!(revoked(&partner).len(), 2, "when it can be told");
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_an_exchange_in_flight_does_not_bring_back_what_could_not_be_revoked() {
    for fault in [
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).always(),
        Fault::drop_connection().always(),
        Fault::hang().always(),
    ] {
        let partner = connected().await;
        let late = with_an_exchange_in_flight(&partner).await;
        partner.sandbox.inject(Endpoint::Revoke, fault);
        partner.tokens.revoke().await.unwrap_err();
        late.await.unwrap().unwrap_err();
        pass(MINUTE).await;
        is_unusable(&partner).await;
        let error = partner.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Revoked);
        assert_eq!(partner.renewals(), 1);
        is_unusable(&partner.restarted()).await;
    }
}
