//! Consents that bring no refresh token.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::TokenCache,
    store::{LeaseOwner, TokenStore},
    telemetry::GrantListener,
    token::{ConsentDecision, GrantState, ReauthorizationReason, RefreshToken, TenantId, TokenSet},
};

use crate::support::{DAY, HOUR, ManualClock, SECOND, Scripted, Source, Store, header, pass};

/// The calls of the listener.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<String>>>);

impl GrantListener for Calls {
    fn refresh_token_missing(&self, tenant: &TenantId, decision: ConsentDecision) {
        let call = format!("{tenant}: {}", decision.as_str());
        self.0.lock().unwrap().push(call);
    }

    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        self.0.lock().unwrap().push(reason.as_str().to_owned());
    }
}

impl Calls {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Scene {
    source: Source,
    store: Store,
    tokens: TokenCache,
    calls: Calls,
}

/// No grant yet.
fn scene() -> Scene {
    let source = Source::new(&ManualClock::new());
    let (store, calls) = (Store::default(), Calls::default());
    let cache = source.cache().store(store.clone()).listener(calls.clone());
    Scene {
        tokens: cache.build().unwrap(),
        source,
        store,
        calls,
    }
}

/// A grant with the token set 1.
async fn connected() -> Scene {
    let scene = scene();
    let first = scene.source.issue(DAY);
    scene.tokens.set_tokens(first).await.unwrap();
    scene
}

impl Scene {
    /// The token set of the next consent, which contains no refresh token.
    fn bare(&self) -> TokenSet {
        let whole = self.source.issue(HOUR);
        TokenSet::new(
            whole.access_token().clone(),
            whole.lifetime(),
            whole.issued_at(),
        )
    }

    async fn keep(&self) -> Result<(), Error> {
        let tokens = self.bare();
        let keep = ConsentDecision::KeepRefreshToken;
        self.tokens.set_tokens_with(tokens, keep).await
    }

    async fn stored_refresh_token(&self) -> Option<String> {
        let stored = self.store.stored().await.unwrap();
        let refresh_token = stored.tokens().and_then(TokenSet::refresh_token);
        refresh_token.map(RefreshToken::expose).map(str::to_owned)
    }

