//! A clock that is wrong, is corrected, or stands still (scenario 16).

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{DateHeader, ExpiresAt, Fault},
    token::ReauthorizationReason,
};

use crate::support::{DAY, HOUR, MINUTE, Partner, SECOND, connected, connected_at, pass};

const TWO_HOURS: i64 = 7_200;

/// A call every half hour, none of which sends an expired token.
async fn two_days(partner: &Partner) {
    let before = partner.sandbox.counters().unauthorized;
    for _ in 0..(2 * 48) {
        pass(HOUR / 2).await;
        partner.works().await;
    }
    assert_eq!(partner.sandbox.counters().unauthorized, before);
}

/// The machine is suspended: its timers and its monotonic clock stand still, and the world
/// continues.
fn suspend(partner: &Partner, days: u32) {
    partner.clock.shift_wall(i64::from(days) * 86_400);
    partner.sandbox.advance(days * DAY);
}

#[tokio::test(start_paused = true)]
async fn s16_wall_clock_two_hours_off_causes_no_failure() {
    for wrong in [-TWO_HOURS, TWO_HOURS] {
        let partner = connected().await;
        partner.clock.shift_wall(wrong);
        // The first consent came before.
        partner.connect().await;
        two_days(&partner).await;
        assert!((2..=3).contains(&partner.refreshes()), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn s16_wall_clock_set_in_the_advisory_window_neither_ends_nor_prolongs_a_token() {
    for step in [-TWO_HOURS, TWO_HOURS] {
        let partner = connected().await;
        partner.works().await;
        pass(21 * HOUR).await;
        // A refresh is due, and fails.
        partner.fail(Fault::status(StatusCode::INTERNAL_SERVER_ERROR).always());
        pass(HOUR).await;
        partner.works().await;
        partner.clock.shift_wall(step);
        pass(MINUTE).await;
        partner.sandbox.clear_faults();
        two_days(&partner).await;
        assert!((2..=4).contains(&partner.refreshes()), "{step}");
        assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn s16_wall_clock_going_back_and_forth_causes_no_loop() {
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
    assert!(partner.refreshes() <= 6, "{}", partner.refreshes());
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
}

#[tokio::test(start_paused = true)]
async fn s16_first_call_after_a_suspend_across_the_expiry_succeeds() {
    for awake in [0, 31] {
        let partner = connected().await;
        partner.works().await;
        pass(HOUR).await;
        suspend(&partner, 2);
        pass(awake * SECOND).await;
        partner.works().await;
        let counters = partner.sandbox.counters();
        assert_eq!(counters.refreshes, 1);
        // One call before the suspend is detected is rejected, and recovers.
        assert_eq!(counters.unauthorized, u64::from(awake == 0));
        two_days(&partner.restarted()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s16_suspend_of_months_is_reported_as_an_expired_refresh_token() {
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

/// A server that sends no `Date`: the clocks cannot be compared.
#[tokio::test(start_paused = true)]
async fn p18_clock_that_is_ahead_by_more_than_the_lifetime_causes_no_refresh_per_request() {
    for date in [DateHeader::Absent, DateHeader::Clock] {
        for wrong in [2 * 86_400, -400 * 86_400] {
            let partner =
                connected_at(|sandbox| sandbox.behavior(|behavior| behavior.date = date.clone()));
            let partner = partner.await;
            partner.clock.shift_wall(wrong);
            partner.connect().await;
            two_days(&partner).await;
            let refreshes = partner.refreshes();
            assert!(
                (2..=3).contains(&refreshes),
                "{date:?} {wrong}: {refreshes}"
            );
            let partner = partner.restarted();
            partner.works().await;
            // The clock is corrected.
            partner.clock.shift_wall(-wrong);
            two_days(&partner).await;
            let refreshes = partner.refreshes();
            assert!(
                (4..=7).contains(&refreshes),
                "{date:?} {wrong}: {refreshes}"
            );
            assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p18_expiry_that_cannot_be_true_causes_no_refresh_per_request() {
    for text in [
        "0",
        "-1",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "1764000000000",
    ] {
        for date in [DateHeader::Absent, DateHeader::Clock] {
            let partner = connected_at(|sandbox| {
                sandbox.behavior(|behavior| {
                    behavior.expires_at = ExpiresAt::Literal(text.to_owned());
                    behavior.date = date.clone();
                })
            });
            let partner = partner.await;
            two_days(&partner).await;
            let refreshes = partner.refreshes();
            assert!((2..=3).contains(&refreshes), "{text} {date:?}: {refreshes}");
        }
    }
}
