use http::StatusCode;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    breaker::{FAILURES, PAUSE},
    *,
};
use crate::error::{Answer, OAuthErrorCode};

mod background;
mod secret;

const SECOND: Duration = Duration::from_secs(1);

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

fn answer(kind: ErrorKind, status: u16, code: Option<OAuthErrorCode>, seconds: u64) -> Error {
    Error::new(kind, "an answer").with_answer(Answer {
        status: StatusCode::from_u16(status).ok(),
        code,
        retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)),
        is_lost: false,
    })
}

/// One exchange that ends at once. Whether it was made.
async fn exchange(gate: &EndpointGate, outcome: Result<(), Error>) -> bool {
    match gate.enter(GateKey::random(), None).await {
        Ok(admission) => {
            admission.settle(&outcome);
            true
        }
        Err(_) => false,
    }
}

/// A gate that five failures have closed.
async fn closed() -> EndpointGate {
    let gate = EndpointGate::new();
    for _ in 0..FAILURES {
        assert!(exchange(&gate, Err(down())).await);
    }
    gate
}

/// A gate that is open again after its pause, with the one exchange that is to find out.
async fn probing() -> (EndpointGate, Admission, JoinHandle<bool>) {
    let gate = closed().await;
    sleep(PAUSE).await;
    let probe = gate.enter(GateKey::random(), None).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { exchange(&gate, Ok(())).await }
    });
    sleep(SECOND).await;
    assert!(
        !waiting.is_finished(),
        "the others wait for what it finds out"
    );
    (gate, probe, waiting)
}

