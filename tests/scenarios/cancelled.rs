//! Callers that are dropped, and a runtime that shuts down (scenario 8).

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_test::task::spawn;
use tower_oauth2_client::{
    cache::TokenState,
    sandbox::{Endpoint, Fault, Replay, Rotation},
};

use crate::support::{DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_at, pass};

const STEP: Duration = Duration::from_millis(10);

/// Polls a call this often, each time after it was woken, and drops it. Returns whether it was
/// complete by then.
async fn cancelled_after(polls: usize, partner: &Partner) -> bool {
    let mut call = spawn(partner.call());
    for _ in 0..polls {
        if call.poll().is_ready() {
            return true;
        }
        while !call.is_woken() {
            pass(STEP).await;
        }
    }
    false
}

/// A refresh and an API call that take a while, so that they can be cancelled.
async fn slow() -> Partner {
    let partner = connected().await;
    let delay = || Fault::delay(SECOND).always();
    partner.fail(delay());
    partner.sandbox.inject(Endpoint::Company, delay());
    partner
}

#[tokio::test(start_paused = true)]
async fn s08_refresh_survives_its_first_caller_cancelled_at_every_await_point() {
    for is_rejected in [false, true] {
        let mut has_ended = false;
        let mut polls = 0;
        while !has_ended {
            let partner = slow().await;
            if is_rejected {
                pass(10 * SECOND).await;
                partner.sandbox.expire_access_tokens();
            } else {
                pass(DAY + HOUR).await;
            }
            has_ended = cancelled_after(polls, &partner).await;
            partner.works().await;
            partner.works().await;
            let counters = partner.sandbox.counters();
            assert_eq!(counters.refreshes, 1, "after {polls} polls");
            assert_eq!(counters.refresh_tokens_reused, 0);
            polls += 1;
            assert!(polls < 100, "a call ends");
        }
        // At least one poll for the refresh and one for the API; otherwise nothing was cancelled.
        assert!(polls > 2, "{polls}");
    }
}

#[tokio::test(start_paused = true)]
async fn s08_refresh_completes_after_its_last_waiter_was_cancelled() {
    let partner = slow().await;
    pass(DAY + HOUR).await;
    let callers: Vec<_> = (0..100).map(|_| partner.calling()).collect();
    pass(SECOND / 2).await;
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    pass(SECOND).await;
    assert_eq!(partner.refreshes(), 1);
    let stored = partner.stored_tokens().await;
    assert!(stored.issued_at() > tower_oauth2_client::clock::Clock::wall(&partner.clock) - MINUTE);
    partner.works().await;
    assert_eq!(partner.refreshes(), 1, "its result was saved");
}

/// In real time, because a paused runtime cannot be left for another one. The test does not wait
/// for time to pass.
#[test]
fn s08_runtime_shutdown_during_a_refresh_is_recovered_from() {
    let first = Runtime::new().unwrap();
    let partner = first.block_on(async {
        let rotation = Rotation::Grace {
            window: HOUR,
            replay: Replay::SamePair,
        };
        let partner =
            connected_at(|sandbox| sandbox.behavior(|behavior| behavior.rotation = rotation)).await;
        partner.fail(Fault::hang().after_processing());
        let _refreshing = partner.refreshing();
        while partner.refreshes() == 0 {
            tokio::task::yield_now().await;
        }
        partner
    });
    drop(first);
    let second = Runtime::new().unwrap();
    second.block_on(async {
        assert!(matches!(
            partner.tokens.status().state,
            TokenState::Uncertain { .. }
        ));
        partner.works().await;
        // Past the minimum interval between two refreshes.
        partner.clock.advance(2);
        partner.refresh().await.unwrap();
        partner.works().await;
        assert_eq!(partner.tokens.status().state, TokenState::Fresh);
        assert_eq!(partner.refreshes(), 2, "the same pair again");
    });
}
