//! The key of the index, and the names in it.

use redis::{Value, aio::ConnectionLike};

use super::{
    connection::Connection,
    script::{ADD_TENANTS, Replicas},
};
use crate::error::Error;

/// The key of the index. No tenant's key is equal: those contain braces.
pub(super) fn key<C>(connection: &Connection<C>) -> String {
    format!("{}tenants", connection.prefix)
}

/// The key that receives a value of another type. It is in the slot of the index.
fn moved_key<C>(connection: &Connection<C>) -> String {
    format!("{}{{{}}}:moved", connection.prefix, key(connection))
}

/// Adds names. With `replicas`, they must acknowledge it.
pub(super) async fn add<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    names: &[&[u8]],
    replicas: Option<Replicas>,
) -> Result<(), Error> {
    let (key, moved) = (key(connection), moved_key(connection));
    connection
        .run_on(&ADD_TENANTS, &[&key, &moved], names, replicas)
        .await
        .map(drop)
}

/// The strings of an array.
pub(super) fn strings(array: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(values) = array else {
        return None;
    };
    let string = |value| match value {
        Value::BulkString(string) => Some(string),
        _ => None,
    };
    values.into_iter().map(string).collect()
}
