//! Failures of the server.

use std::{fmt::Debug, time::Duration};

use tokio::time::{sleep, timeout};
use tower_oauth2_client::{
    Error, ErrorKind,
    store::{LeaseOutcome, LeaseOwner, RedisStore, SaveOutcome, TokenStore},
};

use crate::{
    LIMIT, Server, commit, generation, grant, server_and_store, switch::Switch, tenant,
    with_sources,
};

const KEY: &str = "tower-oauth2:{acme}:grant";

#[tokio::test]
async fn evicted_scripts_are_sent_again() {
    let (server, store) = server_and_store().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    let evict = async || server.command::<()>("SCRIPT FLUSH").await;
    let mut stored = None;
    for number in 1..4 {
        evict().await;
        commit(&store, &acme, stored, &grant(number, "a")).await;
        stored = Some(number);
        evict().await;
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(number, "a")));
        evict().await;
        store.acquire(&acme, &owner, LIMIT).await.unwrap();
        evict().await;
        store.release(&acme, &owner).await.unwrap();
    }
}

#[tokio::test]
async fn p13_committed_saves_survive_a_server_crash() {
    let (mut server, store) = server_and_store().await;
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
        let found = retry(|| store.load(&acme)).await.unwrap();
        let number = found.generation.as_u64();
        // The response to the last save may be lost.
        assert!(committed > 0 && (number == committed || number == committed + 1));
        assert_eq!(found, grant(number, &number.to_string()), "round {round}");
        committed = number;
    }
}

