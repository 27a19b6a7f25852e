//! What went wrong, in our own words: the server's might quote what it was sent.

use std::fmt;

use redis::RedisError;

use crate::error::Error;

/// What can be said of codes, or of words in the server's message.
const HINTS: [(&str, &str); 11] = [
    (
        "WRONGTYPE",
        "something else has written a value of another type there, which is left as it is",
    ),
    (
        "NOPERM",
        "the connection's user lacks a permission: the module page lists them",
    ),
    // Older servers have no code for it where it is a script that runs into it.
    (
        "executing the script",
        "the connection's user lacks a permission: the module page lists them",
    ),
    (
        "ACL failure",
        "the connection's user lacks a permission: the module page lists them",
    ),
    ("NOAUTH", "the connection gives no password"),
    ("WRONGPASS", "user name or password is wrong"),
    ("OOM", "the server's memory is full: see its maxmemory"),
    (
        "READONLY",
        "the server is a replica: connect to the primary",
    ),
    (
        "MISCONF",
        "the server cannot write to its disk, and takes no writes until it can",
    ),
    ("LOADING", "the server is still reading its data"),
    ("CLUSTERDOWN", "the cluster has lost some of its nodes"),
];

/// The cause of an [`Error::store`].
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// A failure that has to do with `place`: a key, or the server.
pub(super) fn at(place: &str, what: impl fmt::Display) -> Error {
    Error::store(Failure(format!("redis, {place}: {what}")))
}

/// What the connection or the server said, without quoting the latter.
pub(super) fn describe(error: &RedisError) -> String {
    if error.is_timeout() {
        return "no answer in time: check the server and the response timeout of the connection"
            .into();
    }
    if error.is_io_error() {
        return format!("the connection failed: {error}");
    }
    // Old servers wrap the errors of a script's commands.
    let is_about = |word: &str| {
        error.code() == Some(word) || error.detail().is_some_and(|detail| detail.contains(word))
    };
    if let Some((word, hint)) = HINTS.iter().find(|(word, _)| is_about(word)) {
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
    fn p21_the_server_is_not_quoted() {
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
    fn what_helps_is_said() {
        let wrapped = "Error running script: WRONGTYPE Operation against a key";
        let error = make_extension_error("ERR".into(), Some(wrapped.into()));
        assert!(describe(&error).contains("another type"));
        let error = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert!(describe(&error).contains("in time"));
        let error = RedisError::from(io::Error::other("broken"));
        assert!(describe(&error).contains("broken"));
    }
}
