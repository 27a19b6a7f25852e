//! What nobody waits for, and how much of the gate it may take.

use std::future::{pending, ready};

use futures_util::FutureExt;

use super::*;

/// Exchanges in the background, which end when they are told to.
struct Crowd {
    gate: EndpointGate,
    /// Which of them have begun, in their order.
    began: Arc<Mutex<Vec<usize>>>,
    end: Arc<Semaphore>,
    exchanges: JoinSet<()>,
}

impl Crowd {
    /// So many at once. The last one is waited for as soon as `awaited` is notified.
    async fn of(count: usize, awaited: &Arc<Notify>) -> Self {
        let mut crowd = Self {
            gate: EndpointGate::new(),
            began: Arc::default(),
            end: Arc::new(Semaphore::new(0)),
            exchanges: JoinSet::new(),
        };
        for number in 0..count {
            let (gate, began) = (crowd.gate.clone(), Arc::clone(&crowd.began));
            let (end, awaited) = (Arc::clone(&crowd.end), Arc::clone(awaited));
            crowd.exchanges.spawn(async move {
                let until_awaited = async {
                    if number + 1 < count {
                        pending::<()>().await;
                    }
                    awaited.notified().await;
                };
                let entry = comes_in_background(&gate, until_awaited);
                let admission = entry.await.unwrap();
                began.lock().unwrap().push(number);
                end.acquire().await.unwrap().forget();
                admission.settle(&Ok::<(), Error>(()));
            });
        }
        crowd.settles().await;
        crowd
    }

    async fn settles(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    fn began(&self) -> Vec<usize> {
        self.began.lock().unwrap().clone()
    }

    async fn let_end(&self, count: usize) {
        self.end.add_permits(count);
        self.settles().await;
    }

    /// A turn for one who waits, if there is one at once.
    fn now(&self) -> Option<Admission> {
        let entry = self.gate.enter(GateKey::random(), None).now_or_never();
        entry.map(Result::unwrap)
    }
}

/// As a cache comes to it for what nobody waits for.
async fn comes_in_background(
    gate: &EndpointGate,
    awaited: impl Future<Output = ()>,
) -> Result<Admission, Error> {
    let key = GateKey::random();
    let place = gate.place(key, awaited).await?;
    gate.enter(key, place).await
}

#[tokio::test(start_paused = true)]
async fn p16_half_of_the_turns_are_left_to_those_who_wait() {
    let crowd = Crowd::of(1_000, &Arc::default()).await;
    assert_eq!(crowd.began(), [0, 1]);
    let waiting = [crowd.now(), crowd.now()].map(Option::unwrap);
    assert!(crowd.now().is_none());

    // The next turn is that of one who waits, whoever gives it back.
    let next = || {
        let gate = crowd.gate.clone();
        tokio::spawn(async move { gate.enter(GateKey::random(), None).await.unwrap() })
    };
    let (third, fourth) = (next(), next());
    crowd.settles().await;
    crowd.let_end(1).await;
    assert!(third.is_finished() && !fourth.is_finished());
    crowd.let_end(1).await;
    assert!(fourth.is_finished());
    assert_eq!(crowd.began(), [0, 1]);

    // Once fewer of them wait, those of the background go on in their order; and never more than two.
    drop((third.await, fourth.await));
    crowd.settles().await;
    assert_eq!(crowd.began(), [0, 1, 2, 3]);
    drop(waiting);
    crowd.settles().await;
    assert_eq!(crowd.began(), [0, 1, 2, 3]);
    crowd.let_end(8).await;
    assert_eq!(crowd.began(), (0..12).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn p16_one_that_somebody_comes_to_wait_for_is_background_no_more() {
    let awaited = Arc::new(Notify::new());
    let crowd = Crowd::of(1_000, &awaited).await;
    let waiting = [crowd.now(), crowd.now()].map(Option::unwrap);
    awaited.notify_one();
    crowd.settles().await;
    assert_eq!(crowd.began(), [0, 1], "there is no turn for anybody");
    crowd.let_end(1).await;
    assert_eq!(crowd.began(), [0, 1, 999]);
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn one_in_the_background_has_fifteen_seconds_in_each_queue() {
    let gate = EndpointGate::new();
    let in_background = |gate: &EndpointGate| {
        let gate = gate.clone();
        tokio::spawn(async move {
            let entry = comes_in_background(&gate, pending());
            entry.await.map(drop)
        })
    };
    let mut held = Vec::new();
    for _ in 0..AT_ONCE {
        // Waited for from the first, it needs no place.
        let entry = comes_in_background(&gate, ready(()));
        held.push(entry.await.unwrap());
    }
    let placed = [in_background(&gate), in_background(&gate)];
    sleep(SECOND).await;
    let behind = in_background(&gate);
    // These two give up first, and that one comes to their place just before it would.
    sleep(14 * SECOND).await;
    for entry in placed {
        let error = entry.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    sleep(14 * SECOND).await;
    assert!(!behind.is_finished());
    drop(held);
    behind.await.unwrap().unwrap();
}
