//! Grants in PostgreSQL.
//!
//! Each change is one statement, including its notification to other replicas, so a dropped future
//! leaves no partial change. A save replaces only contents that were read: it loads them, or
//! compares the hash of those that this process [knows](super::known). [`schema`] contains the SQL,
//! [`watch`] the listening task, and [`failure`] the error messages.

use std::{fmt, sync::Arc, time::Duration};

use hmac_sha256::Hash as Sha256;
use sqlx::{
    PgPool, Postgres, Row,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};

use self::{
    failure::{damaged, failed, is_collision, is_read_only, standby},
    schema::{Schema, Statements},
    watch::{Watch, payload, saved},
};
use super::{
    announcer::Subscription,
    known::Known,
    lease::{LeaseOutcome, LeaseOwner},
    token_store::{SaveOutcome, TokenStore},
};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, Grant, TenantId},
};

mod failure;
mod schema;
mod watch;

/// How often a conflicting change is repeated. Each conflict means that another writer has
/// committed.
const ATTEMPTS: u32 = 64;

/// Far longer than any refresh, and within the range of timestamps.
const LONGEST_LEASE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A store in PostgreSQL, for replicas on any number of machines.
///
/// It uses the program's own pool of [sqlx](https://docs.rs/sqlx/0.8) 0.8, and needs PostgreSQL 11 or
/// later.
///
/// ```no_run
/// use std::time::Duration;
///
/// use sqlx::postgres::PgPoolOptions;
/// use tower_oauth2_client::{cache::TokenCache, oauth::OAuthClient, store::PostgresStore};
///
/// # async fn example(oauth: OAuthClient) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPoolOptions::new()
///     .acquire_timeout(Duration::from_secs(5))
///     .connect("postgres://partner@db.example.com/partner?sslmode=verify-full")
///     .await?;
/// let store = PostgresStore::new(pool).schema("partner")?;
/// store.migrate().await?;
/// let tokens = TokenCache::builder(oauth)
///     .store(store)
///     .tenant("customer-1")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Connections
///
/// * **TLS.** Without TLS, tokens cross the network in plain text. Without a TLS feature, sqlx uses
///   plain text in its default `sslmode`. Enable a feature in your program (such as
///   `features = ["tls-rustls-aws-lc-rs"]`) and use `sslmode=verify-full` in the URL. Without TLS,
///   the connection then fails.
/// * **Primary.** All connections must reach one primary. A standby lags behind and may return
///   refresh tokens that have been used, so loads from it fail, and its connections are closed.
/// * **Timeout.** A call waits for a free connection for the pool's `acquire_timeout`, by default
///   30 seconds. Set it to less than 10 seconds, which is the cache's limit for a call of the
///   store. A pool of one connection is enough.
/// * **Notifications.** When a cache subscribes to the store, the store opens one connection beside
///   the pool, with the pool's options or [your own](Self::watch). The store reopens a lost
///   connection. It closes the connection when the last clone of the store is dropped or the pool
///   is closed. The store checks that notifications arrive. If they do not, each replica loads the
///   grants that requests use every 30 seconds.
/// * **Proxies and failovers.** See the page [TLS, proxies and
///   failovers](crate::guide::deployment).
///
/// # Tables
///
/// The tables `oauth_grants` and `oauth_leases` are in the [schema](Self::schema) that you set, and
/// by default in the first schema of the search path. Create the tables with
/// [`migrate`](Self::migrate), or add [`MIGRATIONS`](Self::MIGRATIONS) to your own migrations. The
/// program's role needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on both.
///
/// The tables contain tokens in plain text, unless an
/// [`EncryptedStore`](crate::store::EncryptedStore) wraps the store. So do the logs of a server
/// that logs statement parameters: set `log_parameter_max_length = 0` for the program's role.
/// Refresh tokens in a restored backup may have been used, so customers may have to consent again.
///
/// # Guarantees
///
/// * **Durability.** A committed save is on the server's disk, even in sessions with
///   `synchronous_commit = off`. Whether it is on a standby's disk too depends on
///   `synchronous_standby_names`.
/// * **Dropped futures.** If a future is dropped, PostgreSQL commits the whole change or nothing of
///   it. The outcome is settled before the connection is used again.
/// * **Leases** expire by the server's clock. The clocks of the replicas do not matter. A lease
///   that expired more than an hour ago, for example of a process that has crashed, is deleted
///   after each [sweep](crate::tenants#idle-tenants).
/// * **Notifications** contain the tenant's name and the generation, and no token. Any role that
///   can connect to the database can listen to their channel `tower_oauth2_client`.
/// * **Pages** of [`tenants`](TokenStore::tenants) are ordered by the bytes of the names.
/// * **Errors** are of kind [`Store`](ErrorKind::Store). They contain nothing that the server sent.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    schema: Option<Schema>,
    statements: Arc<Statements>,
    watch: Arc<Watch>,
    /// The SHA-256 of stored contents.
    known: Arc<Known<[u8; 32]>>,
}

