//! Loads and conditional saves.

use std::time::Duration;

use sqlx::{Executor, postgres::PgPoolOptions};
use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::{
    ErrorKind,
    store::{PostgresStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState},
};

use crate::{
    generation, grant, replica,
    server::pool,
    store,
    support::{DAY, token_set},
    tenant,
};

#[tokio::test]
async fn save_is_conditional() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    let (one, two, three) = (grant(1, "a"), grant(2, "b"), grant(3, "c"));
    assert_eq!(store.load(&acme).await.unwrap(), None);

    let early = store.save(&acme, generation(1), &two).await.unwrap();
    assert_eq!(early, SaveOutcome::Superseded(None));
    let first = store.save(&acme, None, &one).await.unwrap();
    assert_eq!(first, SaveOutcome::Committed);
    let again = store.save(&acme, None, &one).await.unwrap();
    assert_eq!(again, SaveOutcome::Superseded(Some(one.clone())));
    assert_eq!(store.load(&acme).await.unwrap(), Some(one));

    let next = store.save(&acme, generation(1), &two).await.unwrap();
    assert_eq!(next, SaveOutcome::Committed);
    let late = store.save(&acme, generation(1), &three).await.unwrap();
    assert_eq!(late, SaveOutcome::Superseded(Some(two.clone())));
    assert_eq!(store.load(&acme).await.unwrap(), Some(two));
}

#[tokio::test]
async fn a_save_may_keep_the_generation() {
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
        "each replaces what is there: {outcomes:?}"
    );
    let held = store.load(&acme).await.unwrap().unwrap();
    assert_ne!(held, grant(1, "a0"));
}

#[tokio::test]
async fn tenants_are_apart_however_much_alike() {
    let (_, store) = store().await;
    let names = [
        "a",
        "A",
        "a ",
        "a/",
        "a\\",
        "../a",
        "é",
        "e\u{301}",
        "ﬁ",
        "fi",
        "a'b",
        "a\"b",
        "a''b",
        "$1",
        "%",
        "_",
        "'; DROP TABLE oauth_grants; --",
        "\u{10ffff}",
    ];
    let longest = "x".repeat(255);
    let names = || names.into_iter().chain([longest.as_str()]);
    for (number, name) in (1..).zip(names()) {
        let new = grant(number, &format!("t{number}"));
        let saved = store.save(&tenant(name), None, &new).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed, "{name}");
    }
    for (number, name) in (1..).zip(names()) {
        let held = store.load(&tenant(name)).await.unwrap();
        assert_eq!(held, Some(grant(number, &format!("t{number}"))), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_of_many_writers_one_commits() {
    let (options, store) = store().await;
    many_writers(
        &store,
        &[replica(&options), replica(&options), replica(&options)],
    )
    .await;
}

/// As a database's owner may have set it, for programs that count on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_and_so_under_stricter_isolation() {
    let (options, store) = store().await;
    for level in ["repeatable read", "serializable"] {
        let options = options
            .clone()
            .options([("default_transaction_isolation", level.replace(' ', "\\ "))]);
        let replicas = [replica(&options), replica(&options)];
        many_writers(&store, &replicas).await;
        sqlx::raw_sql("DELETE FROM oauth_grants")
            .execute(&pool(&options, 1))
            .await
            .unwrap();
    }
}

async fn many_writers(store: &PostgresStore, replicas: &[PostgresStore]) {
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
            if let SaveOutcome::Superseded(held) = outcome {
                assert_eq!(held.as_ref(), Some(winners[0]), "a loser is told who won");
            }
        }
        expected = Some(winners[0].generation);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loser_is_told_of_a_grant_even_where_rows_are_deleted() {
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
                    SaveOutcome::Superseded(held) => assert_eq!(held, Some(grant(1, "a"))),
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
async fn every_state_and_any_text_comes_back() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    let at = std::time::SystemTime::UNIX_EPOCH + DAY;
    let mut expected = None;
    let tokens = token_set(1, DAY, at).with_scope("'quotes' \"too\" \\ and \0 nul, é 🦀");
    for (number, state) in (1..).zip([
        GrantState::Active(tokens.clone()),
        GrantState::Exchanging {
            tokens: tokens.clone(),
            since: at,
            is_replayed: true,
        },
        GrantState::Revoked { since: at },
        GrantState::Active(tokens.with_scope("s".repeat(1024 * 1024))),
    ]) {
        let new = Grant {
            generation: Generation::from_u64(number),
            state,
        };
        let saved = store.save(&acme, expected, &new).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed);
        assert_eq!(store.load(&acme).await.unwrap().as_ref(), Some(&new));
        expected = Some(new.generation);
    }
}

