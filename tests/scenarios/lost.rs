//! The provider has rotated, and its response was lost (scenario 7).

use http::{HeaderValue, StatusCode, header::LOCATION};
use tower_oauth2_client::{
    ErrorKind,
    cache::{LostResponse, TokenState},
    sandbox::{Fault, Replay, Rotation, TokenHash},
    token::{GrantState, ReauthorizationReason},
};

use crate::support::{
    DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_at, connected_with, pass,
};

/// Each way to lose a response after the refresh token was rotated.
fn losses() -> [Fault; 11] {
    let status = |status| Fault::status(status).after_processing();
    let elsewhere = HeaderValue::from_static("https://elsewhere.example.com/oauth/token");
    [
        Fault::drop_connection().after_processing(),
        Fault::reset().after_processing(),
        Fault::hang().after_processing(),
        Fault::edit(|body| body[..40].to_vec()),
        Fault::slow(SECOND),
        status(StatusCode::GATEWAY_TIMEOUT),
        status(StatusCode::INTERNAL_SERVER_ERROR),
        status(StatusCode::BAD_GATEWAY).body("<html>"),
        status(StatusCode::REQUEST_TIMEOUT),
        status(StatusCode::FORBIDDEN).body("<html>"),
        status(StatusCode::FOUND).header(LOCATION, elsewhere),
    ]
}

async fn with_reuse_grace(replay: Replay) -> Partner {
    let rotation = Rotation::Grace {
        window: MINUTE,
        replay,
    };
    connected_at(|sandbox| sandbox.behavior(|behavior| behavior.rotation = rotation)).await
}

#[tokio::test(start_paused = true)]
async fn s07_replay_after_a_lost_response_returns_the_same_pair() {
    for loss in losses() {
        let partner = with_reuse_grace(Replay::SamePair).await;
        partner.fail(loss.clone());
        partner.refresh().await.unwrap();
        let [_, first, second] = &partner.token_requests()[..] else {
            panic!("{loss}: one refresh and one replay");
        };
        assert_eq!(first.access_token, second.access_token, "{loss}");
        assert_eq!(first.refresh_token, second.refresh_token, "{loss}");
        partner.works().await;
        pass(HOUR).await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.sandbox.counters().grants_revoked, 0, "{loss}");
    }
}

#[tokio::test(start_paused = true)]
async fn s07_replay_after_a_lost_response_returns_a_sibling_pair() {
    for loss in losses() {
        let partner = with_reuse_grace(Replay::Sibling).await;
        partner.fail(loss.clone());
        partner.refresh().await.unwrap();
        let [_, first, second] = &partner.token_requests()[..] else {
            panic!("{loss}: one refresh and one replay");
        };
        assert_ne!(first.refresh_token, second.refresh_token, "{loss}");
        let held = partner.stored_tokens().await;
        let held = TokenHash::of(held.refresh_token().unwrap().expose());
        assert_eq!(
            Some(held),
            second.refresh_token,
            "{loss}: the received token"
        );
        partner.works().await;
        pass(HOUR).await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.sandbox.counters().grants_revoked, 0, "{loss}");
    }
}