impl PostgresStore {
    /// The migrations as names and SQL, for the program's own migration tool.
    ///
    /// Run them in this order. Each is one statement and can be repeated. The tables are created in
    /// the first schema of the search path. Later versions of this crate only append to the list.
    pub const MIGRATIONS: &'static [(&'static str, &'static str)] = schema::MIGRATIONS;

    /// Creates a store with tables in the first schema of the search path. Does not connect yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            schema: None,
            statements: Arc::new(Statements::new(None)),
            watch: Arc::default(),
            known: Arc::default(),
        }
    }

    /// Sets the schema of the tables. Case is significant. Defaults to the first schema of the
    /// search path.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) unless the name is 1 to 63 ASCII letters, digits
    /// and underscores, without a leading digit, and without the prefix `pg_`, which PostgreSQL
    /// reserves.
    pub fn schema(self, name: &str) -> Result<Self, Error> {
        let schema = Schema::new(name)?;
        Ok(Self {
            statements: Arc::new(Statements::new(Some(&schema))),
            schema: Some(schema),
            pool: self.pool,
            watch: Arc::new(Watch::new(self.watch.options().cloned())),
            known: Arc::default(),
        })
    }

    /// Sets how to connect for notifications. Defaults to the options of the pool.
    ///
    /// If the pool connects to a proxy with transaction pooling, set a direct connection to the
    /// primary, or one through a proxy with session pooling.
    #[must_use]
    pub fn watch(mut self, options: PgConnectOptions) -> Self {
        self.watch = Arc::new(Watch::new(Some(options)));
        self
    }

    /// Creates the tables, and the schema if one is set, unless they exist.
    ///
    /// Several replicas may call this at once: one creates the tables in one transaction, and the
    /// others wait. If the tables exist, the role needs no privilege to create them. A dropped
    /// future has created everything or nothing.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the database cannot be reached or the role lacks the
    /// privilege to create tables.
    pub async fn migrate(&self) -> Result<(), Error> {
        schema::migrate(&self.pool, self.schema.as_ref(), &self.statements)
            .await
            .map_err(|error| failed(&error))
    }

    async fn row(&self, tenant: &TenantId) -> Result<Option<PgRow>, Error> {
        let row = self
            .run(|| sqlx::query(&self.statements.load).bind(tenant.as_str()))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let generation: Option<i64> = row.try_get(0).map_err(|error| failed(&error))?;
        Ok(generation.map(|_| row))
    }

    /// Replaces a row that this process has read or written before, without another load. Returns
    /// whether it did. Otherwise nothing has changed.
    async fn replace_known(&self, expected: Generation, new: NewRow<'_>) -> Result<bool, Error> {
        let Ok(generation) = i64::try_from(expected.as_u64()) else {
            return Ok(false);
        };
        let Some(form) = self.known.get(new.0, expected) else {
            return Ok(false);
        };
        let update = &self.statements.update_known;
        let update = || new.query(update).bind(generation).bind(&form[..]);
        Ok(self.run(update).await?.is_some())
    }

    /// Runs a statement in a transaction of its own and returns its first row.
    async fn run<'q>(
        &self,
        query: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>, Error> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Runs a statement in a transaction of its own and returns all its rows.
    ///
    /// A statement that collides has changed nothing and is repeated. Collisions occur only if
    /// sessions have a stricter isolation level than the default.
    ///
    /// After a failover, connections of the pool may still reach a server that is a standby now.
    /// Such a connection works, so the pool would keep it. It is closed, and the statement is
    /// repeated: once per connection of the pool, and once over a new one.
    async fn rows<'q>(
        &self,
        query: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Error> {
        let mut attempt = 1;
        let mut connections = self.pool.size().max(1);
        loop {
            let mut connection = self.pool.acquire().await.map_err(|error| failed(&error))?;
            let error = match query().fetch_all(&mut *connection).await {
                Ok(rows) if is_of_standby(&rows) => standby(),
                Err(error) if is_read_only(&error) => failed(&error),
                Err(error) if attempt < ATTEMPTS && is_collision(&error) => {
                    attempt += 1;
                    continue;
                }
                outcome => return outcome.map_err(|error| failed(&error)),
            };
            // A failure to say goodbye changes nothing.
            let _ = connection.close().await;
            if connections == 0 {
                return Err(error);
            }
            connections -= 1;
        }
    }

    /// Returns the grant of a row, and its bytes.
    fn grant<'r>(&self, tenant: &TenantId, row: &'r PgRow) -> Result<(Grant, &'r [u8]), Error> {
        let generation: i64 = row.try_get(0).map_err(|error| failed(&error))?;
        let contents: &[u8] = row.try_get(1).map_err(|error| failed(&error))?;
        let damaged = |detail: &str| damaged(&self.statements.grants, tenant, detail);
        let grant =
            Grant::from_bytes(tenant, contents).map_err(|error| damaged(&error.to_string()))?;
        if u64::try_from(generation) != Ok(grant.generation.as_u64()) {
            return Err(damaged(
                "the column `generation` differs from the grant's generation",
            ));
        }
        Ok((grant, contents))
    }
}

