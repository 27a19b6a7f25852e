//! Connections by TLS.

use std::{fs, path::Path};

use redis::{Client, TlsCertificates};
use tower_oauth2_client::{
    ErrorKind,
    store::{RedisStore, TokenStore},
};

use crate::{
    authority::Authority,
    commit,
    failure::retry,
    grant,
    server::{Server, free_port},
    tenant,
    watch::is_notified_of,
    with_sources,
};

/// A server that accepts TLS on the second port.
async fn server_with_tls(authority: &Authority) -> (Server, u16) {
    let port = free_port();
    let (certificate, key) = (authority.certificate(), authority.key());
    let arguments = [
        ["--tls-port", &port.to_string()],
        ["--tls-cert-file", certificate.to_str().unwrap()],
        ["--tls-key-file", key.to_str().unwrap()],
        ["--tls-auth-clients", "no"],
    ];
    let arguments = arguments.as_flattened();
    let root = authority.root();
    let root = ["--tls-ca-cert-file", root.to_str().unwrap()];
    (
        Server::launch_with(&[arguments, &root].concat()).await,
        port,
    )
}

fn client(host: &str, port: u16, root: &Path) -> Client {
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(fs::read(root).unwrap()),
    };
    Client::build_with_tls(format!("rediss://{host}:{port}/"), certificates).unwrap()
}

#[tokio::test]
async fn store_and_its_notifications_use_tls() {
    let authority = Authority::new();
    let (mut server, port) = server_with_tls(&authority).await;
    let client = client("localhost", port, &authority.root());
    let store = RedisStore::connect(client).await.unwrap();
    let acme = tenant("acme");
    for last in 0..2 {
        let expected = (last > 0).then_some(last);
        let next = grant(last + 1, "a");
        is_notified_of(&store, &acme, commit(&store, &acme, expected, &next)).await;
        // Both connections reconnect by TLS.
        server.stop();
        server.start().await;
        assert_eq!(retry(|| store.load(&acme)).await, Some(next));
    }
}

#[tokio::test]
async fn p21_server_that_tls_does_not_verify_is_an_error() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_server, port) = server_with_tls(&authority).await;
    let without_tls = Client::open(format!("redis://localhost:{port}/")).unwrap();
    let without_root = Client::open(format!("rediss://localhost:{port}/")).unwrap();
    for (client, hint) in [
        (client("localhost", port, &other.root()), "certificate"),
        (client("127.0.0.1", port, &authority.root()), "certificate"),
        (without_root, "certificate"),
        (without_tls, "the connection failed"),
    ] {
        let error = RedisStore::connect(client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        let message = with_sources(&error);
        assert!(message.contains(hint), "{message}");
    }
}
