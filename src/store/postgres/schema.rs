//! Tables, and the statements on them.

use sqlx::{Executor, PgPool};

use super::watch::CHANNEL;
use crate::error::Error;

/// Each can be run again, and none writes down that it was: that the tables are there says so.
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

/// The lock that those take who migrate. Any number will do that nobody else has hit on.
const LOCK: i64 = 0x6f61_7574_6832_2e31;

/// The name of a schema, which can stand between quotes as it is.
#[derive(Clone, Debug)]
pub(super) struct Schema(String);

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins_well = !name.starts_with(|c: char| c.is_ascii_digit());
        // Longer ones would be cut off.
        if !is_plain || !begins_well || !(1..=63).contains(&name.len()) {
            return Err(Error::configuration(
                "schema: use one to 63 ASCII letters, digits and underscores, and no digit in front",
            ));
        }
        if name.starts_with("pg_") {
            return Err(Error::configuration(
                "schema: names that begin with pg_ are PostgreSQL's own",
            ));
        }
        Ok(Self(name.to_owned()))
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// What is asked of the database, with the tables' names filled in. Each is a transaction of its own.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) grants: String,
    pub(super) leases: String,
    pub(super) load: String,
    pub(super) insert: String,
    pub(super) update: String,
    pub(super) acquire: String,
    pub(super) release: String,
    pub(super) tenants: String,
}

impl Statements {
    pub(super) fn new(schema: Option<&Schema>) -> Self {
        let prefix = schema.map_or_else(String::new, |schema| format!("{}.", schema.quoted()));
        let grants = format!("{prefix}oauth_grants");
        let leases = format!("{prefix}oauth_leases");
        // A refresh token that is lost is a customer who has to consent again, so what others may lose is not lost here.
        let durable = "CASE current_setting('synchronous_commit') \
             WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END";
        Self {
            load: format!("SELECT generation, contents FROM {grants} WHERE tenant = $1"),
            insert: format!(
                "WITH saved AS (INSERT INTO {grants} (tenant, generation, contents) VALUES ($1, $2, $3) \
                 ON CONFLICT (tenant) DO NOTHING RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $4), {durable} FROM saved"
            ),
            update: format!(
                "WITH saved AS (UPDATE {grants} SET generation = $2, contents = $3, updated_at = now() \
                 WHERE tenant = $1 AND contents = $5 RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $4), {durable} FROM saved"
            ),
            // The clock is read where it is needed: the transaction's own time may be that before a long wait for the row.
            acquire: format!(
                "INSERT INTO {leases} AS held (tenant, owner, until) \
                 VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second') \
                 ON CONFLICT (tenant) DO UPDATE \
                 SET owner = $2, until = clock_timestamp() + $3 * interval '1 second' \
                 WHERE held.owner = $2 OR held.until <= clock_timestamp() \
                 RETURNING tenant"
            ),
            release: format!(
                "WITH released AS (DELETE FROM {leases} WHERE tenant = $1 AND owner = $2 RETURNING tenant) \
                 SELECT pg_notify('{CHANNEL}', $3) FROM released"
            ),
            // Along the primary key. No name is empty, so that all are behind an empty one.
            tenants: format!(
                "SELECT tenant FROM {grants} WHERE tenant > $1 ORDER BY tenant LIMIT $2"
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
    // Asked first, and not only by `IF NOT EXISTS`: that wants the right to make tables even where there are some.
    let are_there = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL";
    let are_there: bool = sqlx::query_scalar(are_there)
        .bind(&statements.grants)
        .bind(&statements.leases)
        .fetch_one(pool)
        .await?;
    if are_there {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    // `IF NOT EXISTS` alone would fail where two begin at once.
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
    fn schemas_are_plain_names() {
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
