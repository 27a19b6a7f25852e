//! Changes between the load and the write of a save.

use std::sync::{Arc, Mutex};

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tower_oauth2_client::{
    ErrorKind,
    store::{RedisStore, SaveOutcome, TokenStore},
    token::Grant,
};

use crate::{Server, commit, generation, grant, tenant};

const KEY: &str = "tower-oauth2:{acme}:grant";

/// A connection that sends another command before the next write of a grant.
#[derive(Clone)]
struct Interfering {
    connection: MultiplexedConnection,
    first: Arc<Mutex<Option<Cmd>>>,
}

impl ConnectionLike for Interfering {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let is_write = cmd.args_iter().count() > 8;
            let first = self.first.lock().unwrap().take_if(|_| is_write);
            if let Some(first) = first {
                self.connection.req_packed_command(&first).await?;
            }
            self.connection.req_packed_command(cmd).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.connection.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// A store that contains `stored`, and whose next write finds `fields` changed. If `stored` is not
/// known to the store, the save loads it before that.
async fn interfered(
    server: &Server,
    stored: &Grant,
    is_known: bool,
    fields: &[&str],
) -> RedisStore<Interfering> {
    server.command::<()>("FLUSHALL").await;
    let connection = server.client().get_multiplexed_async_connection().await;
    let first = Arc::default();
    let store = RedisStore::new(Interfering {
        connection: connection.unwrap(),
        first: Arc::clone(&first),
    });
    if is_known {
        commit(&store, &tenant("acme"), None, stored).await;
    } else {
        let other = crate::store(server).await;
        commit(&other, &tenant("acme"), None, stored).await;
    }
    let mut change = redis::cmd("HSET");
    change.arg(KEY).arg(fields);
    *first.lock().unwrap() = Some(change);
    store
}

fn bytes(grant: &Grant) -> String {
    String::from_utf8(grant.to_bytes(&tenant("acme")).to_vec()).unwrap()
}

#[tokio::test]
async fn p14_unreadable_grant_is_not_overwritten() {
    let server = Server::launch().await;
    let acme = tenant("acme");
    let later = bytes(&grant(1, "a")).replace("\"version\": 2", "\"version\": 99");
    for (is_known, fields) in [
        (false, &["grant", &later, "save", "another"][..]),
        (true, &["grant", &later, "save", "another"]),
        // The id of the save is unchanged, as after damage.
        (false, &["grant", &later]),
        (true, &["grant", &later]),
        (true, &["generation", "7"]),
    ] {
        let store = interfered(&server, &grant(1, "a"), is_known, fields).await;
        let saved = store.save(&acme, Some(generation(1)), &grant(2, "b")).await;
        assert_eq!(saved.unwrap_err().kind(), ErrorKind::Store);
        let left: String = server.command(&format!("HGET {KEY} {}", fields[0])).await;
        assert_eq!(left, fields[1], "{is_known} {fields:?}");
    }
}

#[tokio::test]
async fn p12_generation_that_differs_in_its_last_digit_is_not_overwritten() {
    let server = Server::launch().await;
    let acme = tenant("acme");
    for (above_exact_floats, is_known) in [
        (1 << 53, false),
        (1 << 53, true),
        (u64::MAX - 2, false),
        (u64::MAX - 2, true),
    ] {
        let other = grant(above_exact_floats + 1, "other");
        let (number, other_bytes) = (other.generation.to_string(), bytes(&other));
        let fields = ["generation", &number, "grant", &other_bytes];
        let stored = grant(above_exact_floats, "a");
        let store = interfered(&server, &stored, is_known, &fields).await;
        let mine = grant(above_exact_floats + 2, "mine");
        let expected = Some(generation(above_exact_floats));
        let saved = store.save(&acme, expected, &mine).await.unwrap();
        assert_eq!(saved, SaveOutcome::Superseded(Some(other)));
    }
}

#[tokio::test]
async fn p12_intent_with_an_equal_generation_is_replaced() {
    let server = Server::launch().await;
    let acme = tenant("acme");
    let intent = bytes(&grant(1, "intent"));
    let fields = ["grant", &intent, "save", "another"];
    for is_known in [false, true] {
        let store = interfered(&server, &grant(1, "a"), is_known, &fields).await;
        commit(&store, &acme, Some(1), &grant(2, "b")).await;
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
    }
}
