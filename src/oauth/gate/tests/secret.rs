//! What ends, and what does not, when a client gets another secret.

use super::*;

#[tokio::test(start_paused = true)]
async fn p15_another_secret_ends_the_pause_and_its_doubling() {
    let gate = EndpointGate::new();
    for pause in [PAUSE, 2 * PAUSE, 4 * PAUSE] {
        assert!(exchange(&gate, Err(unknown())).await);
        assert!(!exchange(&gate, Ok(())).await);
        sleep(pause).await;
    }
    for _ in 0..3 {
        assert!(exchange(&gate, Err(unknown())).await);
        let error = gate.enter(GateKey::random(), None).await.err().unwrap();
        assert!(error.retry_after().unwrap() <= 8 * PAUSE);
        gate.begin_anew();
    }
    // One exchange finds out for all; and begins with the first pause, where it is refused.
    let probe = gate.enter(GateKey::random(), None).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { exchange(&gate, Ok(())).await }
    });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    probe.settle(&Err::<(), _>(unknown()));
    assert!(!waiting.await.unwrap());
    let error = gate.enter(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.retry_after(), Some(PAUSE));
    gate.begin_anew();
    assert!(exchange(&gate, Ok(())).await);
    assert!(exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p15_a_refusal_of_an_old_secret_does_not_count() {
    // One that was under way while all was well.
    let gate = EndpointGate::new();
    let late = gate.enter(GateKey::random(), None).await.unwrap();
    gate.begin_anew();
    late.settle(&Err::<(), _>(unknown()));
    assert!(exchange(&gate, Ok(())).await);

    // One that was to find out; now another is, and those who wait go on waiting for that.
    assert!(exchange(&gate, Err(unknown())).await);
    sleep(PAUSE).await;
    let old = gate.enter(GateKey::random(), None).await.unwrap();
    let waiting = |gate: &EndpointGate| {
        let gate = gate.clone();
        tokio::spawn(async move { gate.enter(GateKey::random(), None).await.unwrap() })
    };
    let first = waiting(&gate);
    sleep(SECOND).await;
    assert!(!first.is_finished());
    gate.begin_anew();
    let probe = first.await.unwrap();
    let second = waiting(&gate);
    old.settle(&Err::<(), _>(unknown()));
    sleep(SECOND).await;
    assert!(!second.is_finished());
    probe.settle(&Ok::<(), Error>(()));
    second.await.unwrap().settle(&Ok::<(), Error>(()));
}

#[tokio::test(start_paused = true)]
async fn p16_another_secret_ends_no_other_pause() {
    let (gate, probe, waiting) = probing().await;
    gate.begin_anew();
    sleep(SECOND).await;
    assert!(!waiting.is_finished(), "it was down, and may be still");
    // It knows nothing of the secret, and so it leaves it to the next.
    probe.settle(&Err::<(), _>(unknown()));
    assert!(waiting.await.unwrap());

    let gate = closed().await;
    gate.begin_anew();
    assert!(!exchange(&gate, Ok(())).await);

    let gate = EndpointGate::new();
    let error = answer(ErrorKind::Unavailable, 503, None, 120);
    assert!(exchange(&gate, Err(error)).await);
    gate.begin_anew();
    sleep(119 * SECOND).await;
    assert!(!exchange(&gate, Ok(())).await);

    // Nor what was asked for beside the refusal.
    let gate = EndpointGate::new();
    let code = Some(OAuthErrorCode::InvalidClient);
    let error = answer(ErrorKind::Refused, 401, code, 20);
    assert!(exchange(&gate, Err(error)).await);
    gate.begin_anew();
    sleep(19 * SECOND).await;
    assert!(!exchange(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(exchange(&gate, Ok(())).await);
}
