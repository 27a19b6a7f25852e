//! Failures without end (scenario 22).

use http::StatusCode;
use tower_oauth2_client::{
    ErrorKind,
    sandbox::{EventKind, Fault},
};

use crate::support::{DAY, HOUR, MINUTE, SECOND, connected, pass};

#[tokio::test(start_paused = true)]
async fn s22_ten_thousand_failures_in_a_row_are_recovered_from_in_a_minute() {
    for failures in [70, 10_000] {
        let partner = connected().await;
        pass(DAY + HOUR).await;
        partner.fail(Fault::status(StatusCode::INTERNAL_SERVER_ERROR).always());
        while partner.sandbox.counters().faults_triggered < failures {
            let before = partner.sandbox.counters().faults_triggered;
            assert_eq!(partner.call().await, Err(ErrorKind::Unavailable));
            pass(MINUTE).await;
            let tried = partner.sandbox.counters().faults_triggered - before;
            assert!((1..=10).contains(&tried), "{tried} in a minute");
        }
        partner.sandbox.clear_faults();
        // The longest backoff, of the gate and of the cache, and a heartbeat.
        pass(61 * SECOND).await;
        partner.works().await;
        assert_eq!(partner.refreshes(), 1, "after {failures} failures");
        assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn s22_failures_without_end_are_at_least_a_second_apart() {
    for fault in [
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::status(StatusCode::BAD_REQUEST).body("no OAuth error"),
        Fault::status(StatusCode::OK).body(r#"{"error":"server_error"}"#),
        Fault::drop_connection(),
    ] {
        let partner = connected().await;
        pass(DAY + HOUR).await;
        partner.fail(fault.clone().always());
        for _ in 0..(10 * 60 * 4) {
            partner.call().await.unwrap_err();
            let _ = partner.refresh().await;
            pass(SECOND / 4).await;
        }
        let events = partner.sandbox.events().into_iter();
        let times: Vec<_> = events
            .filter(|event| matches!(event.kind, EventKind::FaultTriggered { .. }))
            .map(|event| event.at)
            .collect();
        assert!(times.len() > 10, "{fault}");
        for pair in times.windows(2) {
            let gap = pair[1].duration_since(pair[0]).unwrap();
            assert!(gap >= SECOND, "{fault}: {gap:?}");
        }
        partner.sandbox.clear_faults();
        // A grant that is stuck is refreshed every 12 minutes at most.
        pass(MINUTE * 12).await;
        partner.works().await;
    }
}
