//! The handle: one connection at a time, whatever the number of requests.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::OnceCell,
    time::{Instant, timeout},
};

use super::{
    connect::{finish, prepare},
    session::{Cause, Session, Settings},
};
use crate::{
    cache::{SingleFlight, TokenCache},
    error::{Error, ErrorKind},
    later::Later,
};

/// The authorization of one user at one MCP server: a layer, and a handle to it.
///
/// See the [module page](crate::mcp). Clones are cheap, and share the connection.
#[derive(Clone)]
pub struct McpAuth {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    /// The stored connection is loaded once.
    loaded: OnceCell<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    attempt: Option<Attempt>,
    attempts: u64,
    /// The last failure, and until when further requests fail with it.
    failure: Option<(Instant, Error)>,
    /// Whether the server did not know the client of the last connection.
    is_client_unknown: bool,
    /// When requests have replaced a session.
    replacements: VecDeque<Instant>,
}

struct Attempt {
    number: u64,
    result: SingleFlight<Outcome>,
}

type Outcome = Result<Arc<Session>, Error>;

/// The next request does not ask a user again that has refused.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// A server that is never content must not ask the user without end.
const MAX_REPLACEMENTS: usize = 3;
const REPLACEMENTS_WITHIN: Duration = Duration::from_secs(600);

/// How much longer than a connection a request waits, which may run on another runtime.
const FURTHER_PATIENCE: Duration = Duration::from_secs(1);

impl McpAuth {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                loaded: OnceCell::new(),
                state: Mutex::default(),
            }),
        }
    }

    /// Connects now, if there is no token that can be used: before the first request, or after the
    /// program has explained it to the user.
    ///
    /// Requests do so themselves. In contrast to them, this sends no request to the MCP server, and
    /// does not wait 30 seconds after a failed connection. Nor does it wait for the pause after a
    /// failed token request, if the grant needs no consent of a user, such as one of
    /// [`enterprise_managed`](super::McpAuthBuilder::enterprise_managed). A pause that a server has
    /// asked for by `Retry-After` is kept.
    ///
    /// Dropping the future does not stop the connection.
    ///
    /// # Errors
    ///
    /// As for a request: see [errors](crate::mcp#errors).
    pub async fn connect(&self) -> Result<(), Error> {
        let mut cause = Cause::default();
        if let Some(session) = self.session().await? {
            let Err(error) = session.token_at_once().await else {
                return Ok(());
            };
            cause = session.cause_after(&error).ok_or(error)?;
        }
        let session = {
            let mut state = self.shared.lock();
            state.failure = None;
            state.replacements.clear();
            state.session.clone()
        };
        self.connect_after(cause, session.as_ref()).await.map(drop)
    }

    /// The cache of the grant: for its [status](TokenCache::status), to
    /// [revoke](TokenCache::revoke) it, or to [shut down](TokenCache::shutdown) before the program
    /// ends. `None` if there is no connection yet.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the stored connection could not be loaded.
    pub async fn tokens(&self) -> Result<Option<TokenCache>, Error> {
        let session = self.session().await?;
        Ok(session.map(|session| session.tokens.clone()))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The session, if there is one. Loads the stored connection first.
    pub(super) async fn session(&self) -> Result<Option<Arc<Session>>, Error> {
        let shared = &self.shared;
        shared
            .loaded
            .get_or_try_init(|| async { shared.load().await })
            .await?;
        Ok(shared.lock().session.clone())
    }

    /// Whether the next request is sent at once: with a token, or without a session.
    pub(super) fn needs_no_wait(&self) -> bool {
        let session = &self.shared.lock().session;
        self.shared.loaded.initialized()
            && session
                .as_ref()
                .is_none_or(|session| session.tokens.fresh().is_some())
    }

    /// Connects, or waits for the connection that is being made. `seen` is the session that was of
    /// no use; a newer one is returned as it is, if it has the scopes that are needed.
    pub(super) async fn connect_after(&self, cause: Cause, seen: Option<&Arc<Session>>) -> Outcome {
        // A connection that began for another cause may bring fewer scopes: after it, one more.
        for _ in 0..2 {
            let attempt = match self.shared.begin(&cause, seen)? {
                Begun::Done(session) => return Ok(session),
                Begun::Running(attempt) => attempt,
            };
            let patience = self.shared.settings.connect_timeout;
            let patience = patience.saturating_add(FURTHER_PATIENCE);
            let Ok(outcome) = timeout(patience, attempt.wait(|_| true)).await else {
                return Err(timed_out());
            };
            let session = outcome.ok_or_else(interrupted)??;
            if session.scopes().contains_all(&cause.needed) {
                return Ok(session);
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "MCP connection: other requests have connected with other scopes; send the request \
             again",
        ))
    }
}

