//! Loads, saves and leases.

use std::time::Duration;

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_oauth2_client::{
    store::{LeaseOutcome, LeaseOwner, RedisStore, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TokenSet},
};

use crate::{LIMIT, Server, commit, generation, grant, server_and_store, store, tenant};

#[tokio::test]
async fn p12_save_is_conditional() {
    let (_server, store) = server_and_store().await;
    let acme = tenant("acme");
    let (one, two, three) = (grant(1, "a"), grant(2, "b"), grant(3, "c"));
    assert_eq!(store.load(&acme).await.unwrap(), None);
    let early = store.save(&acme, Some(generation(1)), &two).await.unwrap();
    assert_eq!(early, SaveOutcome::Superseded(None));
    assert_eq!(store.load(&acme).await.unwrap(), None);

    commit(&store, &acme, None, &one).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(one.clone()));
    let again = store.save(&acme, None, &one).await.unwrap();
    assert_eq!(again, SaveOutcome::Superseded(Some(one)));

    commit(&store, &acme, Some(1), &two).await;
    let late = store
        .save(&acme, Some(generation(1)), &three)
        .await
        .unwrap();
    assert_eq!(late, SaveOutcome::Superseded(Some(two.clone())));
    assert_eq!(store.load(&acme).await.unwrap(), Some(two));
}

#[tokio::test]
async fn save_may_keep_the_generation() {
    let (_server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(7, "before")).await;
    commit(&store, &acme, Some(7), &grant(7, "intent")).await;
    let stored = store.load(&acme).await.unwrap();
    assert_eq!(stored, Some(grant(7, "intent")));
}

#[tokio::test]
async fn p12_generations_are_compared_exactly() {
    let (_server, store) = server_and_store().await;
    let above_exact_floats = 1 << 53;
    for (name, number) in [("a", above_exact_floats), ("b", u64::MAX - 1), ("c", 100)] {
        let tenant = tenant(name);
        commit(&store, &tenant, None, &grant(number, "old")).await;
        let next = grant(number + 1, "new");
        for wrong in [number + 1, number - 1, number / 10] {
            let outcome = store
                .save(&tenant, Some(generation(wrong)), &next)
                .await
                .unwrap();
            assert_eq!(outcome, SaveOutcome::Superseded(Some(grant(number, "old"))));
        }
        commit(&store, &tenant, Some(number), &next).await;
        assert_eq!(store.load(&tenant).await.unwrap(), Some(next));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_one_of_concurrent_saves_commits() {
    let server = Server::launch().await;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(store(&server).await);
    }
    let race = tenant("race");
    let mut expected = None;
    for round in 1..=20_u64 {
        let mut writers = JoinSet::new();
        for writer in 0..16 {
            let (store, race) = (stores[writer % stores.len()].clone(), race.clone());
            writers.spawn(async move {
                let mine = grant(round, &format!("round-{round}-writer-{writer}"));
                (store.save(&race, expected, &mine).await.unwrap(), mine)
            });
        }
        let outcomes = writers.join_all().await;
        let mut committed = outcomes
            .iter()
            .filter(|(outcome, _)| *outcome == SaveOutcome::Committed);
        let winner = &committed.next().unwrap().1;
        assert_eq!(committed.count(), 0);
        for (outcome, _) in &outcomes {
            if let SaveOutcome::Superseded(stored) = outcome {
                assert_eq!(
                    stored.as_ref(),
                    Some(winner),
                    "the loser receives the winner's grant"
                );
            }
        }
        expected = Some(winner.generation);
    }
}

/// A save that keeps the generation does not overwrite one that raises it.
#[tokio::test]
async fn p12_concurrent_intents_and_saves() {
    let (_server, store) = server_and_store().await;
    let race = tenant("race");
    commit(&store, &race, None, &grant(1, "first")).await;
    for round in 1..=20_u64 {
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let (store, race) = (store.clone(), race.clone());
            let raised = u64::from(writer % 4 == 0);
            writers.spawn(async move {
                let mine = grant(round + raised, &format!("{round}-{writer}"));
                let outcome = store
                    .save(&race, Some(generation(round)), &mine)
                    .await
                    .unwrap();
                (outcome, mine)
            });
        }
        let committed: Vec<_> = writers
            .join_all()
            .await
            .into_iter()
            .filter(|(outcome, _)| *outcome == SaveOutcome::Committed)
            .map(|(_, grant)| grant)
            .collect();
        let raised: Vec<_> = committed
            .iter()
            .filter(|grant| grant.generation == generation(round + 1))
            .collect();
        assert_eq!(raised.len(), 1);
        assert_eq!(store.load(&race).await.unwrap().as_ref(), Some(raised[0]));
    }
}

#[tokio::test]
async fn grant_of_one_mebibyte_round_trips() {
    let (_server, store) = server_and_store().await;
    let acme = tenant("acme");
    let at = std::time::SystemTime::UNIX_EPOCH;
    let long = RefreshToken::new("r".repeat(1024 * 1024));
    let tokens = TokenSet::new(AccessToken::new("a").unwrap(), Duration::from_secs(60), at);
    let large = Grant::new(
        Generation::FIRST,
        GrantState::Active(tokens.with_refresh_token(long, at)),
    );
    commit(&store, &acme, None, &large).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(large));
}

