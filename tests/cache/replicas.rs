//! Several caches over one store.

use std::time::Duration;

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenCache,
    store::TokenStore,
    token::{Generation, Grant, GrantState, TenantId},
};

use crate::support::{ManualClock, Scripted, Source, Store, header, token_set};

struct Pair {
    source: Source,
    store: Store,
    one: TokenCache,
    two: TokenCache,
}

/// Two replicas that hold the same token.
async fn pair() -> Pair {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let replica = || source.cache().store(store.clone()).build().unwrap();
    let (one, two) = (replica(), replica());
    one.token().await.unwrap();
    two.token().await.unwrap();
    Pair {
        source,
        store,
        one,
        two,
    }
}

/// What another replica stores, generation 2.
fn newer(state: impl FnOnce(tower_oauth2_client::token::TokenSet) -> GrantState) -> Grant {
    use tower_oauth2_client::clock::Clock;
    let tokens = token_set(99, Duration::from_secs(86_400), ManualClock::new().wall());
    Grant {
        generation: Generation::FIRST.next(),
        state: state(tokens),
    }
}

fn interfere(store: &Store, grant: Grant) {
    let memory = store.memory.clone();
    store.before_next_save(move || async move {
        let tenant = TenantId::new("default").unwrap();
        memory
            .save(&tenant, Some(Generation::FIRST), &grant)
            .await
            .unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn p06_a_newer_grant_in_the_store_is_adopted_without_an_exchange() {
    let pair = pair().await;
    assert_eq!(
        pair.source.refreshes(),
        1,
        "the second replica found the first one's"
    );
    pair.one.refresh_now().await.unwrap();
    assert_eq!(header(&pair.two).await, "Bearer a1");
    pair.two.refresh_now().await.unwrap();
    assert_eq!(header(&pair.two).await, "Bearer a2");
    assert_eq!(pair.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p12_the_loser_of_a_race_adopts_the_winners_tokens() {
    let pair = pair().await;
    interfere(&pair.store, newer(GrantState::Active));
    let token = pair.one.refresh_now().await.unwrap();
    assert_eq!(token.header_value(), "Bearer a99");
    assert_eq!(header(&pair.one).await, "Bearer a99");
    assert_eq!(
        pair.store.stored().await,
        Some(newer(GrantState::Active)),
        "and leaves them alone"
    );
}

#[tokio::test(start_paused = true)]
async fn p12_the_loser_of_a_race_does_not_end_the_winners_grant() {
    let pair = pair().await;
    // The provider refuses the second use of a refresh token; the winner has saved by then.
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    let memory = pair.store.memory.clone();
    let loser = tokio::spawn({
        let tokens = pair.one.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let tenant = TenantId::new("default").unwrap();
    memory
        .save(&tenant, Some(Generation::FIRST), &newer(GrantState::Active))
        .await
        .unwrap();
    assert_eq!(loser.await.unwrap().unwrap().header_value(), "Bearer a99");
    assert_eq!(pair.store.stored().await, Some(newer(GrantState::Active)));
}

#[tokio::test(start_paused = true)]
async fn p12_nor_if_the_winner_saves_between_its_second_look_and_its_save() {
    let pair = pair().await;
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    interfere(&pair.store, newer(GrantState::Active));
    let token = pair.one.refresh_now().await.unwrap();
    assert_eq!(token.header_value(), "Bearer a99");
    assert_eq!(pair.store.stored().await, Some(newer(GrantState::Active)));
}

#[tokio::test(start_paused = true)]
async fn p12_new_tokens_outdo_an_end_that_a_loser_has_stored() {
    let pair = pair().await;
    // It was refused what is being exchanged here.
    let same = pair.store.stored().await.unwrap().tokens().unwrap().clone();
    interfere(&pair.store, newer(|_| ended(same)));
    let token = pair.one.refresh_now().await.unwrap();
    assert_eq!(token.header_value(), "Bearer a2");
    let held = pair.store.stored().await.unwrap();
    assert_eq!(held.generation, Generation::from_u64(3));
    assert!(matches!(held.state, GrantState::Active(_)));
    assert_eq!(header(&pair.one).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_by_another_replica_is_found_at_the_next_exchange() {
    let pair = pair().await;
    pair.two.revoke().await.unwrap();
    assert_eq!(
        header(&pair.one).await,
        "Bearer a1",
        "until then it cannot know"
    );
    assert_eq!(
        pair.one.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(
        pair.one.token().await.unwrap_err().kind(),
        ErrorKind::Revoked
    );
    assert_eq!(pair.source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p12_an_end_of_other_tokens_is_respected() {
    let pair = pair().await;
    let ended = newer(ended);
    interfere(&pair.store, ended.clone());
    pair.one.refresh_now().await.unwrap();
    assert_eq!(
        pair.store.stored().await,
        Some(ended),
        "that of a grant that came in between"
    );
}

#[tokio::test(start_paused = true)]
async fn p11_the_floor_is_waited_out_before_the_store_is_read() {
    let pair = pair().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = tokio::spawn({
        let one = pair.one.clone();
        async move { one.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    pair.two.refresh_now().await.unwrap();
    waiting.await.unwrap().unwrap();
    let spent = pair.source.sent_refresh_tokens().into_iter().flatten();
    assert_eq!(spent.filter(|token| token == "r1").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn p06_a_pause_after_failures_does_not_hide_what_another_replica_has_stored() {
    let pair = pair().await;
    tokio::time::sleep(Duration::from_secs(2 * 86_400)).await;
    // Dead, and many failures old.
    for _ in 0..12 {
        pair.source
            .then(Scripted::Fail(crate::support::unavailable()));
    }
    let dead = pair.source.issue(Duration::ZERO);
    pair.one.set_tokens(dead).await.unwrap();
    for _ in 0..12 {
        pair.one.refresh_now().await.unwrap_err();
    }
    assert!(pair.one.token().await.is_err());
    pair.two.refresh_now().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let newest = pair.two.token().await.unwrap();
    assert_eq!(
        pair.one.token().await.unwrap().header_value(),
        newest.header_value()
    );
}

/// As a replica stores it whose refresh token was refused.
fn ended(tokens: tower_oauth2_client::token::TokenSet) -> GrantState {
    GrantState::ReauthorizationRequired {
        since: tokens.issued_at(),
        tokens,
        reason: tower_oauth2_client::token::ReauthorizationReason::InvalidGrant,
    }
}

#[tokio::test(start_paused = true)]
async fn p12_without_a_second_look_nobody_is_declared_dead() {
    let pair = pair().await;
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    pair.source.block();
    let asking = tokio::spawn({
        let one = pair.one.clone();
        async move { one.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    pair.store.fail_loads(true);
    pair.source.unblock();
    assert_eq!(asking.await.unwrap().unwrap_err().kind(), ErrorKind::Store);
    assert!(matches!(
        pair.store.stored().await.unwrap().state,
        GrantState::Active(_)
    ));
    assert_eq!(header(&pair.one).await, "Bearer a1");
}