/// The state of a connection that a request needs.
enum Begun {
    Done(Arc<Session>),
    Running(SingleFlight<Outcome>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> Result<(), Error> {
        let stored = self.settings.connections.load().await?;
        if let Some(stored) = stored.filter(|stored| stored.is_of(&self.settings.clients)) {
            let session = Session::new(&self.settings, stored, None)?;
            self.lock().session.get_or_insert(Arc::new(session));
        }
        Ok(())
    }

    /// Decides, under the lock, what a request that needs a connection waits for.
    fn begin(self: &Arc<Self>, cause: &Cause, seen: Option<&Arc<Session>>) -> Result<Begun, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(session) = &state.session
            && !seen.is_some_and(|seen| Arc::ptr_eq(seen, session))
            && session.scopes().contains_all(&cause.needed)
        {
            return Ok(Begun::Done(Arc::clone(session)));
        }
        if let Some(attempt) = &state.attempt {
            return Ok(Begun::Running(attempt.result.clone()));
        }
        if let Some((until, error)) = &state.failure
            && now < *until
        {
            return Err(error.clone());
        }
        if state.session.is_some() && !state.may_replace(now) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "MCP connection: three were begun within 10 minutes; check what the server needs, \
                 and try again later or call McpAuth::connect",
            ));
        }
        let (leader, result) = SingleFlight::start();
        state.attempts = state.attempts.wrapping_add(1);
        let number = state.attempts;
        state.attempt = Some(Attempt {
            number,
            result: result.clone(),
        });
        let guard = AttemptGuard {
            shared: Arc::clone(self),
            number,
        };
        let (mut cause, previous) = (cause.clone(), state.session.clone());
        cause.is_client_unknown |= state.is_client_unknown;
        drop(state);
        runtime.spawn(async move {
            let outcome = guard.shared.run(&cause, previous.as_deref()).await;
            guard.shared.end(number, &outcome);
            leader.report(outcome);
        });
        Ok(Begun::Running(result))
    }

    async fn run(&self, cause: &Cause, previous: Option<&Session>) -> Outcome {
        let preparing = prepare(&self.settings, cause, previous);
        let prepared = timeout(self.settings.connect_timeout, preparing).await;
        let prepared = prepared.unwrap_or_else(|_| Err(timed_out()))?;
        finish(&self.settings, prepared).await.map(Arc::new)
    }

    fn end(&self, number: u64, outcome: &Outcome) {
        let mut state = self.lock();
        if state
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.number == number)
        {
            state.attempt = None;
        }
        match outcome {
            Ok(session) => {
                state.session = Some(Arc::clone(session));
                state.failure = None;
                state.is_client_unknown = false;
            }
            Err(error) => {
                state.is_client_unknown |= error.is_invalid_client();
                let until = Instant::now().later(PAUSE_AFTER_FAILURE);
                state.failure = Some((until, error.clone()));
            }
        }
    }
}

impl State {
    /// Whether a request may replace the session now. Counts it.
    fn may_replace(&mut self, now: Instant) -> bool {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= REPLACEMENTS_WITHIN;
        self.replacements.retain(|at| !is_old(at));
        let may = self.replacements.len() < MAX_REPLACEMENTS;
        if may {
            self.replacements.push_back(now);
        }
        may
    }
}

/// Ends the attempt of a task that was dropped or has panicked, so that the next request begins
/// another.
struct AttemptGuard {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let number = self.number;
        if state
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.number == number)
        {
            state.attempt = None;
        }
    }
}

fn timed_out() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "MCP connection: not made in time; send the request again, or set a longer \
         McpAuthBuilder::connect_timeout",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "MCP connection: its runtime has ended, or a part of it has panicked; send the request \
         again",
    )
}

impl fmt::Debug for McpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.shared.lock().session.clone();
        f.debug_struct("McpAuth")
            .field("endpoint", &self.shared.settings.endpoint.url())
            .field("session", &session)
            .finish_non_exhaustive()
    }
}
