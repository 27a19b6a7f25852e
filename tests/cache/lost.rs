//! Answers that never came: asked for once more, or waited with; and known for what they are after a restart.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{LostResponse, TokenCache, TokenState},
    telemetry::GrantListener,
    token::{GrantState, ReauthorizationReason, TenantId},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, cache_with_token, header, unavailable,
};

const SECOND: Duration = Duration::from_secs(1);

fn lost() -> Scripted {
    Scripted::Fail(Error::response_lost("cut off: scripted"))
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn state(store: &Store) -> GrantState {
    store.stored().await.unwrap().state
}

/// A cache with its first token and this policy.
async fn begun_with(policy: LostResponse) -> (Source, Store, TokenCache) {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).lost_response(policy);
    let tokens = tokens.build().unwrap();
    tokens.token().await.unwrap();
    (source, store, tokens)
}

#[tokio::test(start_paused = true)]
async fn p11_a_lost_answer_is_asked_for_once_more_at_once() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(lost());
    let begun = tokio::time::Instant::now();
    tokens.refresh_now().await.unwrap();
    assert!((SECOND..11 * SECOND).contains(&begun.elapsed()));
    assert_eq!(
        source.sent_refresh_tokens()[1..],
        [Some("r1".into()), Some("r1".into())]
    );
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert!(matches!(state(&store).await, GrantState::Active(_)));
}

