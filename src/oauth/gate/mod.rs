//! What all exchanges with one token endpoint share: a limit, and a breaker.
//!
//! Without it, an endpoint that is slow or down hears from every grant at once, each with pauses of its own. With it:
//!
//! * four exchanges are made at once; the others wait their turn, first come first served, for up to 15 seconds;
//! * those that nobody waits for, because the held token is good, pass a queue of their own before: two of them at once
//!   come to the other queue or have a turn, and the others wait, in their order, for up to 15 seconds more. So a request
//!   that waits finds two turns at least that such work has not taken up, however much of it there is. One that somebody
//!   comes to wait for goes on to the other queue at once;
//! * after five failures in a row (no answer, a 5xx, or a 429) the endpoint is left alone for 30 seconds, and as long as it
//!   asks by `Retry-After` (10 minutes at most);
//! * after `invalid_client`, which says nothing about any grant, for 30 seconds, and twice as long each time, up to 30
//!   minutes, or until the client has another secret: then the next exchange is made at once, and what an earlier one
//!   brings that was sent with the old secret does not count;
//! * then one exchange is made to see whether it is over, while the others wait for what it finds out;
//! * where all those failures, or a 429, were one grant's alone, the others are not held up by it;
//! * nor are they by many grants that are in trouble themselves: those whose last exchange has failed, or whose access token
//!   has ended, have three of the turns between them, and their failures leave the endpoint alone for them, while the others
//!   go on. It takes five others that fail in a row, without a success between, to leave it alone for all.

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

mod breaker;

pub(crate) use self::breaker::GateKey;
use self::breaker::{Breaker, Comer, News, Probe, Turn, suspicion};
use crate::{
    error::{Answer, Error, ErrorKind},
    telemetry,
};

const AT_ONCE: usize = 4;
/// Of these, for what nobody waits for.
const IN_BACKGROUND: usize = 2;
/// Of these, for those that are more likely than others to be in trouble themselves; and how many of them are known.
const SUSPECTS: usize = 3;
const MOST_SUSPECTS: usize = 10_000;
/// For a turn; and for a place in the background.
const QUEUE: Duration = Duration::from_secs(15);

/// Lets few exchanges at once through to a token endpoint, and none while it is down. The [module page](crate::oauth)
/// says where it stands.
///
/// An [`OAuthClient`](crate::oauth::OAuthClient) has one, which several may
/// [share](crate::oauth::OAuthClientBuilder::gate). A [`TokenSource`](crate::cache::TokenSource) of your own may have one
/// too, shared by all sources that ask the same endpoint. Clones are the same gate.
#[derive(Clone, Default)]
pub struct EndpointGate {
    shared: Arc<Shared>,
}

struct Shared {
    turns: Arc<Semaphore>,
    background: Arc<Semaphore>,
    suspects: Arc<Semaphore>,
    /// Whose last exchange has failed.
    suspected: Mutex<HashSet<u64>>,
    breaker: Mutex<Breaker>,
    /// How often a client's secret was replaced. Raised under the lock of `breaker` only.
    epoch: AtomicU64,
    /// Wakes those who wait for what a probe finds out.
    settled: Notify,
}

impl EndpointGate {
    /// A gate that is open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for a turn, and fails while the endpoint is left alone. Who has a place already is in the background.
    pub(crate) async fn enter(
        &self,
        key: GateKey,
        place: Option<Place>,
    ) -> Result<Admission, Error> {
        let comer = self.comer(key);
        self.breaker().check(comer, Instant::now())?;
        let is_background = place.is_some();
        let place = match place {
            None if comer.is_suspect => Some(self.queue(permit(&self.shared.suspects)).await?),
            place => place,
        };
        self.queue(async {
            loop {
                let turn = permit(&self.shared.turns).await?;
                let settled = self.shared.settled.notified();
                let (epoch, verdict) = {
                    let mut breaker = self.breaker();
                    let epoch = self.epoch();
                    (epoch, breaker.turn(comer, epoch, Instant::now())?)
                };
                match verdict {
                    Turn::Go { probe } => {
                        return Ok(self.admit((turn, place), comer, epoch, probe));
                    }
                    Turn::Wait(error) if is_background => return Err(error),
                    Turn::Wait(_) => {
                        drop(turn);
                        settled.await;
                    }
                }
            }
        })
        .await
    }

    /// A place in the background, for what nobody waits for before `awaited` ends. None where somebody does. Fails at once
    /// while the endpoint is left alone, so that nothing else need be troubled.
    pub(crate) async fn place(
        &self,
        key: GateKey,
        awaited: impl Future<Output = ()>,
    ) -> Result<Option<Place>, Error> {
        let comer = self.comer(key);
        self.breaker().check(comer, Instant::now())?;
        let places = if comer.is_suspect {
            &self.shared.suspects
        } else {
            &self.shared.background
        };
        self.queue(async {
            tokio::select! {
                biased;
                () = awaited => Ok(None),
                place = permit(places) => place.map(Some),
            }
        })
        .await
    }

