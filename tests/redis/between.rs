//! What comes between a save's look and its write.

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

/// Sends another command just before the next one that writes a grant.
#[derive(Clone)]
struct Between {
    connection: MultiplexedConnection,
    first: Arc<Mutex<Option<Cmd>>>,
}

impl ConnectionLike for Between {
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

/// A store that holds `held`, and whose next save finds `fields` changed.
async fn interfered(server: &Server, held: &Grant, fields: &[&str]) -> RedisStore<Between> {
    server.command::<()>("FLUSHALL").await;
    let connection = server.client().get_multiplexed_async_connection().await;
    let first = Arc::default();
    let store = RedisStore::new(Between {
        connection: connection.unwrap(),
        first: Arc::clone(&first),
    });
    commit(&store, &tenant("acme"), None, held).await;
    let mut change = redis::cmd("HSET");
    change.arg(KEY).arg(fields);
    *first.lock().unwrap() = Some(change);
    store
}

fn bytes(grant: &Grant) -> String {
    String::from_utf8(grant.to_bytes(&tenant("acme")).to_vec()).unwrap()
}

#[tokio::test]
async fn what_cannot_be_understood_is_not_overwritten() {
    let server = Server::begin().await;
    let acme = tenant("acme");
    let later = bytes(&grant(1, "a")).replace("\"version\": 1", "\"version\": 2");
    let fields = ["grant", &later, "save", "another"];
    let store = interfered(&server, &grant(1, "a"), &fields).await;
    let saved = store.save(&acme, Some(generation(1)), &grant(2, "b")).await;
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Store);
    let left: String = server.command(&format!("HGET {KEY} grant")).await;
    assert_eq!(left, later);
}

#[tokio::test]
async fn p12_a_generation_that_differs_in_its_last_digit_is_not_overwritten() {
    let server = Server::begin().await;
    let acme = tenant("acme");
    for beyond_a_double in [1 << 53, u64::MAX - 2] {
        let other = grant(beyond_a_double + 1, "other");
        let (number, other_bytes) = (other.generation.to_string(), bytes(&other));
        let fields = ["generation", &number, "grant", &other_bytes];
        let store = interfered(&server, &grant(beyond_a_double, "a"), &fields).await;
        let mine = grant(beyond_a_double + 2, "mine");
        let expected = Some(generation(beyond_a_double));
        let saved = store.save(&acme, expected, &mine).await.unwrap();
        assert_eq!(saved, SaveOutcome::Superseded(Some(other)));
    }
}

#[tokio::test]
async fn a_note_that_keeps_the_generation_gives_way() {
    let server = Server::begin().await;
    let acme = tenant("acme");
    let note = bytes(&grant(1, "noted"));
    let fields = ["grant", &note, "save", "another"];
    let store = interfered(&server, &grant(1, "a"), &fields).await;
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
}
