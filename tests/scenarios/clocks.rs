//! This machine's clock is wrong, is set right, or stands still (scenario 16).

use http::StatusCode;
use tower_oauth2_client::{ErrorKind, sandbox::Fault, token::ReauthorizationReason};

use crate::support::{DAY, HOUR, MINUTE, Partner, SECOND, connected, pass};

const TWO_HOURS: i64 = 7_200;

/// A call each half hour, none of which carries a token that has ended.
async fn two_days(partner: &Partner) {
    let before = partner.sandbox.counters().unauthorized;
    for _ in 0..(2 * 48) {
        pass(HOUR / 2).await;
        partner.works().await;
    }
    assert_eq!(partner.sandbox.counters().unauthorized, before);
}

/// The machine sleeps: its timers and its monotonic clock stand still, while the world goes on.
fn suspend(partner: &Partner, days: u32) {
    partner.clock.shift_wall(i64::from(days) * 86_400);
    partner.sandbox.advance(days * DAY);
}

#[tokio::test(start_paused = true)]
async fn s16_a_clock_that_is_two_hours_wrong_is_no_trouble() {
    for wrong in [-TWO_HOURS, TWO_HOURS] {
        let partner = connected().await;
        partner.clock.shift_wall(wrong);
        // The first consent was before that.
        partner.connect().await;
        two_days(&partner).await;
        assert!((2..=3).contains(&partner.renewals()), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn s16_a_clock_that_is_set_in_the_advisory_window_neither_kills_nor_lengthens_a_token() {
    for step in [-TWO_HOURS, TWO_HOURS] {
        let partner = connected().await;
        partner.works().await;
        pass(21 * HOUR).await;
        // Renewal is due, and does not come about.
        partner.fail(Fault::status(StatusCode::INTERNAL_SERVER_ERROR).always());
        pass(HOUR).await;
        partner.works().await;
        partner.clock.shift_wall(step);
        pass(MINUTE).await;
        partner.sandbox.clear_faults();
        two_days(&partner).await;
        assert!((2..=4).contains(&partner.renewals()), "{step}");
        assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn s16_a_clock_that_goes_back_and_forth_is_no_loop() {
    let partner = connected().await;
    for minute in 0..(2 * 24 * 60) {
        let step = if minute % 2 == 0 {
            TWO_HOURS
        } else {
            -TWO_HOURS
        };
        partner.clock.shift_wall(step);
        pass(MINUTE).await;
        partner.works().await;
    }
    assert!(partner.renewals() <= 6, "{}", partner.renewals());
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s16_the_first_call_after_a_suspend_across_the_end_succeeds() {
    for awake in [0, 31] {
        let partner = connected().await;
        partner.works().await;
        pass(HOUR).await;
        suspend(&partner, 2);
        pass(awake * SECOND).await;
        partner.works().await;
        let counters = partner.sandbox.counters();
        assert_eq!(counters.refreshes, 1);
        // Before the suspend is noticed, one call is refused and recovers.
        assert_eq!(counters.unauthorized, u64::from(awake == 0));
        two_days(&partner.restarted()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s16_a_suspend_of_months_is_known_for_an_expired_refresh_token() {
    let partner = connected().await;
    partner.works().await;
    suspend(&partner, 60);
    pass(MINUTE).await;
    assert_eq!(
        partner.call().await,
        Err(ErrorKind::ReauthorizationRequired)
    );
    let reason = partner.reason();
    assert_eq!(reason, Some(ReauthorizationReason::RefreshTokenExpired));
    pass(DAY).await;
    assert_eq!(partner.sandbox.counters().token_requests_refused, 1);
}
