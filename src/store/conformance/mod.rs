//! Tests that a [`TokenStore`](super::TokenStore) keeps its contract.
//!
//! [`store_conformance_tests!`](crate::store_conformance_tests) expands to one ordinary test per
//! rule. The functions below are the rules, each with what it requires. A complete test module of a
//! store:
//!
//! ```test_harness
//! use tower_oauth2_client::{store::MemoryStore, store_conformance_tests};
//!
//! store_conformance_tests!(
//!     {
//!         let store = MemoryStore::new();
//!         async move || store.clone()
//!     },
//!     changed,
//!     tenants
//! );
//! ```
//!
//! ```text
//! test calls_complete ... ok
//! test changed_wakes ... ok
//! test dropped_save_is_atomic ... FAILED
//! ```
//!
//! # The argument
//!
//! The argument is an async closure, or the path of an async function, that opens the store under
//! test. Each test calls it four times, as four processes would open the same store: all handles
//! must reach the same data. It panics if the store cannot be opened. For a database:
//!
//! ```no_run
//! # use tower_oauth2_client::store::MemoryStore as MyStore;
//! # async fn connect(_: &str) -> std::io::Result<MyStore> { unimplemented!() }
//! use tower_oauth2_client::store_conformance_tests;
//!
//! async fn open() -> MyStore {
//!     connect("postgres://localhost/test").await.unwrap()
//! }
//!
//! store_conformance_tests!(open, tenants);
//! ```
//!
//! The argument is evaluated once in each test, inside an async function. A block can create what a
//! test needs, such as a temporary directory, and move it into the closure, which is dropped when
//! the test ends.
//!
//! Optional methods are tested if they are named after the argument: `changed` for
//! [`TokenStore::changed`](super::TokenStore::changed), `subscribe` for
//! [`TokenStore::subscribe`](super::TokenStore::subscribe), `tenants` for
//! [`TokenStore::tenants`](super::TokenStore::tenants).
//!
//! Each test has the attribute `#[tokio::test(flavor = "multi_thread")]`, so that concurrent calls
//! run on several threads. Your dev-dependency on tokio needs the features `macros` and
//! `rt-multi-thread`. Another attribute goes before the argument:
//! `store_conformance_tests!(#[tokio::test] open, tenants)`.
//!
//! # What the tests do to a store
//!
//! The tests save about 250 small grants and acquire 110 leases, for tenants whose names contain 20
//! random digits. The store need not be empty, and its other grants are not changed. Nothing is
//! deleted afterwards, since a store has no such call: use a database or a directory that you can
//! throw away. The tests of `tenants` list all tenants several times.
//!
//! The test of expiring leases takes half a second, the others as long as the store needs. A call
//! that is not ready after 10 seconds fails its test.
//!
//! # What a failure says
//!
//! The panic message starts with the name of the rule, then says what was expected and what
//! happened. It never contains a token. No call may fail, except for concurrent saves: a store can
//! fail in production, but these tests give it no reason to.
//!
//! One fault can break several rules. Start with the topmost of these:
//!
//! 1. [`opens`], [`calls_complete`], [`unknown_tenant_has_no_grant`], [`save_commits`]
//! 2. [`save_is_conditional`], [`superseded_returns_the_stored_grant`]
//! 3. [`every_state_round_trips`], [`identity_round_trips`], [`save_may_keep_the_generation`],
//!    [`generations_may_skip`], [`revoked_grant_is_kept`], [`tenants_are_isolated`]
//! 4. [`saves_are_visible_to_all_handles`], [`one_of_concurrent_saves_commits`],
//!    [`loads_are_monotonic`], [`dropped_save_is_atomic`]
//! 5. [`lease_and_grant_are_independent`], [`lease_has_one_owner`], [`lease_expires`],
//!    [`lease_is_extended_by_its_owner`], [`lease_is_released_by_its_owner_only`],
//!    [`leases_are_isolated`], [`reserved_names_have_leases`]
//! 6. with `changed`: [`changed_wakes`]
//! 7. with `subscribe`: [`saves_are_announced`], [`announced_saves_can_be_loaded`]
//! 8. with `tenants`: [`every_tenant_is_listed`], [`listing_survives_saves`],
//!    [`listing_resumes_after_any_name`]
//!
//! # What the tests cannot detect
//!
//! Test yourself, or trust your database for, the rest of the contract: that a committed save
//! survives a power failure, that a grant that cannot be read is an error and stays in place, and
//! that two machines agree on when a lease expires.

