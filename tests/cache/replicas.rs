//! Several caches that share a store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenState},
    clock::Clock,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    telemetry::GrantListener,
    token::{Generation, Grant, GrantState, ReauthorizationReason, TenantId, TokenSet},
};

use crate::support::{DAY, MINUTE, ManualClock, Scripted, Source, Store, header, pass, token_set};

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

/// The grant that another replica saves, with generation 2.
fn newer(state: impl FnOnce(TokenSet) -> GrantState) -> Grant {
    let tokens = token_set(99, Duration::from_secs(86_400), ManualClock::new().wall());
    Grant::new(Generation::FIRST.next(), state(tokens))
}

fn fresh_set(number: u64) -> TokenSet {
    token_set(
        number,
        Duration::from_secs(86_400),
        ManualClock::new().wall(),
    )
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

/// Less than the second in which a replica adopts what another one has saved.
async fn soon() {
    tokio::time::sleep(Duration::from_millis(900)).await;
}

#[tokio::test(start_paused = true)]
async fn p06_consent_at_another_replica_replaces_an_end_within_a_second() {
    let pair = pair().await;
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    pair.one.refresh_now().await.unwrap_err();
    soon().await;
    let is_ended = |tokens: &TokenCache| {
        matches!(
            tokens.status().state,
            TokenState::ReauthorizationRequired { .. }
        )
    };
    assert!(is_ended(&pair.two), "the end is adopted too");
    pair.one.set_tokens(fresh_set(50)).await.unwrap();
    soon().await;
    assert!(!is_ended(&pair.two));
    assert_eq!(header(&pair.two).await, "Bearer a50");
}

/// A replica whose grant has ended, and another one that installs a new consent. Its access token
/// has expired when the first one adopts the consent.
async fn expired_consent_is_refreshed(ended: &TokenCache, other: &TokenCache, source: &Source) {
    source.then(Scripted::Fail(Error::invalid_grant()));
    ended.refresh_now().await.unwrap_err();
    ended.invalidate();
    let error = ended.token().await.unwrap_err();
    assert!(error.is_consent_required());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let long_ago = ManualClock::new().wall() - Duration::from_secs(3_600);
    let expired = token_set(50, Duration::from_secs(60), long_ago);
    other.set_tokens(expired).await.unwrap();
    soon().await;
    let before = source.refreshes();
    header(ended).await;
    assert_eq!(source.refreshes(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn p12_announced_consent_with_an_expired_token_is_refreshed() {
    let pair = pair().await;
    expired_consent_is_refreshed(&pair.one, &pair.two, &pair.source).await;
}

#[tokio::test(start_paused = true)]
async fn p12_consent_with_an_expired_token_that_a_request_finds_is_refreshed() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let replica = || source.cache().store(Silent(store.clone())).build().unwrap();
    let (one, two) = (replica(), replica());
    one.token().await.unwrap();
    expired_consent_is_refreshed(&one, &two, &source).await;
}

#[tokio::test(start_paused = true)]
async fn p06_saves_of_this_cache_are_not_loaded_again() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    soon().await;
    let before = store.loads();
    tokens.refresh_now().await.unwrap();
    let of_refresh = store.loads() - before;
    soon().await;
    assert_eq!(store.loads() - before, of_refresh);
}

#[tokio::test(start_paused = true)]
async fn p06_failed_load_of_an_announced_grant_is_repeated() {
    let pair = pair().await;
    pair.store.fail_loads(true);
    let tenant = TenantId::new("default").unwrap();
    let grant = newer(GrantState::Active);
    let saved = pair.store.save(&tenant, Some(Generation::FIRST), &grant);
    saved.await.unwrap();
    soon().await;
    assert_eq!(header(&pair.one).await, "Bearer a1");
    pair.store.fail_loads(false);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(header(&pair.one).await, "Bearer a99");
}

/// A store of a program, which announces nothing.
pub(crate) struct Silent(pub(crate) Store);

impl TokenStore for Silent {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.0.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.0.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.0.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.0.release(tenant, owner).await
    }
}

#[tokio::test(start_paused = true)]
async fn p06_grant_in_use_is_loaded_every_30_seconds_if_nothing_is_announced() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let replica = || source.cache().store(Silent(store.clone())).build().unwrap();
    let (one, two) = (replica(), replica());
    one.token().await.unwrap();
    two.token().await.unwrap();
    one.refresh_now().await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(header(&two).await, "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p12_announced_end_is_adopted_after_any_outage_of_the_store() {
    for outage in [1, 5, 10, 60, 3_600] {
        let source = Source::new(&ManualClock::new());
        let store = Store::default();
        let one = source.cache().store(store.memory.clone()).build().unwrap();
        let two = source.cache().store(store.clone()).build().unwrap();
        header(&one).await;
        header(&two).await;
        store.fail_loads(true);
        one.revoke().await.unwrap();
        pass(Duration::from_secs(outage)).await;
        store.fail_loads(false);
        pass(Duration::from_secs(40)).await;
        let error = two.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Revoked, "{outage} s");
    }
}

