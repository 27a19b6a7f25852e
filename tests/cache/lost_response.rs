//! Lost responses: replayed or deferred, and recognized after a restart.

use std::sync::{Arc, Mutex};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{LostResponse, TokenCache, TokenState},
    clock::Clock,
    store::{LeaseOwner, TokenStore},
    telemetry::GrantListener,
    token::{AccessToken, Generation, Grant, GrantState, ReauthorizationReason, TenantId},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, cache_with_token, header,
    pass, unavailable,
};

fn lost() -> Scripted {
    Scripted::Fail(Error::response_lost("cut off: scripted"))
}

async fn state(store: &Store) -> GrantState {
    store.stored().await.unwrap().state
}

/// A cache with its first token and this policy for lost responses.
async fn cache_with_policy(policy: LostResponse) -> (Source, Store, TokenCache) {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).lost_response(policy);
    let tokens = tokens.build().unwrap();
    tokens.token().await.unwrap();
    (source, store, tokens)
}

#[tokio::test(start_paused = true)]
async fn p11_lost_response_is_replayed_once_at_once() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(lost());
    let started = tokio::time::Instant::now();
    tokens.refresh_now().await.unwrap();
    assert!((SECOND..11 * SECOND).contains(&started.elapsed()));
    assert_eq!(
        source.sent_refresh_tokens()[1..],
        [Some("r1".into()), Some("r1".into())]
    );
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert!(matches!(state(&store).await, GrantState::Active(_)));
}

