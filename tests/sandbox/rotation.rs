//! Refresh token rotation in each mode, and its counters.

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::sandbox::{RefreshTokenField, RefreshWindow, Replay, Rotation, Sandbox};

use crate::support::{assert_invalid_grant, company, connect, refresh, refresh_ok, sandbox_with};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

#[tokio::test(start_paused = true)]
async fn without_rotation_the_refresh_token_stays_valid() {
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::None);
    let first = connect(&sandbox).await;
    for _ in 0..3 {
        let refreshed = refresh_ok(&sandbox, &first.refresh).await;
        assert_eq!(refreshed.refresh, first.refresh);
        assert_ne!(refreshed.access, first.access);
    }
    assert_eq!(company(&sandbox, &first.access).await, OK);
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn single_use_refuses_reuse_and_keeps_the_new_tokens() {
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::SingleUse);
    let first = connect(&sandbox).await;
    let newer = refresh_ok(&sandbox, &first.refresh).await;
    let response = refresh(&sandbox, &first.refresh).await;
    assert_eq!(
        (response.status, response.error()),
        (StatusCode::BAD_REQUEST, "invalid_grant".into())
    );
    assert_eq!(company(&sandbox, &newer.access).await, OK);
    refresh_ok(&sandbox, &newer.refresh).await;
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn family_revocation_revokes_the_grant_on_reuse() {
    let sandbox = Sandbox::builder().build();
    let other = connect(&sandbox).await;
    let first = connect(&sandbox).await;
    let newer = refresh_ok(&sandbox, &first.refresh).await;
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
    assert_eq!(company(&sandbox, &newer.access).await, UNAUTHORIZED);
    assert_invalid_grant(&refresh(&sandbox, &newer.refresh).await);
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
    assert_eq!(company(&sandbox, &other.access).await, OK);
}