#[tokio::test(start_paused = true)]
async fn p11_after_a_second_loss_the_refresh_token_rests_until_the_last_minutes() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(lost());
    source.then(lost());
    let error = tokens.refresh_now().await.unwrap_err();
    assert!(error.is_response_lost() && error.is_transient());
    assert!(matches!(
        state(&store).await,
        GrantState::Exchanging {
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
    assert_eq!(source.refreshes(), 3, "it rests");
    pass(5 * MINUTE).await;
    // In the background, and nobody had to wait.
    assert_eq!(source.refreshes(), 4);
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(tokens.status().state, TokenState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn p11_hold_sends_nothing_while_the_access_token_lives() {
    let (source, _, tokens) = begun_with(LostResponse::Defer).await;
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
async fn p11_a_401_ends_the_rest_since_nothing_is_left_to_lose() {
    let (source, _, tokens) = cache_with_token().await;
    source.then(lost());
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    pass(MINUTE).await;
    tokens.invalidate();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p11_a_machine_that_slept_meanwhile_does_not_ask_again() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(5 * SECOND);
    source.then(lost());
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    clock.shift_wall(28 * 60);
    assert!(asking.await.unwrap().unwrap_err().is_response_lost());
    assert_eq!(source.refreshes(), 2);
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl GrantListener for Heard {
    fn reauthorization_required(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        let line = format!("{tenant} {}", reason.as_str());
        self.0.lock().unwrap().push(line);
    }

    fn rotation_lost(&self, tenant: &TenantId) {
        self.0.lock().unwrap().push(format!("{tenant} lost"));
    }
}

#[tokio::test(start_paused = true)]
async fn p15_a_lost_rotation_is_told_apart_from_a_revocation() {
    for (turns, reason) in [
        (vec![], ReauthorizationReason::InvalidGrant),
        (vec![lost()], ReauthorizationReason::RotationLost),
        (vec![lost(), lost()], ReauthorizationReason::RotationLost),
        // It has answered, if only that it cannot: nothing is lost.
        (
            vec![Scripted::Fail(unavailable())],
            ReauthorizationReason::InvalidGrant,
        ),
        // Nor does a later answer of that sort say what became of the first.
        (
            vec![lost(), Scripted::Fail(unavailable())],
            ReauthorizationReason::RotationLost,
        ),
    ] {
        let heard = Heard::default();
        let source = Source::new(&ManualClock::new());
        let tokens = source.cache().listener(heard.clone()).build().unwrap();
        tokens.token().await.unwrap();
        for turn in turns {
            source.then(turn);
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
        let TokenState::ReauthorizationRequired { reason: told, .. } = tokens.status().state else {
            panic!("{:?}", tokens.status());
        };
        assert_eq!(told, reason);
        let mut expected = vec![format!("default {}", reason.as_str())];
        if reason == ReauthorizationReason::RotationLost {
            expected.insert(0, "default lost".into());
        }
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_the_next_start_knows_which_grant_is_uncertain() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND).await;
    // As if the process had ended here: the note is in the store, and the answer nowhere.
    let after_crash = Store::default();
    after_crash.put(store.stored().await.unwrap()).await;
    asking.abort();
    drop(tokens);
    source.unblock();
    pass(MINUTE).await;
    let before = source.refreshes();

    let again = source.cache().store(after_crash.clone()).build().unwrap();
    assert_eq!(header(&again).await, "Bearer a1", "it serves all the same");
    assert!(matches!(again.status().state, TokenState::Uncertain { .. }));
    pass(23 * HOUR).await;
    assert_eq!(source.refreshes(), before, "nothing is sent meanwhile");
    pass(HOUR).await;
    assert_ne!(header(&again).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn p11_an_exchange_that_another_process_has_noted_is_waited_for() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap() }
    });
    pass(SECOND).await;
    let other = source.cache().store(store.clone()).build().unwrap();
    header(&other).await;
    let waiting = tokio::spawn(async move { other.refresh_now().await.unwrap() });
    pass(5 * SECOND).await;
    assert_eq!(source.refreshes(), 2, "only the first has sent anything");
    source.unblock();
    asking.await.unwrap();
    let adopted = waiting.await.unwrap();
    assert_eq!(adopted.header_value(), "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p11_what_is_stored_serves_at_once_though_another_process_is_renewing_it() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    let asking = tokio::spawn(async move { tokens.refresh_now().await });
    pass(SECOND).await;
    let other = source.cache().store(store).build().unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(header(&other).await, "Bearer a1");
    assert!(before.elapsed() < SECOND);
    source.unblock();
    asking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn p14_without_a_note_the_refresh_token_is_not_spent() {
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
async fn p14_a_failure_that_used_nothing_up_takes_the_note_back() {
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
async fn p11_a_panic_and_a_missed_deadline_are_lost_answers() {
    for turn in [Scripted::Panic, Scripted::Hang] {
        let (source, store, tokens) = begun_with(LostResponse::Defer).await;
        source.then(turn);
        assert!(tokens.refresh_now().await.is_err());
        assert!(matches!(state(&store).await, GrantState::Exchanging { .. }));
        assert!(matches!(
            tokens.status().state,
            TokenState::Uncertain { .. }
        ));
        assert_eq!(header(&tokens).await, "Bearer a1");
    }
}

#[tokio::test(start_paused = true)]
async fn p11_a_late_look_into_the_store_does_not_undo_a_note() {
    let (source, store, tokens) = cache_with_token().await;
    source.block();
    source.then(Scripted::Fail(unavailable()));
    tokens.invalidate();
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token().await }
    });
    pass(2 * SECOND).await;
    // The look that follows on a failure takes its time to come back.
    store.slow_next_load(9 * SECOND);
    source.unblock();
    asking.await.unwrap().unwrap_err();
    pass(SECOND / 10).await;
    // Meanwhile an answer is lost for good.
    source.then(lost());
    source.then(lost());
    tokens.refresh_now().await.unwrap_err();
    let uncertain = tokens.status().state;
    assert!(matches!(uncertain, TokenState::Uncertain { .. }));
    pass(10 * SECOND).await;
    assert_eq!(tokens.status().state, uncertain);
}

#[tokio::test(start_paused = true)]
async fn p11_a_recent_note_of_a_dead_process_is_no_reason_to_look_all_the_time() {
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
    // It may not be asked for once more, and the token is to be renewed.
    let again = source.cache().store(after_crash.clone()).build().unwrap();
    header(&again).await;
    pass(MINUTE).await;
    assert!(after_crash.loads() < 20, "{} loads", after_crash.loads());
}
