//! What a program does to a grant on purpose.

use std::time::Duration;

use tower_oauth2_client::{
    ErrorKind,
    cache::TokenCache,
    token::{Generation, GrantState},
};

use crate::support::{DAY, ManualClock, Source, Store, cache_with_token};

async fn is_revoked(store: &Store) -> bool {
    matches!(
        store.stored().await.unwrap().state,
        GrantState::Revoked { .. }
    )
}

/// An exchange that has got as far as the provider.
async fn under_way(
    source: &Source,
    tokens: &TokenCache,
) -> tokio::task::JoinHandle<
    Result<tower_oauth2_client::cache::BearerToken, tower_oauth2_client::Error>,
> {
    source.block();
    let tokens = tokens.clone();
    let asking = tokio::spawn(async move { tokens.refresh_now().await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    asking
}

#[tokio::test(start_paused = true)]
async fn configuration_fails_when_it_is_built() {
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
async fn revoke_ends_use_tells_the_provider_and_is_durable() {
    let (source, store, tokens) = cache_with_token().await;
    tokens.revoke().await.unwrap();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.revoked(), ["r1"]);
    assert!(is_revoked(&store).await);
    assert_eq!(
        store.stored().await.unwrap().tokens(),
        None,
        "the tokens are gone"
    );
    let again = source.cache().store(store).build().unwrap();
    assert_eq!(again.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn revoke_ends_use_even_if_the_provider_cannot_be_told() {
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
async fn revoke_holds_here_even_if_the_store_cannot_be_written() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    assert_eq!(tokens.revoke().await.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(
        source.revoked(),
        ["r1"],
        "the provider is told all the same"
    );
    tokio::time::sleep(2 * DAY).await;
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn revoke_wins_over_an_exchange_under_way_and_is_durable() {
    let (source, store, tokens) = cache_with_token().await;
    let asking = under_way(&source, &tokens).await;
    tokens.revoke().await.unwrap();
    source.unblock();
    assert_eq!(
        asking.await.unwrap().unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(is_revoked(&store).await);
    assert_eq!(
        source.revoked(),
        ["r1", "r2"],
        "also what came in after the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_revoke_goes_on() {
    let (source, store, tokens) = cache_with_token().await;
    let mut revoking = tokio_test::task::spawn(tokens.revoke());
    assert!(revoking.poll().is_pending());
    drop(revoking);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(is_revoked(&store).await);
    assert_eq!(source.revoked(), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn replace_begins_anew_after_an_end() {
    let (source, store, tokens) = cache_with_token().await;
    tokens.revoke().await.unwrap();
    let consented = source.issue(DAY);
    tokens.set_tokens(consented).await.unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a2");
    assert!(!is_revoked(&store).await);
}

#[tokio::test(start_paused = true)]
async fn replace_outlives_a_late_answer_to_the_old_grant() {
    let (source, store, tokens) = cache_with_token().await;
    let asking = under_way(&source, &tokens).await;
    let consented = source.issue(DAY);
    let name = consented.access_token().header_value().clone();
    tokens.set_tokens(consented.clone()).await.unwrap();
    source.unblock();
    assert_eq!(asking.await.unwrap().unwrap().header_value(), &name);
    assert_eq!(tokens.token().await.unwrap().header_value(), &name);
    assert_eq!(store.stored().await.unwrap().tokens(), Some(&consented));
}

#[tokio::test(start_paused = true)]
async fn replace_that_cannot_be_stored_is_told_and_changes_nothing() {
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
async fn revoke_that_cannot_be_stored_holds_against_a_token_that_could_not_be_either() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    store.fail_saves(true);
    let tokens = source.cache().store(store.clone()).build().unwrap();
    assert_eq!(tokens.token().await.unwrap().header_value(), "Bearer a1");
    tokens.revoke().await.unwrap_err();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn revoke_that_cannot_be_stored_holds_against_an_exchange_under_way() {
    let (source, store, tokens) = cache_with_token().await;
    let asking = under_way(&source, &tokens).await;
    store.fail_saves(true);
    tokens.revoke().await.unwrap_err();
    store.fail_saves(false);
    source.unblock();
    assert_eq!(
        asking.await.unwrap().unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert!(
        is_revoked(&store).await,
        "what came in late is not left in the store"
    );
    assert_eq!(source.revoked(), ["r1", "r2"]);
}

#[tokio::test(start_paused = true)]
async fn revoke_that_cannot_be_stored_holds_against_what_another_replica_stores() {
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
    // Until it can be, or until there is a new consent.
    store.fail_saves(false);
    here.revoke().await.unwrap();
    assert!(is_revoked(&store).await);
    here.set_tokens(source.issue(DAY)).await.unwrap();
    assert!(here.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn revoke_may_be_called_again_until_the_provider_has_heard_of_it() {
    let (source, _, tokens) = cache_with_token().await;
    source.fail_revocations(true);
    tokens.revoke().await.unwrap_err();
    tokens.revoke().await.unwrap_err();
    source.fail_revocations(false);
    tokens.revoke().await.unwrap();
    assert_eq!(source.revoked(), ["r1", "r1", "r1"]);
    tokens.revoke().await.unwrap();
    assert_eq!(source.revoked().len(), 3, "it has");
}

#[tokio::test(start_paused = true)]
async fn replace_is_used_though_an_end_was_found_out_meanwhile() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(crate::support::Scripted::Fail(
        tower_oauth2_client::Error::invalid_grant(),
    ));
    let asking = under_way(&source, &tokens).await;
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
    let _ = asking.await;
    assert_eq!(tokens.token().await.unwrap().header_value(), &name);
}

#[tokio::test(start_paused = true)]
async fn replace_forgets_the_failures_of_the_old_grant() {
    let (source, _, tokens) = cache_with_token().await;
    for _ in 0..10 {
        source.then(crate::support::Scripted::Fail(crate::support::unavailable()));
        tokens.refresh_now().await.unwrap_err();
    }
    // Dead on arrival, so that the next one is due at once.
    tokens
        .set_tokens(source.issue(Duration::ZERO))
        .await
        .unwrap();
    assert!(tokens.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_exchanges_and_their_saves() {
    let (source, store, tokens) = cache_with_token().await;
    let asking = under_way(&source, &tokens).await;
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
        "stored before it ended"
    );
    asking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_the_held_token_serves_and_nothing_new_begins() {
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
    // Its use ends all the same.
    assert_eq!(
        tokens.revoke().await.unwrap_err().kind(),
        ErrorKind::Interrupted
    );
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_whose_deadline_passes_says_so_and_cuts_nothing_short() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let asking = under_way(&source, &tokens).await;
    source.unblock();
    let error = tokens.shutdown(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    store.fail_saves(false);
    tokens.shutdown(Duration::from_secs(60)).await.unwrap();
    assert_eq!(
        store.stored().await.unwrap().generation,
        Generation::from_u64(2)
    );
    let _ = asking.await;
}
