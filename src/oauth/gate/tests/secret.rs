//! The effect of a new client secret on an open breaker.

use super::*;

#[tokio::test(start_paused = true)]
async fn p15_a_new_secret_ends_the_pause_and_its_doubling() {
    let gate = EndpointGate::new();
    for pause in [PAUSE, 2 * PAUSE, 4 * PAUSE] {
        assert!(request(&gate, Err(invalid_client())).await);
        assert!(!request(&gate, Ok(())).await);
        sleep(pause).await;
    }
    for _ in 0..3 {
        assert!(request(&gate, Err(invalid_client())).await);
        let error = gate.acquire(GateKey::random(), None).await.err().unwrap();
        assert!(error.retry_after().unwrap() <= 8 * PAUSE);
        gate.secret_replaced();
    }
    // One probe decides for all. If it is rejected, the pause has its first length again.
    let probe = gate.acquire(GateKey::random(), None).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { request(&gate, Ok(())).await }
    });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    probe.record(&Err::<(), _>(invalid_client()));
    assert!(!waiting.await.unwrap());
    let error = gate.acquire(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.retry_after(), Some(PAUSE));
    gate.secret_replaced();
    assert!(request(&gate, Ok(())).await);
    assert!(request(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p15_a_rejection_of_the_old_secret_does_not_count() {
    // A request that was sent while the breaker was closed.
    let gate = EndpointGate::new();
    let late = gate.acquire(GateKey::random(), None).await.unwrap();
    gate.secret_replaced();
    late.record(&Err::<(), _>(invalid_client()));
    assert!(request(&gate, Ok(())).await);

    // A probe with the old secret. Another request becomes the probe, and the others wait for that.
    assert!(request(&gate, Err(invalid_client())).await);
    sleep(PAUSE).await;
    let old = gate.acquire(GateKey::random(), None).await.unwrap();
    let waiting = |gate: &EndpointGate| {
        let gate = gate.clone();
        tokio::spawn(async move { gate.acquire(GateKey::random(), None).await.unwrap() })
    };
    let first = waiting(&gate);
    sleep(SECOND).await;
    assert!(!first.is_finished());
    gate.secret_replaced();
    let probe = first.await.unwrap();
    let second = waiting(&gate);
    old.record(&Err::<(), _>(invalid_client()));
    sleep(SECOND).await;
    assert!(!second.is_finished());
    probe.record(&Ok::<(), Error>(()));
    second.await.unwrap().record(&Ok::<(), Error>(()));
}

#[tokio::test(start_paused = true)]
async fn p16_a_new_secret_ends_no_other_pause() {
    let (gate, probe, waiting) = half_open().await;
    gate.secret_replaced();
    sleep(SECOND).await;
    assert!(
        !waiting.is_finished(),
        "the endpoint was down, and may still be"
    );
    // It was sent with the old secret, so the next request becomes the probe.
    probe.record(&Err::<(), _>(invalid_client()));
    assert!(waiting.await.unwrap());

    let gate = open().await;
    gate.secret_replaced();
    assert!(!request(&gate, Ok(())).await);

    let gate = EndpointGate::new();
    let error = rejection(ErrorKind::Unavailable, 503, None, 120);
    assert!(request(&gate, Err(error)).await);
    gate.secret_replaced();
    sleep(119 * SECOND).await;
    assert!(!request(&gate, Ok(())).await);

    // Nor does it end the time that `Retry-After` asked for with `invalid_client`.
    let gate = EndpointGate::new();
    let code = Some(OAuthErrorCode::InvalidClient);
    let error = rejection(ErrorKind::Refused, 401, code, 20);
    assert!(request(&gate, Err(error)).await);
    gate.secret_replaced();
    sleep(19 * SECOND).await;
    assert!(!request(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(request(&gate, Ok(())).await);
}
