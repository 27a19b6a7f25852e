//! sqlx's errors, as this crate tells them.
//!
//! A server's messages may quote what was sent to it (the row that failed a check, say, with the tokens in it), and those of
//! a connection name hosts and roles. So none of their text is passed on: only codes and kinds, whose meaning is known.

use std::{borrow::Cow, io};

use crate::{
    error::{Error, ErrorKind},
    token::TenantId,
};

pub(super) fn failed(error: &sqlx::Error) -> Error {
    let what: Cow<'static, str> = match error {
        sqlx::Error::Database(error) => refused(error.code().as_deref().unwrap_or_default()).into(),
        sqlx::Error::Io(error) => return lost(error.kind()),
        sqlx::Error::Tls(_) => {
            "TLS could not be begun: check the certificates, sslmode, and that sqlx has a TLS feature".into()
        }
        sqlx::Error::PoolTimedOut => {
            "no connection became free in the pool's acquire_timeout: check that the server is up, and the pool's size".into()
        }
        sqlx::Error::PoolClosed => "the pool is closed".into(),
        sqlx::Error::Configuration(_) => "the pool's options are wrong".into(),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
            "a column has another type than the migrations give it".into()
        }
        _ => "the server answered something that makes no sense".into(),
    };
    Error::new(ErrorKind::Store, format!("PostgreSQL: {what}"))
}

fn lost(kind: io::ErrorKind) -> Error {
    Error::new(
        ErrorKind::Store,
        "PostgreSQL: the connection failed: see the cause, and check that the server is up",
    )
    .with_source(io::Error::from(kind))
}

fn refused(code: &str) -> String {
    let hint = match code {
        "42P01" | "3F000" => "the tables are not there: run the migrations",
        "42703" | "42804" => "the tables are not those of the migrations",
        "42501" => "the role lacks a right",
        "25006" => "the server takes no changes: connect to the primary",
        "28000" | "28P01" => "the role or its password is wrong",
        "3D000" => "the database is not there",
        "53300" => "the server has no connection left",
        "53100" => "the server's disk is full",
        "57P01" | "57P02" | "57P03" => "the server is stopping or starting",
        "57014" => "the statement was cancelled, or took longer than statement_timeout",
        "55P03" => "the row stayed locked for longer than lock_timeout",
        _ => "see the server's log",
    };
    // What is not shaped like a code is not one.
    let is_code = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let code = if is_code { code } else { "none" };
    format!("the server refused (SQLSTATE {code}): {hint}")
}

/// Whether the statement was given up for another's sake, and may be tried again: a serialization failure or a deadlock.
pub(super) fn is_collision(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if matches!(error.code().as_deref(), Some("40001" | "40P01")))
}

/// A row that cannot be read.
pub(super) fn damaged(table: &str, tenant: &TenantId, how: &str) -> Error {
    Error::new(
        ErrorKind::Store,
        format!(
            "PostgreSQL: table {table}, row of tenant {:?}: cannot be used: {how}; it is left as it is, move it away to \
             start anew",
            tenant.as_str()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn nothing_of_sqlx_is_quoted() {
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
    fn codes_are_told_with_what_to_do() {
        assert_eq!(
            refused("42P01"),
            "the server refused (SQLSTATE 42P01): the tables are not there: run the migrations"
        );
        assert_eq!(
            refused("<b>"),
            "the server refused (SQLSTATE none): see the server's log"
        );
    }
}
