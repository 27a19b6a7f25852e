//! Background refreshes, and how many permits they may hold.

use std::future::{pending, ready};

use futures_util::FutureExt;

use super::*;

/// Background refreshes, which complete when the test lets them.
struct Crowd {
    gate: EndpointGate,
    /// The refreshes that have started, in order.
    started: Arc<Mutex<Vec<usize>>>,
    complete: Arc<Semaphore>,
    refreshes: JoinSet<()>,
}

impl Crowd {
    /// Starts `count` refreshes. A request waits for the last one once `awaited` is notified.
    async fn new(count: usize, awaited: &Arc<Notify>) -> Self {
        let mut crowd = Self {
            gate: EndpointGate::new(),
            started: Arc::default(),
            complete: Arc::new(Semaphore::new(0)),
            refreshes: JoinSet::new(),
        };
        for number in 0..count {
            let (gate, started) = (crowd.gate.clone(), Arc::clone(&crowd.started));
            let (complete, awaited) = (Arc::clone(&crowd.complete), Arc::clone(awaited));
            crowd.refreshes.spawn(async move {
                let until_awaited = async {
                    if number + 1 < count {
                        pending::<()>().await;
                    }
                    awaited.notified().await;
                };
                let permit = acquire_in_background(&gate, until_awaited).await.unwrap();
                started.lock().unwrap().push(number);
                complete.acquire().await.unwrap().forget();
                permit.record(&Ok::<(), Error>(()));
            });
        }
        crowd.run().await;
        crowd
    }

    /// Runs all tasks until they wait.
    async fn run(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    fn started(&self) -> Vec<usize> {
        self.started.lock().unwrap().clone()
    }

    async fn complete(&self, count: usize) {
        self.complete.add_permits(count);
        self.run().await;
    }

    /// Acquires a permit for a refresh that a request waits for, if one is free.
    fn try_acquire(&self) -> Option<Permit> {
        let permit = self.gate.acquire(GateKey::random(), None).now_or_never();
        permit.map(Result::unwrap)
    }
}

/// Acquires a permit as a cache does for a background refresh.
async fn acquire_in_background(
    gate: &EndpointGate,
    awaited: impl Future<Output = ()>,
) -> Result<Permit, Error> {
    let key = GateKey::random();
    let background = gate.acquire_background(key, awaited).await?;
    gate.acquire(key, background).await
}

#[tokio::test(start_paused = true)]
async fn p16_background_refreshes_leave_half_of_the_permits_free() {
    let crowd = Crowd::new(1_000, &Arc::default()).await;
    assert_eq!(crowd.started(), [0, 1]);
    let waiting = [crowd.try_acquire(), crowd.try_acquire()].map(Option::unwrap);
    assert!(crowd.try_acquire().is_none());

    // The next permit goes to a refresh that a request waits for, whichever is released.
    let next = || {
        let gate = crowd.gate.clone();
        tokio::spawn(async move { gate.acquire(GateKey::random(), None).await.unwrap() })
    };
    let (third, fourth) = (next(), next());
    crowd.run().await;
    crowd.complete(1).await;
    assert!(third.is_finished() && !fourth.is_finished());
    crowd.complete(1).await;
    assert!(fourth.is_finished());
    assert_eq!(crowd.started(), [0, 1]);

    // Then background refreshes continue in order of arrival, never more than two at once.
    drop((third.await, fourth.await));
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1, 2, 3]);
    drop(waiting);
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1, 2, 3]);
    crowd.complete(8).await;
    assert_eq!(crowd.started(), (0..12).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn p16_an_awaited_refresh_leaves_the_background_queue() {
    let awaited = Arc::new(Notify::new());
    let crowd = Crowd::new(1_000, &awaited).await;
    let waiting = [crowd.try_acquire(), crowd.try_acquire()].map(Option::unwrap);
    awaited.notify_one();
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1], "no permit is free");
    crowd.complete(1).await;
    assert_eq!(crowd.started(), [0, 1, 999]);
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn a_background_refresh_waits_up_to_fifteen_seconds_in_each_queue() {
    let gate = EndpointGate::new();
    let in_background = |gate: &EndpointGate| {
        let gate = gate.clone();
        tokio::spawn(async move {
            let permit = acquire_in_background(&gate, pending());
            permit.await.map(drop)
        })
    };
    let mut held = Vec::new();
    for _ in 0..MAX_CONCURRENT {
        // A request waits for it from the start, so it needs no background permit.
        let permit = acquire_in_background(&gate, ready(()));
        held.push(permit.await.unwrap());
    }
    let first = [in_background(&gate), in_background(&gate)];
    sleep(SECOND).await;
    let behind = in_background(&gate);
    // The first two time out, and the one behind gets their background permit just before it would.
    sleep(14 * SECOND).await;
    for refresh in first {
        let error = refresh.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    sleep(14 * SECOND).await;
    assert!(!behind.is_finished());
    drop(held);
    behind.await.unwrap().unwrap();
}
