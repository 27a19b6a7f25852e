//! What goes wrong with a server.

use std::{fmt::Debug, time::Duration};

use tokio::time::{sleep, timeout};
use tower_oauth2_client::{
    Error, ErrorKind,
    store::{LeaseOutcome, LeaseOwner, RedisStore, SaveOutcome, TokenStore},
};

use crate::{LIMIT, Server, begun, commit, generation, grant, tenant, told};

const KEY: &str = "tower-oauth2:{acme}:grant";

#[tokio::test]
async fn scripts_that_the_server_forgets_are_sent_again() {
    let (server, store) = begun().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let forget = async || server.command::<()>("SCRIPT FLUSH").await;
    let mut held = None;
    for number in 1..4 {
        forget().await;
        commit(&store, &acme, held, &grant(number, "a")).await;
        held = Some(number);
        forget().await;
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(number, "a")));
        forget().await;
        store.acquire(&acme, &owner, LIMIT).await.unwrap();
        forget().await;
        store.release(&acme, &owner).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_server() {
    let (mut server, store) = begun().await;
    let acme = tenant("acme");
    let mut committed = 0;
    for round in 0..3 {
        let writing = async {
            loop {
                let expected = (committed > 0).then_some(committed);
                let expected = expected.map(generation);
                let next = grant(committed + 1, &(committed + 1).to_string());
                match store.save(&acme, expected, &next).await {
                    Ok(SaveOutcome::Committed) => committed += 1,
                    Ok(outcome) => panic!("{outcome:?}"),
                    Err(error) => return error,
                }
            }
        };
        let killing = async {
            sleep(Duration::from_millis(100)).await;
            server.kill();
        };
        let (error, ()) = timeout(LIMIT, async { tokio::join!(writing, killing) })
            .await
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::Store);
        server.start().await;
        let found = again(|| store.load(&acme)).await.unwrap();
        let number = found.generation.as_u64();
        // The last one may have been committed without anybody hearing of it.
        assert!(committed > 0 && (number == committed || number == committed + 1));
        assert_eq!(found, grant(number, &number.to_string()), "round {round}");
        committed = number;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_and_one_that_is_back_is_used() {
    let (mut server, store) = begun().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    commit(&store, &acme, None, &grant(1, "a")).await;
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
    for round in 1..4 {
        server.stop();
        for _ in 0..3 {
            refused(store.load(&acme)).await;
            refused(store.save(&acme, Some(generation(round)), &grant(round + 1, "b"))).await;
            refused(store.acquire(&acme, &owner, LIMIT)).await;
            refused(store.release(&acme, &owner)).await;
        }
        server.start().await;
        let found = again(|| store.load(&acme)).await.unwrap();
        assert_eq!(found.generation.as_u64(), round);
        commit(&store, &acme, Some(round), &grant(round + 1, "b")).await;
        let other = LeaseOwner::random();
        let lease = store.acquire(&acme, &other, LIMIT).await.unwrap();
        assert_eq!(lease, LeaseOutcome::HeldByAnother, "leases survive as well");
    }
    server.stop();
    let error = RedisStore::connect(server.client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(told(&error).contains("refused"), "{}", told(&error));
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error() {
    let (server, store) = begun().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    server.freeze();
    let error = refused(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await;
    assert!(
        told(&error).contains("no answer in time"),
        "{}",
        told(&error)
    );
    server.thaw();
    // It had been sent, and may yet arrive.
    let found = again(|| store.load(&acme)).await.unwrap();
    assert!(found == grant(1, "a") || found == grant(2, "b"));
}

#[tokio::test]
async fn a_full_server_is_an_error_and_keeps_what_it_has() {
    let (server, store) = begun().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    server.command::<()>("CONFIG SET maxmemory 1").await;
    let error = refused(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await;
    assert!(told(&error).contains("OOM"), "{}", told(&error));
    server.command::<()>("CONFIG SET maxmemory 0").await;
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
}

#[tokio::test]
async fn what_is_not_a_grant_is_refused_and_left_alone() {
    let (server, store) = begun().await;
    let (acme, one) = (tenant("acme"), grant(1, "secret-token"));
    let bytes = String::from_utf8(one.to_bytes(&acme).to_vec()).unwrap();
    let of_another = String::from_utf8(one.to_bytes(&tenant("other")).to_vec()).unwrap();
    let later = bytes.replace("\"version\": 1", "\"version\": 2");
    assert_ne!(later, bytes);
    let row = |generation: &str, bytes: &str| {
        let fields = ["generation", generation, "grant", bytes, "save", "x"];
        let words = ["HSET", KEY].into_iter().chain(fields);
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (foreign, hint) in [
        (words(&format!("SET {KEY} secret-token")), "WRONGTYPE"),
        (words(&format!("RPUSH {KEY} secret-token")), "WRONGTYPE"),
        (
            words(&format!("HSET {KEY} colour secret-token")),
            "not a grant",
        ),
        (
            words(&format!("HSET {KEY} generation 1 save x")),
            "not a grant",
        ),
        (
            words(&format!("HSET {KEY} generation 1 grant x")),
            "not a grant",
        ),
        (row("1", &bytes[..bytes.len() / 2]), "ends too early"),
        (row("1", &of_another), "another tenant"),
        (row("1", &later), "version"),
        (row("01", &bytes), "another generation"),
        (row("2", &bytes), "another generation"),
    ] {
        server.command::<()>(&format!("DEL {KEY}")).await;
        let mut connection = server
            .client()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        let mut put = redis::cmd(&foreign[0]);
        let (): () = put
            .arg(&foreign[1..])
            .query_async(&mut connection)
            .await
            .unwrap();
        let before: Vec<u8> = server.command(&format!("DUMP {KEY}")).await;
        for error in [
            refused(store.load(&acme)).await,
            refused(store.save(&acme, None, &one)).await,
            refused(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await,
        ] {
            let told = told(&error);
            assert!(told.contains(hint) && told.contains(KEY), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
        let after: Vec<u8> = server.command(&format!("DUMP {KEY}")).await;
        assert_eq!(before, after, "{foreign:?}");
    }
    // A lease is no worse off for it.
    let owner = LeaseOwner::random();
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_is_not_a_lease_is_refused_and_left_alone() {
    let (server, store) = begun().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    server
        .command::<()>("RPUSH tower-oauth2:{acme}:lease 1")
        .await;
    refused(store.acquire(&acme, &owner, LIMIT)).await;
    refused(store.release(&acme, &owner)).await;
    let length: i64 = server.command("LLEN tower-oauth2:{acme}:lease").await;
    assert_eq!(length, 1);
    commit(&store, &acme, None, &grant(1, "a")).await;
}

#[tokio::test]
async fn p14_a_save_waits_for_replicas() {
    let (server, plain) = begun().await;
    let port = server.port().to_string();
    let mut replica = Server::begin_with(&["--replicaof", "127.0.0.1", &port]).await;
    let store = plain
        .clone()
        .wait_for_replicas(1, Duration::from_millis(500));
    let acme = tenant("acme");
    let (first, third) = (grant(1, "a"), grant(3, "c"));
    let outcome = again(|| store.save(&acme, None, &first)).await;
    // An attempt before the replica had joined may have been taken for failed.
    assert!(
        outcome == SaveOutcome::Committed
            || outcome == SaveOutcome::Superseded(Some(grant(1, "a")))
    );
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
    let copy = RedisStore::connect(replica.client()).await.unwrap();
    assert_eq!(copy.load(&acme).await.unwrap(), Some(grant(2, "b")));
    assert_eq!(
        copy.tenants(None, 10).await.unwrap(),
        std::slice::from_ref(&acme)
    );
    let error = refused(copy.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    assert!(told(&error).contains("READONLY"), "{}", told(&error));

    replica.freeze();
    let error = refused(store.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    assert!(told(&error).contains("0 replicas"), "{}", told(&error));
    refused(store.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    replica.thaw();
    let found = again(|| store.save(&acme, Some(generation(2)), &third)).await;
    assert!(found == SaveOutcome::Committed || found == SaveOutcome::Superseded(Some(third)));
    assert_eq!(copy.load(&acme).await.unwrap(), Some(grant(3, "c")));
    commit(&store, &acme, Some(3), &grant(4, "d")).await;

    replica.kill();
    refused(store.save(&acme, Some(generation(4)), &grant(5, "e"))).await;
    let held = plain
        .load(&acme)
        .await
        .unwrap()
        .unwrap()
        .generation
        .as_u64();
    assert!(held == 4 || held == 5, "written or not, but whole");
    commit(&plain, &acme, Some(held), &grant(6, "f")).await;
}

#[tokio::test]
async fn p21_a_password_is_not_told() {
    let server = Server::begin().await;
    server
        .command::<()>("ACL SETUSER default >secret-word")
        .await;
    for url in ["redis://:wrong-word@", "redis://"] {
        let url = format!("{url}127.0.0.1:{}/", server.port());
        let store = RedisStore::connect(redis::Client::open(url).unwrap()).await;
        let told = match store {
            Ok(store) => told(&store.load(&tenant("acme")).await.unwrap_err()),
            Err(error) => told(&error),
        };
        assert!(
            !told.contains("word@") && !told.contains("wrong-word"),
            "{told}"
        );
    }
}

/// An error, within bounds.
async fn refused<T: Debug>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let error = timeout(LIMIT, call).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    error
}

/// The first answer of a store that has been away.
async fn again<T, F: Future<Output = Result<T, Error>>>(mut call: impl FnMut() -> F) -> T {
    let answer = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(LIMIT, answer).await.unwrap()
}
