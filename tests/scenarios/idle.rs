//! Customers for whom nothing is done for weeks (scenario 24). A process that was off for 31 days stands in `months`.

use http::StatusCode;
use tower_oauth2_client::sandbox::Fault;

use crate::support::{DAY, connected, pass};

#[tokio::test(start_paused = true)]
async fn s24_a_customer_idle_for_29_days_was_kept_alive() {
    let partner = connected().await;
    pass(29 * DAY).await;
    partner.works().await;
    let counters = partner.sandbox.counters();
    // One to keep it alive, and one for the call.
    assert_eq!(counters.refreshes, 2);
    assert_eq!(
        (counters.unauthorized, counters.token_requests_refused),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn s24_so_was_one_whose_process_restarted_and_whose_provider_was_down_at_the_time() {
    let partner = connected().await;
    pass(19 * DAY).await;
    let partner = partner.restarted();
    partner.fail(Fault::status(StatusCode::BAD_GATEWAY).always());
    pass(4 * DAY).await;
    assert_eq!(partner.renewals(), 0);
    partner.sandbox.clear_faults();
    pass(8 * DAY).await;
    assert_eq!(partner.renewals(), 1);
    partner.works().await;
    assert_eq!(partner.sandbox.counters().token_requests_refused, 0);
}

#[tokio::test(start_paused = true)]
async fn s24_so_was_one_whose_consent_came_while_the_clock_was_wrong() {
    let mut partner = connected().await;
    partner.clock.shift_wall(40 * 86_400);
    partner.connect().await;
    partner.clock.shift_wall(-40 * 86_400);
    // A process that is started anew each day.
    for _ in 0..40 {
        pass(DAY).await;
        partner = partner.restarted();
    }
    assert!((1..=3).contains(&partner.renewals()), "soon, and in time");
    partner.works().await;
}
