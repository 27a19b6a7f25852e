//! Error messages that do not quote sqlx or the server.
//!
//! The server's messages may contain tokens, for example those of a row that fails a check.
//! Messages about connections contain hosts and roles. So only codes and kinds, whose meaning is
//! known, appear in this crate's messages.

use std::{borrow::Cow, io};

use crate::{
    error::{Error, ErrorKind},
    token::{OfTenant, TenantId},
};

/// The SQLSTATE `read_only_sql_transaction`.
const READ_ONLY: &str = "25006";

/// How rustls reports a certificate that it does not accept.
const INVALID_CERTIFICATE: io::ErrorKind = io::ErrorKind::InvalidData;

pub(super) fn failed(error: &sqlx::Error) -> Error {
    let what: Cow<'static, str> = match error {
        sqlx::Error::Database(error) => refused(error.code().as_deref().unwrap_or_default()).into(),
        sqlx::Error::Io(error) if error.kind() != INVALID_CERTIFICATE => return lost(error.kind()),
        sqlx::Error::Tls(_) | sqlx::Error::Io(_) => {
            "TLS handshake failed; check the certificates, sslmode, and that sqlx has a TLS \
             feature"
                .into()
        }
        sqlx::Error::PoolTimedOut => {
            "no connection within the pool's acquire_timeout: the server cannot be reached, or all \
             connections of the pool are in use"
                .into()
        }
        sqlx::Error::PoolClosed => {
            "the pool is closed; keep it open while the store is in use".into()
        }
        sqlx::Error::Configuration(_) => "the pool's options are invalid; check its URL".into(),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
            "a column has an unexpected type; compare the tables with the migrations".into()
        }
        _ => "the server sent an unexpected response; check what serves the connection".into(),
    };
    Error::new(ErrorKind::Store, format!("PostgreSQL: {what}"))
}

fn lost(kind: io::ErrorKind) -> Error {
    Error::new(
        ErrorKind::Store,
        "PostgreSQL: the connection failed; see the source, and check that the server is running",
    )
    .with_source(io::Error::from(kind))
}

fn refused(code: &str) -> String {
    let hint = match code {
        "42P01" | "3F000" => "the tables do not exist; run the migrations",
        "42703" | "42804" => "the tables are not those of the migrations; compare them",
        "42501" => "the role lacks a privilege; see PostgresStore for the list",
        READ_ONLY => "the server is read-only; connect to the primary",
        "26000" | "42P05" | "08P01" => {
            "a proxy does not support prepared statements; use session pooling, or PgBouncer 1.21 \
             with max_prepared_statements"
        }
        "28000" | "28P01" => "the role or its password is wrong; check the connection URL",
        "3D000" => "the database does not exist; check the connection URL",
        "53300" => {
            "the server has no free connection; reduce the pool's size or raise max_connections"
        }
        "53100" => "the server's disk is full; free space",
        "57P01" | "57P02" | "57P03" => "the server is stopping or starting; try again later",
        "57014" => {
            "the statement was cancelled or exceeded statement_timeout; check the server's load"
        }
        "55P03" => "the row was locked for longer than lock_timeout; check for long transactions",
        _ => "see the server's log",
    };
    // Any other text could contain data.
    let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let code = if is_code { code } else { "none" };
    format!("the server returned an error (SQLSTATE {code}): {hint}")
}

/// Whether the statement can be repeated: a serialization failure or a deadlock.
pub(super) fn is_collision(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("40001" | "40P01")))
}

/// Whether the server is a standby or otherwise read-only. The statement has changed nothing.
pub(super) fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(READ_ONLY))
}

/// The failure of a load from a standby.
pub(super) fn standby() -> Error {
    Error::new(
        ErrorKind::Store,
        format!("PostgreSQL: {}", refused(READ_ONLY)),
    )
}

/// A row that cannot be read.
pub(super) fn damaged(table: &str, tenant: &TenantId, detail: &str) -> Error {
    Error::new(
        ErrorKind::Store,
        format!(
            "PostgreSQL: table {table}: a row cannot be read: {detail}; the row is unchanged: restore \
             it, or delete it and let the customer consent again (tenant in the error source)"
        ),
    )
    .with_source(OfTenant::new(tenant, None))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn p21_errors_do_not_quote_sqlx() {
        let secret = || String::from("secret");
        for error in [
            sqlx::Error::Configuration(secret().into()),
            sqlx::Error::Tls(secret().into()),
            sqlx::Error::Protocol(secret()),
            sqlx::Error::Decode(secret().into()),
            sqlx::Error::Io(io::Error::new(io::ErrorKind::BrokenPipe, secret())),
        ] {
            let error = failed(&error);
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(!format!("{error:?} {error}").contains("secret"));
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(!cause.contains("secret"));
        }
    }

    #[test]
    fn certificate_that_is_not_accepted_is_a_failure_of_tls() {
        for (error, is_of_tls) in [
            (sqlx::Error::Tls("no".into()), true),
            (sqlx::Error::Io(io::ErrorKind::InvalidData.into()), true),
            (
                sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into()),
                false,
            ),
            (sqlx::Error::Io(io::ErrorKind::UnexpectedEof.into()), false),
        ] {
            let message = failed(&error).to_string();
            assert_eq!(message.contains("TLS"), is_of_tls, "{message}");
        }
    }

    #[test]
    fn errors_contain_the_code_and_a_hint() {
        assert_eq!(
            refused("42P01"),
            "the server returned an error (SQLSTATE 42P01): the tables do not exist; run the \
             migrations"
        );
        assert_eq!(
            refused("<b>"),
            "the server returned an error (SQLSTATE none): see the server's log"
        );
    }
}
