//! Migrations, schemas and error messages.

use std::error::Error as _;

use sqlx::{Executor, postgres::PgPoolOptions};
use tokio::task::JoinSet;
use tower_oauth2_client::{
    ErrorKind,
    store::{LeaseOwner, PostgresStore, SaveOutcome, TokenStore},
};

use crate::{SERVER, generation, grant, pool, replica, store, support::MINUTE, tenant};

#[tokio::test]
async fn migrations_can_be_repeated() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_migrations_succeed() {
    let options = SERVER.database().await;
    for schema in [None, Some("partner")] {
        let mut migrating = JoinSet::new();
        for _ in 0..8 {
            let store = PostgresStore::new(pool(&options, 1));
            let store = match schema {
                Some(name) => store.schema(name).unwrap(),
                None => store,
            };
            migrating.spawn(async move { store.migrate().await });
        }
        for outcome in migrating.join_all().await {
            outcome.unwrap();
        }
    }
    // Only the tables exist, in both schemas.
    let relations = "SELECT count(*) FROM pg_class \
                     JOIN pg_namespace ON pg_namespace.oid = relnamespace \
                     WHERE relkind IN ('r', 'S', 'v') \
                     AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";
    let relations: i64 = sqlx::query_scalar(relations)
        .fetch_one(&pool(&options, 1))
        .await
        .unwrap();
    assert_eq!(relations, 4);
}

#[tokio::test]
async fn migrations_can_be_run_by_another_tool() {
    let options = SERVER.database().await;
    let pool = pool(&options, 1);
    for twice in 0..2 {
        for (name, sql) in PostgresStore::MIGRATIONS {
            sqlx::raw_sql(sql)
                .execute(&pool)
                .await
                .unwrap_or_else(|error| panic!("{twice} {name}: {error}"));
        }
    }
    let store = PostgresStore::new(pool);
    store.migrate().await.unwrap();
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();
}

#[tokio::test]
async fn role_needs_no_privilege_to_create_existing_tables() {
    let (options, _) = store().await;
    sqlx::raw_sql(
        "CREATE ROLE lowly LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT SELECT, INSERT, UPDATE, DELETE ON oauth_grants, oauth_leases TO lowly",
    )
    .execute(&pool(&options, 1))
    .await
    .unwrap();
    let store = replica(&options.clone().username("lowly"));
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    store.migrate().await.unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    store.release(&acme, &owner).await.unwrap();

    let elsewhere = store.schema("elsewhere").unwrap();
    let error = elsewhere.migrate().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "PostgreSQL: the server returned an error (SQLSTATE 42501): the role lacks a privilege; \
         see PostgresStore for the list"
    );
}

#[tokio::test]
async fn schemas_are_isolated_whatever_their_names() {
    let (options, public) = store().await;
    let acme = tenant("acme");
    public.save(&acme, None, &grant(9, "public")).await.unwrap();
    let longest = "x".repeat(63);
    // SQL keywords, and names that differ only in case.
    let names = ["partner", "Partner", "user", "select", "_1", &longest];
    for (number, name) in (1..).zip(names) {
        let store = replica(&options).schema(name).unwrap();
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        let saved = store.save(&acme, None, &grant(number, "a")).await.unwrap();
        assert_eq!(saved, SaveOutcome::Committed, "{name}");
        let (one, two) = (LeaseOwner::random(), LeaseOwner::random());
        store.acquire(&acme, &one, MINUTE).await.unwrap();
        store.release(&acme, &two).await.unwrap();
    }
    for (number, name) in (1..).zip(names) {
        let store = replica(&options).schema(name).unwrap();
        assert_eq!(
            store.load(&acme).await.unwrap(),
            Some(grant(number, "a")),
            "{name}"
        );
    }
    assert_eq!(public.load(&acme).await.unwrap(), Some(grant(9, "public")));
}