#[tokio::test(start_paused = true)]
async fn p06_loaded_status_is_that_of_the_store() {
    let pair = pair().await;
    pair.two.revoke().await.unwrap();
    let status = pair.one.load_status().await.unwrap();
    assert!(matches!(status.state, TokenState::Revoked { .. }));
    pair.store.fail_loads(true);
    let error = pair.one.load_status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[tokio::test(start_paused = true)]
async fn p06_newer_grant_in_the_store_is_adopted_without_a_refresh() {
    let pair = pair().await;
    assert_eq!(
        pair.source.refreshes(),
        1,
        "the second replica adopted the first one's token"
    );
    pair.one.refresh_now().await.unwrap();
    soon().await;
    assert_eq!(header(&pair.two).await, "Bearer a2");
    assert_eq!(pair.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p12_loser_of_a_race_adopts_the_winners_tokens() {
    let pair = pair().await;
    interfere(&pair.store, newer(GrantState::Active));
    let token = pair.one.refresh_now().await.unwrap();
    assert_eq!(token.header_value(), "Bearer a99");
    assert_eq!(header(&pair.one).await, "Bearer a99");
    assert_eq!(
        pair.store.stored().await,
        Some(newer(GrantState::Active)),
        "and does not overwrite them"
    );
}

#[tokio::test(start_paused = true)]
async fn p12_loser_of_a_race_does_not_end_the_winners_grant() {
    let pair = pair().await;
    // The provider rejects the second use of a refresh token. The winner has saved by then.
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
async fn p12_winner_that_saves_between_the_losers_load_and_save_keeps_its_grant() {
    let pair = pair().await;
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    interfere(&pair.store, newer(GrantState::Active));
    let token = pair.one.refresh_now().await.unwrap();
    assert_eq!(token.header_value(), "Bearer a99");
    assert_eq!(pair.store.stored().await, Some(newer(GrantState::Active)));
}

#[tokio::test(start_paused = true)]
async fn p12_new_tokens_overwrite_an_end_that_a_loser_saved() {
    let pair = pair().await;
    // It was rejected for the refresh token that is being used here.
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
async fn p06_revocation_by_another_replica_is_adopted_within_a_second() {
    let pair = pair().await;
    pair.two.revoke().await.unwrap();
    soon().await;
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
async fn p12_end_of_other_tokens_is_respected() {
    let pair = pair().await;
    let ended = newer(ended);
    interfere(&pair.store, ended.clone());
    pair.one.refresh_now().await.unwrap();
    assert_eq!(
        pair.store.stored().await,
        Some(ended),
        "the end of the grant that was saved in between"
    );
}

#[tokio::test(start_paused = true)]
async fn p11_minimum_interval_passes_before_the_store_is_loaded() {
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
async fn p06_backoff_does_not_hide_the_save_of_another_replica() {
    let pair = pair().await;
    tokio::time::sleep(Duration::from_secs(2 * 86_400)).await;
    // The token has expired, and refreshes have failed many times.
    for _ in 0..12 {
        pair.source
            .then(Scripted::Fail(crate::support::unavailable()));
    }
    let expired = pair.source.issue(Duration::ZERO);
    pair.one.set_tokens(expired).await.unwrap();
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

/// The state that a replica saves if its refresh token was rejected.
fn ended(tokens: TokenSet) -> GrantState {
    GrantState::ReauthorizationRequired {
        since: tokens.issued_at(),
        tokens,
        reason: ReauthorizationReason::InvalidGrant,
    }
}

#[tokio::test(start_paused = true)]
async fn p12_grant_is_not_ended_without_another_load() {
    let pair = pair().await;
    pair.source.then(Scripted::Fail(Error::invalid_grant()));
    pair.source.block();
    let refreshing = tokio::spawn({
        let one = pair.one.clone();
        async move { one.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    pair.store.fail_loads(true);
    pair.source.unblock();
    assert_eq!(
        refreshing.await.unwrap().unwrap_err().kind(),
        ErrorKind::Store
    );
    assert!(matches!(
        pair.store.stored().await.unwrap().state,
        GrantState::Active(_)
    ));
    assert_eq!(header(&pair.one).await, "Bearer a1");
}

#[derive(Clone, Default)]
struct Ends(Arc<AtomicUsize>);

impl GrantListener for Ends {
    fn reauthorization_required(&self, _: &TenantId, _: ReauthorizationReason) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn p15_end_by_another_process_is_reported_once() {
    let clock = ManualClock::new();
    let (source, store, ends) = (Source::new(&clock), Store::default(), Ends::default());
    let one = source.cache().store(store.clone()).build().unwrap();
    let other = source.cache().store(store).listener(ends.clone()).build();
    let other = other.unwrap();
    one.set_tokens(source.issue(DAY)).await.unwrap();
    header(&other).await;
    source.then(Scripted::Fail(Error::invalid_grant()));
    one.refresh_now().await.unwrap_err();
    for _ in 0..3 {
        other.refresh_now().await.unwrap_err();
        pass(MINUTE).await;
    }
    assert_eq!(ends.0.load(Ordering::SeqCst), 1);
}
