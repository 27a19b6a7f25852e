//! An endpoint that sends `Retry-After` (scenario 20).

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{EventKind, Fault, Sandbox},
};

use crate::support::{DAY, HOUR, MINUTE, SECOND, connected, pass};

/// The times at which the sandbox applied a fault.
fn fault_times(sandbox: &Sandbox) -> Vec<SystemTime> {
    let events = sandbox.events().into_iter();
    events
        .filter(|event| matches!(event.kind, EventKind::FaultTriggered { .. }))
        .map(|event| event.at)
        .collect()
}

fn shortest_gap(times: &[SystemTime]) -> Duration {
    let gaps = times
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).unwrap());
    gaps.min().unwrap()
}

#[tokio::test(start_paused = true)]
async fn s20_retry_after_is_obeyed_in_every_spelling_up_to_a_limit() {
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000) + DAY + HOUR;
    let date = httpdate::fmt_http_date(day + 2 * MINUTE);
    for status in [429, 503] {
        for (retry_after, least, most) in [
            ("120", 2 * MINUTE, 16),
            ("31536000", 10 * MINUTE, 4),
            // An invalid value, so the backoff decides.
            ("-5", SECOND, 1_000),
            (date.as_str(), SECOND, 1_000),
        ] {
            let partner = connected().await;
            pass(DAY + HOUR).await;
            let busy = Fault::status(StatusCode::from_u16(status).unwrap());
            partner.fail(busy.retry_after(retry_after).always());
            for _ in 0..(30 * 60) {
                assert_eq!(partner.call().await, Err(ErrorKind::Unavailable));
                pass(SECOND).await;
            }
            let times = fault_times(&partner.sandbox);
            assert!(
                shortest_gap(&times) >= least,
                "{status} {retry_after}: {times:?}"
            );
            assert!(
                times.len() <= most,
                "{status} {retry_after}: {}",
                times.len()
            );
            if retry_after == date {
                assert!(times[1] >= day + 2 * MINUTE, "{times:?}");
            }
            partner.sandbox.clear_faults();
            pass(10 * MINUTE).await;
            partner.works().await;
            assert_eq!(partner.refreshes(), 1);
        }
    }
}
