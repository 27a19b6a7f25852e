//! The concurrency limiter and circuit breaker that all requests to one token endpoint share.
//!
//! Without it, each grant would send requests to a slow or failing endpoint, with a backoff of its
//! own. The page of `oauth` has the rules, for users too.

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
    sync::Notify,
    time::{Instant, timeout},
};

mod breaker;
mod share;
mod status;

pub(crate) use self::breaker::GateKey;
pub use self::status::{CircuitState, EndpointStatus};
use self::{
    breaker::{Breaker, Caller, Decision, Probe, Transition, degraded_after},
    share::{Class, SharePermit, Shares},
};
use crate::{
    error::{Error, ErrorKind, ResponseDetails},
    telemetry::{EndpointListener, EndpointTelemetry, ResponseNotice},
};

/// How many degraded grants are remembered.
const MAX_DEGRADED_KEYS: usize = 10_000;
/// How long to wait for a permit.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(15);

/// A concurrency limiter and circuit breaker, shared by all requests to one token endpoint.
///
/// Waiting refreshes, background refreshes and code exchanges each have a few permits of their own.
/// Five failures in a row open the circuit breaker for 30 seconds: until then requests fail at once
/// with
/// [`Unavailable`](crate::ErrorKind::Unavailable), and [`retry_after`](crate::Error::retry_after)
/// says for how long. The [module page](crate::oauth#limiter-and-circuit-breaker) has the details.
///
/// Each [`OAuthClient`](crate::oauth::OAuthClient) has a gate. Several clients of one token
/// endpoint can share one through
/// [`OAuthClientBuilder::gate`](crate::oauth::OAuthClientBuilder::gate), and an own
/// [`TokenSource`](crate::cache::TokenSource) can return one as
/// [`TokenSource::gate`](crate::cache::TokenSource::gate). Clones share their state.
#[derive(Clone, Default)]
pub struct EndpointGate {
    shared: Arc<Shared>,
}

struct Shared {
    shares: Shares,
    /// Grants whose last token request failed.
    degraded: Mutex<HashSet<u64>>,
    breaker: Mutex<Breaker>,
    /// How often a client secret was replaced. Only changed under the lock of `breaker`.
    epoch: AtomicU64,
    /// How often the endpoint has worked again after an outage.
    recoveries: AtomicU64,
    /// Wakes the requests that wait for the outcome of a probe.
    outcome_recorded: Notify,
    telemetry: EndpointTelemetry,
}

impl EndpointGate {
    /// Creates a gate with a closed circuit breaker.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the state of the circuit breaker, without waiting.
    ///
    /// If all failures are of one grant, the circuit breaker is open for that grant only, and
    /// counts as closed here.
    ///
    /// ```
    /// use tower_oauth2_client::oauth::{CircuitState, EndpointGate};
    ///
    /// let status = EndpointGate::new().status();
    /// assert_eq!(status.circuit, CircuitState::Closed);
    /// assert!(!status.is_client_rejected());
    /// ```
    #[must_use]
    pub fn status(&self) -> EndpointStatus {
        self.breaker().status(Instant::now())
    }

    /// Sets the listener that is called when the circuit breaker opens or closes. Replaces an
    /// earlier one. Defaults to none.
    pub fn set_listener(&self, listener: impl EndpointListener) {
        self.set_shared_listener(Arc::new(listener));
    }

    pub(crate) fn set_shared_listener(&self, listener: Arc<dyn EndpointListener>) {
        self.shared.telemetry.set_listener(listener);
    }

    /// Reports what is odd about a token response.
    pub(crate) fn notice(&self, notice: &ResponseNotice) {
        self.shared.telemetry.notice(notice);
    }

    /// Sets the URL of the endpoint for events, unless another client has set it.
    pub(crate) fn set_endpoint(&self, url: &str) {
        self.shared.telemetry.set_endpoint(url);
    }