impl TokenStore for PostgresStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let Some(row) = self.row(tenant).await? else {
            return Ok(None);
        };
        let (grant, contents) = self.grant(tenant, &row)?;
        let form = Sha256::hash(contents);
        self.known.loaded(tenant, grant.generation, form);
        Ok(Some(grant))
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let generation = i64::try_from(grant.generation.as_u64()).map_err(|_| {
            Error::new(
                ErrorKind::Store,
                "PostgreSQL cannot store the grant: its generation is above 9223372036854775807; \
                 this is a bug in the caller",
            )
        })?;
        let (bytes, payload) = (grant.to_bytes(tenant), saved(tenant, generation));
        let new = NewRow(tenant, generation, &bytes, &payload);
        let committed = || {
            let form = || Sha256::hash(&bytes);
            self.known.saved(tenant, grant.generation, &bytes, form);
            Ok(SaveOutcome::Committed)
        };
        let Statements { insert, update, .. } = &*self.statements;
        if let Some(expected) = expected
            && self.replace_known(expected, new).await?
        {
            return committed();
        }
        for _ in 0..ATTEMPTS {
            if expected.is_none() && self.run(|| new.query(insert)).await?.is_some() {
                return committed();
            }
            let row = self.row(tenant).await?;
            let stored = row
                .as_ref()
                .map(|row| self.grant(tenant, row))
                .transpose()?;
            match stored {
                // Deleted in the meantime: no grant is stored, as expected.
                None if expected.is_none() => {}
                Some((stored, contents)) if Some(stored.generation) == expected => {
                    // The statement compares bytes, so that it replaces only the grant that was
                    // read just now.
                    let update = || new.query(update).bind(contents);
                    if self.run(update).await?.is_some() {
                        return committed();
                    }
                }
                stored => return Ok(SaveOutcome::Superseded(stored.map(|(stored, _)| stored))),
            }
        }
        Err(Error::new(
            ErrorKind::Store,
            "PostgreSQL: save failed: other processes changed the grant 64 times in between; try \
             again later",
        ))
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        let seconds = duration.min(LONGEST_LEASE).as_secs_f64();
        let acquire = || {
            sqlx::query(&self.statements.acquire)
                .bind(tenant.as_str())
                .bind(owner.as_str())
                .bind(seconds)
        };
        Ok(match self.run(acquire).await? {
            Some(_) => LeaseOutcome::Acquired,
            None => LeaseOutcome::HeldByAnother,
        })
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        let payload = payload(tenant);
        let release = || {
            sqlx::query(&self.statements.release)
                .bind(tenant.as_str())
                .bind(owner.as_str())
                .bind(&*payload)
        };
        self.run(release).await.map(drop)
    }

    async fn changed(&self, tenant: &TenantId) {
        self.watch.changed(&self.pool, tenant).await;
    }

    fn subscribe(&self) -> Option<Subscription> {
        self.watch.subscribe(&self.pool)
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut after = after.map_or_else(String::new, |tenant| tenant.as_str().to_owned());
        loop {
            let page = || {
                sqlx::query(&self.statements.tenants)
                    .bind(&*after)
                    .bind(limit)
            };
            let rows = self.rows(page).await?;
            let names: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
            let names = names.map_err(|error| failed(&error))?;
            let Some(last) = names.last().cloned() else {
                return Ok(Vec::new());
            };
            // Names that are not valid were written by another program.
            let tenants: Vec<_> = names
                .into_iter()
                .filter_map(|name| TenantId::new(name).ok())
                .collect();
            // An empty page would be the end.
            if !tenants.is_empty() {
                return Ok(tenants);
            }
            after = last;
        }
    }

    async fn delete_expired_leases(&self) -> Result<(), Error> {
        let delete = || sqlx::query(&self.statements.delete_expired_leases);
        self.run(delete).await.map(drop)
    }
}

/// Whether a standby has returned the rows of a load.
fn is_of_standby(rows: &[PgRow]) -> bool {
    let row = rows.first();
    row.is_some_and(|row| row.try_get("is_standby").unwrap_or(false))
}

/// A grant to save: tenant, generation, contents, and the notification's payload.
#[derive(Clone, Copy)]
struct NewRow<'a>(&'a TenantId, i64, &'a [u8], &'a str);

impl<'a> NewRow<'a> {
    fn query<'q>(self, sql: &'q str) -> Query<'q, Postgres, PgArguments>
    where
        'a: 'q,
    {
        let Self(tenant, generation, contents, payload) = self;
        sqlx::query(sql)
            .bind(tenant.as_str())
            .bind(generation)
            .bind(contents)
            .bind(payload)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The pool's `Debug` output contains the server's address and role.
        f.debug_struct("PostgresStore")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
