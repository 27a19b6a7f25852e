//! The status of a grant.

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenState,
    clock::Clock,
    token::{Generation, ReauthorizationReason},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, cache_with_token, header, pass,
    unavailable,
};

#[tokio::test(start_paused = true)]
async fn token_is_fresh_then_advisory_then_mandatory_then_expired() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().refresh_token_lifetime(30 * DAY);
    let tokens = tokens.build().unwrap();
    assert_eq!(tokens.status().state, TokenState::Absent);
    assert_eq!(tokens.status().generation, None);
    tokens.token().await.unwrap();
    let status = tokens.status();
    assert_eq!(status.state, TokenState::Fresh);
    assert_eq!(status.generation, Some(Generation::FIRST));
    assert_eq!(
        status.refresh_token_expires_at,
        Some(clock.wall() + 30 * DAY)
    );
    assert!(status.last_error.is_none() && status.expires_at.is_some());

    for _ in 0..10_000 {
        source.then(Scripted::Fail(unavailable()));
    }
    for (at, state) in [
        (20 * HOUR, TokenState::Fresh),
        (23 * HOUR, TokenState::Advisory),
        (DAY - 30 * SECOND, TokenState::Mandatory),
        (DAY + MINUTE, TokenState::Expired),
    ] {
        pass(at.saturating_sub(source.age())).await;
        assert_eq!(tokens.status().state, state, "after {at:?}");
    }
    let status = tokens.status();
    assert_eq!(status.last_error.unwrap().kind(), ErrorKind::Unavailable);
    assert_eq!(status.expires_at, None);
    source.clear_script();
    pass(MINUTE).await;
    assert_eq!(
        tokens.status().state,
        TokenState::Fresh,
        "without a request"
    );
    assert!(tokens.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn invalidated_token_is_rejected_until_there_is_a_newer_one() {
    let (source, _, tokens) = cache_with_token().await;
    tokens.invalidate();
    let rejected = TokenState::Rejected {
        generation: Generation::FIRST,
    };
    assert_eq!(tokens.status().state, rejected);
    tokens.invalidate();
    assert_eq!(source.refreshes(), 1, "nothing is sent yet");
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(tokens.status().state, TokenState::Fresh);
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn refresh_in_flight_is_not_uncertain() {
    let (source, _, tokens) = cache_with_token().await;
    source.block();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap() }
    });
    pass(SECOND).await;
    let status = tokens.status();
    assert!(status.is_refreshing);
    assert_eq!(status.state, TokenState::Fresh);
    source.unblock();
    refreshing.await.unwrap();
    assert!(!tokens.status().is_refreshing);
}

#[tokio::test(start_paused = true)]
async fn ends_report_reason_and_time() {
    let (source, _, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    let TokenState::ReauthorizationRequired { reason, since } = tokens.status().state else {
        panic!("{:?}", tokens.status());
    };
    assert_eq!(reason, ReauthorizationReason::InvalidGrant);
    let status = tokens.status();
    assert!(status.expires_at.unwrap() > since, "the token still serves");
    assert_eq!(
        status.last_error.unwrap().kind(),
        ErrorKind::ReauthorizationRequired
    );

    tokens.revoke().await.unwrap();
    assert!(matches!(tokens.status().state, TokenState::Revoked { .. }));
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    assert_eq!(tokens.status().state, TokenState::Fresh);
}
