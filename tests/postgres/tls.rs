//! Connections by TLS.

use std::path::Path;

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::time::timeout;
use tower_oauth2_client::store::{Announcement, PostgresStore, TokenStore};

use crate::{
    authority::Authority, generation, grant, pool, server::Server, support::MINUTE, tenant,
};

/// The options of a URL with `sslmode=verify-full` and `sslrootcert`.
fn by_tls(options: &PgConnectOptions, host: &str, root: &Path) -> PgConnectOptions {
    let (port, database) = (options.get_port(), options.get_database().unwrap());
    let root = root.display();
    format!("postgres://postgres@{host}:{port}/{database}?sslmode=verify-full&sslrootcert={root}")
        .parse()
        .unwrap()
}

/// Whether each connection to the database uses TLS.
async fn connections(pool: &PgPool) -> Vec<bool> {
    let all = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE datname = current_database()";
    sqlx::query_scalar(all).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn store_and_its_notifications_use_tls() {
    let (server, authority) = (Server::new(), Authority::new());
    let options = server.database().await;
    server.accept_tls(&authority.certificate(), &authority.key());
    let pool = pool(&by_tls(&options, "localhost", &authority.root()), 2);
    let (store, acme) = (PostgresStore::new(pool.clone()), tenant("acme"));
    store.migrate().await.unwrap();
    let mut subscription = store.subscribe().unwrap();
    for save in 0..2 {
        let connected = async { while subscription.next().await != Some(Announcement::Missed) {} };
        timeout(MINUTE, connected).await.unwrap();
        let next = grant(save + 1, "a");
        store.save(&acme, generation(save), &next).await.unwrap();
        let announced = timeout(MINUTE, subscription.next()).await.unwrap();
        let is_announced = matches!(announced, Some(Announcement::Saved { generation, .. })
            if generation == next.generation);
        assert!(is_announced, "{announced:?}");
        assert_eq!(store.load(&acme).await.unwrap(), Some(next));
        let connections = connections(&pool).await;
        assert!(
            connections.len() >= 2,
            "the pool's, and one for notifications"
        );
        assert!(connections.iter().all(|uses_tls| *uses_tls));
        // All connections reconnect by TLS.
        server.stop();
        server.start();
    }

    let other = Authority::new();
    for (host, root) in [("localhost", other.root()), ("127.0.0.1", authority.root())] {
        let pool = crate::pool(&by_tls(&options, host, &root), 1);
        let error = PostgresStore::new(pool).load(&acme).await.unwrap_err();
        assert!(error.to_string().contains("TLS"), "{error}");
    }
}