#[tokio::test(start_paused = true)]
async fn p11_second_lost_response_defers_the_refresh_token_to_the_last_minutes() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(lost());
    source.then(lost());
    let error = tokens.refresh_now().await.unwrap_err();
    assert!(error.is_response_lost() && error.is_transient());
    assert!(matches!(
        state(&store).await,
        GrantState::Refreshing {
            is_replayed: true,
            ..
        }
    ));
    assert!(matches!(
        tokens.status().state,
        TokenState::Uncertain { .. }
    ));
    pass(DAY - 6 * MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(source.refreshes(), 3, "it is deferred");
    pass(5 * MINUTE).await;
    // It was refreshed in the background, and no request waited.
    assert_eq!(source.refreshes(), 4);
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(tokens.status().state, TokenState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn p11_defer_sends_nothing_while_the_access_token_is_valid() {
    let (source, _, tokens) = cache_with_policy(LostResponse::Defer).await;
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    for _ in 0..(24 * 60 - 1) {
        pass(MINUTE).await;
        assert_eq!(header(&tokens).await, "Bearer a1");
    }
    assert_eq!(source.refreshes(), 2);
    pass(MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p11_401_ends_the_deferral() {
    let (source, _, tokens) = cache_with_token().await;
    source.then(lost());
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    pass(MINUTE).await;
    tokens.invalidate();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p11_suspend_prevents_a_late_replay() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(5 * SECOND);
    source.then(lost());
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    clock.shift_wall(28 * 60);
    assert!(refreshing.await.unwrap().unwrap_err().is_response_lost());
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p11_wall_clock_that_is_set_back_does_not_permit_a_late_replay() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    // A process has died during a refresh. Its lease ends later.
    let store = Store::default();
    let dead = GrantState::Refreshing {
        tokens: source.issue(DAY),
        since: clock.wall(),
        is_replayed: false,
    };
    store.put(Grant::new(Generation::FIRST, dead)).await;
    let tenant = TenantId::new("default").unwrap();
    let owner = LeaseOwner::random();
    store
        .memory
        .acquire(&tenant, &owner, 5 * SECOND)
        .await
        .unwrap();

    let tokens = source.cache().store(store).build().unwrap();
    pass(SECOND).await;
    clock.shift_wall(-600);
    pass(HOUR).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(source.refreshes(), 0);
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl GrantListener for Events {
    fn reauthorization_required(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        let line = format!("{tenant} {}", reason.as_str());
        self.0.lock().unwrap().push(line);
    }

    fn rotation_lost(&self, tenant: &TenantId) {
        self.0.lock().unwrap().push(format!("{tenant} lost"));
    }
}

#[tokio::test(start_paused = true)]
async fn p15_lost_rotation_is_distinguished_from_a_revocation() {
    for (script, reason) in [
        (vec![], ReauthorizationReason::InvalidGrant),
        (vec![lost()], ReauthorizationReason::RotationLost),
        (vec![lost(), lost()], ReauthorizationReason::RotationLost),
        // The provider responded, so no response is lost.
        (
            vec![Scripted::Fail(unavailable())],
            ReauthorizationReason::InvalidGrant,
        ),
        // Such a response says nothing about an earlier request.
        (
            vec![lost(), Scripted::Fail(unavailable())],
            ReauthorizationReason::RotationLost,
        ),
    ] {
        let events = Events::default();
        let source = Source::new(&ManualClock::new());
        let tokens = source.cache().listener(events.clone()).build().unwrap();
        tokens.token().await.unwrap();
        for scripted in script {
            source.then(scripted);
        }
        for _ in 0..3 {
            source.then(Scripted::Fail(Error::invalid_grant()));
        }
        while !tokens
            .refresh_now()
            .await
            .unwrap_err()
            .is_consent_required()
        {}
        let TokenState::ReauthorizationRequired {
            reason: reported, ..
        } = tokens.status().state
        else {
            panic!("{:?}", tokens.status());
        };
        assert_eq!(reported, reason);
        let mut expected = vec![format!("default {}", reason.as_str())];
        if reason == ReauthorizationReason::RotationLost {
            expected.insert(0, "default lost".into());
        }
        assert_eq!(*events.0.lock().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_next_start_knows_which_grant_is_uncertain() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    // As if the process ended here: the intent is stored, and the response is missing.
    let after_crash = Store::default();
    after_crash.put(store.stored().await.unwrap()).await;
    refreshing.abort();
    drop(tokens);
    source.unblock();
    pass(MINUTE).await;
    let before = source.refreshes();

    let again = source.cache().store(after_crash.clone()).build().unwrap();
    assert_eq!(header(&again).await, "Bearer a1", "the stored token serves");
    assert!(matches!(again.status().state, TokenState::Uncertain { .. }));
    pass(23 * HOUR).await;
    assert_eq!(source.refreshes(), before, "nothing is sent meanwhile");
    pass(HOUR).await;
    assert_ne!(header(&again).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn p11_intent_of_another_process_is_waited_for() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap() }
    });
    pass(SECOND).await;
    let other = source.cache().store(store.clone()).build().unwrap();
    header(&other).await;
    let waiting = tokio::spawn(async move { other.refresh_now().await.unwrap() });
    pass(5 * SECOND).await;
    assert_eq!(
        source.refreshes(),
        2,
        "only the first cache has sent a request"
    );
    source.unblock();
    refreshing.await.unwrap();
    let adopted = waiting.await.unwrap();
    assert_eq!(adopted.header_value(), "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p11_stored_token_serves_while_another_process_refreshes_it() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let refreshing = tokio::spawn(async move { tokens.refresh_now().await });
    pass(SECOND).await;
    let other = source.cache().store(store).build().unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(header(&other).await, "Bearer a1");
    assert!(before.elapsed() < SECOND);
    source.unblock();
    refreshing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p14_refresh_token_is_not_sent_without_a_saved_intent() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_intents(true);
    assert_eq!(
        tokens.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Store
    );
    assert_eq!(source.refreshes(), 1);
    assert_eq!(header(&tokens).await, "Bearer a1");
    store.fail_intents(false);
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p14_failure_that_did_not_use_the_refresh_token_removes_the_intent() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(unavailable()));
    tokens.refresh_now().await.unwrap_err();
    assert!(matches!(state(&store).await, GrantState::Active(_)));
    assert_eq!(tokens.status().state, TokenState::Fresh);
    assert_eq!(
        tokens.status().last_error.unwrap().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn p11_panic_and_missed_deadline_count_as_lost_responses() {
    for scripted in [Scripted::Panic, Scripted::Hang] {
        let (source, store, tokens) = cache_with_policy(LostResponse::Defer).await;
        source.then(scripted);
        assert!(tokens.refresh_now().await.is_err());
        pass(6 * SECOND).await;
        assert!(matches!(state(&store).await, GrantState::Refreshing { .. }));
        assert!(matches!(
            tokens.status().state,
            TokenState::Uncertain { .. }
        ));
        assert_eq!(header(&tokens).await, "Bearer a1");
    }
}

#[tokio::test(start_paused = true)]
async fn p11_error_of_a_source_counts_as_a_lost_response_unless_it_proves_more() {
    let shared = Error::store("vault is sealed: scripted");
    for (error, is_lost) in [
        (Error::unavailable("nothing was sent: scripted"), false),
        (Error::response_lost("cut off: scripted"), true),
        // The source may have parsed it from a response.
        (AccessToken::new("a\n1").unwrap_err(), true),
        (Error::store("vault is sealed: scripted"), true),
        (shared.clone(), true),
    ] {
        let (kind, message) = (error.kind(), error.to_string());
        let (source, store, tokens) = cache_with_policy(LostResponse::Defer).await;
        source.then(Scripted::Fail(error));
        let error = tokens.refresh_now().await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, message));
        assert_eq!(error.is_response_lost(), is_lost, "{error}");
        let is_uncertain = matches!(state(&store).await, GrantState::Refreshing { .. });
        assert_eq!(is_uncertain, is_lost, "{error}");
        pass(DAY - 2 * MINUTE).await;
        header(&tokens).await;
        assert_eq!(source.refreshes(), if is_lost { 2 } else { 3 }, "{error}");
    }
    assert!(!shared.is_response_lost());
}

#[tokio::test(start_paused = true)]
async fn p11_without_a_refresh_token_no_response_is_lost() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    source.then(Scripted::Fail(Error::store("vault is sealed: scripted")));
    let error = tokens.token().await.unwrap_err();
    assert!(!error.is_response_lost());
    pass(MINUTE).await;
    tokens.token().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_late_load_does_not_undo_an_intent() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    source.then(Scripted::Fail(unavailable()));
    tokens.invalidate();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token().await }
    });
    pass(2 * SECOND).await;
    // The load that follows a failure is slow.
    store.slow_next_load(9 * SECOND);
    source.unblock();
    refreshing.await.unwrap().unwrap_err();
    pass(SECOND / 10).await;
    // Meanwhile a response is lost, and so is that of the replay.
    source.then(lost());
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    let uncertain = tokens.status().state;
    assert!(matches!(uncertain, TokenState::Uncertain { .. }));
    pass(10 * SECOND).await;
    assert_eq!(tokens.status().state, uncertain);
}

#[tokio::test(start_paused = true)]
async fn p11_recent_intent_of_a_dead_process_causes_no_load_loop() {
    let (source, store, tokens) = cache_with_token().await;
    for _ in 0..1_000 {
        source.then(Scripted::Fail(unavailable()));
    }
    pass(DAY - HOUR).await;
    source.clear_script();
    source.then(lost());
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    let after_crash = Store::default();
    after_crash.put(store.stored().await.unwrap()).await;
    drop(tokens);
    // The request may not be replayed, and the token is due for a refresh.
    let again = source.cache().store(after_crash.clone()).build().unwrap();
    header(&again).await;
    pass(MINUTE).await;
    assert!(after_crash.loads() < 20, "{} loads", after_crash.loads());
}

#[tokio::test(start_paused = true)]
async fn p11_replay_that_takes_long_to_record_is_not_sent() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    source.then(Scripted::Hang);
    store.slow_replays(9 * SECOND);
    let refreshing = tokio::spawn(async move { tokens.refresh_now().await });
    // The request times out after 15 seconds, and the machine is suspended while the replay is
    // recorded.
    pass(20 * SECOND).await;
    clock.shift_wall(28 * 60);
    refreshing.await.unwrap().unwrap_err();
    assert_eq!(source.refreshes(), 1);
}
