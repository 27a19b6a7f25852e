//! Callers that go away, and a runtime that does (scenario 8).

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_test::task::spawn;
use tower_oauth2_client::{
    cache::TokenState,
    sandbox::{Endpoint, Fault, Replay, Rotation},
};

use crate::support::{DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_to, pass};

const STEP: Duration = Duration::from_millis(10);

/// Polls a call as often as this, each time when it asks for it, and drops it. Whether it had come to an end by then.
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

/// An exchange and an API call that take their time, so that there is something to be cancelled.
async fn slow() -> Partner {
    let partner = connected().await;
    let delay = || Fault::delay(SECOND).always();
    partner.fail(delay());
    partner.sandbox.inject(Endpoint::Company, delay());
    partner
}

#[tokio::test(start_paused = true)]
async fn s08_the_first_caller_is_cancelled_at_every_await_point() {
    for is_rejected in [false, true] {
        let mut has_ended = false;
        let mut polls = 0;
        while !has_ended {
            let partner = slow().await;
            if is_rejected {
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
            assert!(polls < 100, "a call comes to an end");
        }
        // One for the exchange and one for the API at least, or nothing was cancelled.
        assert!(polls > 2, "{polls}");
    }
}

#[tokio::test(start_paused = true)]
async fn s08_the_last_waiter_is_cancelled_and_the_exchange_still_comes_to_its_end() {
    let partner = slow().await;
    pass(DAY + HOUR).await;
    let callers: Vec<_> = (0..100).map(|_| partner.calling()).collect();
    pass(SECOND / 2).await;
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    pass(SECOND).await;
    assert_eq!(partner.renewals(), 1);
    let stored = partner.stored_tokens().await;
    assert!(stored.issued_at() > tower_oauth2_client::clock::Clock::wall(&partner.clock) - MINUTE);
    partner.works().await;
    assert_eq!(partner.renewals(), 1, "its result was kept");
}

/// Real time, since a paused runtime cannot be left and another entered; nothing here waits for it to pass.
#[test]
fn s08_a_runtime_is_shut_down_with_an_exchange_in_flight() {
    let first = Runtime::new().unwrap();
    let partner = first.block_on(async {
        let rotation = Rotation::Grace {
            window: HOUR,
            replay: Replay::SamePair,
        };
        let partner =
            connected_to(|sandbox| sandbox.behavior(|behavior| behavior.rotation = rotation)).await;
        partner.fail(Fault::hang().after_processing());
        let _refreshing = partner.refreshing();
        while partner.renewals() == 0 {
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
        // Past the second that has to lie between two exchanges.
        partner.clock.advance(2);
        partner.refresh().await.unwrap();
        partner.works().await;
        assert_eq!(partner.tokens.status().state, TokenState::Fresh);
        assert_eq!(partner.renewals(), 2, "the same pair once more");
    });
}
