//! Loads and conditional saves.

use sqlx::{Executor, postgres::PgPoolOptions};
use tower_oauth2_client::{
    ErrorKind,
    store::{PostgresStore, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState},
};

use crate::{
    generation, grant, pool, store,
    support::{DAY, token_set},
    tenant,
};

#[tokio::test]
async fn p12_save_is_conditional() {
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
async fn p23_similar_names_are_different_tenants() {
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
        let stored = store.load(&tenant(name)).await.unwrap();
        assert_eq!(stored, Some(grant(number, &format!("t{number}"))), "{name}");
    }
}

#[tokio::test]
async fn every_state_and_any_text_round_trips() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    let at = std::time::SystemTime::UNIX_EPOCH + DAY;
    let mut expected = None;
    let tokens = token_set(1, DAY, at).with_scope("'quotes' \"too\" \\ and \0 nul, é 🦀");
    for (number, state) in (1..).zip([
        GrantState::Active(tokens.clone()),
        GrantState::Refreshing {
            tokens: tokens.clone(),
            since: at,
            is_replayed: true,
        },
        GrantState::Revoked { since: at },
        GrantState::Active(tokens.with_scope("s".repeat(1024 * 1024))),
    ]) {
        let new = Grant::new(Generation::from_u64(number), state);
        let saved = store.save(&acme, expected, &new).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed);
        assert_eq!(store.load(&acme).await.unwrap().as_ref(), Some(&new));
        expected = Some(new.generation);
    }
}

#[tokio::test]
async fn generations_above_the_columns_maximum_are_refused() {
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
        let stored = store
            .save(&acme, generation(number), &grant(1, "a"))
            .await
            .unwrap();
        assert_eq!(
            stored,
            SaveOutcome::Superseded(None),
            "no stored grant has this generation"
        );
    }
    assert_eq!(store.load(&acme).await.unwrap(), None);
}

#[tokio::test]
async fn p14_unreadable_row_is_an_error_and_not_overwritten() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    for (number, damage) in (0..).zip([
        "contents = ''",
        "contents = 'secret'",
        "contents = substr(contents, 1, 40)",
        "contents = convert_to(replace(convert_from(contents, 'UTF8'), '\"version\": 2', '\"version\": 99'), 'UTF8')",
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
        assert!(!text.contains(tenant.as_str()), "{text}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(tenant.as_str()), "{source}");
        assert!(!format!("{error:?}").contains("secret"), "{damage}");
        for expected in [None, generation(1), generation(7)] {
            let error = store.save(&tenant, expected, &grant(2, "b")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store, "{damage}");
        }
        assert_eq!(row().await.unwrap(), before, "{damage}");
    }
}

#[tokio::test]
async fn p13_saves_are_durable_with_synchronous_commit_off() {
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
    // A deferred trigger records the setting at commit.
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
    let store_without_sync = PostgresStore::new(pool.clone());
    let acme = tenant("acme");
    store_without_sync
        .save(&acme, None, &grant(1, "a"))
        .await
        .unwrap();
    store_without_sync
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
    assert_eq!(setting, "off", "the session is unchanged");
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
}
