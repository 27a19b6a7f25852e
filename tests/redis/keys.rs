//! Keys and permissions.

use std::collections::{BTreeSet, HashMap};

use tower_oauth2_client::{
    ErrorKind,
    store::{LeaseOwner, RedisStore, TokenStore},
};

use crate::{LIMIT, Server, commit, grant, server_and_store, store, tenant};

/// The key of the index.
const INDEX: &str = "tower-oauth2:tenants";

const SIMILAR: [&str; 16] = [
    "a", "A", "a/", "a\\", "../a", "é", "e\u{301}", "a b", "a+b", "a%20b", ".", "{a}", "}a{",
    "a:grant", "*", "{}",
];

#[tokio::test]
async fn p23_tenants_have_different_keys() {
    let (server, store) = server_and_store().await;
    for (number, name) in (1..).zip(SIMILAR) {
        commit(
            &store,
            &tenant(name),
            None,
            &grant(number, &token_of(number)),
        )
        .await;
        let owner = LeaseOwner::random();
        store.acquire(&tenant(name), &owner, LIMIT).await.unwrap();
    }
    for (number, name) in (1..).zip(SIMILAR) {
        let stored = store.load(&tenant(name)).await.unwrap();
        assert_eq!(stored, Some(grant(number, &token_of(number))), "{name}");
    }
    let mut keys: BTreeSet<String> = server.command("KEYS *").await;
    assert!(keys.remove(INDEX));
    assert_eq!(keys.len(), 2 * SIMILAR.len());
    assert!(keys.iter().all(|key| key.is_ascii() && !key.contains(' ')));
    assert!(keys.contains("tower-oauth2:{a%2F}:grant"));
}

#[tokio::test]
async fn keys_of_a_tenant_are_in_one_slot() {
    let (server, store) = server_and_store().await;
    for name in SIMILAR {
        commit(&store, &tenant(name), None, &grant(1, "a")).await;
        let owner = LeaseOwner::random();
        store.acquire(&tenant(name), &owner, LIMIT).await.unwrap();
    }
    let mut keys: BTreeSet<String> = server.command("KEYS *").await;
    assert!(keys.remove(INDEX));
    let mut slots: HashMap<&str, BTreeSet<u16>> = HashMap::new();
    for key in &keys {
        let (tenant, _) = key.rsplit_once(':').unwrap();
        slots.entry(tenant).or_default().insert(slot(key));
    }
    assert_eq!(slots.len(), SIMILAR.len());
    assert!(slots.values().all(|slots| slots.len() == 1));
    let different: BTreeSet<_> = slots.values().flatten().collect();
    assert!(different.len() > 8, "tenants are distributed");
}

#[tokio::test]
async fn grant_has_no_expiry() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    let key = "tower-oauth2:{acme}:grant";
    assert_eq!(server.command::<i64>(&format!("PTTL {key}")).await, -1);
    server.command::<()>(&format!("EXPIRE {key} 1000")).await;
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
    assert_eq!(server.command::<i64>(&format!("PTTL {key}")).await, -1);
}

#[tokio::test]
async fn p23_prefixes_are_isolated() {
    let (server, store) = server_and_store().await;
    let other = store.clone().prefix("other.app/").unwrap();
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    assert_eq!(other.load(&acme).await.unwrap(), None);
    commit(&other, &acme, None, &grant(1, "b")).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    let exists: bool = server.command("EXISTS other.app/{acme}:grant").await;
    assert!(exists);
    for bad in ["", "a b", "{a}", "é", "*", "a\n", &"x".repeat(65)] {
        let error = store.clone().prefix(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
    }
}

#[tokio::test]
async fn permissions_on_the_module_page_are_sufficient() {
    let server = Server::launch().await;
    let page = include_str!("../../src/store/redis/mod.rs");
    let mut blocks = page.split("```");
    let block = blocks.find(|block| block.contains("+evalsha")).unwrap();
    let words = block.split_whitespace();
    let permissions: Vec<&str> = words
        .filter(|word| word.starts_with(['~', '&', '+']))
        .collect();
    let permissions = permissions.join(" ");
    let user = format!("ACL SETUSER app on >word resetkeys resetchannels -@all {permissions}");
    server.command::<()>(&user).await;
    let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
    let store = RedisStore::connect(redis::Client::open(url).unwrap())
        .await
        .unwrap();
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    commit(&store, &acme, Some(1), &grant(2, "b")).await;
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(2, "b")));
    assert_eq!(
        store.tenants(None, 1).await.unwrap(),
        std::slice::from_ref(&acme)
    );
    let owner = LeaseOwner::random();
    store.acquire(&acme, &owner, LIMIT).await.unwrap();
    crate::watch::is_notified_of(&store, &acme, store.release(&acme, &owner)).await;
    let with_replicas = store
        .clone()
        .wait_for_replicas(1, std::time::Duration::from_millis(1));
    let error = with_replicas
        .save(&acme, None, &grant(1, "c"))
        .await
        .unwrap_err();
    assert!(crate::with_sources(&error).contains("0 of 1 required replicas"));
}

#[tokio::test]
async fn missing_permission_is_named() {
    let server = Server::launch().await;
    server
        .command::<()>("ACL SETUSER app on >word ~* &* +@all -hset")
        .await;
    let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
    let limited = RedisStore::connect(redis::Client::open(url).unwrap())
        .await
        .unwrap();
    let acme = tenant("acme");
    let error = limited.save(&acme, None, &grant(1, "a")).await;
    let message = crate::with_sources(&error.unwrap_err());
    assert!(message.contains("lacks a permission"), "{message}");
    assert_eq!(store(&server).await.load(&acme).await.unwrap(), None);
}

fn token_of(number: u64) -> String {
    format!("token-{number}")
}

/// The slot as specified by Redis Cluster: CRC16 (XMODEM) of the text in the first braces, modulo
/// 16384.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty());
    let mut crc = 0_u16;
    for byte in hashed.unwrap_or(key).bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % 16_384
}

#[test]
fn slots_match_the_specification() {
    assert_eq!(slot("123456789"), 0x31c3);
    assert_eq!(slot("a{123456789}b"), 0x31c3);
}