    fn last_sent(&self) -> String {
        let sent = self.source.sent_refresh_tokens();
        sent.last().unwrap().clone().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn p24_second_consent_without_a_refresh_token_leaves_the_grant_as_it_is() {
    let scene = connected().await;
    let before = scene.store.stored().await;
    let error = scene.tokens.set_tokens(scene.bare()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshTokenMissing);
    assert!(!error.is_transient() && !error.is_consent_required());
    assert_eq!(scene.calls.take(), ["default: reject"]);
    assert_eq!(scene.store.stored().await, before);
    assert!(scene.source.revoked().is_empty());
    assert_eq!(header(&scene.tokens).await, "Bearer a1");
    assert!(scene.tokens.status().has_refresh_token);
    // Long after the end of the new access token, the grant is refreshed.
    pass(2 * DAY).await;
    assert_ne!(header(&scene.tokens).await, "Bearer a1");
    assert_eq!(scene.source.sent_refresh_tokens()[0].as_deref(), Some("r1"));
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_is_kept_if_the_program_decides_so() {
    let scene = connected().await;
    scene.keep().await.unwrap();
    assert_eq!(scene.calls.take(), ["default: keep_refresh_token"]);
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
    assert!(scene.tokens.status().has_refresh_token);
    scene.tokens.refresh_now().await.unwrap();
    assert_eq!(scene.last_sent(), "r1");
    assert_eq!(scene.stored_refresh_token().await.unwrap(), "r3");
}

#[tokio::test(start_paused = true)]
async fn p15_replaced_refresh_token_is_reported() {
    let scene = connected().await;
    let replace = ConsentDecision::Replace;
    let replaced = scene.tokens.set_tokens_with(scene.bare(), replace);
    replaced.await.unwrap();
    assert_eq!(scene.calls.take(), ["default: replace"]);
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
    assert!(!scene.tokens.status().has_refresh_token);
    assert_eq!(scene.stored_refresh_token().await, None);
}

#[tokio::test(start_paused = true)]
async fn p15_consent_without_a_refresh_token_is_stored_if_there_is_none_to_lose() {
    for before in ["none", "bare", "ended", "revoked", "revoked, not saved"] {
        let scene = scene();
        let first = scene.source.issue(DAY);
        match before {
            "none" => {}
            "bare" => scene.tokens.set_tokens(scene.bare()).await.unwrap(),
            "ended" => {
                scene.tokens.set_tokens(first).await.unwrap();
                scene.source.then(Scripted::Fail(Error::invalid_grant()));
                scene.tokens.refresh_now().await.unwrap_err();
            }
            "revoked" => {
                scene.tokens.set_tokens(first).await.unwrap();
                scene.tokens.revoke().await.unwrap();
            }
            _ => {
                scene.tokens.set_tokens(first).await.unwrap();
                scene.store.fail_saves(true);
                scene.tokens.revoke().await.unwrap_err();
                scene.store.fail_saves(false);
            }
        }
        scene.calls.take();
        let tokens = scene.bare();
        let expected = tokens.access_token().header_value().clone();
        scene.tokens.set_tokens(tokens).await.unwrap();
        assert_eq!(scene.calls.take(), ["default: replace"], "{before}");
        let token = scene.tokens.token().await.unwrap();
        assert_eq!(*token.header_value(), expected, "{before}");
        assert!(!scene.tokens.status().has_refresh_token, "{before}");
    }
}

/// The refresh rotates, so the refresh token to keep is its result. Another account may also have
/// been connected meanwhile, so the program decides again.
#[tokio::test(start_paused = true)]
async fn p24_refresh_in_flight_ends_before_its_refresh_token_is_kept() {
    for is_of_another_replica in [false, true] {
        let scene = connected().await;
        let replica = scene.source.cache().store(scene.store.clone()).build();
        let refreshing = if is_of_another_replica {
            replica.unwrap()
        } else {
            scene.tokens.clone()
        };
        scene.source.block();
        let refresh = tokio::spawn(async move { refreshing.refresh_now().await });
        pass(SECOND).await;
        let release = async {
            pass(3 * SECOND).await;
            scene.source.unblock();
        };
        let (kept, ()) = tokio::join!(scene.keep(), release);
        assert_eq!(kept.unwrap_err().kind(), ErrorKind::Unavailable);
        refresh.await.unwrap().unwrap();
        scene.keep().await.unwrap();
        let kept = scene.stored_refresh_token().await.unwrap();
        assert_eq!(scene.last_sent(), "r1");
        assert_ne!(kept, "r1", "another replica: {is_of_another_replica}");
        scene.tokens.refresh_now().await.unwrap();
        assert_eq!(scene.last_sent(), kept);
    }
}

/// The default does not wait: it leaves the grant to the refresh.
#[tokio::test(start_paused = true)]
async fn p24_rejected_consent_does_not_disturb_a_refresh_in_flight() {
    let scene = connected().await;
    scene.source.block();
    let tokens = scene.tokens.clone();
    let refresh = tokio::spawn(async move { tokens.refresh_now().await });
    pass(SECOND).await;
    let error = scene.tokens.set_tokens(scene.bare()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshTokenMissing);
    scene.source.unblock();
    let refreshed = refresh.await.unwrap().unwrap();
    assert_eq!(refreshed.header_value(), "Bearer a3");
    assert_eq!(scene.stored_refresh_token().await.unwrap(), "r3");
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_that_stays_in_flight_leaves_the_grant_as_it_is() {
    let scene = connected().await;
    let replica = scene.source.cache().store(scene.store.clone()).build();
    let replica = replica.unwrap();
    scene.source.block();
    let refresh = tokio::spawn(async move { replica.refresh_now().await });
    pass(SECOND).await;
    let start = scene.source.age();
    let error = scene.keep().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let waited = scene.source.age() - start;
    assert!(waited < Duration::from_secs(25), "{waited:?}");
    assert_eq!(scene.stored_refresh_token().await.unwrap(), "r1");
    scene.source.unblock();
    let _ = refresh.await.unwrap();
    assert!(scene.calls.take().is_empty());
}

/// It is unknown whether the provider has rotated the refresh token that is kept.
#[tokio::test(start_paused = true)]
async fn p11_kept_refresh_token_of_a_lost_response_stays_uncertain() {
    let scene = connected().await;
    for _ in 0..2 {
        scene
            .source
            .then(Scripted::Fail(Error::response_lost("cut")));
    }
    scene.tokens.refresh_now().await.unwrap_err();
    scene.keep().await.unwrap();
    let stored = scene.store.stored().await.unwrap();
    assert!(matches!(stored.state, GrantState::Refreshing { .. }));
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
    scene.calls.take();
    pass(MINUTE_AND_A_HALF).await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    scene.tokens.refresh_now().await.unwrap_err();
    assert_eq!(scene.calls.take(), ["rotation_lost"]);
}

const MINUTE_AND_A_HALF: Duration = Duration::from_secs(90);

/// Two replicas get the tokens of two consents. None of them drops the refresh token.
#[tokio::test(start_paused = true)]
async fn p24_consents_at_two_replicas_keep_one_refresh_token() {
    let scene = connected().await;
    let replica = scene.source.cache().store(scene.store.clone()).build();
    let replica = replica.unwrap();
    let (one, other) = (scene.bare(), scene.bare());
    let keep = ConsentDecision::KeepRefreshToken;
    let (one, other) = tokio::join!(
        scene.tokens.set_tokens_with(one, keep),
        replica.set_tokens_with(other, keep),
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(scene.stored_refresh_token().await.unwrap(), "r1");
    replica.refresh_now().await.unwrap();
    assert_eq!(scene.last_sent(), "r1");
    let rejected = scene.tokens.set_tokens(scene.bare()).await.unwrap_err();
    assert_eq!(rejected.kind(), ErrorKind::RefreshTokenMissing);
}

/// Another cache of the same store and listener.
fn replica(scene: &Scene) -> TokenCache {
    let cache = scene.source.cache().store(scene.store.clone());
    cache.listener(scene.calls.clone()).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn p11_refresh_token_that_another_process_has_sent_since_is_not_kept_as_unsent() {
    let scene = connected().await;
    let other = replica(&scene);
    other.token().await.unwrap();
    pass(10 * SECOND).await;
    scene.store.slow_next_load(8 * SECOND);
    let (tokens, bare) = (scene.tokens.clone(), scene.bare());
    let keep = ConsentDecision::KeepRefreshToken;
    let keep = tokio::spawn(async move { tokens.set_tokens_with(bare, keep).await });
    pass(SECOND).await;
    scene.store.lose_lease().await;
    scene.source.set_delay(10 * SECOND);
    scene
        .source
        .then(Scripted::Fail(Error::response_lost("cut")));
    let refresh = tokio::spawn(async move { other.refresh_now().await.map(drop) });
    let error = keep.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let _ = refresh.await.unwrap();
    // Sent once, and replayed once: the consent has not removed the intent.
    let sent = scene.source.sent_refresh_tokens();
    assert_eq!(sent, [Some("r1".to_owned()), Some("r1".to_owned())]);
    pass(2 * 60 * SECOND).await;
    scene.source.set_delay(SECOND);
    scene.tokens.refresh_now().await.unwrap();
    assert_ne!(scene.last_sent(), "r1");
}

#[tokio::test(start_paused = true)]
async fn p24_newer_refresh_token_of_this_process_is_kept_rather_than_the_stored_one() {
    let scene = connected().await;
    let old = scene.store.stored().await.unwrap();
    scene.tokens.refresh_now().await.unwrap();
    let newer = scene.store.stored().await.unwrap();
    let tenant = TenantId::new("default").unwrap();
    let rolled_back = scene
        .store
        .memory
        .save(&tenant, Some(newer.generation), &old);
    rolled_back.await.unwrap();
    let error = scene.tokens.set_tokens(scene.bare()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshTokenMissing);
    scene.keep().await.unwrap();
    let newest = newer.tokens().unwrap().refresh_token().unwrap();
    assert_eq!(
        scene.stored_refresh_token().await.as_deref(),
        Some(newest.expose())
    );
}

#[tokio::test(start_paused = true)]
async fn p24_consent_after_an_unsaved_revocation_is_not_dropped_by_the_next_one() {
    let scene = connected().await;
    let other = replica(&scene);
    scene.store.fail_saves(true);
    scene.tokens.revoke().await.unwrap_err();
    scene.store.fail_saves(false);
    other.set_tokens(scene.source.issue(DAY)).await.unwrap();
    let before = scene.store.stored().await;
    let error = scene.tokens.set_tokens(scene.bare()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefreshTokenMissing);
    assert_eq!(scene.store.stored().await, before);
}

#[tokio::test(start_paused = true)]
async fn p24_refresh_token_of_a_consent_that_came_during_the_wait_is_not_kept() {
    let scene = connected().await;
    let other = replica(&scene);
    scene.source.block();
    let refreshing = other.clone();
    let refresh = tokio::spawn(async move { refreshing.refresh_now().await.map(drop) });
    pass(SECOND).await;
    let (tokens, bare) = (scene.tokens.clone(), scene.bare());
    let keep = ConsentDecision::KeepRefreshToken;
    let keep = tokio::spawn(async move { tokens.set_tokens_with(bare, keep).await });
    pass(SECOND).await;
    let another_account = scene.source.issue(DAY);
    other.set_tokens(another_account.clone()).await.unwrap();
    scene.source.unblock();
    let error = keep.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let _ = refresh.await.unwrap();
    let stored = scene.store.stored().await.unwrap();
    let access_token = stored.tokens().unwrap().access_token().expose();
    assert_ne!(access_token, "a3", "of the first account");
}

#[tokio::test(start_paused = true)]
async fn p11_refresh_that_has_sent_nothing_does_not_hold_up_a_consent() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let cache = source.cache().store(store.clone());
    let tokens = cache.min_refresh_interval(60 * SECOND).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    tokens.refresh_now().await.unwrap();
    let waiting = tokens.clone();
    let refresh = tokio::spawn(async move { waiting.refresh_now().await.map(drop) });
    pass(SECOND).await;
    let whole = source.issue(HOUR);
    let bare = TokenSet::new(
        whole.access_token().clone(),
        whole.lifetime(),
        whole.issued_at(),
    );
    let before = source.age();
    let keep = ConsentDecision::KeepRefreshToken;
    tokens.set_tokens_with(bare, keep).await.unwrap();
    assert_eq!(source.age(), before);
    let _ = refresh.await.unwrap();
    assert_eq!(source.sent_refresh_tokens().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p11_consent_outwaits_a_long_lease_that_is_not_released() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let cache = source.cache().store(store.clone());
    let tokens = cache.lease_duration(60 * SECOND).build().unwrap();
    let first = source.issue(DAY);
    tokens.set_tokens(first.clone()).await.unwrap();
    let tenant = TenantId::new("default").unwrap();
    let ended = LeaseOwner::random();
    let leased = store.memory.acquire(&tenant, &ended, 60 * SECOND);
    leased.await.unwrap();
    let bare = TokenSet::new(
        first.access_token().clone(),
        first.lifetime(),
        first.issued_at(),
    );
    let keep = ConsentDecision::KeepRefreshToken;
    tokens.set_tokens_with(bare, keep).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p04_slow_release_of_the_lease_holds_up_no_command() {
    let scene = connected().await;
    scene.store.slow_releases(9 * SECOND);
    let (tokens, bare) = (scene.tokens.clone(), scene.bare());
    let keep = ConsentDecision::KeepRefreshToken;
    let keep = tokio::spawn(async move { tokens.set_tokens_with(bare, keep).await });
    pass(SECOND).await;
    let before = scene.source.age();
    let next = scene.source.issue(DAY);
    scene.tokens.set_tokens(next).await.unwrap();
    assert_eq!(scene.source.age(), before);
    keep.await.unwrap().unwrap();
}

/// The revocation of such a token may end the grant at the provider.
#[tokio::test(start_paused = true)]
async fn p15_late_consent_without_a_refresh_token_ends_no_grant_of_another_replica() {
    for is_connected in [false, true] {
        let scene = connected().await;
        let other = replica(&scene);
        pass(10 * SECOND).await;
        // The command waits for the store, and the revocation comes first.
        scene.store.slow_next_load(3 * SECOND);
        let (tokens, bare) = (scene.tokens.clone(), scene.bare());
        let late = tokio::spawn(async move { tokens.set_tokens(bare.clone()).await });
        pass(SECOND).await;
        let tokens = scene.tokens.clone();
        let revoke = tokio::spawn(async move { tokens.revoke().await });
        if is_connected {
            pass(SECOND / 2).await;
            other.set_tokens(scene.source.issue(DAY)).await.unwrap();
        }
        let error = late.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Revoked);
        revoke.await.unwrap().unwrap();
        let is_revoked = scene.source.revoked().iter().any(|token| token == "a2");
        assert_eq!(is_revoked, !is_connected, "{:?}", scene.source.revoked());
    }
}
