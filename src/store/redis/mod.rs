//! Grants in Redis or Valkey, for replicas on several machines.
//!
//! ```no_run
//! use tower_oauth2_client::{cache::TokenCache, store::RedisStore};
//!
//! # use tower_oauth2_client::cache::TokenSource;
//! # type Error = Box<dyn std::error::Error>;
//! # async fn example(source: impl TokenSource) -> Result<(), Error> {
//! let client = redis::Client::open("redis://user:password@redis.internal/")?;
//! let store = RedisStore::connect(client).await?;
//! for warning in store.check_persistence().await? {
//!     eprintln!("redis: {warning}");
//! }
//! let tokens = TokenCache::builder(source).store(store).tenant("customer-1").build()?;
//! # Ok(()) }
//! ```
//!
//! # Durability
//!
//! If the server loses the newest refresh token of a grant, the customer must consent again. What
//! the server loses depends on its settings:
//!
//! | setting | what is lost |
//! | --- | --- |
//! | `appendonly yes`, `appendfsync always` | nothing that was committed, if the disk keeps synced data |
//! | `appendonly yes`, `appendfsync everysec` (Redis' default with `appendonly`) | the last second or two if the machine fails; nothing if only the server does |
//! | snapshots only (Redis' default) | all saves since the last snapshot: minutes to an hour |
//! | neither | everything |
//! | `maxmemory-policy allkeys-…` | any grant, or the index of tenants, once memory is full: use `noeviction` or a `volatile-…` policy |
//! | failover to a replica | what the replica had not received, whatever the settings above |
//!
//! Replication follows after a save has returned. [`RedisStore::wait_for_replicas`] makes saves
//! wait for it. [`RedisStore::check_persistence`] checks all of these settings.
//!
//! # Connections
//!
//! [`RedisStore::connect`] opens a connection that reconnects by itself. [`RedisStore::new`]
//! accepts any other connection of the `redis` crate (version 1) that can be cloned, such as a
//! cluster's. These belong to the connection:
//!
//! * TLS and failovers: see the page [TLS, proxies and failovers](crate::guide::deployment).
//! * The response timeout: without one, calls to a server that hangs do not return.
//!
//! # Permissions
//!
//! The connection's user needs these, and `+info +config|get` for
//! [`check_persistence`](RedisStore::check_persistence):
//!
//! ```text
//! ~tower-oauth2:* &tower-oauth2:* +eval +evalsha +exists +hmget +hset +persist
//! +zadd +zrem +zrangebylex +type +renamenx +scan +time +cluster|slots +get +set +del +publish
//! +subscribe +ping +wait
//! ```
//!
//! Tokens are stored in plain text, unless an [`EncryptedStore`](crate::store::EncryptedStore)
//! wraps the store. Any client that may read the keys can read the tokens.
//!
//! # Keys
//!
//! Each tenant has two keys, which contain its percent-encoded name.
//! `tower-oauth2:{customer-1}:grant` is a hash without expiry. `tower-oauth2:{customer-1}:lease`
//! expires by the server's clock. The braces keep both in one slot of a cluster.
//!
//! Scripts (for Redis 6 or later, and Valkey; tested with Redis 7) compare and write in one step,
//! so any number of programs can share a server. If a tenant's key contains something else, a call
//! fails and the key stays unchanged. To delete a grant, stop the processes that use it, and move
//! its key away with `RENAME`.
//!
//! The key `tower-oauth2:tenants` is the index of [`tenants`](crate::store::TokenStore::tenants): a
//! sorted set of the encoded names, each with score 0, without expiry. Each save adds its name.
//! Names are never removed. After you delete a tenant's keys, remove its name with `ZREM`; until
//! then it is listed without a grant.
//!
//! The index restores itself, whether it was deleted, evicted, lost by a failover, or only partly
//! lost. A listing, such as a [sweep](crate::tenants#idle-tenants), scans the server's keys if the
//! index was lost, and otherwise once a day. So grants are also found that you have imported by
//! other means, such as `RESTORE`. Each call scans at most about 500,000 keys, and the next call
//! continues. After a loss, calls fail until the scan has finished. An entry such as
//! `{scanned:1764000000}` records the time of the last scan. To scan at the next listing, delete
//! the index.
//!
//! If another program has written a value of another type in place of the index, it is moved to
//! `tower-oauth2:{tower-oauth2:tenants}:moved`, unless that key exists.
//!
//! # Errors
//!
//! Errors are of kind [`Store`](crate::ErrorKind::Store), with the key in the error's source. They
//! never quote the server's messages, which may contain tokens.

use std::{fmt, sync::Arc, time::Duration};

use redis::{
    Client, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};
use zeroize::Zeroizing;

