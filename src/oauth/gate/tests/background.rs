//! Background refreshes, and how many permits they may hold.

use std::future::{pending, ready};

use futures_util::FutureExt;
use tokio::sync::Semaphore;

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
async fn p16_background_refreshes_and_awaited_ones_take_no_permit_of_each_other() {
    let crowd = Crowd::new(1_000, &Arc::default()).await;
    assert_eq!(crowd.started(), [0, 1]);
    let awaited: Vec<_> = (0..4).map(|_| crowd.try_acquire().unwrap()).collect();
    assert!(crowd.try_acquire().is_none());

    // The permits of background refreshes go to the next ones in order of arrival.
    crowd.complete(3).await;
    assert_eq!(crowd.started(), [0, 1, 2, 3, 4]);
    drop(awaited);
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1, 2, 3, 4]);
    assert!(crowd.try_acquire().is_some());
}

#[tokio::test(start_paused = true)]
async fn p16_an_awaited_refresh_leaves_the_background_queue() {
    let awaited = Arc::new(Notify::new());
    let crowd = Crowd::new(1_000, &awaited).await;
    let mut waiting: Vec<_> = (0..4).map(|_| crowd.try_acquire().unwrap()).collect();
    awaited.notify_one();
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1], "no permit is free");
    waiting.pop();
    crowd.run().await;
    assert_eq!(crowd.started(), [0, 1, 999]);
}

#[tokio::test(start_paused = true)]
async fn a_background_refresh_waits_up_to_fifteen_seconds() {
    let gate = EndpointGate::new();
    let in_background = |gate: &EndpointGate| {
        let gate = gate.clone();
        tokio::spawn(async move { acquire_in_background(&gate, pending()).await })
    };
    let held = [in_background(&gate), in_background(&gate)];
    sleep(SECOND).await;
    let late = in_background(&gate);
    sleep(16 * SECOND).await;
    let error = late.await.unwrap().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let last = in_background(&gate);
    sleep(14 * SECOND).await;
    drop(held.map(|permit| permit.now_or_never().unwrap().unwrap().unwrap()));
    assert!(last.await.unwrap().is_ok());
    // A request waits for it from the start, so it needs no background permit.
    assert!(acquire_in_background(&gate, ready(())).await.is_ok());
}
