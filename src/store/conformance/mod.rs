//! Does a store of your own keep its contract? Ask before your customers do.
//!
//! [`check`] holds any [`TokenStore`] to what the trait promises, rule by [`Rule`], and [`Report`] says what it has seen. A
//! whole test of a store:
//!
//! ```
//! use tower_oauth2_client::store::{MemoryStore, conformance};
//!
//! # tokio_test::block_on(async {
//! let store = MemoryStore::new();
//! // Yours connects here, to a database that is there for tests. Called several times: each is one process more.
//! let open = || async { Ok(store.clone()) };
//! conformance::check(open).await.assert();
//! # });
//! ```
//!
//! A store that implements [`changed`](TokenStore::changed) or [`tenants`](TokenStore::tenants) has that looked at as well:
//!
//! ```
//! use tower_oauth2_client::store::{MemoryStore, conformance::Check};
//!
//! # tokio_test::block_on(async {
//! # let store = MemoryStore::new();
//! let check = Check::new(|| async { Ok(store.clone()) });
//! let report = check.tells_of_changes(true).lists_tenants(true).run().await;
//! assert!(report.is_clean(), "{report}");
//! # });
//! ```
//!
//! # What it does to a store
//!
//! It saves about 150 small grants (70 more where tenants are listed) and takes as many leases, for tenants whose names hold 20 random digits. So a store need not
//! be empty, and what is there already is left alone; but nothing is cleared away afterwards, since a store has no call for
//! that. Give it a database, or a folder, that you throw away. Where tenants are listed, all are, a few times over.
//!
//! It takes a second or two, in which a short lease runs out, and what the store takes. Where many come at once they come in
//! tasks of their own, so `#[tokio::test(flavor = "multi_thread")]` shows more. A call that is not ready after 10 seconds is
//! given up, and so is what needs it; but one that blocks its thread instead of waiting, on a runtime of one thread, blocks
//! the check too.
//!
//! # What it says
//!
//! One fault, one rule: a rule that rests on a broken one is not looked at, so mend what is told and check once more. What
//! is told quotes no token; the tokens are made up anyway. A call that fails breaks the rule it was made for, though a
//! store may fail in life: in a test there is no reason to. Only where many save at once may some fail and try again.
//!
//! # What it cannot see
//!
//! Whether a committed save survives a power cut; whether what cannot be read is an error, and left as it is; whether two
//! machines agree on when a lease ends. Those are yours to test, or to trust your database with.

use std::future::Future;

use super::TokenStore;
use crate::error::Error;

mod changes;
mod dropped;
mod grants;
mod handles;
mod leases;
mod lists;
mod report;
mod samples;
mod scene;
mod tenants;

pub use self::report::{Report, Rule, Violation};
use self::scene::Scene;

/// As many as replicas usually are.
const HANDLES: usize = 4;

/// Holds a store to its contract. `open` opens the same store once more, as another process would.
///
/// For a store that does more than it has to, see [`Check::tells_of_changes`] and [`Check::lists_tenants`].
pub async fn check<S, F, O>(open: F) -> Report
where
    S: TokenStore,
    F: Fn() -> O,
    O: Future<Output = Result<S, Error>>,
{
    Check::new(open).run().await
}

/// A check that is yet to be made.
#[derive(Clone, Debug)]
#[must_use = "nothing is checked before `run`"]
pub struct Check<F> {
    open: F,
    tells_of_changes: bool,
    lists_tenants: bool,
}

impl<F> Check<F> {
    /// `open` opens the same store once more, as another process would.
    pub fn new(open: F) -> Self {
        Self {
            open,
            tells_of_changes: false,
            lists_tenants: false,
        }
    }

    /// Whether the store can tell, so that [`Rule::ChangedWakes`] is looked at too. By default it is not: the trait's own
    /// [`changed`](TokenStore::changed) never ends.
    pub fn tells_of_changes(mut self, tells: bool) -> Self {
        self.tells_of_changes = tells;
        self
    }

    /// Whether the store can list its tenants, so that [`Rule::EveryTenantIsListed`] and the rules after it are looked at too.
    /// By default they are not: the trait's own [`tenants`](TokenStore::tenants) is an error.
    pub fn lists_tenants(mut self, lists: bool) -> Self {
        self.lists_tenants = lists;
        self
    }

    /// Looks at every rule.
    pub async fn run<S, O>(self) -> Report
    where
        S: TokenStore,
        F: Fn() -> O,
        O: Future<Output = Result<S, Error>>,
    {
        let mut scene = Scene::new();
        for _ in 0..HANDLES {
            if scene.open((self.open)()).await.is_err() {
                return scene.report;
            }
        }
        grants::look(&mut scene).await;
        tenants::look_at_grants(&mut scene).await;
        handles::look(&mut scene).await;
        dropped::look(&mut scene).await;
        leases::look(&mut scene).await;
        tenants::look_at_leases(&mut scene).await;
        if self.tells_of_changes {
            changes::look(&mut scene).await;
        }
        if self.lists_tenants {
            lists::look(&mut scene).await;
        }
        scene.report
    }
}
