//! The store in Redis, over a connection that is a fake.
//!
//! The commands are the library's, and it does not wipe them. Blocks that it frees are left out.

use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};
use tower_oauth2_client::store::RedisStore;

use crate::{
    stores::{token_sets, use_store},
    support::{active, freed, tenant},
};

/// Responds to each load with these fields, and to each other script with 1.
#[derive(Clone)]
struct Fake(fn(&[u8]) -> Value);

impl ConnectionLike for Fake {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let is_load = command.args_iter().count() == 4;
        let response = if is_load {
            let bytes = active(1, token_sets().swap_remove(0)).to_bytes(&tenant());
            (self.0)(&bytes)
        } else {
            Value::Int(1)
        };
        Box::pin(std::future::ready(Ok(response)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        unreachable!("the store waits for no replicas")
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[test]
fn p21_redis_store_wipes_what_it_receives() {
    let responses: [fn(&[u8]) -> Value; 5] = [
        |grant| fields([b"1", grant, b"id"]),
        |grant| fields([b"2", grant, b"id"]),
        |grant| fields([b"1", &grant[..grant.len() / 2], b"id"]),
        |grant| Value::Array(vec![Value::BulkString(grant.to_vec()), Value::Nil]),
        |grant| Value::BulkString(grant.to_vec()),
    ];
    for response in responses {
        let found = freed(async || {
            let store = RedisStore::new(Fake(response));
            use_store(&store, &token_sets()[0]).await;
        });
        assert!(found.len() < 200, "some may not be recorded");
        let own: Vec<_> = found
            .iter()
            .filter(|backtrace| !backtrace.contains("redis::cmd"))
            .collect();
        assert!(own.is_empty(), "{}", own[0]);
    }
}

fn fields(fields: [&[u8]; 3]) -> Value {
    let fields = fields.map(|field| Value::BulkString(field.to_vec()));
    Value::Array(fields.into())
}
