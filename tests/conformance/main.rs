//! The contract of stores: kept by every store of the crate, and broken by stores with a flaw.

#[cfg(feature = "__server-tests")]
#[path = "../support/postgres.rs"]
mod postgres;
#[cfg(feature = "__server-tests")]
#[path = "../support/redis.rs"]
mod redis_server;
#[cfg(feature = "__server-tests")]
#[path = "../support/shared_store.rs"]
mod shared_store;

mod broken;
mod flaws;
mod lists;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use futures_util::future::LocalBoxFuture;
use tower_oauth2_client::{
    Error,
    store::{
        AnyStore, FileStore, MemoryStore,
        conformance::{self, Suite},
    },
    store_conformance_tests,
};

use self::{
    broken::{Broken, Database},
    flaws::{FLAWS, Flaw},
};

fn memory() -> impl AsyncFn() -> MemoryStore {
    let store = MemoryStore::new();
    async move || store.clone()
}

fn file() -> impl AsyncFn() -> FileStore {
    let directory = tempfile::tempdir().unwrap();
    async move || FileStore::open(directory.path()).unwrap()
}

/// A directory that contains another suite's grants.
async fn used_file() -> impl AsyncFn() -> FileStore {
    let open = file();
    let earlier = Suite::open("another suite", &open).await;
    conformance::every_state_round_trips(&earlier).await;
    conformance::listing_resumes_after_any_name(&earlier).await;
    conformance::lease_has_one_owner(&earlier).await;
    open
}

mod p12_p23_memory {
    super::store_conformance_tests!(
        #[tokio::test]
        super::memory(),
        changed,
        subscribe,
        tenants
    );
}

mod p12_memory_on_several_threads {
    super::store_conformance_tests!(super::memory(), changed, subscribe, tenants);
}

mod p12_any_store {
    use super::AnyStore;

    super::store_conformance_tests!(
        #[tokio::test]
        {
            let store = AnyStore::new(super::MemoryStore::new());
            async move || store.clone()
        },
        changed,
        subscribe,
        tenants
    );
}

mod p12_file {
    super::store_conformance_tests!(
        #[tokio::test]
        super::file(),
        subscribe,
        tenants
    );
}

mod p12_file_on_several_threads {
    super::store_conformance_tests!(super::file(), subscribe, tenants);
}

mod p12_file_that_is_not_empty {
    super::store_conformance_tests!(super::used_file().await, subscribe, tenants);
}

#[cfg(feature = "encryption")]
mod encrypted {
    use tower_oauth2_client::store::{EncryptedStore, EncryptionKey, EncryptionKeys, TokenStore};

    use super::{file, memory};

    /// Each handle gets equal keys, as in several processes.
    pub(super) fn encrypted<S: TokenStore>(
        open: impl AsyncFn() -> S,
    ) -> impl AsyncFn() -> EncryptedStore<S> {
        async move || {
            let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32]).unwrap());
            EncryptedStore::new(open().await, keys, "client").unwrap()
        }
    }

    mod p12_p23_memory {
        use super::*;
        crate::store_conformance_tests!(encrypted(memory()), changed, subscribe, tenants);
    }

    mod p12_p23_file {
        use super::*;
        crate::store_conformance_tests!(encrypted(file()), subscribe, tenants);
    }
}

#[cfg(all(feature = "__server-tests", feature = "encryption"))]
mod servers {
    use std::sync::LazyLock;

    use tokio::sync::Semaphore;

    use super::{encrypted::encrypted, postgres, redis_server};
    use crate::shared_store::{Backend, SharedStore};

    /// One server for all tests. It ends with the process.
    static POSTGRES: LazyLock<Backend> =
        LazyLock::new(|| Backend::Postgres(postgres::Server::new()));

    /// A suite has a dozen connections, and the server accepts a hundred.
    static SUITES: Semaphore = Semaphore::const_new(6);

    async fn postgres() -> impl AsyncFn() -> SharedStore {
        let (permit, location) = (SUITES.acquire().await, POSTGRES.new_store().await);
        async move || {
            let _ = &permit;
            SharedStore::open(&location.url).await
        }
    }

    async fn redis() -> impl AsyncFn() -> SharedStore {
        let server = Backend::Redis(redis_server::Server::launch().await);
        let location = server.new_store().await;
        async move || {
            let _ = &server;
            SharedStore::open(&location.url).await
        }
    }

