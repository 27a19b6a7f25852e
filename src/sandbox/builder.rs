//! Builds a sandbox.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::SystemTime,
};

use super::{
    authority::Authority,
    behavior::Behavior,
    client::ClientRegistration,
    clock::Clock,
    event_log::EventLog,
    fault::{Endpoint, Fault},
    fault_queue::FaultQueue,
    handle::Sandbox,
    movable_clock::MovableClock,
    persona::Persona,
    records::Records,
    server::Server,
    state::{SandboxState, SharedState},
    trusted_issuer::TrustedIssuer,
};

impl Sandbox {
    /// Starts a sandbox with all defaults on a free port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns a builder of a sandbox that behaves like another provider.
    ///
    /// Further settings of [`behavior`](SandboxBuilder::behavior) change the persona's.
    pub fn persona(persona: Persona) -> SandboxBuilder {
        Self::builder().persona(persona)
    }

    /// Returns a builder with all defaults.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            client: ClientRegistration::new("sandbox-client", "sandbox-client-secret")
                .name("Example app"),
            more_clients: Vec::new(),
            behavior: Behavior::default(),
            faults: FaultQueue::default(),
            members: 25,
            clock: None,
            clock_starts_at: None,
            seed: None,
            status_page: false,
            hosts: Vec::new(),
            trusted_issuers: Vec::new(),
            persona: None,
        }
    }
}

/// A builder of a [`Sandbox`], created by [`Sandbox::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct SandboxBuilder {
    bind: SocketAddr,
    client: ClientRegistration,
    more_clients: Vec<ClientRegistration>,
    behavior: Behavior,
    faults: FaultQueue,
    members: usize,
    clock: Option<MovableClock>,
    clock_starts_at: Option<SystemTime>,
    seed: Option<u64>,
    status_page: bool,
    hosts: Vec<String>,
    trusted_issuers: Vec<TrustedIssuer>,
    persona: Option<Persona>,
}

impl SandboxBuilder {
    /// The address to listen on. Defaults to `127.0.0.1` and a free port.
    ///
    /// The sandbox protects nothing, so keep it on loopback.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Allows a further name or address in the `Host` of requests on the socket, such as the name
    /// of the sandbox's container. Defaults to none.
    ///
    /// `localhost`, loopback addresses and the address of the socket are always allowed, with the
    /// port of the socket. This name may have any port: allow `localhost` if a container publishes
    /// the socket under another port. Name no host that others control.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// The client id of the registered client. Defaults to `sandbox-client`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client.client_id = client_id.into();
        self
    }

    /// The client secret of the registered client. Defaults to `sandbox-client-secret`.
    pub fn client_secret(mut self, client_secret: impl Into<String>) -> Self {
        self.client.client_secret = client_secret.into();
        self
    }

    /// The client's name on the consent page. Defaults to `Example app`.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client = self.client.name(name);
        self
    }

    /// The client's redirect URI, as in [`ClientRegistration::redirect_uri`]. Defaults to
    /// `http://127.0.0.1:8000/callback`.
    pub fn redirect_uri(mut self, redirect_uri: impl Into<String>) -> Self {
        self.client = self.client.redirect_uri(redirect_uri);
        self
    }

    /// The scopes that the client may request, as in [`ClientRegistration::scopes`]. Defaults to
    /// all of [`SCOPES`](super::SCOPES).
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.client = self.client.scopes(scopes);
        self
    }

    /// Adds a public key of the registered client, as in
    /// [`ClientRegistration::public_key`]. Defaults to none.
    #[cfg(feature = "signing")]
    pub fn public_key(mut self, jwk: impl Into<String>) -> Self {
        self.client = self.client.public_key(jwk);
        self
    }

    /// Registers a further client. Defaults to none. Of two clients with one client id, the first
    /// is used.
    pub fn client(mut self, client: ClientRegistration) -> Self {
        self.more_clients.push(client);
        self
    }

    /// Accepts assertions of this issuer as grants (RFC 7523, section 2.1). Defaults to none: the
    /// sandbox then supports no such grant.
    pub fn trusted_issuer(mut self, issuer: TrustedIssuer) -> Self {
        self.trusted_issuers.push(issuer);
        self
    }

    /// The number of members that the company has, at most 100,000. Defaults to 25.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members.min(MAX_MEMBERS);
        self
    }

    /// The clock that the sandbox follows. Defaults to one of its own, which
    /// [`Sandbox::clock`] returns.
    pub fn clock(mut self, clock: MovableClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The initial time of the sandbox. Defaults to that of its [clock](Self::clock).
    ///
    /// Another time simulates a server whose time is wrong: `Date` and `expires_at` follow it, and
    /// lifetimes stay the same. [`Sandbox::clock`] keeps its own time.
    pub fn clock_starts_at(mut self, time: SystemTime) -> Self {
        self.clock_starts_at = Some(time);
        self
    }

    /// The random seed of codes and tokens, for reproducible runs. Defaults to a random seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether `/sandbox` serves the status page. Defaults to `false`.
    pub fn status_page(mut self, enabled: bool) -> Self {
        self.status_page = enabled;
        self
    }

    /// Queues a fault, as [`Sandbox::inject`] does. Defaults to none.
    pub fn fault(mut self, endpoint: Endpoint, fault: Fault) -> Self {
        self.faults.push(endpoint, fault);
        self
    }

    /// Changes how the sandbox behaves. Defaults to [`Behavior::default`].
    pub fn behavior(mut self, change: impl FnOnce(&mut Behavior)) -> Self {
        change(&mut self.behavior);
        self
    }

    /// Behaves like another provider than Justworks. Sets the whole [`Behavior`], and the scopes of
    /// the client. Defaults to none.
    pub fn persona(mut self, persona: Persona) -> Self {
        self.behavior = Behavior::default();
        persona.apply(&mut self.behavior);
        self.client = self.client.scopes(persona.scopes());
        self.persona = Some(persona);
        self
    }

    /// Builds a sandbox without a socket, for use through [`Sandbox::service`].
    #[must_use]
    pub fn build(self) -> Sandbox {
        let mut clients = vec![self.client.clone()];
        clients.extend(self.more_clients);
        let random = self
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let state = SandboxState {
            clock: Clock::new(self.clock.unwrap_or_default(), self.clock_starts_at),
            behavior: self.behavior,
            authority: Authority::new(clients, random),
            faults: self.faults,
            log: EventLog::default(),
            records: Records::with_members(self.members),
            url: "http://localhost".to_owned(),
            trusted_issuers: self.trusted_issuers,
            tenant: self
                .persona
                .as_ref()
                .map_or_else(String::new, |persona| persona.tenant().to_owned()),
            #[cfg(feature = "dpop")]
            proofs: super::dpop::ProofLog::default(),
        };
        Sandbox {
            shared: Arc::new(SharedState::new(state, self.status_page, self.persona)),
            client: Arc::new(self.client),
            server: None,
        }
    }

    /// Builds a sandbox and listens on its address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub async fn start(self) -> io::Result<Sandbox> {
        let bind = self.bind;
        let hosts = self.hosts.clone();
        let sandbox = self.build();
        let server = Server::start(bind, &hosts, sandbox.service()).await?;
        sandbox.shared.lock().url = format!("http://{}", server.address());
        Ok(Sandbox {
            server: Some(Arc::new(server)),
            ..sandbox
        })
    }
}

/// All members are held in memory, a few KiB each.
const MAX_MEMBERS: usize = 100_000;