#[tokio::test]
async fn lease_has_one_owner_at_a_time() {
    let (server, one) = server_and_store().await;
    let two = store(&server).await;
    let acme = tenant("acme");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    let long = Duration::from_secs(60);
    let acquire = async |store: &RedisStore, owner: &LeaseOwner, duration| {
        store.acquire(&acme, owner, duration).await.unwrap()
    };
    assert_eq!(acquire(&one, &first, long).await, LeaseOutcome::Acquired);
    assert_eq!(
        acquire(&two, &second, long).await,
        LeaseOutcome::HeldByAnother
    );
    assert_eq!(acquire(&one, &first, long).await, LeaseOutcome::Acquired);
    two.release(&acme, &second).await.unwrap();
    assert_eq!(
        acquire(&two, &second, long).await,
        LeaseOutcome::HeldByAnother
    );
    let other = two.acquire(&tenant("other"), &second, long).await.unwrap();
    assert_eq!(other, LeaseOutcome::Acquired);

    // Independent of grants.
    assert_eq!(one.load(&acme).await.unwrap(), None);
    commit(&two, &acme, None, &grant(1, "a")).await;

    one.release(&acme, &first).await.unwrap();
    one.release(&acme, &first).await.unwrap();
    assert_eq!(
        acquire(&two, &second, Duration::MAX).await,
        LeaseOutcome::Acquired
    );
    assert_eq!(
        acquire(&one, &first, long).await,
        LeaseOutcome::HeldByAnother
    );
    assert_eq!(one.load(&acme).await.unwrap(), Some(grant(1, "a")));
}

#[tokio::test]
async fn lease_expires_by_the_servers_clock() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    let short = Duration::from_millis(300);
    store.acquire(&acme, &first, LIMIT).await.unwrap();
    let left: u64 = server.command("PTTL tower-oauth2:{acme}:lease").await;
    assert!(Duration::from_millis(left) <= LIMIT, "{left}");
    store.acquire(&acme, &first, short).await.unwrap();
    let acquired = async {
        loop {
            let outcome = store.acquire(&acme, &second, LIMIT).await.unwrap();
            if outcome == LeaseOutcome::Acquired {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, acquired).await.unwrap();
    let late = store.acquire(&acme, &first, short).await.unwrap();
    assert_eq!(late, LeaseOutcome::HeldByAnother);

    store.release(&acme, &second).await.unwrap();
    let no_time = store.acquire(&acme, &first, Duration::ZERO).await.unwrap();
    assert_eq!(no_time, LeaseOutcome::Acquired);
    // An expired lease can be extended.
    sleep(Duration::from_millis(20)).await;
    let extended = store.acquire(&acme, &first, LIMIT).await.unwrap();
    assert_eq!(extended, LeaseOutcome::Acquired);
}

#[tokio::test]
async fn p12_dropped_save_happens_whole_or_not_at_all() {
    let (_server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "1")).await;
    let mut stored = 1;
    let mut unfinished = 0;
    for step in 0..200_u32 {
        let next = grant(stored + 1, &(stored + 1).to_string());
        let save = store.save(&acme, Some(generation(stored)), &next);
        unfinished += u32::from(
            timeout(Duration::from_micros(5) * step, save)
                .await
                .is_err(),
        );
        let found = store.load(&acme).await.unwrap().unwrap();
        let number = found.generation.as_u64();
        assert!(number == stored || number == stored + 1);
        assert_eq!(found, grant(number, &number.to_string()));
        stored = number;
    }
    assert!(unfinished > 0);
    commit(&store, &acme, Some(stored), &grant(stored + 1, "last")).await;
}

/// A connection that sends each command twice, as after a lost response.
#[derive(Clone)]
struct Twice(MultiplexedConnection);

impl ConnectionLike for Twice {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let _ = self.0.req_packed_command(cmd).await;
            self.0.req_packed_command(cmd).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.0.req_packed_commands(pipeline, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

#[tokio::test]
async fn repeated_commands_commit_once() {
    let server = Server::launch().await;
    let connection = server.client().get_multiplexed_async_connection().await;
    let store = RedisStore::new(Twice(connection.unwrap()));
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    commit(&store, &acme, Some(1), &grant(1, "b")).await;
    commit(&store, &acme, Some(1), &grant(2, "c")).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "c")));
    let again = store
        .save(&acme, Some(generation(1)), &grant(2, "c"))
        .await
        .unwrap();
    assert_eq!(again, SaveOutcome::Superseded(Some(grant(2, "c"))));
    let owner = LeaseOwner::random();
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
    store.release(&acme, &owner).await.unwrap();
}

#[test]
fn store_accepts_any_connection_that_can_be_cloned() {
    fn is_a_store<S: TokenStore>() {}
    is_a_store::<RedisStore>();
    is_a_store::<RedisStore<ConnectionManager>>();
    is_a_store::<RedisStore<MultiplexedConnection>>();
    is_a_store::<RedisStore<redis::cluster_async::ClusterConnection>>();
}
