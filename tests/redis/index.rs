//! The index of tenants.

use tower_oauth2_client::{
    ErrorKind,
    store::{RedisStore, TokenStore},
    token::TenantId,
};

use crate::{
    Server, commit, grant, server_and_store, store, support::all_tenants as all, tenant,
    with_sources,
};

const INDEX: &str = "tower-oauth2:tenants";

/// In the order of their encoded names, which is the order of pages.
const NAMES: [&str; 8] = ["{a}", "é", "*", "a", "a+b", "a/b", "ab", "tenants"];

async fn eight(store: &RedisStore) -> Vec<TenantId> {
    let tenants: Vec<_> = NAMES.map(tenant).into();
    for tenant in tenants.iter().rev() {
        commit(store, tenant, None, &grant(1, "a")).await;
    }
    tenants
}

#[tokio::test]
async fn pages_list_each_tenant_once_in_one_order() {
    let (_server, store) = server_and_store().await;
    assert_eq!(all(&store, 10).await, []);
    let tenants = eight(&store).await;
    for limit in [1, 2, 3, 4, 7, 8, usize::MAX] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
    assert_eq!(store.tenants(None, 0).await.unwrap(), []);
    let other = store.clone().prefix("other:").unwrap();
    assert_eq!(all(&other, 10).await, [], "prefixes are isolated");
}

#[tokio::test]
async fn index_is_written_before_the_grant() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    // A user that can write the index, but no grants.
    server
        .command::<()>("ACL SETUSER app on >word ~* &* +@all -hset")
        .await;
    let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
    let limited = RedisStore::connect(redis::Client::open(url).unwrap());
    let limited = limited.await.unwrap();
    limited.save(&acme, None, &grant(1, "a")).await.unwrap_err();
    assert_eq!(store.load(&acme).await.unwrap(), None);
    assert_eq!(all(&store, 10).await, [acme]);
}

/// Loses the index, or a part of it, by commands. An entry is a list of commands.
const LOSSES: [(&str, &[&str]); 7] = [
    ("deleted", &["DEL tower-oauth2:tenants"]),
    ("unlinked", &["UNLINK tower-oauth2:tenants"]),
    ("expired", &["PEXPIRE tower-oauth2:tenants 0"]),
    ("emptied", &["ZREMRANGEBYRANK tower-oauth2:tenants 0 -1"]),
    ("renamed", &["RENAME tower-oauth2:tenants elsewhere"]),
    ("of another type", &["SET tower-oauth2:tenants secret"]),
    // As after a failover to a replica that had an earlier state.
    (
        "lost and partly written again",
        &[
            "DEL tower-oauth2:tenants",
            "ZADD tower-oauth2:tenants 0 a 0 another",
        ],
    ),
];

#[tokio::test]
async fn p19_lost_index_is_restored_by_the_next_listing_of_any_process() {
    let (server, one) = server_and_store().await;
    let tenants = eight(&one).await;
    let two = store(&server).await;
    for (loss, commands) in LOSSES {
        for store in [&one, &two] {
            assert_eq!(all(store, 3).await, tenants, "before: {loss}");
            for command in commands {
                server.command::<()>(command).await;
            }
            let mut listed = all(store, 3).await;
            // Names without a grant may be listed.
            listed.retain(|listed| *listed != tenant("another"));
            assert_eq!(listed, tenants, "{loss}");
            server
                .command::<()>("ZREM tower-oauth2:tenants another")
                .await;
            let moved: Option<String> = server
                .command("GETDEL tower-oauth2:{tower-oauth2:tenants}:moved")
                .await;
            // The value of another program is kept.
            let is_kept = moved.as_deref() == Some("secret");
            assert_eq!(is_kept, loss == "of another type", "{loss}");
        }
    }
}

