//! Grants in PostgreSQL.
//!
//! Each change is one statement, together with what it tells other replicas: it happens whole or not at all, whenever its
//! future is dropped. The SQL is in [`schema`], what is listened to in [`watch`], and what becomes of sqlx's errors in
//! [`failure`].

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{
    PgPool, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use self::{
    failure::{damaged, failed, is_collision},
    schema::{Schema, Statements},
    watch::{Watch, payload},
};
use super::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, Grant, TenantId},
};

mod failure;
mod schema;
mod watch;

/// How often a change is tried that other writers get in the way of. Each time, one of them has got on.
const ATTEMPTS: u32 = 64;

/// Longer than any exchange, and short enough for every timestamp.
const LONGEST_LEASE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A store in PostgreSQL, on the program's own pool of [sqlx](https://docs.rs/sqlx/0.8) 0.8: for replicas on any number of
/// machines.
///
/// ```no_run
/// use std::time::Duration;
///
/// use sqlx::postgres::PgPoolOptions;
/// use tower_oauth2_client::{cache::TokenCache, oauth::OAuthClient, store::PostgresStore};
///
/// # async fn begin(oauth: OAuthClient) -> Result<(), Box<dyn std::error::Error>> {
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
/// # The connection
///
/// * Without TLS, tokens are in the clear on the wire. sqlx has TLS only with a feature of its own, and without one goes on
///   in the clear, unless it is told not to. So turn one on where the program depends on sqlx (such as
///   `features = ["tls-rustls-aws-lc-rs"]`), and put `sslmode=verify-full` into the URL: that fails where there is no TLS.
/// * All connections must reach one primary. A read replica lags behind, and would show tokens that are used up.
/// * A call waits for a connection as long as the pool's `acquire_timeout` says, which is 30 seconds if nothing is said:
///   let it be less than the 15 seconds of an exchange. A pool of one connection is enough.
/// * Once somebody waits for a change, one connection is opened beside the pool's, with the pool's options, and listens. It
///   is opened again when it is lost, and ends with the last clone of the store, or when the pool is closed. A proxy that
///   lends connections for one transaction at a time passes no notifications on, so that changes are found by looking; and
///   it has to know prepared statements.
///
/// # The tables
///
/// `oauth_grants` and `oauth_leases`, in the schema that is [named](Self::schema), or else where the connections' search
/// path leads. [`migrate`](Self::migrate) makes them; or run [`MIGRATIONS`](Self::MIGRATIONS) like the program's others. The
/// program's role needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on both.
///
/// They hold tokens in the clear, and are as secret as these. So are the logs of a server that logs statements with their
/// parameters: `log_parameter_max_length = 0` for the program's role leaves those out. A backup holds refresh tokens that
/// are used up by the time that it is restored: customers may then have to consent again.
///
/// # What is promised
///
/// * What every [`TokenStore`] promises. A save is on the server's disk when it is done, even where sessions have
///   `synchronous_commit = off`; whether it is on a standby's too is for `synchronous_standby_names` to say.
/// * A change whose future is dropped happens whole or not at all, at the latest when its connection is next used.
/// * Leases run out by the server's clock. What the machines' clocks say does not matter.
/// * Notifications name a tenant by the first digits of a hash, on the channel `tower_oauth2_client`.
/// * Errors are of kind [`Store`](ErrorKind::Store). They say what failed, and quote nothing that the server sent.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    schema: Option<Schema>,
    statements: Arc<Statements>,
    watch: Arc<Watch>,
}

impl PostgresStore {
    /// What makes the tables: names and SQL, one statement each, to be run in this order by whatever runs the program's
    /// other migrations. Each may be run again. Tables go where the search path leads.
    ///
    /// Later versions of this crate add to the end, and change nothing that stands here.
    pub const MIGRATIONS: &'static [(&'static str, &'static str)] = schema::MIGRATIONS;

