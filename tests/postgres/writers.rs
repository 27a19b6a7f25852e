//! Concurrent saves, and saves that are dropped.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::store::{PostgresStore, SaveOutcome, TokenStore};

use crate::{generation, grant, pool, replica, store, tenant};

#[tokio::test]
async fn concurrent_saves_may_keep_the_generation() {
    let (options, store) = store().await;
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a0")).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 1..=8 {
        let (store, acme) = (replica(&options), acme.clone());
        writers.spawn(async move {
            let mine = grant(1, &format!("a{writer}"));
            store.save(&acme, generation(1), &mine).await.unwrap()
        });
    }
    let outcomes = writers.join_all().await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == SaveOutcome::Committed),
        "each save commits: {outcomes:?}"
    );
    let stored = store.load(&acme).await.unwrap().unwrap();
    assert_ne!(stored, grant(1, "a0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_one_of_concurrent_saves_commits() {
    let (options, store) = store().await;
    concurrent_writers(
        &store,
        &[replica(&options), replica(&options), replica(&options)],
    )
    .await;
}

/// A database may have a stricter default isolation level.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_one_of_concurrent_saves_commits_under_stricter_isolation() {
    let (options, store) = store().await;
    for level in ["repeatable read", "serializable"] {
        let options = options
            .clone()
            .options([("default_transaction_isolation", level.replace(' ', "\\ "))]);
        let replicas = [replica(&options), replica(&options)];
        concurrent_writers(&store, &replicas).await;
        sqlx::raw_sql("DELETE FROM oauth_grants")
            .execute(&pool(&options, 1))
            .await
            .unwrap();
    }
}

async fn concurrent_writers(store: &PostgresStore, replicas: &[PostgresStore]) {
    let race = tenant("race");
    let mut expected = None;
    for round in 1..=10_u64 {
        let mut writers = JoinSet::new();
        for (writer, store) in (0..8).zip(replicas.iter().cycle()) {
            let (store, race) = (store.clone(), race.clone());
            writers.spawn(async move {
                let mine = grant(round, &format!("round-{round}-writer-{writer}"));
                (store.save(&race, expected, &mine).await.unwrap(), mine)
            });
        }
        let outcomes = writers.join_all().await;
        let committed = outcomes
            .iter()
            .filter(|(outcome, _)| *outcome == SaveOutcome::Committed);
        let winners: Vec<_> = committed.map(|(_, grant)| grant).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(store.load(&race).await.unwrap().as_ref(), Some(winners[0]));
        for (outcome, _) in &outcomes {
            if let SaveOutcome::Superseded(stored) = outcome {
                assert_eq!(
                    stored.as_ref(),
                    Some(winners[0]),
                    "the loser receives the winner's grant"
                );
            }
        }
        expected = Some(winners[0].generation);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_loser_receives_a_grant_while_rows_are_deleted() {
    let (options, store) = store().await;
    let acme = tenant("acme");
    let deleting = tokio::spawn(async move {
        let pool = pool(&options, 1);
        loop {
            sqlx::raw_sql("DELETE FROM oauth_grants")
                .execute(&pool)
                .await
                .unwrap();
        }
    });
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (store, acme) = (store.clone(), acme.clone());
        writers.spawn(async move {
            let mut committed = 0;
            for _ in 0..50 {
                match store.save(&acme, None, &grant(1, "a")).await.unwrap() {
                    SaveOutcome::Committed => committed += 1,
                    SaveOutcome::Superseded(stored) => assert_eq!(stored, Some(grant(1, "a"))),
                }
            }
            committed
        });
    }
    let committed: u32 = writers.join_all().await.iter().sum();
    assert!(committed > 0);
    deleting.abort();
}

#[tokio::test]
async fn p12_dropped_save_happens_whole_or_not_at_all() {
    let (options, _) = store().await;
    let store = PostgresStore::new(pool(&options, 1));
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a1")).await.unwrap();
    let mut last = 1;
    for hundreds in 0..60 {
        let next = grant(last + 1, &format!("a{}", last + 1));
        let save = store.save(&acme, generation(last), &next);
        let _ = timeout(hundreds * Duration::from_micros(100), save).await;
        let stored = store.load(&acme).await.unwrap().unwrap();
        let number = stored.generation.as_u64();
        assert!(number == last || number == last + 1);
        assert_eq!(stored, grant(number, &format!("a{number}")), "whole");
        last = number;
    }
    let last = grant(last, &format!("a{last}"));
    assert_eq!(store.load(&acme).await.unwrap(), Some(last));
}
