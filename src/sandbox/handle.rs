//! The handle to a running sandbox.

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    authority::Decision,
    behavior::Behavior,
    client::ClientRegistration,
    clock::system_time,
    endpoints,
    event::Event,
    event_log::Counters,
    fault::{Endpoint, Fault},
    movable_clock::MovableClock,
    routed::RoutedService,
    server::Server,
    service::SandboxService,
    state::SharedState,
    user::{self, ConsentError},
};

/// A running sandbox.
///
/// Clones share one sandbox. Its socket closes when the last clone is dropped.
#[derive(Clone)]
pub struct Sandbox {
    pub(super) shared: Arc<SharedState>,
    pub(super) client: Arc<ClientRegistration>,
    pub(super) server: Option<Arc<Server>>,
}

impl Sandbox {
    /// The address that the sandbox listens on; `None` if it was built without a socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.address())
    }

    /// The origin of every endpoint, without a trailing slash.
    ///
    /// It is `http://` and the address, or `http://localhost` without a socket.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.lock().url.clone()
    }

    /// The client id of the client that the builder described.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client.client_id
    }

    /// The client secret that the builder set. A [later one](Self::set_client_secret) does not
    /// change it.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.client.client_secret
    }

    /// Replaces the client secret: from now on, only this one is accepted of the client that the
    /// builder described. Any other one gets `invalid_client`.
    pub fn set_client_secret(&self, secret: impl Into<String>) {
        let secret = secret.into();
        let mut state = self.shared.lock();
        state
            .authority
            .change_secret(self.client_id(), secret, false);
    }

    /// Accepts a further client secret beside the earlier ones, as in the overlap of a rotation.
    /// [`set_client_secret`](Self::set_client_secret) ends the overlap.
    ///
    /// ```
    /// # use tower_oauth2_client::sandbox::Sandbox;
    /// let sandbox = Sandbox::builder().build();
    /// sandbox.add_client_secret("new"); // Both secrets are accepted.
    /// sandbox.set_client_secret("new"); // The old one is refused.
    /// ```
    pub fn add_client_secret(&self, secret: impl Into<String>) {
        let secret = secret.into();
        let mut state = self.shared.lock();
        state
            .authority
            .change_secret(self.client_id(), secret, true);
    }

    /// The redirect URI of the client that the builder described.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        self.client.redirect_uris.first().map_or("", String::as_str)
    }

    /// The sandbox as a tower service, with or without a socket.
    #[must_use]
    pub fn service(&self) -> SandboxService {
        SandboxService::new(Arc::clone(&self.shared))
    }

    /// The sandbox behind an HTTP client: requests to any host reach its socket.
    ///
    /// The service replaces scheme and authority of each request by those of the sandbox, and names
    /// the host that the request was for in a header. So a client can use a provider's own
    /// addresses, and a sandbox with a [`Persona`](super::Persona) refuses what reaches a wrong
    /// host.
    #[must_use]
    pub fn routed<S>(&self, http_client: S) -> RoutedService<S> {
        RoutedService::new(http_client, &self.url())
    }

    /// Changes the tenant of later consents for which the address of the authorization request
    /// names none. Only a [persona](super::Persona) has tenants.
    pub fn set_tenant(&self, tenant: impl Into<String>) {
        let tenant = tenant.into();
        self.shared.lock().tenant = tenant;
    }

    /// Simulates a user opening an authorization URL and allowing everything.
    ///
    /// Returns the callback URL, and does not open it. It contains an `error` if the client made a
    /// mistake that the provider reports to the client. If the request asks for
    /// `response_mode=form_post`, a browser would send the query of this URL as a form. No socket
    /// is used: only the path and query of the URL matter. With
    /// [`Consent::Page`](super::Consent::Page) the simulated user fills in the pages.
    ///
    /// # Errors
    ///
    /// If there is no redirect: the URL is invalid, the client or its redirect URI is unknown, or a
    /// fault prevented it.
    pub async fn consent(&self, authorization_url: &str) -> Result<String, ConsentError> {
        user::authorize(self.service(), authorization_url, Decision::Allow).await
    }

    /// Simulates a user opening an authorization URL and denying.
    ///
    /// Otherwise it is like [`consent`](Self::consent).
    ///
    /// # Errors
    ///
    /// As [`consent`](Self::consent).
    pub async fn deny(&self, authorization_url: &str) -> Result<String, ConsentError> {
        user::authorize(self.service(), authorization_url, Decision::Deny).await
    }

    /// Simulates a user entering a user code and allowing the device. Returns whether a device
    /// authorization with this code was pending.
    pub fn approve_device(&self, user_code: &str) -> bool {
        endpoints::decide_device(&mut self.shared.lock(), user_code, Decision::Allow)
    }

    /// Simulates a user entering a user code and denying. Returns whether a device authorization
    /// with this code was pending.
    pub fn deny_device(&self, user_code: &str) -> bool {
        endpoints::decide_device(&mut self.shared.lock(), user_code, Decision::Deny)
    }

    /// The current behavior.
    #[must_use]
    pub fn behavior(&self) -> Behavior {
        self.shared.lock().behavior.clone()
    }

    /// Changes the behavior of all later requests, in one step.
    ///
    /// Of two concurrent changes, one may be lost.
    ///
    /// # Panics
    ///
    /// If `change` panics. The behavior stays as it was.
    pub fn change_behavior(&self, change: impl FnOnce(&mut Behavior)) {
        // The lock is not held while foreign code runs.
        let mut behavior = self.behavior();
        change(&mut behavior);
        self.shared.lock().behavior = behavior;
    }

    /// Queues a fault for the next request to `endpoint` that no earlier fault claims.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().faults.push(endpoint, fault);
    }

    /// Removes every queued fault.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// The time at the sandbox, which `Date` and `expires_at` follow.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        system_time(self.shared.lock().wall_time())
    }

    /// The clock that the sandbox follows. Pass it to the program under test, and
    /// [`advance`](Self::advance) moves both.
    #[must_use]
    pub fn clock(&self) -> MovableClock {
        self.shared.lock().clock.shared().clone()
    }

    /// Moves the [clock](Self::clock) of the sandbox forward, for each part that shares it, and no
    /// other clock.
    pub fn advance(&self, by: Duration) {
        self.clock().advance(by);
    }

    /// Expires every access token that was issued so far.
    pub fn expire_access_tokens(&self) {
        let mut state = self.shared.lock();
        let now = state.now();
        state.authority.expire_access_tokens(now);
    }

    /// Revokes every access token that was issued so far. Refresh tokens stay valid.
    pub fn revoke_access_tokens(&self) {
        self.shared.lock().authority.revoke_access_tokens();
    }

    /// Revokes every grant with its access and refresh tokens, as if all users had disconnected.
    pub fn revoke_grants(&self) {
        self.shared.lock().authority.revoke_grants();
    }

    /// Revokes the grant of an access or refresh token, as if its user had disconnected in the
    /// account at the provider. Returns whether the grant was live.
    ///
    /// It may be any token that the sandbox has issued for the grant, also one that a refresh has
    /// replaced.
    pub fn revoke_grant(&self, token: &str) -> bool {
        self.shared.lock().authority.end_grant_of(token)
    }

    /// Counts of everything that happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().log.counters()
    }

    /// Waits until the counters fulfil a condition, such as `|counters| counters.refreshes == 2`.
    ///
    /// Without a sleep, a test so waits for a refresh in the background. The sandbox has then
    /// decided about the request, and its response is on the way. Limit the wait by
    /// `tokio::time::timeout`.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Counters) -> bool) {
        let changed = self.shared.lock().log.changed();
        loop {
            // Before the counters are read.
            let next_change = changed.notified();
            if condition(&self.counters()) {
                return;
            }
            next_change.await;
        }
    }

    /// The latest 10,000 events, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().log.events().cloned().collect()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}