mod announcements;
mod grants;
mod leases;
mod lists;
mod names;
mod samples;
mod suite;

pub use self::{
    announcements::{announced_saves_can_be_loaded, saves_are_announced},
    grants::{
        calls_complete, dropped_save_is_atomic, every_state_round_trips, generations_may_skip,
        identity_round_trips, loads_are_monotonic, one_of_concurrent_saves_commits, opens,
        revoked_grant_is_kept, save_commits, save_is_conditional, save_may_keep_the_generation,
        saves_are_visible_to_all_handles, superseded_returns_the_stored_grant,
        tenants_are_isolated, unknown_tenant_has_no_grant,
    },
    leases::{
        changed_wakes, lease_and_grant_are_independent, lease_expires, lease_has_one_owner,
        lease_is_extended_by_its_owner, lease_is_released_by_its_owner_only, leases_are_isolated,
        reserved_names_have_leases,
    },
    lists::{every_tenant_is_listed, listing_resumes_after_any_name, listing_survives_saves},
    suite::Suite,
};

/// Expands to one test per rule of the [`TokenStore`](crate::store::TokenStore) contract.
///
/// ```test_harness
/// use tower_oauth2_client::{store::FileStore, store_conformance_tests};
///
/// store_conformance_tests!(
///     {
///         let directory = tempfile::tempdir().unwrap();
///         async move || FileStore::open(directory.path()).unwrap()
///     },
///     tenants
/// );
/// ```
///
/// The page of [`store::conformance`](crate::store::conformance) explains the arguments, the tests
/// and their messages.
#[macro_export]
macro_rules! store_conformance_tests {
    (@required [$($then:tt)+] $($arguments:tt)*) => {
        $($then)+! {
            $($arguments)*
            opens
            calls_complete
            unknown_tenant_has_no_grant
            save_commits
            save_is_conditional
            superseded_returns_the_stored_grant
            every_state_round_trips
            identity_round_trips
            save_may_keep_the_generation
            generations_may_skip
            revoked_grant_is_kept
            tenants_are_isolated
            saves_are_visible_to_all_handles
            one_of_concurrent_saves_commits
            loads_are_monotonic
            dropped_save_is_atomic
            lease_and_grant_are_independent
            lease_has_one_owner
            lease_expires
            lease_is_extended_by_its_owner
            lease_is_released_by_its_owner_only
            leases_are_isolated
            reserved_names_have_leases
        }
    };
    (@changed [$($then:tt)+] $($arguments:tt)*) => {
        $($then)+! { $($arguments)* changed_wakes }
    };
    (@subscribe [$($then:tt)+] $($arguments:tt)*) => {
        $($then)+! {
            $($arguments)*
            saves_are_announced
            announced_saves_can_be_loaded
        }
    };
    (@tenants [$($then:tt)+] $($arguments:tt)*) => {
        $($then)+! {
            $($arguments)*
            every_tenant_is_listed
            listing_survives_saves
            listing_resumes_after_any_name
        }
    };
    (@tests ($test:meta) ($open:expr) $($rule:ident)+) => {
        $(
            #[$test]
            async fn $rule() {
                let open = $open;
                let suite = $crate::store::conformance::Suite::open(stringify!($rule), &open).await;
                $crate::store::conformance::$rule(&suite).await;
            }
        )+
    };
    (#[$test:meta] $open:expr $(, $optional:ident)* $(,)?) => {
        $crate::store_conformance_tests! {
            @required [$crate::store_conformance_tests] @tests ($test) ($open)
        }
        $(
            $crate::store_conformance_tests! {
                @$optional [$crate::store_conformance_tests] @tests ($test) ($open)
            }
        )*
    };
    ($open:expr $(, $optional:ident)* $(,)?) => {
        $crate::store_conformance_tests! {
            #[tokio::test(flavor = "multi_thread")] $open $(, $optional)*
        }
    };
}
