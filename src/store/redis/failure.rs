//! Error messages that do not quote the server, whose messages may contain tokens.

use std::fmt;

use redis::RedisError;

use crate::{
    error::Error,
    token::{OfTenant, TenantId},
};

/// Hints for error codes, and for words in the server's messages.
const HINTS: [(&str, &str); 12] = [
    (
        "WRONGTYPE",
        "another program has written a value of another type, which is unchanged; rename the key",
    ),
    (
        "NOPERM",
        "the connection's user lacks a permission; see `store::redis` for the list",
    ),
    // Older servers return no code if a script lacks the permission.
    (
        "executing the script",
        "the connection's user lacks a permission; see `store::redis` for the list",
    ),
    (
        "ACL failure",
        "the connection's user lacks a permission; see `store::redis` for the list",
    ),
    (
        "NOAUTH",
        "the server requires a password; set it in the URL",
    ),
    ("WRONGPASS", "user name or password is wrong; check the URL"),
    ("OOM", "the server's memory is full; raise its maxmemory"),
    (
        "READONLY",
        "the server is a replica; connect to the primary",
    ),
    (
        "NOREPLICAS",
        "the server has too few replicas (min-replicas-to-write); check replication, and that it is \
         the primary",
    ),
    (
        "MISCONF",
        "the server cannot write to its disk and refuses writes; check the disk",
    ),
    (
        "LOADING",
        "the server is still loading its data; try again later",
    ),
    (
        "CLUSTERDOWN",
        "the cluster has lost some of its nodes; check the cluster",
    ),
];

/// The source of an [`Error::store`].
#[derive(Debug)]
struct Failure {
    text: String,
    /// Set if only the grant of this tenant cannot be read.
    of: Option<OfTenant>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let of = self.of.as_ref()?;
        Some(of)
    }
}

/// A failure at a key, or at the server.
pub(super) fn at(place: &str, detail: impl fmt::Display) -> Error {
    let text = format!("redis, {place}: {detail}");
    Error::store(Failure { text, of: None })
}

/// A stored grant that cannot be read.
pub(super) fn damaged(tenant: &TenantId, key: &str, detail: &str) -> Error {
    let text = format!("redis, {key}: {detail}");
    let of = Some(OfTenant::new(tenant, None));
    Error::store(Failure { text, of })
}

pub(super) fn unexpected(key: &str) -> Error {
    at(
        key,
        "the server sent an unexpected response; check what serves the connection",
    )
}

/// Describes an error without quoting the server.
pub(super) fn describe(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no response in time; check the server and the response timeout of the connection"
            .into();
    }
    if error.is_io_error() {
        return format!("the connection failed: {error}");
    }
    // Old servers wrap the errors of commands in a script.
    let mentions = |word: &str| {
        error.code() == Some(word) || error.detail().is_some_and(|detail| detail.contains(word))
    };
    if let Some((word, hint)) = HINTS.iter().find(|(word, _)| mentions(word)) {
        return format!("refused ({word}): {hint}");
    }
    match error.code().filter(|code| is_code(code)) {
        Some(code) => format!("refused ({code})"),
        None => format!("failed: {}", error.category()),
    }
}

fn is_code(code: &str) -> bool {
    code.len() <= 32
        && code
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::{ErrorKind, RedisError, make_extension_error};

    use super::describe;

    #[test]
    fn p21_errors_do_not_quote_the_server() {
        let secret = "eyJhbGciOi";
        for code in ["ERR", "WRONGTYPE", "Whatever", secret] {
            let error = make_extension_error(code.into(), Some(format!("args: '{secret}'")));
            assert!(!describe(&error).contains(secret), "{code}");
        }
        let kind = ErrorKind::AuthenticationFailed;
        let error = RedisError::from((kind, "no", secret.to_owned()));
        assert!(!describe(&error).contains(secret));
    }

    #[test]
    fn errors_contain_a_hint() {
        let wrapped = "Error running script: WRONGTYPE Operation against a key";
        let error = make_extension_error("ERR".into(), Some(wrapped.into()));
        assert!(describe(&error).contains("another type"));
        let error = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert!(describe(&error).contains("in time"));
        let error = make_extension_error("NOREPLICAS".into(), Some("Not enough".into()));
        assert!(describe(&error).contains("min-replicas-to-write"));
        let error = RedisError::from(io::Error::other("broken"));
        assert!(describe(&error).contains("broken"));
    }
}
