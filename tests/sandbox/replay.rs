//! Reuse of a rotated refresh token: when it is accepted, and what is counted.

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::sandbox::{RefreshTokenField, RefreshWindow, Replay, Rotation, Sandbox};

use crate::support::{
    assert_invalid_grant, assert_refused, company, connect, refresh, refresh_ok, sandbox_with,
    token_request,
};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

fn grace(seconds: u64, replay: Replay) -> Rotation {
    let window = Duration::from_secs(seconds);
    Rotation::Grace { window, replay }
}

#[tokio::test(start_paused = true)]
async fn grace_does_not_extend_the_lifetime_of_a_refresh_token() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        for refresh_window in [RefreshWindow::Rolling, RefreshWindow::Fixed] {
            let sandbox = sandbox_with(|behavior| {
                behavior.rotation = grace(600, replay);
                behavior.refresh_window = refresh_window;
                behavior.refresh_token_lifetime = Duration::from_secs(100);
            });
            let first = connect(&sandbox).await;
            sandbox.advance(Duration::from_secs(90));
            let second = refresh_ok(&sandbox, &first.refresh).await;
            sandbox.advance(Duration::from_secs(9));
            refresh_ok(&sandbox, &first.refresh).await;
            sandbox.advance(Duration::from_secs(1));
            assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
            assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
            assert_invalid_grant(&refresh(&sandbox, &second.refresh).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replays_do_not_extend_the_grace() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = sandbox_with(|behavior| behavior.rotation = grace(30, replay));
        let first = connect(&sandbox).await;
        let second = refresh_ok(&sandbox, &first.refresh).await;
        sandbox.advance(Duration::from_secs(20));
        refresh_ok(&sandbox, &first.refresh).await;
        sandbox.advance(Duration::from_secs(20));
        assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
        assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
        let counters = sandbox.counters();
        assert_eq!(
            (counters.refresh_tokens_reused, counters.grants_revoked),
            (2, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_needs_a_valid_scope() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = sandbox_with(|behavior| behavior.rotation = grace(600, replay));
        let first = connect(&sandbox).await;
        refresh_ok(&sandbox, &first.refresh).await;
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &first.refresh),
            ("scope", " "),
        ];
        assert_refused(
            &token_request(&sandbox, &fields).await,
            400,
            "invalid_scope",
        );
        assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
        sandbox.change_behavior(|behavior| behavior.scope_limit = Some(Vec::new()));
        assert_refused(
            &refresh(&sandbox, &first.refresh).await,
            400,
            "invalid_scope",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_follows_the_refresh_token_field_setting() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = sandbox_with(|behavior| behavior.rotation = grace(600, replay));
        let first = connect(&sandbox).await;
        let second = refresh_ok(&sandbox, &first.refresh).await;
        for (field, sent) in [
            (RefreshTokenField::Never, None),
            (RefreshTokenField::OmittedOnRefresh, None),
            (RefreshTokenField::EmptyOnRefresh, Some("".into())),
            (
                RefreshTokenField::NullOnRefresh,
                Some(serde_json::Value::Null),
            ),
        ] {
            sandbox.change_behavior(|behavior| behavior.refresh_token_field = field);
            let response = refresh(&sandbox, &first.refresh).await;
            assert_eq!(response.status, OK, "{response:?}");
            assert_eq!(
                response.json().get("refresh_token"),
                sent.as_ref(),
                "{field:?}"
            );
            assert_eq!(company(&sandbox, &response.text("access_token")).await, OK);
        }
        sandbox.change_behavior(|behavior| behavior.refresh_token_field = RefreshTokenField::Sent);
        refresh_ok(&sandbox, &second.refresh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_scope_does_not_hide_reuse() {
    let sandbox = Sandbox::builder().scopes(["company.basic:read"]).build();
    let first = connect(&sandbox).await;
    let second = refresh_ok(&sandbox, &first.refresh).await;
    for scope in ["payroll:read", " "] {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &first.refresh),
            ("scope", scope),
        ];
        assert_invalid_grant(&token_request(&sandbox, &fields).await);
        assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
    }
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_refresh_token_is_refused_before_its_scope_is_checked() {
    let sandbox = Sandbox::builder().scopes(["company.basic:read"]).build();
    let first = connect(&sandbox).await;
    sandbox.advance(Duration::from_secs(30 * 24 * 3600));
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &first.refresh),
        ("scope", "payroll:read"),
    ];
    assert_invalid_grant(&token_request(&sandbox, &fields).await);
    sandbox.revoke_grants();
    assert_invalid_grant(&token_request(&sandbox, &fields).await);
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_counts_each_use_of_a_replaced_token() {
    let sandbox = sandbox_with(|behavior| behavior.rotation = Rotation::Deferred);
    let first = connect(&sandbox).await;
    let second = refresh_ok(&sandbox, &first.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
    refresh_ok(&sandbox, &first.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
    refresh_ok(&sandbox, &second.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
    assert_invalid_grant(&refresh(&sandbox, &first.refresh).await);
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn every_rotation_mode_can_revoke_the_previous_access_token() {
    for rotation in [
        Rotation::FamilyRevocation,
        Rotation::SingleUse,
        Rotation::Deferred,
        grace(30, Replay::SamePair),
    ] {
        let sandbox = sandbox_with(|behavior| {
            behavior.rotation = rotation;
            behavior.rotation_revokes_access_token = true;
        });
        let mut tokens = connect(&sandbox).await;
        for _ in 0..3 {
            let refreshed = refresh_ok(&sandbox, &tokens.refresh).await;
            assert_eq!(company(&sandbox, &tokens.access).await, UNAUTHORIZED);
            assert_eq!(company(&sandbox, &refreshed.access).await, OK);
            tokens = refreshed;
        }
    }
}
