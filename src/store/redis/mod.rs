//! Grants in Redis or Valkey, for replicas on several machines.
//!
//! ```no_run
//! use tower_oauth2_client::{cache::TokenCache, store::RedisStore};
//!
//! # async fn example(source: impl tower_oauth2_client::cache::TokenSource) -> Result<(), Box<dyn std::error::Error>> {
//! let client = redis::Client::open("redis://user:password@redis.internal/")?;
//! let store = RedisStore::connect(client).await?;
//! for flaw in store.check_persistence().await? {
//!     eprintln!("redis: {flaw}");
//! }
//! let tokens = TokenCache::builder(source).store(store).tenant("customer-1").build()?;
//! # Ok(()) }
//! ```
//!
//! # What is kept
//!
//! Two keys for each tenant, whose name stands in them percent-encoded: `tower-oauth2:{customer-1}:grant`, a hash without an
//! expiry, and `tower-oauth2:{customer-1}:lease`, which the server deletes by its own clock. The braces keep both in one slot
//! of a cluster. Tokens stand there in the clear: whoever may read the keys has them.
//!
//! And one key for all: `tower-oauth2:tenants`, a sorted set of the names as they stand in keys, each with score 0, without an
//! expiry. It is what [`tenants`](TokenStore::tenants) lists. A name is entered before the save that creates the grant, and
//! after that once by each process, when it first saves a grant again: so names that were lost come back, but for those of
//! tenants that nobody renews. Where keys were brought in by other means (`RESTORE`, or a version before the index), this
//! enters all that there are; of a cluster, run the first command on each of its primaries:
//!
//! ```text
//! redis-cli --scan --pattern 'tower-oauth2:{*}:grant' | sed 's/.*{//; s/}.*//' | xargs -r -n 1 redis-cli zadd tower-oauth2:tenants 0
//! ```
//!
//! No name is ever taken out: a tenant whose keys were deleted is looked at in vain until somebody does (`ZREM`).
//!
//! Scripts (for Redis 6 and later, and Valkey; tested with Redis 7) compare and write in one step, so any number of programs
//! may share a server. A key that holds something else is an error and stays as it is: move it away with `RENAME` to start
//! anew.
//!
//! # What survives
//!
//! A refresh token that is replaced by an exchange, and then lost, is a customer's consent lost. So:
//!
//! | setting | what is lost |
//! | --- | --- |
//! | `appendonly yes`, `appendfsync always` | nothing that was committed, if the disk keeps what it was told to |
//! | `appendonly yes`, `appendfsync everysec` (Redis' default with `appendonly`) | the last second or two, when the machine stops; nothing when only the server does |
//! | snapshots alone (Redis' default) | all since the last one: minutes to an hour |
//! | neither | everything |
//! | `maxmemory-policy allkeys-…` | any grant, or all names of tenants, at any time, once memory is full: use `noeviction`, or one of `volatile-…` |
//! | a failover to a replica | what the replica did not have yet, whatever the settings above |
//!
//! Replication follows after a save is answered: [`RedisStore::wait_for_replicas`] makes saves wait for it.
//! [`RedisStore::check_persistence`] asks the server for all of this.
//!
//! # Connections
//!
//! [`RedisStore::connect`] keeps one connection that is made anew when it is lost. [`RedisStore::new`] takes any other of the
//! `redis` crate (version 1) that can be cloned, such as a cluster's. TLS is that crate's own business: enable one of its
//! features in your `Cargo.toml`, such as `tokio-rustls-comp`, and write `rediss://`. A deadline belongs to the connection too:
//! without a response timeout, a server that hangs is waited for.
//!
//! The connection's user needs these rights, and `info` and `config|get` for the check:
//!
//! ```text
//! ~tower-oauth2:* &tower-oauth2:* +eval +evalsha +exists +hmget +hset +persist +zadd +zrangebylex +get +set +del +publish +subscribe +ping +wait
//! ```

use std::{fmt, sync::Arc, time::Duration};

use redis::{
    Client, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};

use self::{
    index::Entered,
    row::{Keys, Row},
    script::{ACQUIRE, LOAD, RELEASE, Replicas, SAVE, Script},
    watch::Watch,
};
use super::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore};
use crate::{
    error::Error,
    token::{Generation, Grant, TenantId},
};

mod failure;
mod index;
mod persistence;
mod row;
mod script;
mod watch;

const PREFIX: &str = "tower-oauth2:";

/// A store in Redis or Valkey. Clones share the connection. See the module page for how to set up the server.
#[derive(Clone)]
pub struct RedisStore<C = ConnectionManager> {
    connection: C,
    prefix: Arc<str>,
    replicas: Option<Replicas>,
    watch: Option<Arc<Watch>>,
    entered: Arc<Entered>,
}