    /// Waits for a turn only.
    pub(crate) async fn enter_anyway(&self) -> Result<Admission, Error> {
        self.queue(async {
            let turn = permit(&self.shared.turns).await?;
            let comer = self.comer(GateKey::random());
            Ok(self.admit((turn, None), comer, self.epoch(), None))
        })
        .await
    }

    /// A client has another secret, and uses it already: refusals of the last one say nothing any more.
    pub(crate) fn begin_anew(&self) {
        {
            let mut breaker = self.breaker();
            self.shared.epoch.fetch_add(1, Ordering::Relaxed);
            breaker.begin_anew();
        }
        self.shared.settled.notify_waiters();
    }

    /// Tells refusals of a client apart: one of an earlier epoch speaks of a secret that was replaced since.
    pub(crate) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Relaxed)
    }

    async fn queue<T>(&self, entry: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        timeout(QUEUE, entry).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "so many exchanges are under way that this one had no turn within 15 seconds",
            )
            .with_answer(Answer {
                retry_after: Some(QUEUE),
                ..Answer::default()
            }))
        })
    }

    fn comer(&self, key: GateKey) -> Comer {
        let is_suspect = key.is_overdue() || self.suspected().contains(&key.number());
        Comer { key, is_suspect }
    }

    fn suspect(&self, key: GateKey, is_suspect: bool) {
        let mut suspected = self.suspected();
        if !is_suspect {
            suspected.remove(&key.number());
            return;
        }
        if suspected.len() >= MOST_SUSPECTS {
            // Grants go without saying so. Those that fail on come back.
            suspected.clear();
        }
        suspected.insert(key.number());
    }

    fn suspected(&self) -> MutexGuard<'_, HashSet<u64>> {
        let suspected = self.shared.suspected.lock();
        suspected.unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, permits: Permits, comer: Comer, epoch: u64, probe: Option<Probe>) -> Admission {
        Admission {
            gate: self.clone(),
            comer,
            epoch,
            _permits: permits,
            probe,
            is_settled: false,
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        let breaker = self.shared.breaker.lock();
        breaker.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            background: Arc::new(Semaphore::new(IN_BACKGROUND)),
            suspects: Arc::new(Semaphore::new(SUSPECTS)),
            suspected: Mutex::default(),
            breaker: Mutex::new(Breaker::WORKING),
            epoch: AtomicU64::new(0),
            settled: Notify::new(),
        }
    }
}

/// One of those that come to the queue for turns, of the ones that are not to take all of them.
pub(crate) type Place = OwnedSemaphorePermit;

/// A turn; and the place, where it took one to get that.
type Permits = (OwnedSemaphorePermit, Option<Place>);

/// The right to make one exchange. Dropped without an outcome, it says nothing about the endpoint.
pub(crate) struct Admission {
    gate: EndpointGate,
    comer: Comer,
    epoch: u64,
    _permits: Permits,
    /// If the others wait for what it finds out.
    probe: Option<Probe>,
    is_settled: bool,
}

impl Admission {
    /// Says what came of it.
    pub(crate) fn settle<T>(mut self, outcome: &Result<T, Error>) {
        let failure = outcome.as_ref().err();
        if failure.is_some_and(was_not_made) {
            return;
        }
        let news = {
            let mut breaker = self.gate.breaker();
            let is_outdated = self.epoch != self.gate.epoch();
            if is_outdated && failure.is_some_and(Error::is_invalid_client) {
                return;
            }
            breaker.settle(self.comer, failure, Instant::now())
        };
        if let Some(is_suspect) = suspicion(failure) {
            self.gate.suspect(self.comer.key, is_suspect);
        }
        self.is_settled = true;
        self.gate.shared.settled.notify_waiters();
        match news {
            News::None => {}
            News::LeftAlone(length, reason) => telemetry::circuit_opened(length, &reason),
            News::Back => telemetry::circuit_closed(),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(probe) = self.probe
            && !self.is_settled
        {
            self.gate.breaker().give_up(probe, Instant::now());
            self.gate.shared.settled.notify_waiters();
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    let permit = Arc::clone(semaphore).acquire_owned().await;
    // It is never closed.
    permit.map_err(|error| Error::new(ErrorKind::Interrupted, "no more turns").with_source(error))
}

/// There was nothing to send.
fn was_not_made(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NoGrant | ErrorKind::Configuration)
}

impl fmt::Debug for EndpointGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.breaker() {
            Breaker::Closed { .. } => "open",
            Breaker::Open(_) => "closed",
            Breaker::Probing(..) => "probing",
        };
        f.debug_struct("EndpointGate")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
