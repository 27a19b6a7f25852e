//! A response with a refresh token, but without a usable access token.

use std::time::SystemTime;

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenCache,
    clock::Clock,
    token::{GrantState, RefreshToken, TokenSet},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, cache_with_token, header,
    pass, token_set,
};

/// The source gets this refresh token, and an access token that cannot be used.
fn unusable(refresh_token: &str, issued_at: SystemTime) -> Scripted {
    let refresh_token = RefreshToken::new(refresh_token);
    Scripted::Fail(Error::access_token_unusable(&refresh_token, issued_at))
}

async fn stored(store: &Store) -> TokenSet {
    match store.stored().await.unwrap().state {
        GrantState::Active(tokens) => tokens,
        state => panic!("{state:?}"),
    }
}

/// A cache whose token of a day is 22 hours old, so that it is in its advisory window.
async fn cache_with_old_token() -> (ManualClock, Source, Store, TokenCache) {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(SECOND);
    source.block();
    pass(22 * HOUR).await;
    (clock, source, store, tokens)
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_without_an_access_token_is_saved_and_used_next() {
    let (clock, source, store, tokens) = cache_with_old_token().await;
    let before = store.stored().await.unwrap();
    let issued_at = clock.wall();
    source.then(unusable("r9", issued_at));
    source.unblock();
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(!error.is_response_lost());
    assert_eq!(
        error.refresh_token(),
        None,
        "no caller sees the refresh token"
    );

    // The held access token keeps its lifetime and its expiry.
    let after = store.stored().await.unwrap();
    assert_eq!(after.generation, before.generation.next());
    let (before, after) = (before.tokens().unwrap().clone(), stored(&store).await);
    assert_eq!(
        after,
        before.with_refresh_token(RefreshToken::new("r9"), issued_at)
    );
    let status = tokens.status();
    assert_eq!(
        status.generation,
        Some(store.stored().await.unwrap().generation)
    );
    assert_eq!(header(&tokens).await, "Bearer a1");
    pass(DAY - 22 * HOUR - MINUTE).await;
    assert_eq!(
        source.sent_refresh_tokens().last().unwrap().as_deref(),
        Some("r9")
    );
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p16_refresh_token_without_an_access_token_is_a_failure_with_a_backoff() {
    let (source, _, tokens) = cache_with_token().await;
    let chain: Vec<String> = (100..200).map(|number| format!("r{number}")).collect();
    for refresh_token in &chain {
        source.then(unusable(refresh_token, SystemTime::UNIX_EPOCH));
    }
    pass(DAY).await;
    // Then the grant is stuck.
    let in_advance = source.refreshes() - 1;
    assert!((4..=6).contains(&in_advance), "{in_advance}");
    assert!(tokens.status().stuck_since.is_some());
    for _ in 0..20 {
        assert!(tokens.token().await.is_err());
    }
    assert!(source.refreshes() <= in_advance + 2);
    source.clear_script();
    pass(12 * MINUTE).await;
    tokens.token().await.unwrap();

    // Each refresh token is sent once.
    let sent: Vec<_> = source.sent_refresh_tokens().into_iter().flatten().collect();
    assert_eq!(sent[0], "r1");
    assert_eq!(sent[1..], chain[..sent.len() - 1]);
}

#[tokio::test(start_paused = true)]
async fn p14_save_of_a_refresh_token_without_an_access_token_is_retried() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(unusable("r9", SystemTime::UNIX_EPOCH));
    store.before_next_save({
        let store = store.clone();
        // The intent is saved, and what follows is not.
        move || async move {
            tokio::spawn(async move {
                pass(SECOND / 100).await;
                store.fail_saves(true);
                pass(20 * SECOND).await;
                store.fail_saves(false);
            });
        }
    });
    assert!(tokens.refresh_now().await.is_err());
    assert_eq!(header(&tokens).await, "Bearer a1");
    pass(MINUTE).await;
    assert_eq!(stored(&store).await.refresh_token().unwrap().expose(), "r9");
    tokens.refresh_now().await.unwrap();
    assert_eq!(
        source.sent_refresh_tokens().last().unwrap().as_deref(),
        Some("r9")
    );
}

#[tokio::test(start_paused = true)]
async fn p24_repeated_refresh_token_keeps_its_age() {
    let (source, store, tokens) = cache_with_token().await;
    let before = stored(&store).await;
    pass(HOUR).await;
    source.then(unusable("r1", SystemTime::UNIX_EPOCH));
    tokens.refresh_now().await.unwrap_err();
    assert_eq!(stored(&store).await, before);
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_of_a_replay_is_saved() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(Error::response_lost("cut off: scripted")));
    source.then(unusable("r9", SystemTime::UNIX_EPOCH));
    tokens.refresh_now().await.unwrap_err();
    assert_eq!(stored(&store).await.refresh_token().unwrap().expose(), "r9");
    pass(MINUTE).await;
    tokens.refresh_now().await.unwrap();
    assert_eq!(
        source.sent_refresh_tokens().last().unwrap().as_deref(),
        Some("r9")
    );
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_for_a_revoked_grant_is_revoked() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(unusable("r9", SystemTime::UNIX_EPOCH));
    source.block();
    let refresh = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    tokens.revoke().await.unwrap();
    source.unblock();
    assert_eq!(
        refresh.await.unwrap().unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(source.revoked(), ["r1", "r9"]);
    assert!(store.stored().await.unwrap().tokens().is_none());
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_of_an_older_consent_does_not_replace_a_new_grant() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(unusable("r9", SystemTime::UNIX_EPOCH));
    source.block();
    let refresh = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    let new = token_set(50, DAY, ManualClock::new().wall());
    tokens.set_tokens(new.clone()).await.unwrap();
    source.unblock();
    let _ = refresh.await.unwrap();
    pass(MINUTE).await;
    assert_eq!(stored(&store).await, new);
}

#[tokio::test(start_paused = true)]
async fn p24_invalidated_access_token_stays_invalid() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(unusable("r9", SystemTime::UNIX_EPOCH));
    tokens.invalidate();
    tokens.token().await.unwrap_err();
    assert_eq!(stored(&store).await.refresh_token().unwrap().expose(), "r9");
    pass(2 * SECOND).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
}