#[tokio::test(start_paused = true)]
async fn four_at_once_and_the_others_in_turn() {
    let gate = EndpointGate::new();
    let begun = Instant::now();
    let mut exchanges = JoinSet::new();
    for number in 0..12_u64 {
        let gate = gate.clone();
        exchanges.spawn(async move {
            // In the order in which they came.
            sleep(Duration::from_millis(number)).await;
            let admission = gate.enter(GateKey::random(), None).await.unwrap();
            let turn = begun.elapsed().as_secs();
            sleep(SECOND).await;
            admission.settle(&Ok::<(), Error>(()));
            (number, turn)
        });
    }
    for (number, turn) in exchanges.join_all().await {
        assert_eq!(turn, number / 4, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_turn_in_time_hears_of_it() {
    let gate = EndpointGate::new();
    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        held.push(gate.enter(GateKey::random(), None).await.unwrap());
    }
    let error = gate.enter(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_response_lost(), "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn p16_five_failures_in_a_row_close_it_for_thirty_seconds() {
    let gate = EndpointGate::new();
    for _ in 0..3 {
        for _ in 0..4 {
            assert!(exchange(&gate, Err(down())).await);
        }
        assert!(exchange(&gate, Ok(())).await, "a success begins anew");
    }
    let gate = closed().await;
    let error = gate.enter(GateKey::random(), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(PAUSE));
    sleep(29 * SECOND).await;
    assert!(!exchange(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(exchange(&gate, Ok(())).await);
    assert!(exchange(&gate, Err(down())).await, "it is open again");
    assert!(exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_one_exchange_finds_out_for_all() {
    let (_, probe, waiting) = probing().await;
    probe.settle(&Ok::<(), Error>(()));
    assert!(waiting.await.unwrap());

    let (gate, probe, waiting) = probing().await;
    probe.settle(&Err::<(), _>(down()));
    assert!(!waiting.await.unwrap());
    assert!(!exchange(&gate, Ok(())).await, "one failure is enough now");
    sleep(PAUSE).await;
    assert!(exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_made_leaves_it_to_the_next() {
    let (_, probe, waiting) = probing().await;
    drop(probe);
    assert!(waiting.await.unwrap());

    let gate = EndpointGate::new();
    for _ in 0..20 {
        drop(gate.enter(GateKey::random(), None).await.unwrap());
    }
    assert!(exchange(&gate, Ok(())).await, "and is no failure");
}

#[tokio::test(start_paused = true)]
async fn p16_retry_after_holds_for_all() {
    let gate = EndpointGate::new();
    let error = answer(ErrorKind::Unavailable, 503, None, 120);
    assert!(exchange(&gate, Err(error)).await);
    sleep(119 * SECOND).await;
    assert!(!exchange(&gate, Ok(())).await);
    sleep(SECOND).await;
    assert!(exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_a_grant_that_is_throttled_alone_holds_up_no_other() {
    let gate = EndpointGate::new();
    let one = GateKey::random();
    let throttled = || answer(ErrorKind::Unavailable, 429, None, 120);
    gate.enter(one, None)
        .await
        .unwrap()
        .settle(&Err::<(), _>(throttled()));
    assert!(gate.enter(one, None).await.is_err());
    assert!(exchange(&gate, Ok(())).await);
    // Five others in a row hear the same: it is not about these grants.
    for _ in 0..5 {
        assert!(exchange(&gate, Err(throttled())).await);
    }
    assert!(!exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn p16_grants_that_fail_again_and_again_hold_up_no_other() {
    let gate = EndpointGate::new();
    let sick: Vec<_> = (0..3).map(|_| GateKey::random()).collect();
    for _ in 0..4 {
        for key in &sick {
            if let Ok(admission) = gate.enter(*key, None).await {
                admission.settle(&Err::<(), _>(down()));
            }
        }
    }
    for key in &sick {
        assert!(gate.enter(*key, None).await.is_err());
    }
    // Others go on, and one that succeeds ends the pause for all.
    assert!(exchange(&gate, Ok(())).await);
    assert!(gate.enter(sick[0], None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_those_that_have_failed_leave_a_turn_to_others() {
    let gate = EndpointGate::new();
    let mut sick = Vec::new();
    for _ in 0..4 {
        let key = GateKey::random();
        let admission = gate.enter(key, None).await.unwrap();
        admission.settle(&Err::<(), _>(down()));
        sick.push(key);
    }
    assert!(exchange(&gate, Ok(())).await);
    let held = [
        gate.enter(sick[0], None).await.unwrap(),
        gate.enter(sick[1], None).await.unwrap(),
        gate.enter(sick[2], None).await.unwrap(),
    ];
    assert!(gate.enter(sick[3], None).await.is_err());
    assert!(gate.enter(GateKey::random(), None).await.is_ok());
    drop(held);
    assert!(gate.enter(sick[3], None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_failures_of_one_grant_alone_hold_up_no_other() {
    let gate = EndpointGate::new();
    let sick = GateKey::random();
    for _ in 0..3 {
        for _ in 0..FAILURES {
            let admission = gate.enter(sick, None).await.unwrap();
            admission.settle(&Err::<(), _>(down()));
        }
        assert!(gate.enter(sick, None).await.is_err());
        // Also while that one finds out whether it is over.
        sleep(PAUSE).await;
        let probe = gate.enter(sick, None).await.unwrap();
        assert!(exchange(&gate, Ok(())).await);
        probe.settle(&Err::<(), _>(down()));
        assert!(exchange(&gate, Ok(())).await);
    }
}

fn unknown() -> Error {
    let code = Some(OAuthErrorCode::InvalidClient);
    answer(ErrorKind::Refused, 401, code, 0)
}

#[tokio::test(start_paused = true)]
async fn p15_an_unknown_client_stops_the_endpoint_for_longer_each_time() {
    let gate = EndpointGate::new();
    for minutes_of_half in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        assert!(exchange(&gate, Err(unknown())).await);
        let pause = PAUSE * minutes_of_half;
        let error = gate.enter(GateKey::random(), None).await.err().unwrap();
        assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
        assert_eq!(error.retry_after(), Some(pause));
        sleep(pause).await;
    }
    assert!(exchange(&gate, Ok(())).await, "it heals by itself");
    assert!(exchange(&gate, Err(unknown())).await);
    assert_eq!(
        gate.enter(GateKey::random(), None)
            .await
            .err()
            .unwrap()
            .retry_after(),
        Some(PAUSE)
    );
}

#[tokio::test(start_paused = true)]
async fn p15_what_is_said_of_one_grant_says_nothing_of_the_endpoint() {
    let gate = EndpointGate::new();
    for _ in 0..20 {
        for error in [
            Error::invalid_grant(),
            answer(
                ErrorKind::Refused,
                400,
                Some(OAuthErrorCode::InvalidGrant),
                0,
            ),
            answer(ErrorKind::InvalidResponse, 403, None, 0),
            answer(ErrorKind::Unavailable, 408, None, 0),
        ] {
            assert!(exchange(&gate, Err(error)).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_goes_through_all_the_same() {
    let gate = closed().await;
    let admission = gate.enter_anyway().await.unwrap();
    admission.settle(&Ok::<(), Error>(()));
    assert!(
        exchange(&gate, Ok(())).await,
        "and its success is good news"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_of_those_under_way_do_not_lengthen_the_pause() {
    let gate = EndpointGate::new();
    let late = gate.enter(GateKey::random(), None).await.unwrap();
    for _ in 0..FAILURES {
        assert!(exchange(&gate, Err(down())).await);
    }
    sleep(10 * SECOND).await;
    late.settle(&Err::<(), _>(down()));
    sleep(20 * SECOND).await;
    assert!(exchange(&gate, Ok(())).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_says_nothing_of_the_endpoint() {
    let nothing = || Err(Error::new(ErrorKind::NoGrant, "nothing to send"));
    let gate = closed().await;
    sleep(PAUSE).await;
    assert!(exchange(&gate, nothing()).await);
    assert!(exchange(&gate, Err(down())).await, "this one has found out");
    assert!(!exchange(&gate, Ok(())).await);

    let gate = EndpointGate::new();
    for _ in 0..FAILURES {
        assert!(exchange(&gate, nothing()).await);
        assert!(exchange(&gate, Err(down())).await);
    }
    assert!(
        !exchange(&gate, Ok(())).await,
        "nor does it count as a success"
    );
}

#[tokio::test(start_paused = true)]
async fn another_that_gives_up_does_not_speak_for_the_one_that_finds_out() {
    let (gate, probe, waiting) = probing().await;
    drop(gate.enter_anyway().await.unwrap());
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    probe.settle(&Ok::<(), Error>(()));
    assert!(waiting.await.unwrap());
}
