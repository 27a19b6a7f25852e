//! The metadata of one issuer, cached.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{
    fetch::Http,
    freshness,
    metadata::{self, Metadata},
    url::Subject,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind},
    later::Later,
    telemetry,
};

/// The metadata of one issuer, loaded once for all callers and kept for a while.
///
/// Clones are cheap, and share the copy.
///
/// * Any number of concurrent callers cause one load. It runs in a task of its own: a caller that
///   is dropped does not stop it for the others.
/// * A load takes at most the [`response_timeout`](super::DiscoveryBuilder::response_timeout), 10
///   seconds by default, with all its requests. Each caller waits at most 5 seconds longer.
/// * A copy is used for the `max-age` of the response's `Cache-Control`, at least 5 minutes and at
///   most 24 hours; for an hour if there is none.
/// * If a later load fails, the old copy stays in use, and the next load begins after 5 minutes.
///   The event [`discovery.load_failed`](crate::telemetry) says so.
#[derive(Clone)]
pub struct Discovery(Arc<Shared>);

struct Shared {
    issuer: Subject,
    http: Http,
    clock: Arc<dyn Clock>,
    /// How long a caller waits.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    copy: Option<CachedCopy>,
    load: Option<Load>,
    /// Counts loads, so that one that was given up does not end a later one.
    loads: u64,
}

struct CachedCopy {
    metadata: Metadata,
    /// When the next load is due: by whichever clock says so first.
    due: (Instant, SystemTime),
}

/// A load that runs.
#[derive(Clone)]
struct Load {
    number: u64,
    outcome: watch::Receiver<Option<Result<Metadata, Error>>>,
}

/// How much longer than a load a caller waits. The load may run on another runtime.
const FURTHER_PATIENCE: Duration = Duration::from_secs(5);

impl Discovery {
    pub(super) fn new(
        issuer: Subject,
        http: Http,
        clock: Arc<dyn Clock>,
        load_timeout: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            issuer,
            http,
            clock,
            patience: load_timeout.saturating_add(FURTHER_PATIENCE),
            state: Mutex::default(),
        }))
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer.url
    }

    /// Returns the metadata: the copy while it is fresh, and else those of a load.
    ///
    /// Dropping the future does not stop a load.
    ///
    /// # Errors
    ///
    /// Only without an older copy:
    ///
    /// * [`InvalidResponse`](ErrorKind::InvalidResponse) if the server responds with a redirect or
    ///   with more than 1 MiB, or the metadata are not JSON, are of another issuer (RFC 8414
    ///   section 3.3), repeat a member, have a member of a wrong type, or an endpoint that does not
    ///   use `https`. The message says which it is.
    /// * [`Unavailable`](ErrorKind::Unavailable) if the server cannot be reached, does not respond
    ///   in time, or responds with 408, 429 or a 5xx status.
    /// * [`Configuration`](ErrorKind::Configuration) if it responds with another 4xx status at each
    ///   well-known URL: it has no metadata, or the issuer is wrong.
    /// * [`Interrupted`](ErrorKind::Interrupted) outside of a tokio runtime, or if the runtime of
    ///   the load ends or the HTTP client panics.
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        if let Some(metadata) = self.0.fresh() {
            return Ok(metadata);
        }
        let outcome = self.load().await;
        outcome.or_else(|error| self.0.copy().ok_or(error))
    }

    /// Loads the metadata now, and replaces the copy. Waits for a load that runs already.
    ///
    /// Dropping the future does not stop the load.
    ///
    /// # Errors
    ///
    /// As [`metadata`](Self::metadata), also with an older copy. The copy stays.
    pub async fn refresh(&self) -> Result<Metadata, Error> {
        self.load().await
    }

    /// Starts a load or joins the one that runs, and waits for it.
    async fn load(&self) -> Result<Metadata, Error> {
        let load = Shared::start_or_join(&self.0)?;
        let mut outcome = load.outcome;
        let waited = timeout(self.0.patience, outcome.wait_for(Option::is_some)).await;
        let ended = match waited {
            Ok(Ok(outcome)) => outcome.clone(),
            // The task has ended without an outcome, or stands still.
            Ok(Err(_)) | Err(_) => None,
        };
        ended.unwrap_or_else(|| {
            let error = Error::new(
                ErrorKind::Interrupted,
                "metadata were not loaded: the runtime of the load has ended or stands still, or \
                 the HTTP client panicked; try again",
            );
            self.0.complete(load.number, Err(error))
        })
    }
}

impl Shared {
    fn start_or_join(shared: &Arc<Self>) -> Result<Load, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
        let mut state = shared.lock();
        if let Some(load) = &state.load {
            return Ok(load.clone());
        }
        state.loads += 1;
        let (sender, outcome) = watch::channel(None);
        let load = Load {
            number: state.loads,
            outcome,
        };
        state.load = Some(load.clone());
        drop(state);
        let (shared, number) = (Arc::clone(shared), load.number);
        runtime.spawn(async move {
            let parse = |json: &[u8]| Metadata::parse_of(&shared.issuer, json);
            let locations = shared.issuer.issuer_locations();
            let loaded = shared.http.load(metadata::NAME, &locations, parse).await;
            let outcome = shared.complete(
                number,
                loaded.map(|(metadata, headers)| (metadata, freshness::lifetime(&headers))),
            );
            sender.send_replace(Some(outcome));
        });
        Ok(load)
    }

    /// Ends a load, and keeps its metadata, or the old ones for a while longer.
    fn complete(
        &self,
        number: u64,
        loaded: Result<(Metadata, Duration), Error>,
    ) -> Result<Metadata, Error> {
        let now = (self.clock.monotonic(), self.clock.wall());
        let due_in = |lifetime| (now.0.later(lifetime), now.1.later(lifetime));
        let mut state = self.lock();
        if !state.end_load(number) {
            return loaded.map(|(metadata, _)| metadata);
        }
        match loaded {
            Ok((metadata, lifetime)) => {
                state.copy = Some(CachedCopy {
                    metadata: metadata.clone(),
                    due: due_in(lifetime),
                });
                Ok(metadata)
            }
            Err(error) => {
                // Without a copy, each caller gets the error.
                if let Some(copy) = &mut state.copy {
                    copy.due = due_in(freshness::SHORTEST);
                    drop(state);
                    telemetry::discovery_failed(&error);
                }
                Err(error)
            }
        }
    }

    fn fresh(&self) -> Option<Metadata> {
        let now = (self.clock.monotonic(), self.clock.wall());
        let state = self.lock();
        let copy = state.copy.as_ref()?;
        (now.0 < copy.due.0 && now.1 < copy.due.1).then(|| copy.metadata.clone())
    }

    fn copy(&self) -> Option<Metadata> {
        Some(self.lock().copy.as_ref()?.metadata.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether this is the load that runs.
    fn end_load(&mut self, number: u64) -> bool {
        let is_current = self.load.as_ref().is_some_and(|load| load.number == number);
        if is_current {
            self.load = None;
        }
        is_current
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("issuer", &self.0.issuer.url)
            .field("metadata", &self.0.copy())
            .finish_non_exhaustive()
    }
}