use self::{
    connection::Connection,
    record::{Form, Keys, Record, encoded},
    scan::Scans,
    script::{ACQUIRE, LOAD, RELEASE, Replicas, SAVE},
    watch::Watch,
};
use super::{
    announcer::Subscription,
    known::Known,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

mod cluster;
mod connection;
mod failure;
mod index;
mod names;
mod persistence;
mod record;
mod scan;
mod script;
mod watch;

const PREFIX: &str = "tower-oauth2:";

/// A store in Redis or Valkey.
///
/// The [module page](self) explains how to set up the server. Clones share the connection.
#[derive(Clone)]
pub struct RedisStore<C = ConnectionManager> {
    connection: Connection<C>,
    replicas: Option<Replicas>,
    watch: Option<Arc<Watch>>,
    scans: Arc<Scans>,
    known: Arc<Known<Form>>,
}

impl RedisStore {
    /// Connects to a server, and reconnects whenever the connection is lost.
    ///
    /// A second connection receives change notifications: see [`watch`](Self::watch). The timeouts
    /// for connecting and for responses are 2 seconds each.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the server cannot be reached or refuses the client.
    pub async fn connect(client: Client) -> Result<Self, Error> {
        let limit = Some(Duration::from_secs(2));
        // The cache retries itself, so it needs a fast error.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(limit)
            .set_response_timeout(limit);
        let connection = ConnectionManager::new_with_config(client.clone(), config).await;
        let connection = connection
            .map_err(|error| failure::at("the first connection", failure::describe(&error)))?;
        Ok(Self::new(connection).watch(client))
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Creates a store over a connection to a primary or to a cluster.
    ///
    /// The connection should reconnect by itself, as a [`ConnectionManager`] and a cluster's
    /// connection do, and have a response timeout.
    #[must_use]
    pub fn new(connection: C) -> Self {
        Self {
            connection: Connection {
                inner: connection,
                prefix: PREFIX.into(),
            },
            replicas: None,
            watch: None,
            scans: Arc::default(),
            known: Arc::default(),
        }
    }

    /// Sets the prefix of the store's keys and its channel. Defaults to `tower-oauth2:`.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) unless it is 1 to 64 ASCII letters,
    /// digits, or any of `:._-/`.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, Error> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":._-/".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_allowed) {
            return Err(Error::configuration(
                "redis prefix is invalid: use 1 to 64 ASCII letters, digits, or any of :._-/",
            ));
        }
        self.connection.prefix = prefix.into();
        self.scans = Arc::default();
        self.known = Arc::default();
        match self.watch.take() {
            Some(watch) => Ok(self.watch(watch.client().clone())),
            None => Ok(self),
        }
    }

    /// Subscribes to saves by other processes, so that caches adopt them within a second. Defaults
    /// to off with [`new`](Self::new), and to on with [`connect`](Self::connect).
    ///
    /// The subscription uses a connection of its own. The store opens it when a cache subscribes to
    /// the store, and reopens it after a loss. The store closes it when its last clone is
    /// dropped. Of a cluster, use any node.
    #[must_use]
    pub fn watch(mut self, client: Client) -> Self {
        let watch = Watch::new(client, self.connection.channel());
        self.watch = Some(Arc::new(watch));
        self
    }

    /// Commits a save only if `count` replicas acknowledge it within `timeout` (`WAIT`). Defaults
    /// to none.
    ///
    /// The store also checks the replicas before it writes, so most saves that would fail are not
    /// written. If too few replicas acknowledge afterwards, the call returns an error, and the save
    /// may still be stored. The next call detects that and waits again. A replica acknowledges what
    /// is in its memory, which may not be on its disk.
    ///
    /// The connection does nothing else while it waits, so its response timeout must be longer than
    /// `timeout`. Do not use this with a cluster's connection, which may wait on another node than
    /// the one it has written to.
    #[must_use]
    pub fn wait_for_replicas(mut self, count: u32, timeout: Duration) -> Self {
        self.replicas = (count > 0).then_some(Replicas { count, timeout });
        self
    }

    /// Checks the server's persistence settings. Returns a warning for each problem, for the log at
    /// startup.
    ///
    /// A setting that the server does not reveal is a warning too. Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the server does not respond.
    pub async fn check_persistence(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.connection.inner.clone();
        persistence::check(&mut connection, self.replicas)
            .await
            .map_err(|error| failure::at("INFO and CONFIG", failure::describe(&error)))
    }
}

impl<C: ConnectionLike + Clone> RedisStore<C> {
    /// The stored form to replace without another load.
    fn known_form(&self, tenant: &TenantId, expected: Generation) -> Option<Form> {
        // The load checks the replicas before anything is written.
        if self.replicas.is_some() {
            return None;
        }
        self.known.get(tenant, expected)
    }

