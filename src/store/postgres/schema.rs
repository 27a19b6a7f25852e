//! Tables and SQL statements.

use sqlx::{Executor, PgPool};

use super::watch::CHANNEL;
use crate::error::Error;

/// Each migration can be repeated. None is recorded: the tables themselves show that it was run.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    (
        "0001_oauth_grants",
        r#"CREATE TABLE IF NOT EXISTS oauth_grants (
    tenant text COLLATE "C" PRIMARY KEY,
    generation bigint NOT NULL,
    contents bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)"#,
    ),
    (
        "0002_oauth_leases",
        r#"CREATE TABLE IF NOT EXISTS oauth_leases (
    tenant text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    until timestamptz NOT NULL
)"#,
    ),
];

/// The advisory lock of migrations: an arbitrary number that is unlikely to be in use.
const LOCK: i64 = 0x6f61_7574_6832_2e31;

/// The name of a schema, which needs no escaping between quotes.
#[derive(Clone, Debug)]
pub(super) struct Schema(String);

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins_well = !name.starts_with(|c: char| c.is_ascii_digit());
        // PostgreSQL truncates longer names.
        if !is_plain || !begins_well || !(1..=63).contains(&name.len()) {
            return Err(Error::configuration(
                "schema name is invalid: use 1 to 63 ASCII letters, digits and underscores, \
                 without a leading digit",
            ));
        }
        if name.starts_with("pg_") {
            return Err(Error::configuration(
                "schema name is invalid: PostgreSQL reserves the prefix pg_; use another name",
            ));
        }
        Ok(Self(name.to_owned()))
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// SQL statements with the names of the tables. Each statement is a transaction of its own.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) grants: String,
    pub(super) leases: String,
    pub(super) load: String,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) update_known: String,
    pub(super) acquire: String,
    pub(super) release: String,
    pub(super) tenants: String,
    pub(super) delete_expired_leases: String,
}

impl Statements {
    pub(super) fn new(schema: Option<&Schema>) -> Self {
        let prefix = schema.map_or_else(String::new, |schema| format!("{}.", schema.quoted()));
        let grants = format!("{prefix}oauth_grants");
        let leases = format!("{prefix}oauth_leases");
        // A lost refresh token requires a new consent, so these saves ignore `synchronous_commit =
        // off`.
        let durable = "CASE current_setting('synchronous_commit') \
             WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END";
        let update = |condition| {
            format!(
                "WITH saved AS (UPDATE {grants} \
                 SET generation = $2, contents = $3, updated_at = now() \
                 WHERE tenant = $1 AND {condition} RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $4), {durable} FROM saved"
            )
        };
        Self {
            // Always one row, since a standby may not have received the grant yet.
            load: format!(
                "SELECT generation, contents, pg_is_in_recovery() AS is_standby \
                 FROM (SELECT) AS one LEFT JOIN {grants} ON tenant = $1"
            ),
            insert: format!(
                "WITH saved AS (INSERT INTO {grants} (tenant, generation, contents) \
                 VALUES ($1, $2, $3) ON CONFLICT (tenant) DO NOTHING RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $4), {durable} FROM saved"
            ),
            update: update("contents = $5"),
            update_known: update("generation = $5 AND sha256(contents) = $6"),
            // `now()` would be the start of the transaction, which may precede a long wait for the
            // row lock.
            acquire: format!(
                "INSERT INTO {leases} AS stored (tenant, owner, until) \
                 VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second') \
                 ON CONFLICT (tenant) DO UPDATE \
                 SET owner = $2, until = clock_timestamp() + $3 * interval '1 second' \
                 WHERE stored.owner = $2 OR stored.until <= clock_timestamp() \
                 RETURNING tenant"
            ),
            release: format!(
                "WITH released AS (DELETE FROM {leases} \
                 WHERE tenant = $1 AND owner = $2 RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $3) FROM released"
            ),
            // Uses the primary key. No name is empty, so all names follow the empty one.
            tenants: format!(
                "SELECT tenant FROM {grants} WHERE tenant > $1 ORDER BY tenant LIMIT $2"
            ),
            // Leases of processes that have crashed, and those that were acquired to expire.
            delete_expired_leases: format!(
                "DELETE FROM {leases} WHERE until < clock_timestamp() - interval '1 hour'"
            ),
            grants,
            leases,
        }
    }
}

pub(super) async fn migrate(
    pool: &PgPool,
    schema: Option<&Schema>,
    statements: &Statements,
) -> Result<(), sqlx::Error> {
    // `IF NOT EXISTS` requires the privilege to create tables even if they exist, so check first.
    let exist = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL";
    let exist: bool = sqlx::query_scalar(exist)
        .bind(&statements.grants)
        .bind(&statements.leases)
        .fetch_one(pool)
        .await?;
    if exist {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    // `IF NOT EXISTS` fails if two sessions create the table at once.
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    if let Some(schema) = schema {
        let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        let exists: bool = sqlx::query_scalar(exists)
            .bind(&schema.0)
            .fetch_one(&mut *transaction)
            .await?;
        if !exists {
            let create = format!("CREATE SCHEMA {}", schema.quoted());
            transaction.execute(&*create).await?;
        }
        sqlx::query("SELECT set_config('search_path', $1, true)")
            .bind(schema.quoted())
            .execute(&mut *transaction)
            .await?;
    }
    for (_, sql) in MIGRATIONS {
        transaction.execute(*sql).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn schema_names_are_validated() {
        for good in ["partner", "Partner_2", "_", "user", &"x".repeat(63)] {
            assert!(Schema::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2nd",
            "a.b",
            "a\"b",
            "a b",
            "pg_mine",
            "é",
            "a\0",
            &"x".repeat(64),
        ] {
            let error = Schema::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        }
    }
}
