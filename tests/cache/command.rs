//! Commands: `set_tokens`, `revoke` and `shutdown`.

use std::time::Duration;

use tower_oauth2_client::{
    ErrorKind,
    cache::TokenCache,
    token::{Generation, GrantState},
};

use crate::support::{DAY, ManualClock, SECOND, Source, Store, cache_with_token, header, pass};

async fn is_revoked(store: &Store) -> bool {
    matches!(
        store.stored().await.unwrap().state,
        GrantState::Revoked { .. }
    )
}

/// Starts a refresh, and waits until it has reached the provider.
async fn refresh_in_flight(
    source: &Source,
    tokens: &TokenCache,
) -> tokio::task::JoinHandle<
    Result<tower_oauth2_client::cache::BearerToken, tower_oauth2_client::Error>,
> {
    source.block();
    let tokens = tokens.clone();
    let refreshing = tokio::spawn(async move { tokens.refresh_now().await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    refreshing
}

#[tokio::test(start_paused = true)]
async fn invalid_settings_fail_in_build_by_name() {
    let source = Source::new(&ManualClock::new());
    for (builder, what) in [
        (TokenCache::builder(source.clone()), "origins"),
        (source.cache().origin("http://api.example.com"), "origin"),
        (source.cache().tenant(""), "tenant"),
        (
            source.cache().lease_duration(Duration::ZERO),
            "lease duration",
        ),
        (
            source.cache().refresh_token_lifetime(Duration::ZERO),
            "refresh token lifetime",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with(what), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn revoke_ends_use_revokes_at_the_provider_and_is_durable() {
    let (source, store, tokens) = cache_with_token().await;
    tokens.revoke().await.unwrap();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.revoked(), ["r1"]);
    assert!(is_revoked(&store).await);
    assert_eq!(
        store.stored().await.unwrap().tokens(),
        None,
        "the tokens are removed"
    );
    let again = source.cache().store(store).build().unwrap();
    assert_eq!(again.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn revoke_ends_use_even_if_the_provider_is_unavailable() {
    let (source, store, tokens) = cache_with_token().await;
    source.fail_revocations(true);
    assert_eq!(
        tokens.revoke().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(tokens.token().await.is_err());
    assert!(is_revoked(&store).await);
}

#[tokio::test(start_paused = true)]
async fn revoke_holds_locally_even_if_it_cannot_be_saved() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    assert_eq!(tokens.revoke().await.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(
        source.revoked(),
        ["r1"],
        "the provider is notified nevertheless"
    );
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn revoke_wins_over_a_refresh_in_flight_and_is_durable() {
    let (source, store, tokens) = cache_with_token().await;
    let refreshing = refresh_in_flight(&source, &tokens).await;
    tokens.revoke().await.unwrap();
    source.unblock();
    assert_eq!(
        refreshing.await.unwrap().unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(is_revoked(&store).await);
    assert_eq!(
        source.revoked(),
        ["r1", "r2"],
        "also the tokens that arrived after the end"
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_revoke_runs_to_its_end() {
    let (source, store, tokens) = cache_with_token().await;
    let mut revoking = tokio_test::task::spawn(tokens.revoke());
    assert!(revoking.poll().is_pending());
    drop(revoking);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(is_revoked(&store).await);
    assert_eq!(source.revoked(), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn set_tokens_installs_a_grant_after_an_end() {
    let (source, store, tokens) = cache_with_token().await;
    tokens.revoke().await.unwrap();
    let consented = source.issue(DAY);
    tokens.set_tokens(consented).await.unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
    assert!(!is_revoked(&store).await);
}

#[tokio::test(start_paused = true)]
async fn set_tokens_wins_over_a_late_response_to_the_old_grant() {
    let (source, store, tokens) = cache_with_token().await;
    let refreshing = refresh_in_flight(&source, &tokens).await;
    let consented = source.issue(DAY);
    let name = consented.access_token().header_value().clone();
    tokens.set_tokens(consented.clone()).await.unwrap();
    source.unblock();
    assert_eq!(refreshing.await.unwrap().unwrap().header_value(), &name);
    assert_eq!(tokens.token().await.unwrap().header_value(), &name);
    assert_eq!(store.stored().await.unwrap().tokens(), Some(&consented));
}

#[tokio::test(start_paused = true)]
async fn p15_revoke_ends_a_consent_whose_tokens_are_not_saved_yet() {
    let (source, store, tokens) = cache_with_token().await;
    let consented = source.issue(DAY);
    let refresh_token = consented.refresh_token().unwrap().expose().to_owned();
    let (set, revoked) = tokio::join!(tokens.set_tokens(consented), tokens.revoke());
    revoked.unwrap();
    assert_eq!(set.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(is_revoked(&store).await);
    assert!(source.revoked().contains(&refresh_token));
}

#[tokio::test(start_paused = true)]
async fn p15_unconfirmed_revocation_of_an_unsaved_consent_can_be_repeated() {
    let (source, _, tokens) = cache_with_token().await;
    let consented = source.issue(DAY);
    let refresh_token = consented.refresh_token().unwrap().expose().to_owned();
    source.fail_revocations(true);
    let (set, revoked) = tokio::join!(tokens.set_tokens(consented), tokens.revoke());
    assert_eq!(set.unwrap_err().kind(), ErrorKind::Revoked);
    revoked.unwrap_err();
    source.fail_revocations(false);
    let before = source.revoked().len();
    tokens.revoke().await.unwrap();
    let repeated = source.revoked().split_off(before);
    assert!(!repeated.is_empty(), "{refresh_token}");
}

#[tokio::test(start_paused = true)]
async fn p15_last_of_two_consents_at_once_is_used_and_stored() {
    let (source, _, tokens) = cache_with_token().await;
    let (first, second) = (source.issue(DAY), source.issue(DAY));
    let expected = second.access_token().header_value().clone();
    let (one, other) = tokio::join!(tokens.set_tokens(first), tokens.set_tokens(second));
    one.unwrap();
    other.unwrap();
    assert_eq!(*tokens.token().await.unwrap().header_value(), expected);
}

#[tokio::test(start_paused = true)]
async fn set_tokens_that_cannot_be_saved_fails_and_changes_nothing() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let consented = source.issue(DAY);
    assert_eq!(
        tokens.set_tokens(consented).await.unwrap_err().kind(),
        ErrorKind::Store
    );
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a1");
    assert_eq!(store.stored().await.unwrap().generation, Generation::FIRST);
}

#[tokio::test(start_paused = true)]
async fn unsaved_revoke_holds_against_an_unsaved_token() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    store.fail_saves(true);
    let tokens = source.cache().store(store.clone()).build().unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a1");
    tokens.revoke().await.unwrap_err();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn unsaved_revoke_holds_against_a_refresh_in_flight() {
    let (source, store, tokens) = cache_with_token().await;
    let refreshing = refresh_in_flight(&source, &tokens).await;
    store.fail_saves(true);
    tokens.revoke().await.unwrap_err();
    store.fail_saves(false);
    source.unblock();
    assert_eq!(
        refreshing.await.unwrap().unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(
        is_revoked(&store).await,
        "late tokens do not remain in the store"
    );
    assert_eq!(source.revoked(), ["r1", "r2"]);
}

#[tokio::test(start_paused = true)]
async fn p12_unsaved_revoke_does_not_end_a_later_consent() {
    for is_installing_first in [false, true] {
        let (source, store, tokens) = cache_with_token().await;
        let refreshing = refresh_in_flight(&source, &tokens).await;
        store.fail_saves(true);
        tokens.revoke().await.unwrap_err();
        store.fail_saves(false);
        let consented = source.issue(DAY);
        let installing = {
            let (tokens, consented) = (tokens.clone(), consented.clone());
            async move { tokens.set_tokens(consented).await.unwrap() }
        };
        // The end is saved after the late tokens of the refresh. The customer consents before, or
        // meanwhile.
        store.slow_next_load(3 * SECOND);
        let installing = if is_installing_first {
            let installing = tokio::spawn(installing);
            pass(SECOND).await;
            source.unblock();
            installing
        } else {
            source.unblock();
            pass(SECOND).await;
            tokio::spawn(installing)
        };
        installing.await.unwrap();
        pass(10 * SECOND).await;
        let _ = refreshing.await.unwrap();
        assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
        assert_eq!(store.stored().await.unwrap().tokens(), Some(&consented));
    }
}

#[tokio::test(start_paused = true)]
async fn unsaved_revoke_holds_against_the_save_of_another_replica() {
    let (source, store, here) = cache_with_token().await;
    let there = source.cache().store(store.clone()).build().unwrap();
    there.refresh_now().await.unwrap();
    store.fail_saves(true);
    here.revoke().await.unwrap_err();
    assert_eq!(here.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(
        here.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(source.refreshes(), 2);
    // Until it can be saved, or until there is a new consent.
    store.fail_saves(false);
    here.revoke().await.unwrap();
    assert!(is_revoked(&store).await);
    here.set_tokens(source.issue(DAY)).await.unwrap();
    assert!(here.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn revoke_can_be_repeated_until_the_provider_confirms_it() {
    let (source, _, tokens) = cache_with_token().await;
    source.fail_revocations(true);
    tokens.revoke().await.unwrap_err();
    tokens.revoke().await.unwrap_err();
    source.fail_revocations(false);
    tokens.revoke().await.unwrap();
    assert_eq!(source.revoked(), ["r1", "r1", "r1"]);
    tokens.revoke().await.unwrap();
    assert_eq!(source.revoked().len(), 3, "it is confirmed");
}

#[tokio::test(start_paused = true)]
async fn set_tokens_wins_over_an_end_that_is_detected_meanwhile() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(crate::support::Scripted::Fail(
        tower_oauth2_client::Error::invalid_grant(),
    ));
    let refreshing = refresh_in_flight(&source, &tokens).await;
    let (failing, gate) = (store.clone(), source.clone());
    store.before_next_save(move || async move {
        failing.fail_saves(true);
        gate.unblock();
        tokio::time::sleep(Duration::from_secs(1)).await;
        failing.fail_saves(false);
    });
    let consented = source.issue(DAY);
    let name = consented.access_token().header_value().clone();
    tokens.set_tokens(consented).await.unwrap();
    let _ = refreshing.await;
    assert_eq!(tokens.token().await.unwrap().header_value(), &name);
}

#[tokio::test(start_paused = true)]
async fn set_tokens_ends_the_backoff_of_the_old_grant() {
    let (source, _, tokens) = cache_with_token().await;
    for _ in 0..10 {
        source.then(crate::support::Scripted::Fail(crate::support::unavailable()));
        tokens.refresh_now().await.unwrap_err();
    }
    // Expired on arrival, so that the next refresh is due at once.
    tokens
        .set_tokens(source.issue(Duration::ZERO))
        .await
        .unwrap();
    assert!(tokens.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_refreshes_and_their_saves() {
    let (source, store, tokens) = cache_with_token().await;
    let refreshing = refresh_in_flight(&source, &tokens).await;
    let ending = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.shutdown(Duration::from_secs(10)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!ending.is_finished());
    source.unblock();
    ending.await.unwrap().unwrap();
    assert_eq!(
        store.stored().await.unwrap().generation,
        Generation::from_u64(2),
        "saved before the shutdown ended"
    );
    refreshing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_the_held_token_serves_and_nothing_starts() {
    let (source, _, tokens) = cache_with_token().await;
    tokens.shutdown(Duration::ZERO).await.unwrap();
    assert!(tokens.token().await.is_ok());
    for error in [
        tokens.refresh_now().await.map(drop).unwrap_err(),
        tokens.set_tokens(source.issue(DAY)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(
        tokens.token().await.unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    assert_eq!(source.refreshes(), 1);
    tokens.shutdown(Duration::ZERO).await.unwrap();
    // Requests get no token even then.
    assert_eq!(
        tokens.revoke().await.unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn shutdown_past_its_deadline_fails_and_interrupts_nothing() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let refreshing = refresh_in_flight(&source, &tokens).await;
    source.unblock();
    let error = tokens.shutdown(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    store.fail_saves(false);
    tokens.shutdown(Duration::from_secs(60)).await.unwrap();
    assert_eq!(
        store.stored().await.unwrap().generation,
        Generation::from_u64(2)
    );
    let _ = refreshing.await;
}

#[tokio::test(start_paused = true)]
async fn p12_dropped_revocation_does_not_end_a_later_consent() {
    let (source, store, tokens) = cache_with_token().await;
    store.before_next_save(|| pass(5 * SECOND));
    let dropped = tokio::time::timeout(SECOND, tokens.revoke()).await;
    assert!(dropped.is_err());
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(10 * SECOND).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(source.revoked(), ["r1"], "only the old grant");
}

#[test]
fn revoke_ends_use_at_its_first_poll() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (_, _, tokens) = runtime.block_on(cache_with_token());
    // Outside of the runtime, the first poll can do no more.
    let _ = tokio_test::task::spawn(tokens.revoke()).poll();
    let token = tokio_test::task::spawn(tokens.token()).poll();
    assert!(!matches!(token, std::task::Poll::Ready(Ok(_))));
}