#[tokio::test(start_paused = true)]
async fn s07_lost_response_and_then_invalid_grant_is_a_lost_rotation() {
    for loss in losses() {
        let partner = connected().await;
        partner.fail(loss.clone());
        let error = partner.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired, "{loss}");
        assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(partner.events.lines(), ["lost", "rotation_lost"]);

        // The end is durable, and no further request is sent.
        let events = partner.events.clone();
        let again = partner.restarted();
        pass(10 * DAY).await;
        assert_eq!(again.call().await, Err(ErrorKind::ReauthorizationRequired));
        assert_eq!(again.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(again.sandbox.counters().refresh_tokens_reused, 1, "{loss}");
        assert_eq!(again.sandbox.counters().token_requests_refused, 1, "{loss}");
        assert_eq!(events.lines().len() + again.events.lines().len(), 2);
        again.connect().await;
        again.works().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s07_defer_sends_nothing_while_the_access_token_is_valid() {
    for loss in losses() {
        let hold = |cache: tower_oauth2_client::cache::TokenCacheBuilder| {
            cache.lost_response(LostResponse::Defer)
        };
        let partner = connected_with(|sandbox| sandbox, hold).await;
        partner.fail(loss.clone());
        assert!(partner.refresh().await.unwrap_err().is_response_lost());
        for _ in 0..(24 * 4 - 1) {
            pass(15 * MINUTE).await;
            partner.works().await;
        }
        assert_eq!(
            partner.sandbox.counters().token_requests_refused,
            0,
            "{loss}"
        );
        assert!(matches!(
            partner.tokens.status().state,
            TokenState::Uncertain { .. }
        ));
        assert!(matches!(
            partner.stored().await,
            GrantState::Refreshing { .. }
        ));
        // Afterwards nothing can be lost.
        pass(15 * MINUTE + SECOND).await;
        assert_eq!(
            partner.call().await,
            Err(ErrorKind::ReauthorizationRequired)
        );
        assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(partner.events.lines(), ["lost", "rotation_lost"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_retry_after_of_a_lost_response_delays_the_replay_and_all_other_requests() {
    for status in [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::GATEWAY_TIMEOUT,
        StatusCode::REQUEST_TIMEOUT,
    ] {
        let partner = with_reuse_grace(Replay::SamePair).await;
        let lost = Fault::status(status).retry_after("20").after_processing();
        partner.fail(lost);
        let refreshing = partner.refreshing();
        pass(10 * SECOND).await;
        let tokens = partner.stored_tokens().await;
        let error = partner.oauth.refresh(&tokens).await.unwrap_err();
        assert!(error.retry_after() > Some(9 * SECOND), "{status}: {error}");
        assert!(!error.is_response_lost(), "it was not sent");
        assert_eq!(partner.token_requests().len(), 2, "{status}");
        // The caller stops waiting earlier.
        refreshing.await.unwrap().unwrap_err();
        pass(15 * SECOND).await;
        assert_eq!(partner.token_requests().len(), 3, "{status}");
        partner.works().await;
        // The success has closed the circuit breaker.
        pass(SECOND).await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.sandbox.counters().grants_revoked, 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn p11_retry_after_of_more_than_30_seconds_prevents_the_replay() {
    let partner = connected().await;
    let lost = Fault::status(StatusCode::BAD_GATEWAY).retry_after("60");
    partner.fail(lost.after_processing());
    assert!(partner.refresh().await.unwrap_err().is_response_lost());
    for _ in 0..(24 * 60 - 6) {
        pass(MINUTE).await;
        partner.works().await;
    }
    let counters = partner.sandbox.counters();
    assert_eq!(counters.refresh_tokens_reused, 0);
    assert_eq!(partner.reason(), None);
    pass(6 * MINUTE).await;
    partner.call().await.unwrap_err();
    assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
    assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 1);
}

#[tokio::test(start_paused = true)]
async fn p11_outage_after_a_lost_rotation_sends_nothing_until_the_last_minutes() {
    for status in [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::GATEWAY_TIMEOUT,
        StatusCode::REQUEST_TIMEOUT,
    ] {
        let partner = connected().await;
        // The provider rotates and does not respond, and then it is down.
        partner.fail(Fault::status(status).after_processing());
        partner.fail(Fault::status(status).always());
        assert!(partner.refresh().await.unwrap_err().is_response_lost());
        for _ in 0..(24 * 60 - 6) {
            pass(MINUTE).await;
            partner.works().await;
        }
        let counters = partner.sandbox.counters();
        assert_eq!(counters.faults_triggered, 2, "{status}: one replay");
        partner.sandbox.clear_faults();
        pass(6 * MINUTE).await;
        partner.call().await.unwrap_err();
        let counters = partner.sandbox.counters();
        assert_eq!(counters.refresh_tokens_reused, 1, "{status}");
        assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(partner.events.lines(), ["lost", "rotation_lost"]);
    }
}
