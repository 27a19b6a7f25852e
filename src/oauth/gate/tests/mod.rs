use http::StatusCode;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    breaker::{FAILURE_THRESHOLD, PAUSE},
    *,
};
use crate::error::OAuthErrorCode;

mod background;
mod secret;
mod shares;

const SECOND: Duration = Duration::from_secs(1);

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

fn rejection(kind: ErrorKind, status: u16, code: Option<OAuthErrorCode>, seconds: u64) -> Error {
    Error::new(kind, "rejected").with_response(ResponseDetails {
        status: StatusCode::from_u16(status).ok(),
        code,
        retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        ..ResponseDetails::default()
    })
}

/// Sends one token request that completes at once. Returns whether the gate admitted it.
async fn request(gate: &EndpointGate, outcome: Result<(), Error>) -> bool {
    match gate.acquire(GateKey::random(), None).await {
        Ok(permit) => {
            permit.record(&outcome);
            true
        }
        Err(_) => false,
    }
}

/// A gate whose breaker five failures have opened.
async fn open() -> EndpointGate {
    let gate = EndpointGate::new();
    for _ in 0..FAILURE_THRESHOLD {
        assert!(request(&gate, Err(down())).await);
    }
    gate
}

/// A gate whose breaker is half-open, with the permit of the probe and a request that waits.
async fn half_open() -> (EndpointGate, Permit, JoinHandle<bool>) {
    let gate = open().await;
    sleep(PAUSE).await;
    let probe = gate.acquire(GateKey::random(), None).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { request(&gate, Ok(())).await }
    });
    sleep(SECOND).await;
    assert!(
        !waiting.is_finished(),
        "the others wait for the outcome of the probe"
    );
    (gate, probe, waiting)
}

