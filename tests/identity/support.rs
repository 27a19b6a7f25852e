//! Two clients, each with its provider, and stores that they share.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenCacheBuilder, TokenSource},
    clock::Clock,
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, LeaseOutcome, LeaseOwner,
        MemoryStore, SaveOutcome, TokenStore,
    },
    tenants::{Tenants, TenantsBuilder},
    token::{
        AccessToken, ClientIdentity, Generation, Grant, GrantState, RefreshToken, TenantId,
        TokenSet,
    },
};

pub(crate) use crate::shared::{API, DAY, HOUR, MINUTE, ManualClock, header, pass};

pub(crate) const MONTH: Duration = DAY.saturating_mul(30);

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// A client at a provider that knows only the refresh tokens that it has issued, and responds
/// `invalid_grant` to any other.
#[derive(Clone)]
pub(crate) struct Client {
    name: &'static str,
    identity: Option<ClientIdentity>,
    clock: ManualClock,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    issued: usize,
    sent: Vec<String>,
    revoked: Vec<String>,
}

impl Client {
    pub(crate) fn new(
        name: &'static str,
        identity: Option<ClientIdentity>,
        clock: &ManualClock,
    ) -> Self {
        Self {
            name,
            identity,
            clock: clock.clone(),
            log: Arc::default(),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn cache(&self, store: impl TokenStore) -> TokenCacheBuilder {
        TokenCache::builder(self.clone())
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
            .store(store)
    }

    pub(crate) fn tenants(&self, store: impl TokenStore) -> TenantsBuilder {
        Tenants::builder(self.clone())
            .origin(API)
            .clock(self.clock.clone())
            .jitter_seed(7)
            .refresh_token_lifetime(MONTH)
            .store(store)
    }

    /// The next token set, as if it was issued this long ago.
    pub(crate) fn issue(&self, ago: Duration) -> TokenSet {
        let mut log = self.log.lock().unwrap();
        log.issued += 1;
        let (name, number) = (self.name, log.issued);
        let at = self.clock.wall() - ago;
        let access_token = AccessToken::new(format!("{name}-a{number}")).unwrap();
        TokenSet::new(access_token, DAY, at)
            .with_refresh_token(RefreshToken::new(format!("{name}-r{number}")), at)
    }

    /// The refresh tokens that the token endpoint was sent.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.log.lock().unwrap().sent.clone()
    }

    /// The refresh tokens that were revoked.
    pub(crate) fn revoked(&self) -> Vec<String> {
        self.log.lock().unwrap().revoked.clone()
    }

    pub(crate) fn has_seen_own_tokens_only(&self) -> bool {
        let mut seen = [self.sent(), self.revoked()].concat();
        seen.retain(|token| !token.starts_with(self.name));
        seen.is_empty()
    }
}

impl TokenSource for Client {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let Some(token) = held.and_then(TokenSet::refresh_token) else {
            return Err(Error::unavailable("there is no refresh token"));
        };
        let token = token.expose().to_owned();
        let is_own = token.starts_with(self.name);
        self.log.lock().unwrap().sent.push(token);
        if is_own {
            Ok(self.issue(Duration::ZERO))
        } else {
            Err(Error::invalid_grant())
        }
    }

    async fn revoke(&self, held: &TokenSet) -> Result<(), Error> {
        let token = held.refresh_token().unwrap().expose().to_owned();
        self.log.lock().unwrap().revoked.push(token);
        Ok(())
    }

    fn identity(&self) -> Option<ClientIdentity> {
        self.identity.clone()
    }
}

/// Pairs of different identities.
pub(crate) fn different() -> Vec<[Option<ClientIdentity>; 2]> {
    let identity = |endpoint: &str, client_id: &str| {
        let endpoint = format!("https://{endpoint}.example.com/token");
        Some(ClientIdentity::new(endpoint, client_id))
    };
    vec![
        [identity("one", "partner"), identity("two", "partner")],
        [identity("one", "partner"), identity("one", "partner-2")],
        [identity("one", "partner"), identity("two", "partner-2")],
        [
            identity("one", "partner"),
            identity("one", "partner").map(ClientIdentity::with_client_credentials),
        ],
        [identity("one", "partner"), None],
    ]
}

/// A store as a client sees it: plain, or encrypted with the client's own key or a common one.
#[derive(Clone)]
pub(crate) enum Shared {
    Memory(MemoryStore),
    File(FileStore),
    Encrypted(EncryptedStore<MemoryStore>),
}

/// How two clients see one store, and the store underneath. The directory is kept until the end.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) stores: [Shared; 2],
    pub(crate) raw: Shared,
    _directory: tempfile::TempDir,
}

/// One of each kind, empty.
pub(crate) fn places() -> Vec<Place> {
    let place = |name, stores, raw, directory| Place {
        name,
        stores,
        raw,
        _directory: directory,
    };
    let directory = || tempfile::tempdir().unwrap();
    let memory = MemoryStore::new();
    let plain = Shared::Memory(memory);
    let in_memory = place("memory", [plain.clone(), plain.clone()], plain, directory());

    let used = directory();
    let file = Shared::File(FileStore::open(used.path().join("grants")).unwrap());
    let in_files = place("files", [file.clone(), file.clone()], file, used);

    let encrypted = |name, keys: [u8; 2]| {
        let memory = MemoryStore::new();
        let stores = keys.map(|key| encrypted(&memory, key));
        place(name, stores, Shared::Memory(memory), directory())
    };
    vec![
        in_memory,
        in_files,
        encrypted("one key", [1, 1]),
        encrypted("two keys", [1, 2]),
    ]
}

/// Encrypts with the key of this number.
pub(crate) fn encrypted(inner: &MemoryStore, key: u8) -> Shared {
    let keys = EncryptionKey::new(format!("k{key}"), [key; 32]).unwrap();
    let keys = EncryptionKeys::new(keys);
    Shared::Encrypted(EncryptedStore::new(inner.clone(), keys, "application").unwrap())
}

impl Shared {
    pub(crate) async fn grant(&self, tenant: &TenantId) -> Grant {
        self.load(tenant).await.unwrap().unwrap()
    }

    /// Saves a grant of a client that this client refreshed last this long ago.
    pub(crate) async fn put(&self, of: &Client, tenant: &TenantId, ago: Duration) {
        let grant = Grant::new(Generation::FIRST, GrantState::Active(of.issue(ago)));
        let grant = grant.with_identity(of.identity());
        let saved = self.save(tenant, None, &grant).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed);
    }
}

macro_rules! forward {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Memory($store) => $call.await,
            Self::File($store) => $call.await,
            Self::Encrypted($store) => $call.await,
        }
    };
}

impl TokenStore for Shared {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        forward!(self, store => store.load(tenant))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        forward!(self, store => store.save(tenant, expected, grant))
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        forward!(self, store => store.acquire(tenant, owner, duration))
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        forward!(self, store => store.release(tenant, owner))
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        forward!(self, store => store.tenants(after, limit))
    }
}