    /// Waits for a permit for one token request, and fails while the breaker is open.
    ///
    /// A background refresh passes its background permit.
    pub(crate) async fn acquire(
        &self,
        key: GateKey,
        background: Option<BackgroundPermit>,
    ) -> Result<Permit, Error> {
        let caller = self.caller(key);
        self.breaker().check(caller, Instant::now())?;
        if let Some(BackgroundPermit(permit)) = background {
            let (epoch, decision) = self.admit(caller)?;
            return match decision {
                Decision::Send { probe } => {
                    Ok(self.permit(permit, Class::Background, caller, epoch, probe))
                }
                Decision::Wait(error) => Err(error),
            };
        }
        self.queue(async {
            loop {
                let class = Class::Awaited;
                let permit = self
                    .shared
                    .shares
                    .acquire(class, caller.is_degraded)
                    .await?;
                let outcome_recorded = self.shared.outcome_recorded.notified();
                let (epoch, decision) = self.admit(caller)?;
                match decision {
                    Decision::Send { probe } => {
                        return Ok(self.permit(permit, class, caller, epoch, probe));
                    }
                    Decision::Wait(_) => {
                        drop(permit);
                        outcome_recorded.await;
                    }
                }
            }
        })
        .await
    }

    fn admit(&self, caller: Caller) -> Result<(u64, Decision), Error> {
        let mut breaker = self.breaker();
        let epoch = self.epoch();
        Ok((epoch, breaker.admit(caller, epoch, Instant::now())?))
    }

    /// Waits for a background permit. Returns `None` if `awaited` completes first, because then a
    /// request waits for the refresh. Fails at once while the breaker is open.
    pub(crate) async fn acquire_background(
        &self,
        key: GateKey,
        awaited: impl Future<Output = ()>,
    ) -> Result<Option<BackgroundPermit>, Error> {
        let caller = self.caller(key);
        self.breaker().check(caller, Instant::now())?;
        let shares = &self.shared.shares;
        self.queue(async {
            tokio::select! {
                biased;
                () = awaited => Ok(None),
                permit = shares.acquire(Class::Background, caller.is_degraded) => {
                    permit.map(|permit| Some(BackgroundPermit(permit)))
                }
            }
        })
        .await
    }

    /// Waits for a permit of a code exchange. An open breaker does not matter.
    pub(crate) async fn acquire_for_code_exchange(&self) -> Result<Permit, Error> {
        self.acquire_while_open(Class::CodeExchange).await
    }

    /// Waits for a permit of a pushed authorization request. An open breaker does not matter, and
    /// the outcome changes nothing.
    pub(crate) async fn acquire_for_pushed_authorization(&self) -> Result<Permit, Error> {
        self.acquire_while_open(Class::PushedAuthorization).await
    }

    /// Waits for a permit of one poll of a device authorization. An open breaker does not matter.
    pub(crate) async fn acquire_for_device(&self) -> Result<Permit, Error> {
        self.acquire_while_open(Class::DevicePoll).await
    }

    async fn acquire_while_open(&self, class: Class) -> Result<Permit, Error> {
        self.queue(async {
            let permit = self.shared.shares.acquire(class, false).await?;
            let caller = self.caller(GateKey::random());
            Ok(self.permit(permit, class, caller, self.epoch(), None))
        })
        .await
    }

    /// Starts a new epoch: a client already sends a new secret, so that an `invalid_client`
    /// response to the old one no longer counts.
    pub(crate) fn secret_replaced(&self) {
        {
            let mut breaker = self.breaker();
            self.shared.epoch.fetch_add(1, Ordering::Relaxed);
            breaker.secret_replaced();
        }
        self.shared.telemetry.secret_replaced();
        self.shared.outcome_recorded.notify_waiters();
    }

