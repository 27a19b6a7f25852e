//! The provider has rotated, and its answer was lost (scenario 7).

use tower_oauth2_client::{
    ErrorKind,
    cache::{LostResponse, TokenState},
    sandbox::{Fault, Replay, Rotation, TokenHash},
    token::{GrantState, ReauthorizationReason},
};

use crate::support::{
    DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_to, connected_with, pass,
};

/// Every way to lose an answer after the work was done.
fn losses() -> [Fault; 6] {
    [
        Fault::drop_connection().after_processing(),
        Fault::reset().after_processing(),
        Fault::hang().after_processing(),
        Fault::truncate(),
        Fault::slow(SECOND),
        Fault::status(http::StatusCode::GATEWAY_TIMEOUT).after_processing(),
    ]
}

async fn forgiving(replay: Replay) -> Partner {
    let rotation = Rotation::Grace {
        window: MINUTE,
        replay,
    };
    connected_to(|sandbox| sandbox.behavior(|behavior| behavior.rotation = rotation)).await
}

#[tokio::test(start_paused = true)]
async fn s07_a_lost_answer_is_asked_for_again_and_brings_the_same_pair() {
    for loss in losses() {
        let partner = forgiving(Replay::SamePair).await;
        partner.fail(loss.clone());
        partner.refresh().await.unwrap();
        let [_, first, second] = &partner.exchanged()[..] else {
            panic!("{loss}: one exchange, and one more for its answer");
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
async fn s07_a_lost_answer_is_asked_for_again_and_brings_a_sibling_pair() {
    for loss in losses() {
        let partner = forgiving(Replay::Sibling).await;
        partner.fail(loss.clone());
        partner.refresh().await.unwrap();
        let [_, first, second] = &partner.exchanged()[..] else {
            panic!("{loss}: one exchange, and one more for its answer");
        };
        assert_ne!(first.refresh_token, second.refresh_token, "{loss}");
        let held = partner.stored_tokens().await;
        let held = TokenHash::of(held.refresh_token().unwrap().expose());
        assert_eq!(
            Some(held),
            second.refresh_token,
            "{loss}: the one that came"
        );
        partner.works().await;
        pass(HOUR).await;
        partner.refresh().await.unwrap();
        assert_eq!(partner.sandbox.counters().grants_revoked, 0, "{loss}");
    }
}

#[tokio::test(start_paused = true)]
async fn s07_a_lost_answer_and_then_invalid_grant_is_a_lost_rotation() {
    for loss in losses() {
        let partner = connected().await;
        partner.fail(loss.clone());
        let error = partner.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired, "{loss}");
        assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(partner.heard.lines(), ["lost", "rotation_lost"]);

        // It is durable, and nobody asks again.
        let heard = partner.heard.clone();
        let again = partner.restarted();
        pass(10 * DAY).await;
        assert_eq!(again.call().await, Err(ErrorKind::ReauthorizationRequired));
        assert_eq!(again.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(again.sandbox.counters().refresh_tokens_reused, 1, "{loss}");
        assert_eq!(again.sandbox.counters().token_requests_refused, 1, "{loss}");
        assert_eq!(heard.lines().len() + again.heard.lines().len(), 2);
        again.connect().await;
        again.works().await;
    }
}

#[tokio::test(start_paused = true)]
async fn s07_with_hold_nothing_more_is_sent_while_the_access_token_lives() {
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
        // Then there is nothing left to lose.
        pass(15 * MINUTE + SECOND).await;
        assert_eq!(
            partner.call().await,
            Err(ErrorKind::ReauthorizationRequired)
        );
        assert_eq!(partner.reason(), Some(ReauthorizationReason::RotationLost));
        assert_eq!(partner.heard.lines(), ["lost", "rotation_lost"]);
    }
}
