//! How a sandbox is set up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use super::authority::Authority;
use super::behavior::Behavior;
use super::client::ClientRegistration;
use super::clock::Clock;
use super::event_log::EventLog;
use super::fault::{Endpoint, Fault};
use super::records::Records;
use super::script::Script;
use super::state::{Shared, State};
use super::{Sandbox, Server};

/// Sets up a [`Sandbox`]. Made by [`Sandbox::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct SandboxBuilder {
    bind: SocketAddr,
    app: ClientRegistration,
    more_clients: Vec<ClientRegistration>,
    pub(super) behavior: Behavior,
    faults: Vec<(Endpoint, Fault)>,
    members: usize,
    clock_starts_at: Option<SystemTime>,
    seed: Option<u64>,
    status_page: bool,
}

impl SandboxBuilder {
    pub(super) fn new() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            app: ClientRegistration::new("sandbox-client", "sandbox-client-secret")
                .name("Example app"),
            more_clients: Vec::new(),
            behavior: Behavior::default(),
            faults: Vec::new(),
            members: 25,
            clock_starts_at: None,
            seed: None,
            status_page: false,
        }
    }

    /// The address to listen on. Defaults to `127.0.0.1` and a free port.
    ///
    /// A sandbox protects nothing; keep it on loopback.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// The app's client id. Defaults to `sandbox-client`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.app.client_id = client_id.into();
        self
    }

    /// The app's client secret. Defaults to `sandbox-client-secret`.
    pub fn client_secret(mut self, client_secret: impl Into<String>) -> Self {
        self.app.client_secret = client_secret.into();
        self
    }

    /// The app's name on the consent page. Defaults to `Example app`.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.app = self.app.name(name);
        self
    }

    /// The app's redirect URI, compared character by character. Defaults to `http://127.0.0.1:8000/callback`.
    ///
    /// One with a fragment is never redirected to, as RFC 6749, 3.1.2 forbids it: the person is shown an error page.
    pub fn redirect_uri(mut self, redirect_uri: impl Into<String>) -> Self {
        self.app = self.app.redirect_uri(redirect_uri);
        self
    }

    /// The scopes the app may ask for, and gets when it asks for none. Defaults to all of [`SCOPES`](super::SCOPES).
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.app = self.app.scopes(scopes);
        self
    }

    /// Registers one more app. Defaults to none. Of two apps with one client id, the first counts.
    pub fn client(mut self, client: ClientRegistration) -> Self {
        self.more_clients.push(client);
        self
    }

    /// How many members the company has, cut to 100,000. Defaults to 25.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members.min(MOST_MEMBERS);
        self
    }

    /// What the sandbox's clock shows when it is built. Defaults to the machine's time.
    ///
    /// Another time makes a server whose clock is wrong: `Date` and `expires_at` follow it, lifetimes do not change.
    pub fn clock_starts_at(mut self, time: SystemTime) -> Self {
        self.clock_starts_at = Some(time);
        self
    }

    /// The seed of codes and tokens, for runs that are the same every time. Defaults to a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether `/sandbox` shows what goes on, with switches for the faults. Defaults to `false`.
    pub fn status_page(mut self, shown: bool) -> Self {
        self.status_page = shown;
        self
    }

    /// Scripts a fault, as [`Sandbox::inject`] does. Defaults to none.
    pub fn fault(mut self, endpoint: Endpoint, fault: Fault) -> Self {
        self.faults.push((endpoint, fault));
        self
    }

    /// Changes how the sandbox behaves. Defaults to [`Behavior::default`].
    pub fn behavior(mut self, change: impl FnOnce(&mut Behavior)) -> Self {
        change(&mut self.behavior);
        self
    }

    /// Builds a sandbox without a socket, to be used through [`Sandbox::service`].
    #[must_use]
    pub fn build(self) -> Sandbox {
        let mut script = Script::default();
        for (endpoint, fault) in self.faults {
            script.push(endpoint, fault);
        }
        let mut apps = vec![self.app.clone()];
        apps.extend(self.more_clients);
        let random = self
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        #[expect(
            clippy::disallowed_methods,
            reason = "where the sandbox's own clock begins, if nobody says otherwise"
        )]
        let start = self.clock_starts_at.unwrap_or_else(SystemTime::now);
        let state = State {
            clock: Clock::new(start),
            behavior: self.behavior,
            authority: Authority::new(apps, random),
            script,
            evidence: EventLog::default(),
            records: Records::seeded(self.members),
        };
        Sandbox {
            shared: Arc::new(Shared::new(state, self.status_page)),
            app: Arc::new(self.app),
            server: None,
        }
    }

    /// Builds a sandbox and listens.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub async fn start(self) -> io::Result<Sandbox> {
        let bind = self.bind;
        let sandbox = self.build();
        let server = Server::start(bind, sandbox.service()).await?;
        Ok(Sandbox {
            server: Some(Arc::new(server)),
            ..sandbox
        })
    }
}

/// All members are held in memory, a few KiB each.
const MOST_MEMBERS: usize = 100_000;