    /// Writes a grant if the stored one has this generation and form. Returns the response of
    /// [`SAVE`].
    async fn replace(
        &self,
        expected: Option<Generation>,
        form: &Form,
        new: &NewRecord<'_>,
    ) -> Result<Value, Error> {
        let expected = expected.map_or_else(String::new, |expected| expected.to_string());
        let arguments = [
            expected.as_bytes(),
            &form.save,
            form.hash.as_bytes(),
            new.generation.as_bytes(),
            new.bytes,
            new.save.as_str().as_bytes(),
            new.channel.as_bytes(),
            new.message.as_bytes(),
        ];
        self.connection
            .run(&SAVE, new.key, &arguments, self.replicas)
            .await
    }
}

/// A grant to save.
struct NewRecord<'a> {
    key: &'a str,
    channel: &'a str,
    message: &'a str,
    generation: &'a str,
    bytes: &'a [u8],
    /// Identifies this save.
    save: LeaseOwner,
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> TokenStore for RedisStore<C> {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let keys = Keys::new(&self.connection.prefix, tenant);
        let response = self.connection.run(&LOAD, &keys.grant, &[], None).await?;
        let Some(Record { grant, form }) = Record::read(tenant, &keys.grant, response)? else {
            return Ok(None);
        };
        self.known.loaded(tenant, grant.generation, form);
        Ok(Some(grant))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let keys = Keys::new(&self.connection.prefix, tenant);
        let (channel, bytes) = (self.connection.channel(), grant.to_bytes(tenant));
        let generation = grant.generation.to_string();
        let new = NewRecord {
            key: &keys.grant,
            message: &watch::saved(&keys.name, &generation),
            channel: &channel,
            generation: &generation,
            bytes: &bytes,
            save: LeaseOwner::random(),
        };
        let committed = || {
            let form = || Form::new(Zeroizing::new(new.save.as_str().into()), &bytes);
            self.known.saved(tenant, grant.generation, &bytes, form);
            Ok(SaveOutcome::Committed)
        };
        let names = [keys.name.as_bytes()];
        // The name may have been lost. If it cannot be added, a later save or a scan adds it.
        let add = || names::add(&self.connection, &names, None);
        if let Some(expected) = expected
            && let Some(form) = self.known_form(tenant, expected)
        {
            let (response, _) = tokio::join!(self.replace(Some(expected), &form, &new), add());
            if response? == Value::Int(1) {
                return committed();
            }
            // A replica may have run the script, which has not tried to write. The load fails
            // there.
        }
        let load = self.connection.run(&LOAD, &keys.grant, &[], self.replicas);
        let mut response = if expected.is_none() {
            load.await?
        } else {
            let (loaded, _) = tokio::join!(load, add());
            loaded?
        };
        let mut is_added = expected.is_some();
        loop {
            // A script cannot tell whether the stored grant can be read, and an unreadable grant
            // must not be overwritten.
            let record = Record::read(tenant, &keys.grant, response)?;
            if record.as_ref().map(|record| record.grant.generation) != expected {
                return Ok(SaveOutcome::Superseded(record.map(|record| record.grant)));
            }
            if !std::mem::replace(&mut is_added, true) {
                // The same replicas acknowledge the name and the grant.
                names::add(&self.connection, &names, self.replicas).await?;
            }
            let form = record.map(|record| record.form).unwrap_or_default();
            response = self.replace(expected, &form, &new).await?;
            if response == Value::Int(1) {
                return committed();
            }
            // Another save was committed in between, possibly with an equal generation.
        }
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let keys = Keys::new(&self.connection.prefix, tenant);
        let duration = script::milliseconds(duration);
        let arguments = [owner.as_str().as_bytes(), duration.as_bytes()];
        match self
            .connection
            .run(&ACQUIRE, &keys.lease, &arguments, None)
            .await?
        {
            Value::Int(1) => Ok(LeaseOutcome::Acquired),
            Value::Int(0) => Ok(LeaseOutcome::HeldByAnother),
            _ => Err(failure::unexpected(&keys.lease)),
        }
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let keys = Keys::new(&self.connection.prefix, tenant);
        let channel = self.connection.channel();
        let arguments = [
            owner.as_str().as_bytes(),
            channel.as_bytes(),
            keys.name.as_bytes(),
        ];
        self.connection
            .run(&RELEASE, &keys.lease, &arguments, None)
            .await?;
        Ok(())
    }

    async fn changed(&self, tenant: &TenantId) {
        match &self.watch {
            Some(watch) => watch.changed(&encoded(tenant)).await,
            None => std::future::pending().await,
        }
    }

    fn subscribe(&self) -> Option<Subscription> {
        Some(self.watch.as_ref()?.subscribe())
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        index::page(&self.connection, &self.scans, after, limit).await
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.connection.prefix)
            .field("replicas", &self.replicas)
            .field("is_watching", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