    mod p12_p23_postgres {
        crate::store_conformance_tests!(super::postgres().await, changed, subscribe, tenants);
    }

    mod p12_p23_encrypted_postgres {
        use super::*;
        crate::store_conformance_tests!(encrypted(postgres().await), changed, subscribe, tenants);
    }

    mod p12_p23_redis {
        crate::store_conformance_tests!(super::redis().await, changed, subscribe, tenants);
    }

    mod p12_p23_encrypted_redis {
        use super::*;
        crate::store_conformance_tests!(encrypted(redis().await), changed, subscribe, tenants);
    }
}

/// A rule: its name, and its test.
type Rule = (&'static str, fn(&Suite<Broken>) -> LocalBoxFuture<'_, ()>);

macro_rules! list {
    ($($rule:ident)+) => {
        vec![$((stringify!($rule), |suite| Box::pin(conformance::$rule(suite)))),+]
    };
}

/// All rules, in order.
fn rules() -> Vec<Rule> {
    let required: Vec<Rule> = store_conformance_tests!(@required [list]);
    let changed: Vec<Rule> = store_conformance_tests!(@changed [list]);
    let tenants: Vec<Rule> = store_conformance_tests!(@tenants [list]);
    let subscribe: Vec<Rule> = store_conformance_tests!(@subscribe [list]);
    [required, changed, subscribe, tenants].concat()
}

/// The panic message of the rule, if the store breaks it.
///
/// Time is virtual: leases expire and calls reach their deadline at once.
fn broken(flaw: Flaw, (name, rule): Rule, database: &Arc<Database>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let test = AssertUnwindSafe(async || {
        let suite = Suite::open(name, async || Broken::open(flaw, database)).await;
        rule(&suite).await;
    });
    let panic = catch_unwind(|| runtime.block_on((*test)())).err()?;
    Some(*panic.downcast().unwrap())
}

#[test]
fn p12_store_without_a_flaw_breaks_no_rule() {
    for rule in rules() {
        assert_eq!(broken(Flaw::None, rule, &Arc::default()), None);
    }
}

#[test]
fn p12_each_flaw_breaks_its_rules_and_none_before_them() {
    for (flaw, its_rules) in FLAWS {
        let breaks = |rule: &Rule| broken(*flaw, *rule, &Arc::default()).is_some();
        let broken = rules().into_iter().filter(breaks).map(|(name, _)| name);
        let broken: Vec<&str> = broken.collect();
        assert!(
            its_rules.iter().all(|rule| broken.contains(rule)),
            "{flaw:?}: {broken:?}"
        );
        assert!(its_rules.contains(&broken[0]), "{flaw:?}: {broken:?}");
    }
}

#[test]
fn p21_no_message_contains_a_token() {
    for (flaw, _) in FLAWS {
        for rule in rules() {
            let database = Arc::default();
            let message = broken(*flaw, rule, &database).unwrap_or_default();
            for token in database.tokens() {
                assert!(!message.contains(&token), "{flaw:?}: {token}");
            }
        }
    }
}

#[test]
fn p12_each_rule_but_opening_is_broken_by_a_flaw() {
    let broken: BTreeSet<&str> = FLAWS
        .iter()
        .flat_map(|(_, rules)| *rules)
        .copied()
        .collect();
    let rules: BTreeSet<&str> = rules().into_iter().skip(1).map(|(name, _)| name).collect();
    assert_eq!(broken, rules);
}

#[test]
fn p12_message_starts_with_the_rule_and_says_what_was_expected() {
    let rule = rules()
        .into_iter()
        .find(|(name, _)| *name == "save_is_conditional");
    let message = broken(Flaw::IgnoresExpected, rule.unwrap(), &Arc::default()).unwrap();
    let expected = "save_is_conditional: expected Superseded from a save over generation 0, while \
                    no grant is stored; got Committed";
    assert_eq!(message, expected);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "no such host")]
async fn p12_store_that_cannot_be_opened_fails_with_its_cause() {
    let connect = || -> Result<MemoryStore, Error> { Err(Error::store("no such host")) };
    let open = async || connect().unwrap();
    conformance::opens(&Suite::open("opens", open).await).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "opens: open was not ready after 10 s")]
async fn p12_store_that_never_opens_reaches_the_deadline() {
    let open = async || std::future::pending::<MemoryStore>().await;
    conformance::opens(&Suite::open("opens", open).await).await;
}
