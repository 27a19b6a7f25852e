//! The grants of many customers, behind one layer.
//!
//! [`Tenants`] holds a [`TokenCache`] for each customer that is in use, by [`TenantId`]. A request says whose it is, and the
//! same [`BearerAuthLayer`](crate::bearer::BearerAuthLayer) that serves one grant serves all of them:
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Empty;
//! # use tower::{Service, ServiceBuilder, ServiceExt};
//! # use tower_oauth2_client::{Error, cache::token_fn, token::{AccessToken, TokenSet}};
//! use tower_oauth2_client::{
//!     bearer::{BearerAuthLayer, ReplayBody},
//!     store::MemoryStore,
//!     tenants::Tenants,
//!     token::TenantId,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let oauth = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
//! # let set = |token| Ok::<_, Error>(TokenSet::new(AccessToken::new(token)?, Duration::from_secs(3_600), SystemTime::now()));
//! // `oauth` is an `OAuthClient`, or any other source of tokens.
//! let tenants = Tenants::builder(oauth)
//!     .store(MemoryStore::new())
//!     .origin("https://api.example.com")
//!     .build()?;
//!
//! // Two customers have consented.
//! let (acme, initech) = (TenantId::new("acme")?, TenantId::new("initech")?);
//! tenants.replace(&acme, set("a1")?).await?;
//! tenants.replace(&initech, set("i1")?).await?;
//!
//! // In a program this is an HTTP client.
//! let http = tower::service_fn(|request: Request<ReplayBody<Empty<Bytes>>>| async move {
//!     let token = request.headers()["authorization"].clone();
//!     Ok::<_, Infallible>(Response::builder().header("seen", token).body(Empty::<Bytes>::new()).unwrap())
//! });
//! let mut api = ServiceBuilder::new().layer(BearerAuthLayer::new(tenants)).service(http);
//!
//! for (tenant, token) in [(acme, "Bearer a1"), (initech, "Bearer i1")] {
//!     let request = Request::get("https://api.example.com/v1/company")
//!         .extension(tenant)
//!         .body(Empty::new())?;
//!     assert_eq!(api.ready().await?.call(request).await?.headers()["seen"], token);
//! }
//!
//! // Nobody's request is sent with anybody's token.
//! let unnamed = Request::get("https://api.example.com/v1/company").body(Empty::new())?;
//! assert!(api.ready().await?.call(unnamed).await.is_err());
//! # Ok(()) }
//! ```
//!
//! # In memory, and not
//!
//! A tenant's grant is read from the store when it is first asked for, once for all who ask, and held from then on: a request
//! finds it without a lock. Nobody waits for anything but their own tenant. What was not asked for in an
//! [hour](TenantsBuilder::idle_after) is let go, if it is saved and nothing is under way; at most
//! [100,000](TenantsBuilder::capacity) are held, and where one more is needed, one of those that were not asked for lately
//! makes room.
//!
//! A tenant of whom the store knows nothing is an error ([`NoGrant`](crate::ErrorKind::NoGrant)), which costs one look into
//! the store and is then remembered for a second.
//!
//! # Kept alive
//!
//! What is held is looked after as a single cache is, each within half a minute: tokens in use are renewed ahead of time. What
//! is not held is kept alive by a *sweep*: once an [hour](TenantsBuilder::sweep_interval), one of all the processes that share
//! the store goes through all its tenants, and makes the exchange that is due for whoever was not renewed for two thirds of
//! a refresh token's life, one a second, those first who run out first. It needs no notes of its own: what was done shows in the
//! grants, so that another process, or the next start, goes on where one has ended. [`Tenants::last_sweep`] says who is about
//! to run out, and when.
//!
//! # At the provider
//!
//! All tenants of a client pass one [`EndpointGate`](crate::oauth::EndpointGate), so that neither a restart, nor an outage,
//! nor a secret that was replaced lets a hundred thousand of them come at once, and a tenant whose grant is in trouble does not
//! hold up another's.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use self::{loads::Loads, residents::Residents, rounds::Attendant};
use crate::{
    cache::{BearerToken, Settings, Status, TokenCache, TokenSource},
    error::{Error, ErrorKind},
    oauth::{OAuthClient, PendingAuthorization},
    origin::Origin,
    store::LeaseOwner,
    token::{Grant, TenantId, TokenSet},
};