impl RedisStore {
    /// Connects to a server, and to it again whenever the connection is lost; changes that others make are heard of over a
    /// second connection (see [`watch`](Self::watch)). An attempt to connect may take 2 seconds, and so may an answer.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the server cannot be reached, or does not let this client in.
    pub async fn connect(client: Client) -> Result<Self, Error> {
        let limit = Some(Duration::from_secs(2));
        // A cache tries again by itself, and better hears soon that it has to.
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
    /// A store over a connection to a primary, or to a cluster.
    ///
    /// It should come back by itself when it is lost, as a [`ConnectionManager`] and a cluster's connection do, and have a
    /// response timeout.
    #[must_use]
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            prefix: PREFIX.into(),
            replicas: None,
            watch: None,
            entered: Arc::default(),
        }
    }

    /// What the store's keys and its channel begin with. Defaults to `tower-oauth2:`.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) unless it is 1 to 64 ASCII letters, digits, or any of `:._-/`.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, Error> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":._-/".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_allowed) {
            return Err(Error::configuration(
                "redis prefix: use 1 to 64 ASCII letters, digits, or any of :._-/",
            ));
        }
        self.prefix = prefix.into();
        self.entered = Arc::default();
        match self.watch.take() {
            Some(watch) => Ok(self.watch(watch.client().clone())),
            None => Ok(self),
        }
    }

    /// Hears of changes that others make over one connection of its own, so that those who wait for them need not ask again
    /// and again. Defaults to off, where a store was made by [`new`](Self::new).
    ///
    /// It is begun when somebody first waits, made anew when it is lost, and ended with the last clone of the store. Any node
    /// of a cluster will do.
    #[must_use]
    pub fn watch(mut self, client: Client) -> Self {
        let watch = Watch::new(client, self.channel());
        self.watch = Some(Arc::new(watch));
        self
    }

    /// Takes a save for committed only if `count` replicas have acknowledged it within `timeout` (`WAIT`). Defaults to none.
    ///
    /// They are asked before it is written too: most often, a save that they could not take is not begun. If fewer acknowledge
    /// it afterwards it is an error, and may be there all the same; trying again finds that out, and waits again. What a replica
    /// has acknowledged is in its memory, and not always on its disk.
    ///
    /// The connection does nothing else while it waits, and its response timeout has to be longer. Not for a cluster's
    /// connection, which may wait on another node than it has written to.
    #[must_use]
    pub fn wait_for_replicas(mut self, count: u32, timeout: Duration) -> Self {
        self.replicas = (count > 0).then_some(Replicas { count, timeout });
        self
    }

    /// Asks the server how it keeps its data, and returns what is wrong with that, a sentence each. What it does not tell is
    /// a sentence too. For a start-up's log; nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the server does not answer.
    pub async fn check_persistence(&self) -> Result<Vec<String>, Error> {
        let mut connection = self.connection.clone();
        persistence::check(&mut connection, self.replicas)
            .await
            .map_err(|error| failure::at("INFO and CONFIG", failure::describe(&error)))
    }

    fn channel(&self) -> String {
        format!("{}changed", self.prefix)
    }

    async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> Result<Value, Error> {
        let mut connection = self.connection.clone();
        let answer = script.run(&mut connection, key, arguments, replicas).await;
        let (value, acknowledged) =
            answer.map_err(|error| failure::at(key, failure::describe(&error)))?;
        match replicas {
            Some(Replicas { count, .. }) if acknowledged < count => Err(failure::at(
                key,
                format_args!("{acknowledged} replicas have acknowledged, and {count} have to"),
            )),
            _ => Ok(value),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> TokenStore for RedisStore<C> {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let keys = Keys::of(&self.prefix, tenant);
        let answer = self.run(&LOAD, &keys.grant, &[], None).await?;
        Ok(Row::read(tenant, &keys.grant, answer)?.map(|row| row.grant))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let keys = Keys::of(&self.prefix, tenant);
        let (channel, bytes) = (self.channel(), grant.to_bytes(tenant));
        let generation = grant.generation.to_string();
        // Names this save and no other.
        let save = LeaseOwner::random();
        let mut answer = self.run(&LOAD, &keys.grant, &[], self.replicas).await?;
        let mut is_entered = false;
        loop {
            // What is there has to be understood before it is overwritten, which is beyond a script.
            let row = Row::read(tenant, &keys.grant, answer)?;
            if row.as_ref().map(|row| row.grant.generation) != expected {
                return Ok(SaveOutcome::Superseded(row.map(|row| row.grant)));
            }
            if !std::mem::replace(&mut is_entered, true) {
                match expected {
                    None => self.enter(&keys.name).await?,
                    Some(_) => self.enter_again(&keys.name).await,
                }
            }
            let held = row.map_or_else(Default::default, |row| {
                (row.grant.generation.to_string(), row.save)
            });
            let arguments = [
                held.0.as_bytes(),
                &held.1,
                generation.as_bytes(),
                &bytes,
                save.as_str().as_bytes(),
                channel.as_bytes(),
                keys.name.as_bytes(),
            ];
            let run = self.run(&SAVE, &keys.grant, &arguments, self.replicas);
            answer = run.await?;
            if answer == Value::Int(1) {
                return Ok(SaveOutcome::Committed);
            }
            // Another save came between, perhaps one that has kept the generation.
        }
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let keys = Keys::of(&self.prefix, tenant);
        let duration = script::milliseconds(duration);
        let arguments = [owner.as_str().as_bytes(), duration.as_bytes()];
        match self.run(&ACQUIRE, &keys.lease, &arguments, None).await? {
            Value::Int(1) => Ok(LeaseOutcome::Acquired),
            Value::Int(0) => Ok(LeaseOutcome::HeldByAnother),
            _ => Err(failure::at(&keys.lease, "an answer that makes no sense")),
        }
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let keys = Keys::of(&self.prefix, tenant);
        let channel = self.channel();
        let arguments = [
            owner.as_str().as_bytes(),
            channel.as_bytes(),
            keys.name.as_bytes(),
        ];
        self.run(&RELEASE, &keys.lease, &arguments, None).await?;
        Ok(())
    }

    async fn changed(&self, tenant: &TenantId) {
        match &self.watch {
            Some(watch) => watch.changed(&Keys::of(&self.prefix, tenant).name).await,
            None => std::future::pending().await,
        }
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        self.page(after, limit).await
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("is_watching", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
