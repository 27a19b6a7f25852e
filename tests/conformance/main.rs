//! What every store promises, held against each of them, and against some that break it.

#[cfg(feature = "__server-tests")]
#[path = "../support/postgres.rs"]
mod postgres;
#[cfg(feature = "__server-tests")]
#[path = "../support/redis.rs"]
mod redis_server;
#[cfg(feature = "__server-tests")]
#[path = "../support/shared_store.rs"]
mod shared_store;

mod altered;
mod broken;
mod flaws;
mod listed;
mod world;

use std::{collections::BTreeSet, path::Path};

use tower_oauth2_client::{
    Error,
    store::{
        FileStore, MemoryStore,
        conformance::{Check, Report, Rule, Violation, check},
    },
};

use self::{
    broken::Broken,
    flaws::{FLAWS, Flaw},
    world::World,
};

async fn file(folder: &Path) -> Report {
    let check = Check::new(|| async { FileStore::open(folder) });
    check.lists_tenants(true).run().await
}

async fn memory() -> Report {
    let store = MemoryStore::new();
    let check = Check::new(|| async { Ok(store.clone()) });
    check.tells_of_changes(true).lists_tenants(true).run().await
}

#[tokio::test]
async fn p12_p23_memory_keeps_the_contract() {
    memory().await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p12_memory_keeps_the_contract_on_several_threads() {
    // Spawned, so that a check can be: its future is `Send`.
    tokio::spawn(memory()).await.unwrap().assert();
}

#[tokio::test]
async fn p12_file_keeps_the_contract_and_need_not_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path()).await.assert();
    file(folder.path()).await.assert();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p12_file_keeps_the_contract_on_several_threads() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path()).await.assert();
}

#[cfg(feature = "encryption")]
mod encrypted {
    use tower_oauth2_client::{
        Error,
        store::{EncryptedStore, EncryptionKey, EncryptionKeys, TokenStore},
    };

    use super::{Check, FileStore, MemoryStore};

    /// The same keys each time, as another process would have.
    pub(super) fn encrypted<S: TokenStore>(inner: S) -> Result<EncryptedStore<S>, Error> {
        let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32])?);
        EncryptedStore::new(inner, keys, "client")
    }

    #[tokio::test]
    async fn p12_p23_encrypted_memory_keeps_the_contract() {
        let store = MemoryStore::new();
        let check = Check::new(|| async { encrypted(store.clone()) });
        let check = check.tells_of_changes(true).lists_tenants(true);
        check.run().await.assert();
    }

    #[tokio::test]
    async fn p12_p23_encrypted_files_keep_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let check = Check::new(|| async { encrypted(FileStore::open(folder.path())?) });
        check.lists_tenants(true).run().await.assert();
    }
}

#[cfg(all(feature = "__server-tests", feature = "encryption"))]
mod servers {
    use super::{Check, encrypted::encrypted, postgres, redis_server, shared_store};
    use shared_store::{Backend, SharedStore};

    /// As it is, and with everything encrypted.
    async fn keeps_the_contract(backend: Backend) {
        let place = backend.place().await;
        let open = || async { Ok(SharedStore::open(&place.word).await) };
        let check = Check::new(open).tells_of_changes(true).lists_tenants(true);
        check.run().await.assert();
        let open = || async { encrypted(SharedStore::open(&place.word).await) };
        let check = Check::new(open).tells_of_changes(true).lists_tenants(true);
        check.run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_p23_postgres_keeps_the_contract() {
        keeps_the_contract(Backend::Postgres(postgres::Server::new())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_p23_redis_keeps_the_contract() {
        keeps_the_contract(Backend::Redis(redis_server::Server::begin().await)).await;
    }
}

/// In virtual time, so that leases run out, and calls that hang are given up, at once.
async fn look(flaw: Flaw) -> (Report, World) {
    let world = World::new(flaw);
    let check = Check::new(|| async { Ok(Broken::open(&world)) });
    let check = check.tells_of_changes(true).lists_tenants(true);
    (check.run().await, world)
}

#[tokio::test(start_paused = true)]
async fn a_store_without_a_flaw_is_clean() {
    let (report, _) = look(Flaw::None).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.to_string(), "the store keeps its contract");
    report.assert();
}

#[tokio::test(start_paused = true)]
async fn each_flaw_breaks_the_rules_that_it_is_meant_for_and_no_other() {
    let mut wrong = Vec::new();
    for (flaw, rules) in FLAWS {
        let (report, _) = look(*flaw).await;
        let broken: BTreeSet<Rule> = report.violations().iter().map(Violation::rule).collect();
        let meant: BTreeSet<Rule> = rules.iter().copied().collect();
        if broken != meant {
            wrong.push(format!("{flaw:?} is not {meant:?}: {report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn p21_no_report_quotes_a_token() {
    for (flaw, _) in FLAWS {
        let (report, world) = look(*flaw).await;
        let text = format!("{report} {report:?}");
        for token in world.tokens() {
            assert!(!text.contains(&token), "{flaw:?}: {token}");
        }
    }
}

#[test]
fn every_rule_has_a_store_that_breaks_it() {
    let broken: BTreeSet<Rule> = FLAWS
        .iter()
        .flat_map(|(_, rules)| *rules)
        .copied()
        .collect();
    let without_opening: BTreeSet<Rule> = Rule::ALL.iter().copied().skip(1).collect();
    assert_eq!(broken, without_opening);
}

#[test]
fn names_are_distinct_and_those_of_the_variants() {
    let names: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        let squeezed = rule.name().replace('_', "");
        assert_eq!(squeezed, format!("{rule:?}").to_lowercase());
        assert_eq!(rule.to_string(), rule.name());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_opened_is_told_with_its_cause() {
    let open = || async { Err::<MemoryStore, _>(Error::store("no such host")) };
    let report = check(open).await;
    let [violation] = report.violations() else {
        panic!("{report}");
    };
    assert_eq!(violation.rule(), Rule::Opens);
    assert!(violation.seen().contains("no such host"), "{violation}");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "* save_is_conditional: a save that expected ")]
async fn what_is_asserted_of_a_broken_store_panics_with_the_list() {
    look(Flaw::IgnoresExpected).await.0.assert();
}
