//! Which tenants there are.
//!
//! The keys of a server can be gone through, but not in order, and not over a cluster. So the names stand in an index of their
//! own: one sorted set, under one key. It is written in another step than a grant, which may be on another node: first, so that
//! it is never short of one.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use redis::{Value, aio::ConnectionLike};

use super::{
    RedisStore, failure,
    row::{decoded, encoded},
    script::{ENTER, LIST, Replicas},
};
use crate::{error::Error, token::TenantId};

/// Where the index is. No tenant's key is the same: those have braces.
pub(super) fn key(prefix: &str) -> String {
    format!("{prefix}tenants")
}

/// Whose names this process has entered, by their hashes: a few bytes for each tenant.
#[derive(Default)]
pub(super) struct Entered {
    hashes: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Entered {
    fn has(&self, name: &str) -> bool {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.contains(&self.hasher.hash_one(name))
    }

    fn insert(&self, name: &str) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.insert(self.hasher.hash_one(name));
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisStore<C> {
    /// Before a save that creates a grant. As many replicas have the entry then as will have the grant.
    pub(super) async fn enter(&self, name: &str) -> Result<(), Error> {
        self.write(name, self.replicas).await
    }

    /// Before any other save, the first time in this process: what was lost of the index, or never was in it, comes back so.
    /// That this fails is no reason not to save.
    pub(super) async fn enter_again(&self, name: &str) {
        if !self.entered.has(name) {
            let _ = self.write(name, None).await;
        }
    }

    async fn write(&self, name: &str, replicas: Option<Replicas>) -> Result<(), Error> {
        let key = key(&self.prefix);
        self.run(&ENTER, &key, &[name.as_bytes()], replicas).await?;
        self.entered.insert(name);
        Ok(())
    }

    /// In the order of the names as they stand in keys.
    pub(super) async fn page(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let key = key(&self.prefix);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX).to_string();
        let mut from = after.map_or_else(
            || b"-".to_vec(),
            |tenant| behind(encoded(tenant).as_bytes()),
        );
        loop {
            let arguments = [&*from, limit.as_bytes()];
            let answer = self.run(&LIST, &key, &arguments, None).await?;
            let Some(names) = names(answer) else {
                return Err(failure::at(&key, "an answer that makes no sense"));
            };
            let Some(last) = names.last() else {
                return Ok(Vec::new());
            };
            // What is no name, as it would stand in a key, was put there by somebody else.
            let tenants: Vec<_> = names.iter().filter_map(|name| decoded(name)).collect();
            // A page of nothing else is not the end.
            if !tenants.is_empty() {
                return Ok(tenants);
            }
            from = behind(last);
        }
    }
}

fn behind(name: &[u8]) -> Vec<u8> {
    [b"(", name].concat()
}

fn names(answer: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(names) = answer else {
        return None;
    };
    let name = |value| match value {
        Value::BulkString(name) => Some(name),
        _ => None,
    };
    names.into_iter().map(name).collect()
}
