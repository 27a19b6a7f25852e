//! The index of tenants.
//!
//! Keys of a server can be scanned, but not in order and not across a cluster. So the names are
//! also kept in one sorted set. The index and a grant may be on different nodes and cannot be
//! written in one step. The index is written first, so that it is never missing a grant.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use redis::{Value, aio::ConnectionLike};

use super::{
    connection::Connection,
    failure,
    record::{decoded, encoded},
    script::{ADD_TENANT, LIST_TENANTS, Replicas},
};
use crate::{error::Error, token::TenantId};

/// The names that this process has added to the index, as hashes: a few bytes per tenant.
#[derive(Default)]
pub(super) struct AddedTenants {
    hashes: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl AddedTenants {
    fn contains(&self, name: &str) -> bool {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.contains(&self.hasher.hash_one(name))
    }

    /// Adds a name before a save that creates a grant. The same replicas acknowledge the name and
    /// the grant.
    pub(super) async fn add<C: ConnectionLike + Clone>(
        &self,
        connection: &Connection<C>,
        name: &str,
        replicas: Option<Replicas>,
    ) -> Result<(), Error> {
        let key = connection.index();
        connection
            .run(&ADD_TENANT, &key, &[name.as_bytes()], replicas)
            .await?;
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.insert(self.hasher.hash_one(name));
        Ok(())
    }

    /// Adds a name before the process's first save of an existing grant, so that a lost index is
    /// restored.
    ///
    /// A failure does not prevent the save.
    pub(super) async fn restore<C: ConnectionLike + Clone>(
        &self,
        connection: &Connection<C>,
        name: &str,
    ) {
        if !self.contains(name) {
            let _ = self.add(connection, name, None).await;
        }
    }
}

/// Returns a page of tenants, in the order of their encoded names.
pub(super) async fn page<C: ConnectionLike + Clone>(
    connection: &Connection<C>,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Error> {
    let key = connection.index();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).to_string();
    let mut from = after.map_or_else(
        || b"-".to_vec(),
        |tenant| exclusive(encoded(tenant).as_bytes()),
    );
    loop {
        let arguments = [&*from, limit.as_bytes()];
        let response = connection
            .run(&LIST_TENANTS, &key, &arguments, None)
            .await?;
        let Some(names) = names(response) else {
            return Err(failure::unexpected(&key));
        };
        let Some(last) = names.last() else {
            return Ok(Vec::new());
        };
        // Entries that are not encoded names were added by another program.
        let tenants: Vec<_> = names.iter().filter_map(|name| decoded(name)).collect();
        // An empty page would be the end.
        if !tenants.is_empty() {
            return Ok(tenants);
        }
        from = exclusive(last);
    }
}

/// The start of a `ZRANGEBYLEX` range after the name.
fn exclusive(name: &[u8]) -> Vec<u8> {
    [b"(", name].concat()
}

fn names(response: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(names) = response else {
        return None;
    };
    let name = |value| match value {
        Value::BulkString(name) => Some(name),
        _ => None,
    };
    names.into_iter().map(name).collect()
}
