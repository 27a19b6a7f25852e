//! No class of callers, and no tenant, takes the share of another.

use futures_util::FutureExt;

use super::*;

const CLASSES: [Class; 5] = [
    Class::Awaited,
    Class::Background,
    Class::CodeExchange,
    Class::PushedAuthorization,
    Class::DevicePoll,
];

/// Acquires a permit, or returns `None` if it would have to wait.
fn try_acquire(gate: &EndpointGate, class: Class, key: GateKey) -> Option<Permit> {
    let permit = async {
        match class {
            Class::Awaited => gate.acquire(key, None).await,
            Class::Background => {
                let background = gate.acquire_background(key, std::future::pending()).await?;
                gate.acquire(key, background).await
            }
            Class::CodeExchange => gate.acquire_for_code_exchange().await,
            Class::PushedAuthorization => gate.acquire_for_pushed_authorization().await,
            Class::DevicePoll => gate.acquire_for_device().await,
        }
    };
    permit.now_or_never().map(Result::unwrap)
}

/// Takes as many permits as a class can get.
fn exhaust(gate: &EndpointGate, class: Class) -> Vec<Permit> {
    std::iter::from_fn(|| try_acquire(gate, class, GateKey::random())).collect()
}

#[tokio::test(start_paused = true)]
async fn p16_no_class_takes_the_permits_of_another() {
    for class in CLASSES {
        let gate = EndpointGate::new();
        let others: Vec<_> = CLASSES
            .into_iter()
            .filter(|other| *other != class)
            .flat_map(|other| exhaust(&gate, other))
            .collect();
        assert!(!others.is_empty());
        assert_eq!(
            exhaust(&gate, class).len(),
            class.size().permits,
            "{class:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p16_no_tenant_takes_all_permits_of_a_class() {
    // A grant has one token request in flight.
    for class in CLASSES {
        assert!(class.size().permits >= 2, "{class:?}");
    }
    for class in [Class::Awaited, Class::Background] {
        assert!(class.size().degraded < class.size().permits, "{class:?}");
        let gate = EndpointGate::new();
        let overdue = GateKey::random().overdue(true);
        let held: Vec<_> = std::iter::from_fn(|| try_acquire(&gate, class, overdue)).collect();
        assert_eq!(held.len(), class.size().degraded, "{class:?}");
        assert!(try_acquire(&gate, class, GateKey::random()).is_some());
    }
}

/// The outcomes that a code, which a browser has chosen, can cause.
fn failures_of_codes() -> Vec<Error> {
    let failure = |status, code| rejection(ErrorKind::Unavailable, status, code, 0);
    vec![
        down(),
        down().with_response_lost(),
        failure(400, Some(OAuthErrorCode::InvalidGrant)),
        failure(401, Some(OAuthErrorCode::InvalidClient)),
        failure(429, None),
        failure(500, None),
        rejection(ErrorKind::Unavailable, 429, None, 600),
        rejection(ErrorKind::Unavailable, 503, None, 600),
    ]
}

#[tokio::test(start_paused = true)]
async fn p16_failed_code_exchanges_do_not_open_the_breaker() {
    for failure in failures_of_codes() {
        let gate = EndpointGate::new();
        for _ in 0..20 {
            let permit = gate.acquire_for_code_exchange().await.unwrap();
            permit.record(&Err::<(), _>(failure.clone()));
        }
        assert!(request(&gate, Ok(())).await, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_failed_code_exchanges_do_not_close_the_breaker() {
    for failure in failures_of_codes() {
        let gate = open().await;
        let permit = gate.acquire_for_code_exchange().await.unwrap();
        permit.record(&Err::<(), _>(failure.clone()));
        assert!(!request(&gate, Ok(())).await, "{failure:?}");

        // Nor do they reset the count of failures.
        let gate = EndpointGate::new();
        for _ in 0..FAILURE_THRESHOLD {
            assert!(request(&gate, Err(down())).await);
            let permit = gate.acquire_for_code_exchange().await.unwrap();
            permit.record(&Err::<(), _>(failure.clone()));
        }
        assert!(!request(&gate, Ok(())).await, "{failure:?}");
    }
}