#[tokio::test]
async fn p19_index_that_is_lost_during_a_listing_is_restored() {
    let (server, store) = server_and_store().await;
    let tenants = eight(&store).await;
    for (loss, commands) in LOSSES {
        let mut listed = store.tenants(None, 3).await.unwrap();
        for command in commands {
            server.command::<()>(command).await;
        }
        loop {
            let page = store.tenants(listed.last(), 3).await.unwrap();
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        listed.retain(|listed| *listed != tenant("another"));
        assert_eq!(listed, tenants, "{loss}");
        server
            .command::<()>("DEL tower-oauth2:{tower-oauth2:tenants}:moved")
            .await;
    }
}

#[tokio::test]
async fn p19_each_save_adds_its_name_again() {
    let (server, store) = server_and_store().await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    // An intent has the generation of the grant that it replaces.
    for (expected, new) in [(1, 1), (1, 2), (2, 3)] {
        for loss in ["DEL tower-oauth2:tenants", "ZREM tower-oauth2:tenants acme"] {
            server.command::<()>(loss).await;
        }
        commit(&store, &acme, Some(expected), &grant(new, "b")).await;
        let score: f64 = server.command(&format!("ZSCORE {INDEX} acme")).await;
        assert!(score.abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn p19_missing_names_are_found_once_a_day() {
    let (server, store) = server_and_store().await;
    let tenants = eight(&store).await;
    assert_eq!(all(&store, 10).await, tenants);
    for lost in ["a", "%C3%A9", "%7Ba%7D"] {
        server.command::<()>(&format!("ZREM {INDEX} {lost}")).await;
    }
    assert_eq!(all(&store, 10).await.len(), 5, "the last scan was just now");
    let now: Vec<u64> = server.command("TIME").await;
    let scanned_at = |seconds: u64| format!("{{scanned:{seconds}}}");
    let marks: Vec<String> = server.command(&format!("ZRANGEBYLEX {INDEX} [{{ +")).await;
    assert_eq!(marks.len(), 1, "{marks:?}");
    server
        .command::<()>(&format!("ZREM {INDEX} {}", marks[0]))
        .await;
    let yesterday = scanned_at(now[0] - 86_400);
    server
        .command::<()>(&format!("ZADD {INDEX} 0 {yesterday}"))
        .await;
    assert_eq!(all(&store, 10).await, tenants);
    let marks: Vec<String> = server.command(&format!("ZRANGEBYLEX {INDEX} [{{ +")).await;
    assert!(
        marks.len() == 1 && marks[0] >= scanned_at(now[0]),
        "{marks:?}"
    );
}

#[tokio::test]
async fn p19_imported_grants_are_listed() {
    let (server, one) = server_and_store().await;
    let tenants = eight(&one).await;
    let other = Server::launch().await;
    let keys: Vec<String> = server.command("KEYS tower-oauth2:{*}:grant").await;
    for key in keys {
        let port = other.port();
        let migrate = format!("MIGRATE 127.0.0.1 {port} {key} 0 10000 COPY");
        server.command::<()>(&migrate).await;
    }
    assert_eq!(all(&store(&other).await, 3).await, tenants);
}

/// Adds keys of another program.
async fn add_other_keys(server: &Server, count: u32) {
    server.command::<()>("CONFIG SET appendonly no").await;
    let mut connection = server
        .client()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    for first in (0..count).step_by(1_000) {
        let script = "for number = ARGV[1], ARGV[1] + 999 do redis.call('SET', number, '') end";
        let mut command = redis::cmd("EVAL");
        let command = command.arg(script).arg(0).arg(first);
        command.exec_async(&mut connection).await.unwrap();
    }
}

/// Other programs' keys delay the scan, and a call does not take long.
#[tokio::test]
async fn p19_scan_of_many_keys_continues_in_the_next_call() {
    let (server, store) = server_and_store().await;
    let tenants = eight(&store).await;
    add_other_keys(&server, 600_000).await;
    assert_eq!(
        store.tenants(None, 10).await.unwrap_err().kind(),
        ErrorKind::Store
    );
    assert_eq!(all(&store, 10).await, tenants);
    // A complete index serves while a daily scan is in progress.
    let mark: Vec<String> = server.command(&format!("ZRANGEBYLEX {INDEX} [{{ +")).await;
    server
        .command::<()>(&format!("ZREM {INDEX} {} a", mark[0]))
        .await;
    server
        .command::<()>(&format!("ZADD {INDEX} 0 {{scanned:1}}"))
        .await;
    let first = store.tenants(None, 10).await.unwrap();
    assert!(first.len() >= tenants.len() - 1);
    assert_eq!(all(&store, 10).await, tenants);
}

#[tokio::test]
async fn p19_index_that_is_lost_during_a_scan_is_scanned_again() {
    let (server, store) = server_and_store().await;
    let tenants = eight(&store).await;
    add_other_keys(&server, 600_000).await;
    store.tenants(None, 10).await.unwrap_err();
    server.command::<()>(&format!("DEL {INDEX}")).await;
    let listed = async {
        loop {
            if let Ok(page) = store.tenants(None, 10).await {
                return page;
            }
        }
    };
    let listed = tokio::time::timeout(crate::LIMIT, listed).await.unwrap();
    assert_eq!(listed, tenants);
}

#[tokio::test]
async fn expiry_that_was_set_by_hand_is_removed() {
    let (server, store) = server_and_store().await;
    commit(&store, &tenant("a"), None, &grant(1, "a")).await;
    server.command::<()>(&format!("EXPIRE {INDEX} 1000")).await;
    commit(&store, &tenant("b"), None, &grant(1, "a")).await;
    assert_eq!(server.command::<i64>(&format!("PTTL {INDEX}")).await, -1);
}

#[tokio::test]
async fn invalid_names_are_neither_listed_nor_end_the_listing() {
    let (server, store) = server_and_store().await;
    let tenants = [tenant("b"), tenant("y")];
    for tenant in &tenants {
        commit(&store, tenant, None, &grant(1, "a")).await;
    }
    // Invalid names, and other encodings of valid names.
    for other in ["%61", "%79", "c=d", "c&d", "d{}", "é", "%00", "z%FF"] {
        server
            .command::<()>(&format!("ZADD {INDEX} 0 {other}"))
            .await;
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(all(&store, limit).await, tenants, "{limit}");
    }
}

#[tokio::test]
async fn unwritable_index_prevents_only_new_grants() {
    let (server, one) = server_and_store().await;
    let (acme, new) = (tenant("acme"), tenant("new"));
    commit(&one, &acme, None, &grant(1, "a")).await;
    // The second value of another type is not moved.
    for key in [INDEX, "tower-oauth2:{tower-oauth2:tenants}:moved"] {
        server
            .command::<()>(&format!("SET {key} secret-word"))
            .await;
    }
    let two = store(&server).await;
    commit(&two, &acme, Some(1), &grant(2, "b")).await;
    for error in [
        two.save(&new, None, &grant(1, "a")).await.unwrap_err(),
        two.tenants(None, 10).await.unwrap_err(),
    ] {
        let message = with_sources(&error);
        assert!(
            message.contains("WRONGTYPE") && message.contains(INDEX),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
    assert_eq!(
        two.load(&new).await.unwrap(),
        None,
        "no grant without an index entry"
    );
    server.command::<()>(&format!("DEL {INDEX}")).await;
    assert_eq!(all(&two, 10).await, [acme]);
}