#[tokio::test]
async fn calls_fail_during_an_outage_and_succeed_after_it() {
    let (mut server, store) = server_and_store().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    commit(&store, &acme, None, &grant(1, "a")).await;
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
    for round in 1..4 {
        server.stop();
        for _ in 0..3 {
            fails(store.load(&acme)).await;
            fails(store.save(&acme, Some(generation(round)), &grant(round + 1, "b"))).await;
            fails(store.acquire(&acme, &owner, LIMIT)).await;
            fails(store.release(&acme, &owner)).await;
        }
        server.start().await;
        let found = retry(|| store.load(&acme)).await.unwrap();
        assert_eq!(found.generation.as_u64(), round);
        commit(&store, &acme, Some(round), &grant(round + 1, "b")).await;
        let other = LeaseOwner::random();
        let lease = store.acquire(&acme, &other, LIMIT).await.unwrap();
        assert_eq!(lease, LeaseOutcome::HeldByAnother, "leases survive too");
    }
    server.stop();
    let error = RedisStore::connect(server.client()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(
        with_sources(&error).contains("refused"),
        "{}",
        with_sources(&error)
    );
}

#[tokio::test]
async fn frozen_server_is_an_error() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    server.freeze();
    let error = fails(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await;
    assert!(
        with_sources(&error).contains("no response in time"),
        "{}",
        with_sources(&error)
    );
    server.thaw();
    // The command was sent and may still run.
    let found = retry(|| store.load(&acme)).await.unwrap();
    assert!(found == grant(1, "a") || found == grant(2, "b"));
}

#[tokio::test]
async fn full_server_is_an_error_and_keeps_its_data() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    server.command::<()>("CONFIG SET maxmemory 1").await;
    let error = fails(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await;
    assert!(
        with_sources(&error).contains("OOM"),
        "{}",
        with_sources(&error)
    );
    server.command::<()>("CONFIG SET maxmemory 0").await;
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
}

#[tokio::test]
async fn p14_unreadable_grant_is_an_error_and_not_overwritten() {
    let (server, store) = server_and_store().await;
    let (acme, one) = (tenant("acme"), grant(1, "secret-token"));
    let bytes = String::from_utf8(one.to_bytes(&acme).to_vec()).unwrap();
    let of_another = String::from_utf8(one.to_bytes(&tenant("other")).to_vec()).unwrap();
    let later = bytes.replace("\"version\": 2", "\"version\": 99");
    assert_ne!(later, bytes);
    let hash = |generation: &str, bytes: &str| {
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
        (hash("1", &bytes[..bytes.len() / 2]), "incomplete JSON"),
        (hash("1", &of_another), "another tenant"),
        (hash("1", &later), "version"),
        (hash("01", &bytes), "differs"),
        (hash("2", &bytes), "differs"),
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
            fails(store.load(&acme)).await,
            fails(store.save(&acme, None, &one)).await,
            fails(store.save(&acme, Some(generation(1)), &grant(2, "b"))).await,
        ] {
            let message = with_sources(&error);
            assert!(message.contains(hint) && message.contains(KEY), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        let after: Vec<u8> = server.command(&format!("DUMP {KEY}")).await;
        assert_eq!(before, after, "{foreign:?}");
    }
    // The lease is not affected.
    let owner = LeaseOwner::random();
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
}

#[tokio::test]
async fn unreadable_lease_is_an_error_and_not_overwritten() {
    let (server, store) = server_and_store().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    server
        .command::<()>("RPUSH tower-oauth2:{acme}:lease 1")
        .await;
    fails(store.acquire(&acme, &owner, LIMIT)).await;
    fails(store.release(&acme, &owner)).await;
    let length: i64 = server.command("LLEN tower-oauth2:{acme}:lease").await;
    assert_eq!(length, 1);
    commit(&store, &acme, None, &grant(1, "a")).await;
}

#[tokio::test]
async fn p14_save_waits_for_replicas() {
    let (server, plain) = server_and_store().await;
    let port = server.port().to_string();
    let mut replica = Server::launch_with(&["--replicaof", "127.0.0.1", &port]).await;
    let store = plain
        .clone()
        .wait_for_replicas(1, Duration::from_millis(500));
    let acme = tenant("acme");
    let (first, third) = (grant(1, "a"), grant(3, "c"));
    let outcome = retry(|| store.save(&acme, None, &first)).await;
    // An attempt before the replica has joined returns an error, but is stored.
    assert!(
        outcome == SaveOutcome::Committed
            || outcome == SaveOutcome::Superseded(Some(grant(1, "a")))
    );
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
    let copy = RedisStore::connect(replica.client()).await.unwrap();
    assert_eq!(stored_generation(&replica).await, 2);
    let index: Vec<String> = replica.command("ZRANGE tower-oauth2:tenants 0 -1").await;
    assert_eq!(index, ["acme"]);
    let error = fails(copy.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    assert!(
        with_sources(&error).contains("READONLY"),
        "{}",
        with_sources(&error)
    );

    replica.freeze();
    let error = fails(store.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    assert!(
        with_sources(&error).contains("0 of 1 required replicas"),
        "{}",
        with_sources(&error)
    );
    fails(store.save(&acme, Some(generation(2)), &grant(3, "c"))).await;
    replica.thaw();
    let found = retry(|| store.save(&acme, Some(generation(2)), &third)).await;
    assert!(found == SaveOutcome::Committed || found == SaveOutcome::Superseded(Some(third)));
    assert_eq!(stored_generation(&replica).await, 3);
    commit(&store, &acme, Some(3), &grant(4, "d")).await;

    replica.kill();
    fails(store.save(&acme, Some(generation(4)), &grant(5, "e"))).await;
    let stored = plain
        .load(&acme)
        .await
        .unwrap()
        .unwrap()
        .generation
        .as_u64();
    assert!(stored == 4 || stored == 5, "written whole or not at all");
    commit(&plain, &acme, Some(stored), &grant(6, "f")).await;
}

/// Reads a field, since a replica is an error for the store.
async fn stored_generation(replica: &Server) -> u64 {
    replica.command(&format!("HGET {KEY} generation")).await
}

#[tokio::test]
async fn p12_replica_is_an_error_and_not_an_older_grant() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    // What the store knows is no longer stored, so its script would not try to write.
    let other = RedisStore::connect(server.client()).await.unwrap();
    commit(&other, &acme, Some(1), &grant(2, "b")).await;
    server.command::<()>("REPLICAOF 127.0.0.1 1").await;
    let message =
        with_sources(&fails(store.save(&acme, Some(generation(1)), &grant(2, "c"))).await);
    assert!(message.contains("connect to the primary"), "{message}");
    for tenant in [&acme, &tenant("absent")] {
        let owner = LeaseOwner::random();
        let connect = async || RedisStore::connect(server.client()).await.unwrap();
        for error in [
            fails(connect().await.load(tenant)).await,
            fails(connect().await.save(tenant, None, &grant(1, "b"))).await,
            fails(connect().await.acquire(tenant, &owner, LIMIT)).await,
        ] {
            let message = with_sources(&error);
            assert!(message.contains("connect to the primary"), "{message}");
        }
    }
}

#[tokio::test]
async fn p14_connection_that_reaches_a_replica_is_replaced() {
    let mut first = Server::launch().await;
    let mut second = Server::launch().await;
    let address = Switch::to(first.port()).await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", address.port()));
    let store = RedisStore::connect(client.unwrap()).await.unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    commit(&store, &acme, None, &grant(1, "a")).await;
    for call in ["load", "acquire", "save"] {
        let port = first.port();
        second
            .command::<()>(&format!("REPLICAOF 127.0.0.1 {port}"))
            .await;
        let replicated = async {
            while second.command::<i64>(&format!("EXISTS {KEY}")).await == 0
                || !second
                    .command::<String>("INFO replication")
                    .await
                    .contains("master_link_status:up")
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, replicated).await.unwrap();
        // A planned failover: both servers live, and the connection to the first stays open.
        second.command::<()>("REPLICAOF NO ONE").await;
        let port = second.port();
        first
            .command::<()>(&format!("REPLICAOF 127.0.0.1 {port}"))
            .await;
        address.switch_to(port);
        match call {
            "load" => assert_eq!(retry(|| store.load(&acme)).await, Some(grant(1, "a"))),
            "acquire" => drop(retry(|| store.acquire(&acme, &owner, LIMIT)).await),
            _ => {
                let next = grant(2, "b");
                let saved = retry(|| store.save(&acme, Some(generation(1)), &next)).await;
                assert_eq!(saved, SaveOutcome::Committed);
            }
        }
        std::mem::swap(&mut first, &mut second);
    }
}

#[tokio::test]
async fn p21_errors_contain_no_password() {
    let server = Server::launch().await;
    server
        .command::<()>("ACL SETUSER default >secret-word")
        .await;
    for url in ["redis://:wrong-word@", "redis://"] {
        let url = format!("{url}127.0.0.1:{}/", server.port());
        let store = RedisStore::connect(redis::Client::open(url).unwrap()).await;
        let message = match store {
            Ok(store) => with_sources(&store.load(&tenant("acme")).await.unwrap_err()),
            Err(error) => with_sources(&error),
        };
        assert!(
            !message.contains("word@") && !message.contains("wrong-word"),
            "{message}"
        );
    }
}

/// The call ends with an error before the limit.
async fn fails<T: Debug>(call: impl Future<Output = Result<T, Error>>) -> Error {
    let error = timeout(LIMIT, call).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    error
}

/// Repeats a call until it succeeds.
pub(crate) async fn retry<T, F: Future<Output = Result<T, Error>>>(
    mut call: impl FnMut() -> F,
) -> T {
    let result = async {
        loop {
            match call().await {
                Ok(value) => return value,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(LIMIT, result).await.unwrap()
}
