//! Token responses with missing fields, and responses that are none (scenarios 18 and 19).

use http::{HeaderValue, StatusCode, header};
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{Fault, RefreshTokenField, Replay, Rotation, TokenHash},
    token::{GrantState, ReauthorizationReason},
};

use crate::support::{DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_at, pass};

async fn refresh_token(partner: &Partner) -> String {
    let held = partner.stored_tokens().await;
    held.refresh_token().unwrap().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn s18_response_without_refresh_token_keeps_the_old_one() {
    for (field, rotation) in [
        (
            RefreshTokenField::OmittedOnRefresh,
            Rotation::FamilyRevocation,
        ),
        (
            RefreshTokenField::EmptyOnRefresh,
            Rotation::FamilyRevocation,
        ),
        (RefreshTokenField::NullOnRefresh, Rotation::FamilyRevocation),
        // The same refresh token again.
        (RefreshTokenField::Sent, Rotation::None),
    ] {
        let partner = connected_at(|sandbox| {
            let sandbox = sandbox.behavior(|behavior| behavior.refresh_token_field = field);
            sandbox.behavior(|behavior| behavior.rotation = rotation)
        });
        let mut partner = partner.await;
        let first = refresh_token(&partner).await;
        for _ in 0..3 {
            pass(HOUR).await;
            partner.refresh().await.unwrap();
            partner.works().await;
            assert_eq!(refresh_token(&partner).await, first, "{field:?}");
            partner = partner.restarted();
            partner.works().await;
        }
        // The grant is kept alive.
        pass(100 * DAY).await;
        partner.works().await;
        assert!(partner.refreshes() <= 9, "{}", partner.refreshes());
    }
}

#[tokio::test(start_paused = true)]
async fn s18_narrower_scope_is_known_and_causes_no_refresh() {
    let partner = connected().await;
    let before = partner.stored_tokens().await;
    assert_eq!(before.has_scope("member.basic:read"), Some(true));
    let narrower = vec!["company.basic:read".to_owned()];
    partner
        .sandbox
        .change_behavior(|behavior| behavior.scope_limit = Some(narrower));
    partner.refresh().await.unwrap();
    let held = partner.stored_tokens().await;
    assert_eq!(held.scope(), Some("company.basic:read"));
    partner.works().await;
    let (status, _) = partner.get("/v1/members").await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(partner.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn s18_bearer_in_any_case_or_no_type_is_a_bearer_token() {
    for sort in [Some("bearer"), Some("BEARER"), Some("Bearer"), None] {
        let partner = connected_at(|sandbox| {
            sandbox.behavior(|behavior| behavior.token_type = sort.map(str::to_owned))
        })
        .await;
        partner.refresh().await.unwrap();
        partner.works().await;
        assert_eq!(partner.sandbox.counters().unauthorized, 0, "{sort:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s18_token_of_another_type_is_not_used() {
    let partner =
        connected_at(|sandbox| sandbox.behavior(|behavior| behavior.rotation = Rotation::None))
            .await;
    let held = partner.stored_tokens().await;
    let mac = Some("mac".to_owned());
    partner
        .sandbox
        .change_behavior(|behavior| behavior.token_type = mac);
    let error = partner.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert_eq!(partner.stored_tokens().await, held);
    partner.works().await;
    let bearer = Some("Bearer".to_owned());
    partner
        .sandbox
        .change_behavior(|behavior| behavior.token_type = bearer);
    partner.refresh().await.unwrap();
    partner.works().await;
}

fn response(status: u16) -> Fault {
    Fault::status(StatusCode::from_u16(status).unwrap())
}

fn redirect(status: u16) -> Fault {
    let elsewhere = HeaderValue::from_static("https://elsewhere.example.com/oauth/token");
    response(status).header(header::LOCATION, elsewhere)
}

/// Responses of a server that has not rotated, with the kind of the error and the number of
/// requests: none of them proves that, so each is replayed once.
fn unusable_responses() -> [(Fault, ErrorKind, u64); 9] {
    use ErrorKind::{InvalidResponse, Unavailable};
    [
        (response(502).body("<html>Bad gateway"), Unavailable, 2),
        (response(200).body("{}"), InvalidResponse, 2),
        (
            response(200).body(r#"{"error":"invalid_grant"}"#),
            InvalidResponse,
            2,
        ),
        (
            response(200).body(r#"{"error":"server_error"}"#),
            InvalidResponse,
            2,
        ),
        (response(204), InvalidResponse, 2),
        (
            response(200).body(r#"{"access_token":"cut"#),
            InvalidResponse,
            2,
        ),
        (response(200).body(" ".repeat(2 << 20)), InvalidResponse, 2),
        (redirect(302), InvalidResponse, 2),
        (redirect(307), InvalidResponse, 2),
    ]
}

#[tokio::test(start_paused = true)]
async fn s19_unusable_response_has_an_error_kind_and_the_grant_survives() {
    for (fault, kind, requests) in unusable_responses() {
        let partner = connected().await;
        let held = partner.stored_tokens().await;
        pass(HOUR).await;
        partner.fail(fault.clone().always());
        let error = partner.refresh().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}");
        let counters = partner.sandbox.counters();
        assert_eq!(
            counters.faults_triggered, requests,
            "{fault}: no redirect is followed"
        );
        partner.works().await;
        assert_eq!(partner.stored_tokens().await, held);
        assert_eq!(partner.reason(), None);
        partner.sandbox.clear_faults();
        pass(MINUTE).await;
        partner.refresh().await.unwrap();
        partner.works().await;
        assert!(matches!(partner.stored().await, GrantState::Active(_)));
        assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn s19_without_a_token_calls_fail_until_the_responses_are_usable() {
    for (fault, kind, _) in unusable_responses() {
        let partner = connected().await;
        pass(DAY + HOUR).await;
        partner.fail(fault.clone().always());
        for _ in 0..60 {
            assert_eq!(partner.call().await, Err(kind), "{fault}");
            pass(SECOND).await;
        }
        partner.sandbox.clear_faults();
        pass(MINUTE).await;
        partner.works().await;
        assert_eq!(partner.refreshes(), 1, "{fault}");
    }
}

/// Unusable responses of a server that has rotated.
fn unusable_after_rotation() -> [Fault; 4] {
    [
        Fault::edit(|body| body[..40].to_vec()),
        Fault::huge(2 << 20),
        response(204).after_processing(),
        Fault::garbage().after_processing(),
    ]
}

#[tokio::test(start_paused = true)]
async fn s19_unusable_response_after_a_rotation_is_recovered_within_the_reuse_grace() {
    for fault in unusable_after_rotation() {
        let rotation = Rotation::Grace {
            window: MINUTE,
            replay: Replay::SamePair,
        };
        let partner =
            connected_at(|sandbox| sandbox.behavior(|behavior| behavior.rotation = rotation)).await;
        partner.fail(fault.clone());
        partner.refresh().await.unwrap();
        partner.works().await;
        let newest = partner.token_requests().pop().unwrap().refresh_token;
        let held = refresh_token(&partner).await;
        assert_eq!(Some(TokenHash::of(&held)), newest, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn s19_unusable_response_after_a_rotation_without_grace_is_a_lost_rotation() {
    for fault in unusable_after_rotation() {
        let partner = connected().await;
        partner.fail(fault.clone());
        partner.refresh().await.unwrap_err();
        let reason = partner.reason();
        assert_eq!(reason, Some(ReauthorizationReason::RotationLost), "{fault}");
    }
}

/// Changes of a token response that leave its refresh token readable. The second value says whether
/// its access token is usable.
fn odd_responses() -> Vec<(&'static str, Fault, bool)> {
    let replaced = |from: &'static str, to: &'static str| {
        Fault::edit(move |body| {
            let body = std::str::from_utf8(body).unwrap();
            assert!(body.contains(from), "{body}");
            body.replace(from, to).into_bytes()
        })
    };
    let with = |members: &'static str| replaced("{", members);
    vec![
        ("cut off", Fault::truncate(), true),
        ("error", with(r#"{"error":"","#), true),
        ("mark", with("\u{feff}{"), true),
        (
            "twice",
            with(r#"{"access_token":"a0","refresh_token":"r0","#),
            true,
        ),
        ("NaN", with(r#"{"x":NaN,"#), true),
        ("garbage", replaced("}", "} 3 ms"), true),
        (
            "line end",
            replaced(r#"","token_type""#, r#"\n","token_type""#),
            true,
        ),
        ("type", replaced("Bearer", "mac"), false),
        ("code", with(r#"{"error":"server_error","#), false),
        ("no token", replaced("access_token", "accessToken"), false),
        (
            "space",
            replaced(r#""access_token":""#, r#""access_token":"a "#),
            false,
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn p24_odd_response_after_a_rotation_keeps_the_grant() {
    for (name, fault, is_usable) in odd_responses() {
        // The sandbox revokes a grant whose refresh token is used twice.
        let partner = connected().await;
        let before = partner.stored_tokens().await;
        pass(HOUR).await;
        partner.fail(fault);
        let outcome = partner.refresh().await;
        assert_eq!(outcome.is_ok(), is_usable, "{name}: {outcome:?}");
        let held = partner.stored_tokens().await;
        let newest = partner.token_requests().pop().unwrap().refresh_token;
        let stored = held.refresh_token().unwrap().expose();
        assert_eq!(Some(TokenHash::of(stored)), newest, "{name}");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{name}");
            assert!(!error.is_response_lost(), "{name}");
            assert_eq!(error.refresh_token(), None, "{name}");
            assert_eq!(held.access_token(), before.access_token(), "{name}");
            assert_eq!(held.expires_at(), before.expires_at(), "{name}");
            assert!(held.refresh_token_issued_at() > before.refresh_token_issued_at());
        }
        assert!(matches!(partner.stored().await, GrantState::Active(_)));

        // Also after a restart, the next refresh uses the new refresh token.
        let partner = partner.restarted();
        partner.works().await;
        pass(HOUR).await;
        partner.refresh().await.unwrap();
        partner.works().await;
        let counters = partner.sandbox.counters();
        assert_eq!(counters.refresh_tokens_reused, 0, "{name}");
        assert_eq!(counters.grants_revoked, 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn p24_odd_responses_all_day_are_a_backoff_and_not_a_lost_grant() {
    let partner = connected().await;
    partner.fail(
        Fault::edit(|body| {
            let body = std::str::from_utf8(body).unwrap();
            body.replace("Bearer", "mac").into_bytes()
        })
        .always(),
    );
    for _ in 0..24 {
        let _ = partner.call().await;
        pass(HOUR).await;
    }
    // The access token has expired. A call fails, because the new ones are of another type.
    assert_eq!(partner.call().await, Err(ErrorKind::InvalidResponse));
    assert_eq!(partner.reason(), None);
    assert!(partner.refreshes() < 100, "{}", partner.refreshes());
    partner.sandbox.clear_faults();
    // A grant that is stuck is refreshed every 12 minutes at most.
    pass(MINUTE * 12).await;
    partner.works().await;
    let counters = partner.sandbox.counters();
    assert_eq!(counters.refresh_tokens_reused, 0);
    assert_eq!(counters.grants_revoked, 0);
}
