//! A new consent or a revocation during a refresh of the old grant (scenarios 25 and 31).

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{Endpoint, EventKind, Fault, GrantType, TokenHash},
    token::GrantState,
};

use crate::support::{HOUR, MINUTE, Partner, SECOND, connected, connected_at, pass};

/// The provider has rotated, and its response takes five seconds.
async fn with_a_refresh_in_flight(
    partner: &Partner,
) -> tokio::task::JoinHandle<Result<(), tower_oauth2_client::Error>> {
    pass(HOUR).await;
    partner.fail(Fault::delay(5 * SECOND).after_processing());
    let refreshing = partner.refreshing();
    pass(SECOND).await;
    assert_eq!(partner.refreshes(), 1);
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
async fn s25_late_response_does_not_overwrite_a_new_consent() {
    let partner = connected().await;
    let late = with_a_refresh_in_flight(&partner).await;
    partner.connect().await;
    let consented = partner.token_requests().pop().unwrap();
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
    assert_eq!(partner.token_requests().pop().unwrap().grant, 2);
    let again = partner.restarted();
    again.works().await;
    assert_eq!(again.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s25_neither_a_late_rejection_nor_a_lost_response_ends_a_new_consent() {
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
        assert!(partner.events.lines().is_empty());
        partner.works().await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.token_requests().pop().unwrap().grant, 2);
        let counters = partner.sandbox.counters();
        assert_eq!(
            counters.refresh_tokens_reused, 0,
            "the old refresh token is not sent"
        );
    }
}

/// The 401 is about the new grant's token, and the refresh in flight is that of the old grant.
#[tokio::test(start_paused = true)]
async fn s25_rejected_call_of_the_new_grant_is_retried_during_the_old_grants_refresh() {
    let partner = connected().await;
    let late = with_a_refresh_in_flight(&partner).await;
    partner.connect().await;
    partner.clock.advance(10);
    partner.sandbox.revoke_access_tokens();
    partner.works().await;
    let _ = late.await.unwrap();
    assert_eq!(partner.token_requests().pop().unwrap().grant, 2);
}

#[tokio::test(start_paused = true)]
async fn s25_late_response_does_not_bring_a_revoked_grant_back() {
    let partner = connected().await;
    let late = with_a_refresh_in_flight(&partner).await;
    let new = partner.token_requests().pop().unwrap();
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    assert_eq!(late.await.unwrap().unwrap_err().kind(), ErrorKind::Revoked);
    is_unusable(&partner).await;
    assert!(matches!(partner.stored().await, GrantState::Revoked { .. }));
    let revoked = revoked(&partner);
    assert!(revoked.contains(&new.access_token), "also the late tokens");
    assert!(revoked.contains(&new.refresh_token.unwrap()));
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_calls_do_not_wait_for_the_refresh_of_a_revoked_grant() {
    let partner = connected().await;
    let _late = with_a_refresh_in_flight(&partner).await;
    partner.tokens.revoke().await.unwrap();
    let before = tokio::time::Instant::now();
    is_unusable(&partner).await;
    assert!(before.elapsed() < SECOND, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn s31_revoking_a_token_unknown_to_the_provider_succeeds() {
    let partner = connected().await;
    partner.sandbox.revoke_grants();
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_rejected_revocation_is_an_error_and_the_grant_is_unusable() {
    let partner = connected_at(|sandbox| {
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
async fn s31_revocation_is_retried_after_a_503() {
    let partner = connected().await;
    let busy = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    partner.sandbox.inject(Endpoint::Revoke, busy);
    partner.tokens.revoke().await.unwrap();
    is_unusable(&partner).await;
    assert_eq!(revoked(&partner).len(), 2, "both tokens");
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_revocation_that_times_out_ends_use_at_once() {
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
    assert_eq!(revoked(&partner).len(), 2, "when the provider is available");
    is_unusable(&partner.restarted()).await;
}

#[tokio::test(start_paused = true)]
async fn s31_refresh_in_flight_does_not_bring_back_a_grant_with_a_failed_revocation() {
    for fault in [
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).always(),
        Fault::drop_connection().always(),
        Fault::hang().always(),
    ] {
        let partner = connected().await;
        let late = with_a_refresh_in_flight(&partner).await;
        partner.sandbox.inject(Endpoint::Revoke, fault);
        partner.tokens.revoke().await.unwrap_err();
        late.await.unwrap().unwrap_err();
        pass(MINUTE).await;
        is_unusable(&partner).await;
        let error = partner.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Revoked);
        assert_eq!(partner.refreshes(), 1);
        is_unusable(&partner.restarted()).await;
    }
}