#[tokio::test(start_paused = true)]
async fn four_requests_run_at_once_and_the_others_in_order_of_arrival() {
    let gate = EndpointGate::new();
    let started = Instant::now();
    let mut requests = JoinSet::new();
    for number in 0..12_u64 {
        let gate = gate.clone();
        requests.spawn(async move {
            // One after another.
            sleep(Duration::from_millis(number)).await;
            let permit = gate.acquire(GateKey::random(), None).await.unwrap();
            let admitted = started.elapsed().as_secs();
            sleep(SECOND).await;
            permit.record(&Ok::<(), Error>(()));
            (number, admitted)
        });
    }
    for (number, admitted) in requests.join_all().await {
        assert_eq!(admitted, number / 4, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_permit_in_time_fails_as_not_sent() {
    let gate = EndpointGate::new();
    let mut held = Vec::new();
    for _ in 0..Class::Awaited.size().permits {
        held.push(gate.acquire(GateKey::random(), None).await.unwrap());
    }
    let error = gate.acquire(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_response_lost(), "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn p16_five_failures_in_a_row_open_the_breaker_for_thirty_seconds() {
    let gate = EndpointGate::new();
    for _ in 0..3 {
        for _ in 0..4 {
            assert!(request(&gate, Err(down())).await);
        }
        assert!(request(&gate, Ok(())).await, "a success resets the count");
    }
    let gate = open().await;
    let error = gate.acquire(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(PAUSE));
    sleep(29 * SECOND).await;
    assert!(!request(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(request(&gate, Ok(())).await);
    assert!(
        request(&gate, Err(down())).await,
        "the breaker is closed again"
    );
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_5xx_408_and_429_are_failures_whether_or_not_the_response_is_lost() {
    for status in [408, 429, 500, 502, 503, 504] {
        for is_lost in [false, true] {
            let failure = rejection(ErrorKind::Unavailable, status, None, 0);
            let failure = if is_lost {
                failure.with_response_lost()
            } else {
                failure
            };
            let gate = EndpointGate::new();
            for _ in 0..FAILURE_THRESHOLD {
                assert!(request(&gate, Err(failure.clone())).await, "{status}");
            }
            assert!(!request(&gate, Ok(())).await, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p16_retry_after_of_a_lost_response_opens_the_breaker_before_the_replay() {
    let gate = EndpointGate::new();
    let mut permit = gate.acquire(GateKey::random(), None).await.unwrap();
    let lost = rejection(ErrorKind::Unavailable, 502, None, 20).with_response_lost();
    permit.record_retry_after(&lost);
    assert!(!request(&gate, Ok(())).await);
    sleep(10 * SECOND).await;
    assert!(!request(&gate, Ok(())).await);
    permit.record(&Ok::<(), Error>(()));
    assert!(request(&gate, Ok(())).await, "the replay succeeded");

    // Without `Retry-After` only the outcome of the replay counts.
    let mut permit = gate.acquire(GateKey::random(), None).await.unwrap();
    for _ in 0..FAILURE_THRESHOLD {
        permit.record_retry_after(&down());
    }
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_one_probe_decides_for_all() {
    let (_, probe, waiting) = half_open().await;
    probe.record(&Ok::<(), Error>(()));
    assert!(waiting.await.unwrap());

    let (gate, probe, waiting) = half_open().await;
    probe.record(&Err::<(), _>(down()));
    assert!(!waiting.await.unwrap());
    assert!(
        !request(&gate, Ok(())).await,
        "one failure of the probe is enough"
    );
    sleep(PAUSE).await;
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_never_sent_is_replaced_by_the_next_request() {
    let (_, probe, waiting) = half_open().await;
    drop(probe);
    assert!(waiting.await.unwrap());

    let gate = EndpointGate::new();
    for _ in 0..20 {
        drop(gate.acquire(GateKey::random(), None).await.unwrap());
    }
    assert!(
        request(&gate, Ok(())).await,
        "a request that is not sent is no failure"
    );
}

#[tokio::test(start_paused = true)]
async fn p16_retry_after_opens_the_breaker_for_all_grants() {
    let gate = EndpointGate::new();
    let error = rejection(ErrorKind::Unavailable, 503, None, 120);
    assert!(request(&gate, Err(error)).await);
    sleep(119 * SECOND).await;
    assert!(!request(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_a_throttled_grant_blocks_no_other() {
    let gate = EndpointGate::new();
    let one = GateKey::random();
    let throttled = || rejection(ErrorKind::Unavailable, 429, None, 120);
    gate.acquire(one, None)
        .await
        .unwrap()
        .record(&Err::<(), _>(throttled()));
    assert!(gate.acquire(one, None).await.is_err());
    assert!(request(&gate, Ok(())).await);
    // Five other grants in a row are throttled: the endpoint is overloaded.
    for _ in 0..5 {
        assert!(request(&gate, Err(throttled())).await);
    }
    assert!(!request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_grants_that_fail_repeatedly_block_no_other() {
    let gate = EndpointGate::new();
    let degraded: Vec<_> = (0..3).map(|_| GateKey::random()).collect();
    for _ in 0..4 {
        for key in &degraded {
            if let Ok(permit) = gate.acquire(*key, None).await {
                permit.record(&Err::<(), _>(down()));
            }
        }
    }
    for key in &degraded {
        assert!(gate.acquire(*key, None).await.is_err());
    }
    // Other grants are admitted, and a success of one closes the breaker for all.
    assert!(request(&gate, Ok(())).await);
    assert!(gate.acquire(degraded[0], None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_degraded_grants_leave_a_permit_to_others() {
    let gate = EndpointGate::new();
    let mut degraded = Vec::new();
    for _ in 0..4 {
        let key = GateKey::random();
        let permit = gate.acquire(key, None).await.unwrap();
        permit.record(&Err::<(), _>(down()));
        degraded.push(key);
    }
    assert!(request(&gate, Ok(())).await);
    let held = [
        gate.acquire(degraded[0], None).await.unwrap(),
        gate.acquire(degraded[1], None).await.unwrap(),
        gate.acquire(degraded[2], None).await.unwrap(),
    ];
    assert!(gate.acquire(degraded[3], None).await.is_err());
    assert!(gate.acquire(GateKey::random(), None).await.is_ok());
    drop(held);
    assert!(gate.acquire(degraded[3], None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_failures_of_one_grant_block_no_other() {
    let gate = EndpointGate::new();
    let degraded = GateKey::random();
    for _ in 0..3 {
        for _ in 0..FAILURE_THRESHOLD {
            let permit = gate.acquire(degraded, None).await.unwrap();
            permit.record(&Err::<(), _>(down()));
        }
        assert!(gate.acquire(degraded, None).await.is_err());
        // Other grants are admitted also while the breaker is half-open for that one.
        sleep(PAUSE).await;
        let probe = gate.acquire(degraded, None).await.unwrap();
        assert!(request(&gate, Ok(())).await);
        probe.record(&Err::<(), _>(down()));
        assert!(request(&gate, Ok(())).await);
    }
}

fn invalid_client() -> Error {
    let code = Some(OAuthErrorCode::InvalidClient);
    rejection(ErrorKind::Refused, 401, code, 0)
}

#[tokio::test(start_paused = true)]
async fn p15_invalid_client_opens_the_breaker_for_longer_each_time() {
    let gate = EndpointGate::new();
    for minutes_of_half in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        assert!(request(&gate, Err(invalid_client())).await);
        let pause = PAUSE * minutes_of_half;
        let error = gate.acquire(GateKey::random(), None).await.err().unwrap();
        assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
        assert_eq!(error.retry_after(), Some(pause));
        sleep(pause).await;
    }
    assert!(
        request(&gate, Ok(())).await,
        "the breaker closes without help"
    );
    assert!(request(&gate, Err(invalid_client())).await);
    assert_eq!(
        gate.acquire(GateKey::random(), None)
            .await
            .err()
            .unwrap()
            .retry_after(),
        Some(PAUSE)
    );
}

#[tokio::test(start_paused = true)]
async fn p15_rejections_of_single_grants_leave_the_breaker_closed() {
    let gate = EndpointGate::new();
    for _ in 0..20 {
        for error in [
            Error::invalid_grant(),
            rejection(
                ErrorKind::Refused,
                400,
                Some(OAuthErrorCode::InvalidGrant),
                0,
            ),
            rejection(ErrorKind::InvalidResponse, 403, None, 0),
            rejection(ErrorKind::Unavailable, 408, None, 0),
        ] {
            assert!(request(&gate, Err(error)).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_exchange_ignores_an_open_breaker() {
    let gate = open().await;
    let permit = gate.acquire_for_code_exchange().await.unwrap();
    permit.record(&Ok::<(), Error>(()));
    assert!(
        request(&gate, Ok(())).await,
        "its success closes the breaker"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_of_requests_in_flight_do_not_lengthen_the_pause() {
    let gate = EndpointGate::new();
    let late = gate.acquire(GateKey::random(), None).await.unwrap();
    for _ in 0..FAILURE_THRESHOLD {
        assert!(request(&gate, Err(down())).await);
    }
    sleep(10 * SECOND).await;
    late.record(&Err::<(), _>(down()));
    sleep(20 * SECOND).await;
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_not_sent_leave_the_breaker_unchanged() {
    let not_sent = || Err(Error::new(ErrorKind::NoGrant, "nothing to send"));
    let gate = open().await;
    sleep(PAUSE).await;
    assert!(request(&gate, not_sent()).await);
    assert!(request(&gate, Err(down())).await, "this one is the probe");
    assert!(!request(&gate, Ok(())).await);

    let gate = EndpointGate::new();
    for _ in 0..FAILURE_THRESHOLD {
        assert!(request(&gate, not_sent()).await);
        assert!(request(&gate, Err(down())).await);
    }
    assert!(
        !request(&gate, Ok(())).await,
        "a request that is not sent does not count as a success"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_does_not_replace_the_probe() {
    let (gate, probe, waiting) = half_open().await;
    drop(gate.acquire_for_code_exchange().await.unwrap());
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    probe.record(&Ok::<(), Error>(()));
    assert!(waiting.await.unwrap());
}
