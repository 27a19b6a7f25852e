//! What a second use of a refresh token does, in every mode.

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::sandbox::{RefreshTokenField, RefreshWindow, Replay, Rotation, Sandbox};

use crate::support::{company, connect, refresh, renew};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

#[tokio::test(start_paused = true)]
async fn without_rotation_the_same_token_comes_back_and_stays_good() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::None)
        .build();
    let first = connect(&sandbox).await;
    for _ in 0..3 {
        let renewed = renew(&sandbox, &first.refresh).await;
        assert_eq!(renewed.refresh, first.refresh);
        assert_ne!(renewed.access, first.access);
    }
    assert_eq!(company(&sandbox, &first.access).await, OK);
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn single_use_refuses_the_second_use_and_leaves_the_winner_alone() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::SingleUse)
        .build();
    let first = connect(&sandbox).await;
    let winner = renew(&sandbox, &first.refresh).await;
    let reply = refresh(&sandbox, &first.refresh).await;
    assert_eq!(
        (reply.status, reply.error()),
        (StatusCode::BAD_REQUEST, "invalid_grant".into())
    );
    assert_eq!(company(&sandbox, &winner.access).await, OK);
    renew(&sandbox, &winner.refresh).await;
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn family_revocation_ends_everything_at_the_second_use() {
    let sandbox = Sandbox::builder().build();
    let bystander = connect(&sandbox).await;
    let first = connect(&sandbox).await;
    let winner = renew(&sandbox, &first.refresh).await;
    assert_eq!(
        refresh(&sandbox, &first.refresh).await.error(),
        "invalid_grant"
    );
    assert_eq!(company(&sandbox, &winner.access).await, UNAUTHORIZED);
    assert_eq!(
        refresh(&sandbox, &winner.refresh).await.error(),
        "invalid_grant"
    );
    assert_eq!(
        refresh(&sandbox, &first.refresh).await.error(),
        "invalid_grant"
    );
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
    assert_eq!(company(&sandbox, &bystander.access).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_grace_window_repeats_the_same_pair_and_then_ends_everything() {
    let window = Duration::from_secs(30);
    let replay = Replay::SamePair;
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::Grace { window, replay })
        .build();
    let first = connect(&sandbox).await;
    let winner = renew(&sandbox, &first.refresh).await;
    sandbox.advance(Duration::from_secs(29));
    let again = renew(&sandbox, &first.refresh).await;
    assert_eq!(
        (&again.access, &again.refresh),
        (&winner.access, &winner.refresh)
    );
    assert_eq!(sandbox.counters().grants_revoked, 0);
    sandbox.advance(Duration::from_secs(1));
    assert_eq!(
        refresh(&sandbox, &first.refresh).await.error(),
        "invalid_grant"
    );
    assert_eq!(company(&sandbox, &winner.access).await, UNAUTHORIZED);
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_grace_window_may_give_a_sibling_pair_and_both_live() {
    let window = Duration::from_secs(30);
    let replay = Replay::Sibling;
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::Grace { window, replay })
        .build();
    let first = connect(&sandbox).await;
    let winner = renew(&sandbox, &first.refresh).await;
    let sibling = renew(&sandbox, &first.refresh).await;
    assert_ne!(winner.refresh, sibling.refresh);
    assert_eq!(company(&sandbox, &winner.access).await, OK);
    assert_eq!(company(&sandbox, &sibling.access).await, OK);
    renew(&sandbox, &winner.refresh).await;
    renew(&sandbox, &sibling.refresh).await;
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_retires_the_old_token_when_the_new_access_token_is_used() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::Deferred)
        .build();
    let first = connect(&sandbox).await;
    let lost = renew(&sandbox, &first.refresh).await;
    let kept = renew(&sandbox, &first.refresh).await;
    assert_ne!(lost.refresh, kept.refresh);
    assert_eq!(company(&sandbox, &first.access).await, OK);
    assert_eq!(company(&sandbox, &kept.access).await, OK);
    assert_eq!(
        refresh(&sandbox, &first.refresh).await.error(),
        "invalid_grant"
    );
    assert_eq!(company(&sandbox, &kept.access).await, OK);
    assert_eq!(sandbox.counters().grants_revoked, 0);
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_retires_the_old_token_when_the_new_one_is_used() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::Deferred)
        .build();
    let first = connect(&sandbox).await;
    let second = renew(&sandbox, &first.refresh).await;
    renew(&sandbox, &second.refresh).await;
    assert_eq!(
        refresh(&sandbox, &first.refresh).await.error(),
        "invalid_grant"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotation_may_revoke_the_companion_access_token() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation_revokes_access_token = true)
        .build();
    let first = connect(&sandbox).await;
    let second = renew(&sandbox, &first.refresh).await;
    assert_eq!(company(&sandbox, &first.access).await, UNAUTHORIZED);
    assert_eq!(company(&sandbox, &second.access).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_window_lives_as_long_as_it_is_used() {
    let sandbox = Sandbox::builder().build();
    let mut tokens = connect(&sandbox).await;
    for _ in 0..4 {
        sandbox.advance(Duration::from_secs(29 * 24 * 3600));
        tokens = renew(&sandbox, &tokens.refresh).await;
    }
    sandbox.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(
        refresh(&sandbox, &tokens.refresh).await.error(),
        "invalid_grant"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_closes_30_days_after_the_consent() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.refresh_window = RefreshWindow::Fixed)
        .build();
    let first = connect(&sandbox).await;
    sandbox.advance(Duration::from_secs(29 * 24 * 3600));
    let second = renew(&sandbox, &first.refresh).await;
    sandbox.advance(Duration::from_secs(24 * 3600));
    assert_eq!(
        refresh(&sandbox, &second.refresh).await.error(),
        "invalid_grant"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_refresh_token_leaves_the_old_one_good() {
    for (field, sent) in [
        (RefreshTokenField::OmittedOnRefresh, None),
        (RefreshTokenField::EmptyOnRefresh, Some("".into())),
        (
            RefreshTokenField::NullOnRefresh,
            Some(serde_json::Value::Null),
        ),
    ] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.refresh_token_field = field)
            .build();
        let first = connect(&sandbox).await;
        for _ in 0..2 {
            let reply = refresh(&sandbox, &first.refresh).await;
            assert_eq!(reply.status, OK);
            assert_eq!(
                reply.json().get("refresh_token"),
                sent.as_ref(),
                "{field:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_may_come_without_any_refresh_token() {
    let field = RefreshTokenField::Never;
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.refresh_token_field = field)
        .build();
    assert_eq!(connect(&sandbox).await.refresh, "");
}

#[tokio::test(start_paused = true)]
async fn a_mode_changes_while_the_sandbox_runs() {
    let sandbox = Sandbox::builder().build();
    let first = connect(&sandbox).await;
    sandbox.change_behavior(|behavior| behavior.rotation = Rotation::None);
    let second = renew(&sandbox, &first.refresh).await;
    assert_eq!(second.refresh, first.refresh);
    sandbox.change_behavior(|behavior| behavior.rotation = Rotation::SingleUse);
    let third = renew(&sandbox, &first.refresh).await;
    assert_ne!(third.refresh, first.refresh);
}
