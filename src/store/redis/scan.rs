//! The scan of all keys, which restores the index of tenants.
//!
//! A server may have far more keys than grants, and a call of a store must not take long. So a call
//! scans a limited number of keys, and the next call of the process continues.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Value, aio::ConnectionLike};

use super::{
    cluster,
    connection::Connection,
    failure,
    names::{add, strings},
    script::{SCAN, SLOTS},
};
use crate::error::Error;

/// The scans of one call. Each visits about 1,000 keys.
const MAX_STEPS: usize = 500;

/// The scan that a call has not finished.
#[derive(Default)]
pub(super) struct Scans(Mutex<Option<Position>>);

/// Keys that are left to scan.
#[derive(Clone)]
struct Position {
    started_at: u64,
    /// A key for each node.
    nodes: Vec<String>,
    /// The cursor at the last of the nodes.
    cursor: Vec<u8>,
}

/// How far a scan is.
pub(super) enum Progress {
    /// All keys were scanned that existed when the scan started.
    Done { started_at: u64 },
    /// A later call continues.
    Paused,
}

impl Scans {
    /// Continues a scan, or starts one at the time `now`, and adds the names that it finds.
    ///
    /// A dropped call and a failed one lose one step.
    pub(super) async fn run<C: ConnectionLike + Clone>(
        &self,
        connection: &Connection<C>,
        index: &str,
        now: u64,
    ) -> Result<Progress, Error> {
        let paused = self.position().take();
        let mut position = match paused {
            Some(position) => position,
            None => Position {
                started_at: now,
                nodes: nodes(connection, index).await?,
                cursor: b"0".to_vec(),
            },
        };
        for _ in 0..MAX_STEPS {
            let Some(node) = position.nodes.last() else {
                break;
            };
            // A scan at a node that is gone would fail forever, so an error starts it again.
            let (cursor, names) = step(connection, node, &position.cursor).await?;
            if !names.is_empty() {
                let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
                add(connection, &names, None).await?;
            }
            if cursor == b"0" {
                position.nodes.pop();
            }
            position.cursor = cursor;
            *self.position() = Some(position.clone());
        }
        if !position.nodes.is_empty() {
            return Ok(Progress::Paused);
        }
        *self.position() = None;
        Ok(Progress::Done {
            started_at: position.started_at,
        })
    }

    /// Makes the next call start at the first key.
    pub(super) fn restart(&self) {
        *self.position() = None;
    }

    fn position(&self) -> MutexGuard<'_, Option<Position>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a key for each primary of a cluster, or any key without a cluster.
async fn nodes<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    index: &str,
) -> Result<Vec<String>, Error> {
    match connection.run(&SLOTS, index, &[], None).await? {
        Value::Nil => Ok(vec![index.to_owned()]),
        slots => cluster::keys_of_primaries(slots, &connection.prefix)
            .ok_or_else(|| failure::unexpected(index)),
    }
}

/// Scans some keys. Returns the next cursor, and the encoded names in the keys of grants.
async fn step<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    node: &str,
    cursor: &[u8],
) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
    let prefix = &connection.prefix;
    // The prefix contains no special characters of patterns.
    let pattern = format!("{prefix}{{*}}:grant");
    let arguments = [cursor, pattern.as_bytes()];
    let response = connection.run(&SCAN, node, &arguments, None).await?;
    scanned(response, prefix).ok_or_else(|| failure::unexpected(node))
}

fn scanned(response: Value, prefix: &str) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(parts) = response else {
        return None;
    };
    let [cursor, keys] = <[Value; 2]>::try_from(parts).ok()?;
    let Value::BulkString(cursor) = cursor else {
        return None;
    };
    let name = |key: Vec<u8>| {
        let rest = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"{")?;
        Some(rest.strip_suffix(b"}:grant")?.to_vec())
    };
    let names = strings(keys)?.into_iter().filter_map(name);
    Some((cursor, names.collect()))
}