    /// Which secrets are in use. An `invalid_client` response from an earlier epoch is about a
    /// secret that was replaced since.
    pub(crate) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Relaxed)
    }

    /// How often the endpoint has worked again after an outage. The backoff of grants that failed
    /// in that outage then ends.
    pub(crate) fn recoveries(&self) -> u64 {
        self.shared.recoveries.load(Ordering::Relaxed)
    }

    async fn queue<T>(&self, entry: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        timeout(QUEUE_TIMEOUT, entry).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "token request got no permit within 15 s: too many token requests are \
                 waiting; try again later",
            )
            .with_response(ResponseDetails {
                retry_after: Some(QUEUE_TIMEOUT),
                is_unused: true,
                ..ResponseDetails::default()
            }))
        })
    }

    fn caller(&self, key: GateKey) -> Caller {
        let has_failed = self.degraded().contains(&key.number());
        Caller {
            key,
            is_degraded: key.is_overdue() || has_failed,
            has_failed,
        }
    }

    fn set_degraded(&self, key: GateKey, is_degraded: bool) {
        let mut degraded = self.degraded();
        if !is_degraded {
            degraded.remove(&key.number());
            return;
        }
        if degraded.len() >= MAX_DEGRADED_KEYS {
            // Grants that are dropped from memory do not sign off. Those that still fail return.
            degraded.clear();
        }
        degraded.insert(key.number());
    }

    fn degraded(&self) -> MutexGuard<'_, HashSet<u64>> {
        let degraded = self.shared.degraded.lock();
        degraded.unwrap_or_else(PoisonError::into_inner)
    }

    fn permit(
        &self,
        held: SharePermit,
        class: Class,
        caller: Caller,
        epoch: u64,
        probe: Option<Probe>,
    ) -> Permit {
        Permit {
            gate: self.clone(),
            class,
            caller,
            epoch,
            _held: held,
            probe,
            is_recorded: false,
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
            shares: Shares::default(),
            degraded: Mutex::default(),
            breaker: Mutex::new(Breaker::CLOSED),
            epoch: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            outcome_recorded: Notify::new(),
            telemetry: EndpointTelemetry::default(),
        }
    }
}

/// The place of one background refresh, which becomes its [`Permit`].
pub(crate) struct BackgroundPermit(SharePermit);

/// Permission to send one token request. If it is dropped without an outcome, the breaker learns
/// nothing.
pub(crate) struct Permit {
    gate: EndpointGate,
    class: Class,
    caller: Caller,
    epoch: u64,
    _held: SharePermit,
    /// Set if the other requests wait for the outcome of this one.
    probe: Option<Probe>,
    is_recorded: bool,
}

impl Permit {
    /// Records the outcome of the token request, and releases the permit.
    pub(crate) fn record<T>(mut self, outcome: &Result<T, Error>) {
        self.record_failure(outcome.as_ref().err());
    }

    /// Records the pause that a lost response asks for, if any. The permit is still needed for the
    /// replay of the refresh token.
    pub(crate) fn record_retry_after(&mut self, lost: &Error) {
        if lost.retry_after().is_some_and(|time| !time.is_zero()) {
            self.record_failure(Some(lost));
        }
    }

    fn record_failure(&mut self, failure: Option<&Error>) {
        if failure.is_some_and(is_before_sending) || !self.class.is_evidence(failure.is_none()) {
            return;
        }
        let transition = {
            let mut breaker = self.gate.breaker();
            let is_outdated = self.epoch != self.gate.epoch();
            if is_outdated && failure.is_some_and(Error::is_invalid_client) {
                return;
            }
            breaker.record(self.caller, failure, Instant::now())
        };
        if let Some(is_degraded) = degraded_after(failure) {
            self.gate.set_degraded(self.caller.key, is_degraded);
        }
        self.is_recorded = true;
        self.gate.shared.outcome_recorded.notify_waiters();
        match transition {
            Transition::None => {}
            Transition::Opened(opening) => self.gate.shared.telemetry.circuit_opened(
                opening.length,
                &opening.reason,
                opening.is_for_one,
            ),
            Transition::Closed { is_recovery } => {
                if is_recovery {
                    let recoveries = &self.gate.shared.recoveries;
                    recoveries.fetch_add(1, Ordering::Relaxed);
                }
                self.gate.shared.telemetry.circuit_closed();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(probe) = self.probe
            && !self.is_recorded
        {
            self.gate.breaker().abandon_probe(probe, Instant::now());
            self.gate.shared.outcome_recorded.notify_waiters();
        }
    }
}

/// Whether the error was found before a token request was sent, and so says nothing about the
/// endpoint.
fn is_before_sending(error: &Error) -> bool {
    error.is_local() || matches!(error.kind(), ErrorKind::NoGrant | ErrorKind::Configuration)
}

impl fmt::Debug for EndpointGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.breaker() {
            Breaker::Closed(_) => "closed",
            Breaker::Open(_) => "open",
            Breaker::HalfOpen(..) => "half-open",
        };
        f.debug_struct("EndpointGate")
            .field("breaker", &state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