mod builder;
mod loads;
mod residents;
mod rounds;
mod sweep;

pub use self::{
    builder::TenantsBuilder,
    sweep::{ExpiringGrant, SweepReport},
};

/// Keeps the grants of many customers. The [module page](crate::tenants) tells how.
///
/// A handle: clones share everything. The background tasks end when the last handle is dropped; exchanges that are under way
/// by then still run to their end.
///
/// Methods that wait must be called inside a tokio runtime with time enabled. Their futures may be dropped at any point: what
/// was begun goes on.
#[derive(Clone)]
pub struct Tenants {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Arc<Settings>,
    residents: Residents,
    loads: Loads,
    sweep_interval: Duration,
    /// Under which sweeps are made.
    owner: LeaseOwner,
    /// Whose turn it is to sweep, in this process.
    sweeping: Arc<tokio::sync::Mutex<()>>,
    last_sweep: Mutex<Option<Arc<SweepReport>>>,
    attendant: Mutex<Attendant>,
}

impl Tenants {
    /// Starts building tenants that get their tokens from `source`.
    pub fn builder(source: impl TokenSource) -> TenantsBuilder {
        TenantsBuilder::new(source)
    }

    /// A tenant's own cache, for all that a cache can do. While the handle is kept the tenant is held in memory.
    ///
    /// # Errors
    ///
    /// [`NoGrant`](ErrorKind::NoGrant) if the store knows nothing of the tenant; [`Store`](ErrorKind::Store) if it cannot be
    /// read; [`Unavailable`](ErrorKind::Unavailable) if there is no room for one more, since all who are held are in use;
    /// [`Interrupted`](ErrorKind::Interrupted) after a [`shutdown`](Self::shutdown), or outside of a runtime.
    pub async fn cache(&self, tenant: &TenantId) -> Result<TokenCache, Error> {
        match self.shared.residents.keep(tenant) {
            Some(tokens) => Ok(tokens),
            None => loads::load(&self.shared, tenant).await,
        }
    }

    /// A token to put on a request of this tenant's now. Does not wait while the tenant is held and the token good.
    ///
    /// For requests that go through a [`BearerAuth`](crate::bearer::BearerAuth) service there is no need to call this.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache), and as [`TokenCache::token`].
    pub async fn token(&self, tenant: &TenantId) -> Result<BearerToken, Error> {
        let tokens = match self.resident(tenant) {
            Some(tokens) => tokens,
            None => loads::load(&self.shared, tenant).await?,
        };
        tokens.token().await
    }

