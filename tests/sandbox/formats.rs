//! The formats of responses.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{DATE, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tower_oauth2_client::sandbox::{
    Challenge, DateHeader, ExpiresAt, ExpiresIn, Sandbox, SandboxBuilder,
};

use crate::support::{code, connect, exchange_code, get};

/// 2026-01-02T03:04:05.678Z
fn builder() -> SandboxBuilder {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
    Sandbox::builder()
        .clock_starts_at(start)
        .behavior(|behavior| behavior.access_token_lifetime = Duration::from_secs(60))
}

async fn token_response(sandbox: &Sandbox) -> Value {
    exchange_code(sandbox, &code(sandbox, &[]).await)
        .await
        .json()
}

#[tokio::test(start_paused = true)]
async fn expires_at_has_each_format() {
    for (format, expected) in [
        (ExpiresAt::Utc, Some(json!("2026-01-02T03:05:05Z"))),
        (
            ExpiresAt::Fraction(3),
            Some(json!("2026-01-02T03:05:05.678Z")),
        ),
        (
            ExpiresAt::Offset(0),
            Some(json!("2026-01-02T03:05:05+00:00")),
        ),
        (
            ExpiresAt::Offset(-300),
            Some(json!("2026-01-01T22:05:05-05:00")),
        ),
        (
            ExpiresAt::UnknownOffset,
            Some(json!("2026-01-02T03:05:05-00:00")),
        ),
        (ExpiresAt::LowerCase, Some(json!("2026-01-02t03:05:05z"))),
        (ExpiresAt::Space, Some(json!("2026-01-02 03:05:05Z"))),
        (ExpiresAt::NoOffset, Some(json!("2026-01-02T03:05:05"))),
        (ExpiresAt::EpochNumber, Some(json!(1_767_323_105))),
        (ExpiresAt::EpochText, Some(json!("1767323105"))),
        (
            ExpiresAt::Early(Duration::from_secs(3600)),
            Some(json!("2026-01-02T02:05:05Z")),
        ),
        (ExpiresAt::Empty, Some(json!(""))),
        (ExpiresAt::Null, Some(Value::Null)),
        (ExpiresAt::Absent, None),
        (
            ExpiresAt::Literal("9999-12-31T23:59:59Z".into()),
            Some(json!("9999-12-31T23:59:59Z")),
        ),
    ] {
        let sandbox = builder()
            .behavior(|behavior| behavior.expires_at = format.clone())
            .build();
        assert_eq!(
            token_response(&sandbox).await.get("expires_at"),
            expected.as_ref(),
            "{format:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn expires_in_has_each_format() {
    for (format, expected) in [
        (ExpiresIn::Absent, None),
        (ExpiresIn::Number, Some(json!(60))),
        (ExpiresIn::Text, Some(json!("60"))),
    ] {
        let sandbox = builder()
            .behavior(|behavior| behavior.expires_in = format)
            .build();
        let response = token_response(&sandbox).await;
        assert_eq!(response.get("expires_in"), expected.as_ref(), "{format:?}");
        assert!(response.get("expires_at").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn token_type_has_any_value_or_is_omitted() {
    for token_type in [
        Some("Bearer"),
        Some("bearer"),
        Some("BEARER"),
        Some("mac"),
        Some(""),
        None,
    ] {
        let sandbox = builder()
            .behavior(|behavior| behavior.token_type = token_type.map(str::to_owned))
            .build();
        let response = token_response(&sandbox).await;
        assert_eq!(
            response.get("token_type").and_then(Value::as_str),
            token_type
        );
    }
}

#[tokio::test(start_paused = true)]
async fn scope_can_be_omitted() {
    let sandbox = builder()
        .behavior(|behavior| behavior.scope_field = false)
        .build();
    assert_eq!(token_response(&sandbox).await.get("scope"), None);
}

#[tokio::test(start_paused = true)]
async fn date_can_be_right_wrong_or_absent() {
    let hours = Duration::from_secs(2 * 3600);
    for (date, expected) in [
        (DateHeader::Clock, Some("Fri, 02 Jan 2026 03:04:05 GMT")),
        (
            DateHeader::Ahead(hours),
            Some("Fri, 02 Jan 2026 05:04:05 GMT"),
        ),
        (
            DateHeader::Behind(hours),
            Some("Fri, 02 Jan 2026 01:04:05 GMT"),
        ),
        (
            DateHeader::Behind(Duration::MAX),
            Some("Thu, 01 Jan 1970 00:00:00 GMT"),
        ),
        (DateHeader::Literal("yesterday".into()), Some("yesterday")),
        (DateHeader::Literal("\n".into()), None),
        (DateHeader::Absent, None),
    ] {
        let sandbox = builder()
            .behavior(|behavior| behavior.date = date.clone())
            .build();
        let response = exchange_code(&sandbox, &code(&sandbox, &[]).await).await;
        assert_eq!(response.header("date"), expected, "{date:?}");
        assert_eq!(response.text("expires_at"), "2026-01-02T03:05:05Z");
    }
}

#[tokio::test]
async fn the_socket_adds_no_date_of_its_own() {
    let sandbox = builder()
        .behavior(|behavior| behavior.date = DateHeader::Absent)
        .start()
        .await
        .unwrap();
    let response = reqwest::get(sandbox.url()).await.unwrap();
    assert_eq!(response.headers().get(DATE), None);
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_can_be_milliseconds() {
    let lifetime = Duration::from_millis(5);
    let sandbox = builder()
        .behavior(|behavior| behavior.access_token_lifetime = lifetime)
        .build();
    let tokens = connect(&sandbox).await;
    assert_eq!(
        get(&sandbox, "/v1/company", &tokens.access).await.status,
        StatusCode::OK
    );
    sandbox.advance(lifetime);
    let response = get(&sandbox, "/v1/company", &tokens.access).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn extreme_lifetimes_and_clocks_do_not_overflow() {
    let sandbox = builder()
        .behavior(|behavior| {
            behavior.access_token_lifetime = Duration::MAX;
            behavior.refresh_token_lifetime = Duration::MAX;
            behavior.code_lifetime = Duration::MAX;
        })
        .build();
    let tokens = connect(&sandbox).await;
    sandbox.advance(Duration::from_secs(u64::MAX / 2));
    assert_eq!(
        get(&sandbox, "/v1/company", &tokens.access).await.status,
        StatusCode::OK
    );
    sandbox.advance(Duration::MAX);
    assert_eq!(
        get(&sandbox, "/v1/company", &tokens.access).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(start_paused = true)]
async fn a_401_has_each_kind_of_challenge() {
    let both = [
        r#"Basic realm="justworks""#,
        r#"Bearer error="invalid_token""#,
    ];
    let joined = both.join(", ");
    for (challenge, expected) in [
        (
            Challenge::Standard,
            vec![r#"Bearer realm="justworks", error="invalid_token""#],
        ),
        (Challenge::Bare, vec!["Bearer"]),
        (
            Challenge::LowerCase,
            vec![r#"bearer error="invalid_token""#],
        ),
        (Challenge::TwoInOneHeader, vec![joined.as_str()]),
        (Challenge::TwoHeaders, both.to_vec()),
        (Challenge::BasicOnly, vec![r#"Basic realm="justworks""#]),
        (
            Challenge::InsufficientScope,
            vec![r#"Bearer error="insufficient_scope""#],
        ),
        (
            Challenge::InvalidRequest,
            vec![r#"Bearer error="invalid_request""#],
        ),
        (Challenge::Absent, vec![]),
        (Challenge::Literal("Bearer \"".into()), vec!["Bearer \""]),
        (Challenge::Literal("\r\n".into()), vec![]),
    ] {
        let sandbox = builder()
            .behavior(|behavior| behavior.challenge = challenge.clone())
            .build();
        let response = get(&sandbox, "/v1/company", "unknown").await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED);
        let sent: Vec<_> = response.headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(sent, expected, "{challenge:?}");
    }
}
