//! A replaced refresh token presented again: what forgives it, what does not, and what is counted.

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::sandbox::{RefreshTokenField, RefreshWindow, Replay, Rotation, Sandbox};

use crate::support::{company, connect, exchange, refresh, refused, renew};

const OK: StatusCode = StatusCode::OK;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;

fn grace(seconds: u64, replay: Replay) -> Rotation {
    let window = Duration::from_secs(seconds);
    Rotation::Grace { window, replay }
}

#[tokio::test(start_paused = true)]
async fn grace_forgives_no_token_whose_own_life_is_over() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        for refresh_window in [RefreshWindow::Rolling, RefreshWindow::Fixed] {
            let sandbox = Sandbox::builder()
                .behavior(|behavior| {
                    behavior.rotation = grace(600, replay);
                    behavior.refresh_window = refresh_window;
                    behavior.refresh_token_lifetime = Duration::from_secs(100);
                })
                .build();
            let first = connect(&sandbox).await;
            sandbox.advance(Duration::from_secs(90));
            let second = renew(&sandbox, &first.refresh).await;
            sandbox.advance(Duration::from_secs(9));
            renew(&sandbox, &first.refresh).await;
            sandbox.advance(Duration::from_secs(1));
            refused(
                &refresh(&sandbox, &first.refresh).await,
                400,
                "invalid_grant",
            );
            assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
            refused(
                &refresh(&sandbox, &second.refresh).await,
                400,
                "invalid_grant",
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replays_do_not_prolong_the_grace_window() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.rotation = grace(30, replay))
            .build();
        let first = connect(&sandbox).await;
        let second = renew(&sandbox, &first.refresh).await;
        sandbox.advance(Duration::from_secs(20));
        renew(&sandbox, &first.refresh).await;
        sandbox.advance(Duration::from_secs(20));
        refused(
            &refresh(&sandbox, &first.refresh).await,
            400,
            "invalid_grant",
        );
        assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
        let counters = sandbox.counters();
        assert_eq!(
            (counters.refresh_tokens_reused, counters.grants_revoked),
            (2, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_needs_a_scope_too() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.rotation = grace(600, replay))
            .build();
        let first = connect(&sandbox).await;
        renew(&sandbox, &first.refresh).await;
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &first.refresh),
            ("scope", " "),
        ];
        refused(&exchange(&sandbox, &fields).await, 400, "invalid_scope");
        assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
        sandbox.change_behavior(|behavior| behavior.scope_limit = Some(Vec::new()));
        refused(
            &refresh(&sandbox, &first.refresh).await,
            400,
            "invalid_scope",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_carries_no_refresh_token_where_no_answer_does() {
    for replay in [Replay::SamePair, Replay::Sibling] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.rotation = grace(600, replay))
            .build();
        let first = connect(&sandbox).await;
        let second = renew(&sandbox, &first.refresh).await;
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
            let reply = refresh(&sandbox, &first.refresh).await;
            assert_eq!(reply.status, OK, "{reply:?}");
            assert_eq!(
                reply.json().get("refresh_token"),
                sent.as_ref(),
                "{field:?}"
            );
            assert_eq!(company(&sandbox, &reply.text("access_token")).await, OK);
        }
        sandbox.change_behavior(|behavior| behavior.refresh_token_field = RefreshTokenField::Sent);
        renew(&sandbox, &second.refresh).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_scope_hides_no_reuse() {
    let sandbox = Sandbox::builder().scopes(["company.basic:read"]).build();
    let first = connect(&sandbox).await;
    let second = renew(&sandbox, &first.refresh).await;
    for scope in ["payroll:read", " "] {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &first.refresh),
            ("scope", scope),
        ];
        refused(&exchange(&sandbox, &fields).await, 400, "invalid_grant");
        assert_eq!(company(&sandbox, &second.access).await, UNAUTHORIZED);
    }
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_is_no_question_of_scope() {
    let sandbox = Sandbox::builder().scopes(["company.basic:read"]).build();
    let first = connect(&sandbox).await;
    sandbox.advance(Duration::from_secs(30 * 24 * 3600));
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &first.refresh),
        ("scope", "payroll:read"),
    ];
    refused(&exchange(&sandbox, &fields).await, 400, "invalid_grant");
    sandbox.revoke_grants();
    refused(&exchange(&sandbox, &fields).await, 400, "invalid_grant");
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn deferred_rotation_counts_a_replaced_token_it_still_answers() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation = Rotation::Deferred)
        .build();
    let first = connect(&sandbox).await;
    let second = renew(&sandbox, &first.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 0);
    renew(&sandbox, &first.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
    renew(&sandbox, &second.refresh).await;
    assert_eq!(sandbox.counters().refresh_tokens_reused, 1);
    refused(
        &refresh(&sandbox, &first.refresh).await,
        400,
        "invalid_grant",
    );
    let counters = sandbox.counters();
    assert_eq!(
        (counters.refresh_tokens_reused, counters.grants_revoked),
        (2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn every_rotation_revokes_its_own_companion() {
    for rotation in [
        Rotation::FamilyRevocation,
        Rotation::SingleUse,
        Rotation::Deferred,
        grace(30, Replay::SamePair),
    ] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| {
                behavior.rotation = rotation;
                behavior.rotation_revokes_access_token = true;
            })
            .build();
        let mut tokens = connect(&sandbox).await;
        for _ in 0..3 {
            let renewed = renew(&sandbox, &tokens.refresh).await;
            assert_eq!(company(&sandbox, &tokens.access).await, UNAUTHORIZED);
            assert_eq!(company(&sandbox, &renewed.access).await, OK);
            tokens = renewed;
        }
    }
}
