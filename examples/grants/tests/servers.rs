//! The commands over PostgreSQL and Redis servers.

#![cfg(feature = "__server-tests")]

use tower_oauth2_client::store::{PostgresStore, RedisStore};

use super::*;

#[path = "../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../../../tests/support/redis.rs"]
mod redis_server;

/// The URL of a new database. The server trusts all connections, so the password is any.
async fn database(server: &postgres::Server) -> (String, PostgresStore) {
    let options = server.database().await;
    let (port, name) = (options.get_port(), options.get_database().unwrap());
    let url = format!(
        "postgres://postgres:{SECRET}@127.0.0.1:{port}/{name}?sslmode=disable&schema=partner"
    );
    let pool = sqlx::PgPool::connect_with(options).await.unwrap();
    (url, PostgresStore::new(pool).schema("partner").unwrap())
}

async fn seed(store: &impl TokenStore) -> Vec<(String, Grant)> {
    let mut grants = Vec::new();
    for days in 1..30 {
        let name = format!("tenant {days:02}");
        let grant = grant(&name, days);
        save(store, &name, &grant).await;
        grants.push((name, grant));
    }
    grants
}

async fn assert_has(store: &impl TokenStore, grants: &[(String, Grant)]) {
    for (name, grant) in grants {
        let stored = store.load(&tenant(name)).await.unwrap();
        assert_eq!(stored.as_ref(), Some(grant), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_move_from_files_and_redis_to_postgres() {
    let scene = Scene::new().await;
    let server = postgres::Server::new();
    let grants = seed(&scene.store("grants")).await;
    let (url, store) = database(&server).await;
    // The tables do not exist yet.
    let ended = scene.run(&["list", "--store", &url]).await;
    assert_eq!(ended.code, code(Exit::Failed), "{ended:?}");
    let mut command = scene.command(&["migrate"]);
    let ended = Ended::of(command.env("GRANTS_TO", &url), None).await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_has(&store, &grants).await;

    let redis = redis_server::Server::launch().await;
    let redis_store = RedisStore::connect(redis.client()).await.unwrap();
    let grants = seed(&redis_store.prefix("app:").unwrap()).await;
    let from = format!("{}?prefix=app:", redis.url());
    let (url, store) = database(&server).await;
    let ended = scene
        .run(&["migrate", "--store", &from, "--to", &url])
        .await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    assert_has(&store, &grants).await;
    let ended = scene
        .run(&["migrate", "--check", "--store", &from, "--to", &url])
        .await;
    assert_eq!(ended.code, code(Exit::Done), "{ended:?}");
    let ended = scene
        .run(&["list", "--store", &url, "--expiring-within", "7d", "--json"])
        .await;
    assert_eq!(ended.json_lines().len(), 6, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_down_end_a_command_with_1() {
    let scene = Scene::new().await;
    let port = redis_server::free_port();
    for url in [
        format!("redis://:{SECRET}@127.0.0.1:{port}/"),
        format!("postgres://user:{SECRET}@127.0.0.1:{port}/db"),
    ] {
        for command in [vec!["list"], vec!["revoke", "acme", "--yes"]] {
            let ended = scene
                .run(&[&command[..], &["--store", &url]].concat())
                .await;
            assert_eq!(ended.code, code(Exit::Failed), "{ended:?}");
        }
        let ended = scene.run(&["migrate", "--to", &url]).await;
        assert_eq!(ended.code, code(Exit::Failed), "{ended:?}");
    }
}