    /// Begins a new grant of a tenant, known or not, with the tokens of a new consent: stores them, then uses them. As
    /// [`TokenCache::set_tokens`].
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store): the tokens are not used, though they may have been stored after all; call it again with
    /// the same ones. [`Unavailable`](ErrorKind::Unavailable) and [`Interrupted`](ErrorKind::Interrupted) as
    /// [`cache`](Self::cache).
    pub async fn set_tokens(&self, tenant: &TenantId, tokens: TokenSet) -> Result<(), Error> {
        let cache = self.shared.hold(tenant, None)?;
        let replaced = cache.set_tokens(tokens).await;
        self.shared.consented(tenant, replaced)
    }

    /// Completes a tenant's authorization after the browser has come back: checks the callback, exchanges the code, and
    /// saves and uses the tokens. As [`TokenCache::complete_authorization`].
    ///
    /// # Cancellation
    ///
    /// The work runs in a task of its own from the first poll, and dropping the future does not stop it.
    /// [`shutdown`](Self::shutdown) waits for it.
    ///
    /// # Errors
    ///
    /// As [`TokenCache::complete_authorization`]; before the code is sent also as [`cache`](Self::cache), except that the
    /// tenant may be unknown.
    pub async fn complete_authorization(
        &self,
        tenant: &TenantId,
        oauth: &OAuthClient,
        pending: &PendingAuthorization,
        callback: &str,
    ) -> Result<(), Error> {
        let code = pending.accept(callback)?;
        let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
        let (tenants, tenant, oauth) = (self.clone(), tenant.clone(), oauth.clone());
        let task = runtime.spawn(async move {
            // Resident from here on, so that a shutdown finds it.
            let cache = match tenants.cache(&tenant).await {
                Err(error) if error.kind() == ErrorKind::NoGrant => {
                    tenants.shared.hold(&tenant, None)?
                }
                found => found?,
            };
            let completed = cache.exchange_code(&oauth, code).await;
            tenants.shared.consented(&tenant, completed)
        });
        task.await.map_err(|error| {
            Error::new(
                ErrorKind::Interrupted,
                "the authorization was not completed: its runtime shut down, or the token store panicked",
            )
            .with_source(error)
        })?
    }

    /// Ends a tenant's grant, as [`TokenCache::revoke`]. It may be called again until it succeeds, as long as the tenant is
    /// held.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache), and as [`TokenCache::revoke`].
    pub async fn revoke(&self, tenant: &TenantId) -> Result<(), Error> {
        self.cache(tenant).await?.revoke().await
    }

    /// What is known of a tenant's grant. Reads the store if the tenant is not held, and sends nothing.
    ///
    /// # Errors
    ///
    /// As [`cache`](Self::cache).
    pub async fn status(&self, tenant: &TenantId) -> Result<Status, Error> {
        Ok(self.cache(tenant).await?.status())
    }

    /// How many tenants are resident: their caches are held in memory.
    #[must_use]
    pub fn resident_count(&self) -> usize {
        self.shared.residents.len()
    }

    /// The origins that the tokens are meant for.
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        &self.shared.settings.origins
    }

    /// Begins no exchange any more, for any tenant, ends the background tasks, lets another process sweep, and waits for what
    /// is under way. Tokens that are held go on serving requests as long as they live.
    ///
    /// `deadline` is how long to wait. What has not ended by then is not cut short, but goes on as long as the runtime does.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](ErrorKind::Interrupted) if something had not ended by the deadline: a token set that could not be
    /// stored yet would be lost with the process.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
        self.shared.attendant().shut_down();
        let mut ends = JoinSet::new();
        for tokens in self.shared.residents.all() {
            tokens.begin_shutdown();
            ends.spawn(async move { tokens.shutdown(deadline).await });
        }
        // Otherwise it would wait until the lease has run out. If this fails, it does.
        let _ = timeout(deadline, sweep::give_way(&self.shared)).await;
        ends.join_all().await.into_iter().collect()
    }
}

/// What is asked from inside the crate.
impl Tenants {
    /// A tenant's cache, if it is held: found without a lock.
    pub(crate) fn resident(&self, tenant: &TenantId) -> Option<TokenCache> {
        self.shared.residents.find(tenant)
    }

    /// What whoever connects tenants needs as well: the store, and the time.
    #[cfg(feature = "axum")]
    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.shared.settings
    }
}

impl Shared {
    fn attendant(&self) -> MutexGuard<'_, Attendant> {
        // Each change is one assignment.
        self.attendant
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache that is held of a tenant; or else, from now on, one that knows what was found in the store a moment ago.
    fn hold(
        self: &Arc<Self>,
        tenant: &TenantId,
        stored: Option<&Grant>,
    ) -> Result<TokenCache, Error> {
        // Kept until it is held: a shutdown in between would not find it.
        let mut attendant = self.attendant();
        attendant.attend(self)?;
        let now = self.settings.clock.monotonic();
        let begin = || TokenCache::begin(Arc::clone(&self.settings), tenant.clone(), stored);
        self.residents.find_or_hold(tenant, begin, now)
    }

    /// Cleans up after a new consent that was saved, or not.
    fn consented(&self, tenant: &TenantId, saved: Result<(), Error>) -> Result<(), Error> {
        if saved.is_ok() {
            self.loads.forget(tenant);
        } else {
            self.residents.let_go_if_empty(tenant);
        }
        saved
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants")
            .field("residents", &self.resident_count())
            .field("origins", &self.origins())
            .finish_non_exhaustive()
    }
}

/// There is nothing to go on.
fn unknown() -> Error {
    Error::new(
        ErrorKind::NoGrant,
        "the store knows no grant of this tenant: let the customer consent, and give the tokens to Tenants::set_tokens",
    )
}