#[tokio::test]
async fn generations_that_do_not_fit_are_refused() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    let highest = u64::try_from(i64::MAX).unwrap();
    for number in [0, highest] {
        let tenant = tenant(&number.to_string());
        let new = grant(number, "a");
        assert_eq!(
            store.save(&tenant, None, &new).await.unwrap(),
            SaveOutcome::Committed
        );
        assert_eq!(store.load(&tenant).await.unwrap(), Some(new.clone()));
        let same = store
            .save(&tenant, Some(new.generation), &new)
            .await
            .unwrap();
        assert_eq!(same, SaveOutcome::Committed);
    }
    for number in [highest + 1, u64::MAX] {
        let error = store
            .save(&acme, None, &grant(number, "a"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        let held = store
            .save(&acme, generation(number), &grant(1, "a"))
            .await
            .unwrap();
        assert_eq!(
            held,
            SaveOutcome::Superseded(None),
            "nothing can have that one"
        );
    }
    assert_eq!(store.load(&acme).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_and_left_alone() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    for (number, damage) in (0..).zip([
        "contents = ''",
        "contents = 'secret'",
        "contents = substr(contents, 1, 40)",
        "contents = convert_to(replace(convert_from(contents, 'UTF8'), '\"version\": 1', '\"version\": 2'), 'UTF8')",
        "contents = convert_to(replace(convert_from(contents, 'UTF8'), 'damaged', 'another'), 'UTF8')",
        "generation = 7",
        "generation = -1",
    ]) {
        let tenant = tenant(&format!("damaged-{number}"));
        store.save(&tenant, None, &grant(1, "secret")).await.unwrap();
        let sql = format!("UPDATE oauth_grants SET {damage} WHERE tenant = $1");
        let row = "SELECT generation, contents FROM oauth_grants WHERE tenant = $1";
        sqlx::query(&sql).bind(tenant.as_str()).execute(&pool).await.unwrap();
        let row = || sqlx::query_as::<_, (i64, Vec<u8>)>(row).bind(tenant.as_str()).fetch_one(&pool);
        let before = row().await.unwrap();

        let error = store.load(&tenant).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        let text = error.to_string();
        assert!(text.contains("table oauth_grants"), "{text}");
        assert!(text.contains(tenant.as_str()), "{text}");
        assert!(!format!("{error:?}").contains("secret"), "{damage}");
        for expected in [None, generation(1), generation(7)] {
            let error = store.save(&tenant, expected, &grant(2, "b")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store, "{damage}");
        }
        assert_eq!(row().await.unwrap(), before, "{damage}");
    }
}

#[tokio::test]
async fn futures_may_be_dropped_at_any_point() {
    let (options, _) = store().await;
    let store = PostgresStore::new(pool(&options, 1));
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a1")).await.unwrap();
    let mut last = 1;
    for hundreds in 0..60 {
        let next = grant(last + 1, &format!("a{}", last + 1));
        let save = store.save(&acme, generation(last), &next);
        let _ = timeout(hundreds * Duration::from_micros(100), save).await;
        let held = store.load(&acme).await.unwrap().unwrap();
        let number = held.generation.as_u64();
        assert!(number == last || number == last + 1);
        assert_eq!(held, grant(number, &format!("a{number}")), "whole");
        last = number;
    }
    let last = grant(last, &format!("a{last}"));
    assert_eq!(store.load(&acme).await.unwrap(), Some(last));
}

#[tokio::test]
async fn saves_are_durable_even_where_sessions_are_not() {
    let (options, store) = store().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("SET synchronous_commit = off").await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone());
    // What the commit is made with, as seen by a trigger that runs last of all.
    sqlx::raw_sql(
        "CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON oauth_grants
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see();",
    )
    .execute(&pool)
    .await
    .unwrap();
    let hasty = PostgresStore::new(pool.clone());
    let acme = tenant("acme");
    hasty.save(&acme, None, &grant(1, "a")).await.unwrap();
    hasty
        .save(&acme, generation(1), &grant(2, "b"))
        .await
        .unwrap();
    let seen: Vec<(String,)> = sqlx::query_as("SELECT setting FROM seen")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(seen, [("on".into(),), ("on".into(),)]);
    let (setting,): (String,) = sqlx::query_as("SHOW synchronous_commit")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(setting, "off", "and the session stays as it was");
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
}