#[tokio::test]
async fn invalid_schema_names_are_refused() {
    let options = SERVER.database().await;
    for name in [
        "",
        "a.b",
        "a\"; DROP SCHEMA public; --",
        "1st",
        "pg_toast",
        &"x".repeat(64),
    ] {
        let error = replica(&options).schema(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{name}");
    }
}

#[tokio::test]
async fn errors_without_tables_say_what_to_do() {
    let store = replica(&SERVER.database().await);
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    for error in [
        store.load(&acme).await.unwrap_err(),
        store.save(&acme, None, &grant(1, "a")).await.unwrap_err(),
        store.acquire(&acme, &owner, MINUTE).await.unwrap_err(),
        store.release(&acme, &owner).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().ends_with("run the migrations"), "{error}");
    }
}

#[tokio::test]
async fn p21_errors_do_not_quote_the_server() {
    let (options, store) = store().await;
    sqlx::raw_sql("ALTER TABLE oauth_grants ADD CHECK (generation < 5)")
        .execute(&pool(&options, 1))
        .await
        .unwrap();
    // The server's message is: Failing row contains (acme, 5, \x7b0a…).
    let refused = store
        .save(&tenant("acme"), None, &grant(5, "secret"))
        .await
        .unwrap_err();
    let unknown = options.clone().username("unknown_role").password("hunter2");
    let unknown = replica(&unknown).load(&tenant("acme")).await.unwrap_err();
    let nowhere = options
        .clone()
        .socket("/nonexistent/socket-directory")
        .password("hunter2");
    let nowhere = replica(&nowhere).load(&tenant("acme")).await.unwrap_err();
    for (error, expected) in [
        (refused, "23514"),
        (unknown, "28000"),
        (nowhere, "connection failed"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Store);
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        let text = format!("{error} {error:?} {cause}");
        assert!(text.contains(expected), "{text}");
        for secret in [
            "secret",
            "7b0a",
            "hunter2",
            "unknown_role",
            "socket-directory",
            "Failing row",
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let debug = format!("{store:?}");
    assert_eq!(debug, "PostgresStore { schema: None, .. }");
}

#[tokio::test]
async fn p21_logs_contain_no_secret() {
    let path = tempfile::NamedTempFile::new().unwrap();
    let log = path.reopen().unwrap();
    // Global: a subscriber of one thread can miss events of other threads.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || log.try_clone().unwrap())
        .init();
    let options = SERVER.database().await.password("hunter2");
    let store = replica(&options);
    store.migrate().await.unwrap();
    let acme = tenant("acme");
    store
        .save(&acme, None, &grant(1, "p21-secret"))
        .await
        .unwrap();
    store
        .save(&acme, None, &grant(1, "p21-secret"))
        .await
        .unwrap();
    store
        .save(&acme, generation(1), &grant(2, "p21-secret"))
        .await
        .unwrap();
    sqlx::raw_sql("ALTER TABLE oauth_grants ADD CHECK (generation < 3)")
        .execute(&pool(&options, 1))
        .await
        .unwrap();
    store
        .save(&acme, generation(2), &grant(3, "p21-secret"))
        .await
        .unwrap_err();

    let log = std::fs::read_to_string(path.path()).unwrap();
    assert!(log.contains("sqlx::query"), "events of sqlx are captured");
    // The token as text, as PostgreSQL's hexadecimal bytes, and as Rust's `Debug` of bytes.
    for secret in [
        "p21-secret",
        "7032312d736563",
        "112, 50, 49, 45, 115",
        "hunter2",
    ] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn tables_follow_the_search_path() {
    let options = SERVER.database().await;
    sqlx::raw_sql("CREATE SCHEMA mine")
        .execute(&pool(&options, 1))
        .await
        .unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("SET search_path = mine").await?;
                Ok(())
            })
        })
        .connect_lazy_with(options.clone());
    let store = PostgresStore::new(pool);
    store.migrate().await.unwrap();
    store
        .save(&tenant("acme"), None, &grant(1, "a"))
        .await
        .unwrap();
    let named = replica(&options).schema("mine").unwrap();
    assert_eq!(
        named.load(&tenant("acme")).await.unwrap(),
        Some(grant(1, "a"))
    );
}
