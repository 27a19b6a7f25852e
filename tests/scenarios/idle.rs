//! Customers without a call for weeks (scenario 24). `months` has a process that was off for 31
//! days.

use http::StatusCode;
use tower_oauth2_client::sandbox::Fault;

use crate::support::{DAY, connected, pass};

#[tokio::test(start_paused = true)]
async fn s24_grant_idle_for_29_days_is_kept_alive() {
    let partner = connected().await;
    pass(29 * DAY).await;
    partner.works().await;
    let counters = partner.sandbox.counters();
    // One refresh to keep the grant alive, and one for the call.
    assert_eq!(counters.refreshes, 2);
    assert_eq!(
        (counters.unauthorized, counters.token_requests_refused),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn s24_idle_grant_is_kept_alive_across_restarts_and_an_outage() {
    let partner = connected().await;
    pass(19 * DAY).await;
    let partner = partner.restarted();
    partner.fail(Fault::status(StatusCode::BAD_GATEWAY).always());
    pass(4 * DAY).await;
    assert_eq!(partner.refreshes(), 0);
    partner.sandbox.clear_faults();
    pass(8 * DAY).await;
    assert_eq!(partner.refreshes(), 1);
    partner.works().await;
    assert_eq!(partner.sandbox.counters().token_requests_refused, 0);
}

#[tokio::test(start_paused = true)]
async fn s24_idle_grant_is_kept_alive_after_a_consent_with_a_wrong_clock() {
    let mut partner = connected().await;
    partner.clock.shift_wall(40 * 86_400);
    partner.connect().await;
    partner.clock.shift_wall(-40 * 86_400);
    // A process that is restarted each day.
    for _ in 0..40 {
        pass(DAY).await;
        partner = partner.restarted();
    }
    assert!((1..=3).contains(&partner.refreshes()), "soon, and in time");
    partner.works().await;
}
