//! The connection to the server, and the names of the keys.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value, aio::ConnectionLike};

use super::{
    failure,
    script::{Replicas, Script},
};
use crate::error::Error;

/// Runs scripts on keys with a prefix.
#[derive(Clone)]
pub(super) struct Connection<C> {
    pub(super) inner: C,
    pub(super) prefix: Arc<str>,
}

impl<C: ConnectionLike + Clone> Connection<C> {
    /// The channel of change notifications.
    pub(super) fn channel(&self) -> String {
        format!("{}changed", self.prefix)
    }

    /// Runs a script. With `replicas`, fails unless enough of them have acknowledged all writes of
    /// the connection.
    pub(super) async fn run(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> Result<Value, Error> {
        self.run_on(script, &[key], arguments, replicas).await
    }

    /// Runs a script on several keys of one slot. Errors name the first.
    pub(super) async fn run_on(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        replicas: Option<Replicas>,
    ) -> Result<Value, Error> {
        let key = keys.first().copied().unwrap_or_default();
        let mut connection = self.inner.clone();
        let response = script.run(&mut connection, keys, arguments, replicas).await;
        if response.as_ref().is_err_and(is_of_replica) {
            leave(&mut connection).await;
        }
        let (value, acknowledged) =
            response.map_err(|error| failure::at(key, failure::describe(&error)))?;
        match replicas {
            Some(Replicas { count, .. }) if acknowledged < count => Err(failure::at(
                key,
                format_args!(
                    "{acknowledged} of {count} required replicas have acknowledged the save; check \
                     replication"
                ),
            )),
            _ => Ok(value),
        }
    }
}

fn is_of_replica(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Ends a connection that reaches a replica, as after a failover: it works, so that it would stay.
/// The ping notices the end, and the connection reconnects to the server that is primary now.
async fn leave(connection: &mut impl ConnectionLike) {
    for command in ["QUIT", "PING"] {
        let _ = redis::cmd(command).exec_async(connection).await;
    }
}