    /// A store on a pool, with tables where its connections' search path leads. Connects to nothing yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            pool,
            schema: None,
            statements: Arc::new(Statements::new(None)),
            watch: Arc::default(),
        }
    }

    /// The same with tables in this schema, whatever the search path. Letters keep their case.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) unless the name is one to 63 ASCII letters, digits and underscores, does
    /// not begin with a digit, nor with `pg_`, which PostgreSQL keeps for itself.
    pub fn schema(self, name: &str) -> Result<Self, Error> {
        let schema = Schema::new(name)?;
        Ok(Self {
            statements: Arc::new(Statements::new(Some(&schema))),
            schema: Some(schema),
            pool: self.pool,
            watch: Arc::default(),
        })
    }

    /// Makes the tables, and the schema if one is named, unless they are there. Several replicas may call it at once: one
    /// does the work, in one transaction, while the others wait. Nothing else is written, and where the tables are there
    /// already, no right to make any is needed.
    ///
    /// Dropped before its end, it has done nothing or everything.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the database cannot be reached, or does not let the role make tables.
    pub async fn migrate(&self) -> Result<(), Error> {
        schema::migrate(&self.pool, self.schema.as_ref(), &self.statements)
            .await
            .map_err(|error| failed(&error))
    }

    async fn row(&self, tenant: &TenantId) -> Result<Option<PgRow>, Error> {
        self.run(|| sqlx::query(&self.statements.load).bind(tenant.as_str()))
            .await
    }

    /// Runs one statement, which is a transaction of its own, and gives its first row.
    async fn run<'q>(
        &self,
        query: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>, Error> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// Likewise, and gives all its rows.
    ///
    /// A collision has changed nothing. It is seen only where sessions are set to a stricter isolation than the default.
    async fn rows<'q>(
        &self,
        query: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, Error> {
        let mut attempt = 1;
        loop {
            match query().fetch_all(&self.pool).await {
                Err(error) if attempt < ATTEMPTS && is_collision(&error) => attempt += 1,
                outcome => return outcome.map_err(|error| failed(&error)),
            }
        }
    }

    /// What a row says, and the bytes that say it.
    fn read<'r>(&self, tenant: &TenantId, row: &'r PgRow) -> Result<(Grant, &'r [u8]), Error> {
        let generation: i64 = row.try_get(0).map_err(|error| failed(&error))?;
        let contents: &[u8] = row.try_get(1).map_err(|error| failed(&error))?;
        let damaged = |how: &str| damaged(&self.statements.grants, tenant, how);
        let grant =
            Grant::from_bytes(tenant, contents).map_err(|error| damaged(&error.to_string()))?;
        if u64::try_from(generation) != Ok(grant.generation.as_u64()) {
            return Err(damaged("its generation is not that of its contents"));
        }
        Ok((grant, contents))
    }
}

impl TokenStore for PostgresStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let row = self.row(tenant).await?;
        row.map(|row| Ok(self.read(tenant, &row)?.0)).transpose()
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
                "the generation is over 9223372036854775807, the highest that PostgreSQL can keep",
            )
        })?;
        let (bytes, payload) = (grant.to_bytes(tenant), payload(tenant));
        let new = New(tenant, generation, &bytes, &payload);
        let Statements { insert, update, .. } = &*self.statements;
        for _ in 0..ATTEMPTS {
            if expected.is_none() && self.run(|| new.query(insert)).await?.is_some() {
                return Ok(SaveOutcome::Committed);
            }
            let row = self.row(tenant).await?;
            let held = row.as_ref().map(|row| self.read(tenant, row)).transpose()?;
            match held {
                // Deleted since: there is nothing, as was expected.
                None if expected.is_none() => {}
                Some((held, contents)) if Some(held.generation) == expected => {
                    // The bytes are compared, so that nothing is replaced but what was read just now, and understood.
                    let update = || new.query(update).bind(contents);
                    if self.run(update).await?.is_some() {
                        return Ok(SaveOutcome::Committed);
                    }
                }
                held => return Ok(SaveOutcome::Superseded(held.map(|(held, _)| held))),
            }
        }
        Err(Error::new(
            ErrorKind::Store,
            "the grant was changed by others each time that it was about to be saved",
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

    /// In the order of the names' bytes.
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
            // A name that no tenant can have was put there by somebody else.
            let tenants: Vec<_> = names
                .into_iter()
                .filter_map(|name| TenantId::new(name).ok())
                .collect();
            // A page of nothing else is not the end.
            if !tenants.is_empty() {
                return Ok(tenants);
            }
            after = last;
        }
    }
}

/// What is to be saved: tenant, generation, contents, and what others are told.
#[derive(Clone, Copy)]
struct New<'a>(&'a TenantId, i64, &'a [u8], &'a str);

impl<'a> New<'a> {
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
        // The pool's own would tell the server's address and role.
        f.debug_struct("PostgresStore")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