#[tokio::test(start_paused = true)]
async fn grace_repeats_the_tokens_and_then_revokes_the_grant() {
    let window = Duration::from_secs(30);
    let replay = Replay::SamePair;
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::Grace { window, replay });
    let first = connect(&sandbox).await;
    let newer = refresh_ok(&sandbox, &first.refresh).await;
    sandbox.advance(Duration::from_secs(29));
    let again = refresh_ok(&sandbox, &first.refresh).await;
    assert_eq!(
        (&again.access, &again.refresh),
        (&newer.access, &newer.refresh)
    );
    assert_eq!(sandbox.counters().grants_revoked, 0);
    sandbox.advance(Duration::from_secs(1));
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
    assert_eq!(company(&sandbox, &newer.access).await, UNAUTHORIZED);
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn grace_can_issue_a_sibling_pair_with_both_pairs_valid() {
    let window = Duration::from_secs(30);
    let replay = Replay::Sibling;
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::Grace { window, replay });
    let first = connect(&sandbox).await;
    let newer = refresh_ok(&sandbox, &first.refresh).await;
    let sibling = refresh_ok(&sandbox, &first.refresh).await;
    assert_ne!(newer.refresh, sibling.refresh);
    assert_eq!(company(&sandbox, &newer.access).await, OK);
    assert_eq!(company(&sandbox, &sibling.access).await, OK);
    refresh_ok(&sandbox, &newer.refresh).await;
    refresh_ok(&sandbox, &sibling.refresh).await;
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_ends_when_the_new_access_token_is_used() {
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::Deferred);
    let first = connect(&sandbox).await;
    let lost = refresh_ok(&sandbox, &first.refresh).await;
    let kept = refresh_ok(&sandbox, &first.refresh).await;
    assert_ne!(lost.refresh, kept.refresh);
    assert_eq!(company(&sandbox, &first.access).await, OK);
    assert_eq!(company(&sandbox, &kept.access).await, OK);
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
    assert_eq!(company(&sandbox, &kept.access).await, OK);
    assert_eq!(sandbox.counters().grants_revoked, 0);
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_ends_when_the_new_refresh_token_is_used() {
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::Deferred);
    let first = connect(&sandbox).await;
    let second = refresh_ok(&sandbox, &first.refresh).await;
    refresh_ok(&sandbox, &second.refresh).await;
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_can_revoke_the_previous_access_token() {
    let sandbox = sandbox_with(|behavior| behavior.rotation_revokes_access_token = true);
    let first = connect(&sandbox).await;
    let second = refresh_ok(&sandbox, &first.refresh).await;
    assert_eq!(company(&sandbox, &first.access).await, UNAUTHORIZED);
    assert_eq!(company(&sandbox, &second.access).await, OK);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_window_is_extended_by_each_refresh() {
    let sandbox = Sandbox::builder().build();
    let mut tokens = connect(&sandbox).await;
    for _ in 0..4 {
        sandbox.advance(Duration::from_secs(29 * 24 * 3600));
        tokens = refresh_ok(&sandbox, &tokens.refresh).await;
    }
    sandbox.advance(Duration::from_secs(30 * 24 * 3600));
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_window_ends_30_days_after_the_consent() {
    let sandbox = sandbox_with(|behavior| behavior.refresh_window = RefreshWindow::Fixed);
    let first = connect(&sandbox).await;
    sandbox.advance(Duration::from_secs(29 * 24 * 3600));
    let second = refresh_ok(&sandbox, &first.refresh).await;
    sandbox.advance(Duration::from_secs(24 * 3600));
    assert_invalid_grant(&refresh(&sandbox, &second.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_response_without_refresh_token_keeps_the_old_one_valid() {
    for (field, sent) in [
        (RefreshTokenField::OmittedOnRefresh, None),
        (RefreshTokenField::EmptyOnRefresh, Some("".into())),
        (
            RefreshTokenField::NullOnRefresh,
            Some(serde_json::Value::Null),
        ),
    ] {
        let sandbox = sandbox_with(|behavior| behavior.refresh_token_field = field);
        let first = connect(&sandbox).await;
        for _ in 0..2 {
            let response = refresh(&sandbox, &first.refresh).await;
            assert_eq!(response.status, OK);
            assert_eq!(
                response.json().get("refresh_token"),
                sent.as_ref(),
                "{field:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_exchange_can_issue_no_refresh_token() {
    let field = RefreshTokenField::Never;
    let sandbox = sandbox_with(|behavior| behavior.refresh_token_field = field);
    assert_eq!(connect(&sandbox).await.refresh, "");
}

#[tokio::test(start_paused = true)]
async fn only_the_first_consent_can_issue_a_refresh_token() {
    let field = RefreshTokenField::FirstConsent;
    let sandbox = sandbox_with(|behavior| behavior.refresh_token_field = field);
    let first = connect(&sandbox).await;
    assert_ne!(first.refresh, "");
    assert_eq!(connect(&sandbox).await.refresh, "");
    let refreshed = refresh(&sandbox, &first.refresh).await;
    assert_eq!(refreshed.json().get("refresh_token"), None);
    // A refresh token that has expired is not left.
    sandbox.advance(Duration::from_secs(31 * 24 * 3600));
    let second = connect(&sandbox).await;
    assert_ne!(second.refresh, "");
    // Neither is one that was revoked.
    sandbox.revoke_grants();
    assert_ne!(connect(&sandbox).await.refresh, "");
}

#[tokio::test(start_paused = true)]
async fn the_rotation_mode_can_change_while_the_sandbox_runs() {
    let sandbox = Sandbox::builder().build();
    let first = connect(&sandbox).await;
    sandbox.change_behavior(|behavior| behavior.rotation = Rotation::None);
    let second = refresh_ok(&sandbox, &first.refresh).await;
    assert_eq!(second.refresh, first.refresh);
    sandbox.change_behavior(|behavior| behavior.rotation = Rotation::SingleUse);
    let third = refresh_ok(&sandbox, &first.refresh).await;
    assert_ne!(third.refresh, first.refresh);
}
