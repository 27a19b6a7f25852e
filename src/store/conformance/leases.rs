//! Rules for leases and change notifications.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    names::{alike, shown},
    samples::plain,
    suite::{LONG, MANY, Suite, within},
};
use crate::{
    store::{LeaseOutcome, LeaseOwner, TokenStore},
    token::TenantId,
};

/// The purposes of internal leases, with `@` for the suite's tag.
const RESERVED: &[&str] = &["sweep/@", "callback/@", "sweep/@a", "@"];

/// A lease that expires during a test.
const SHORT: Duration = Duration::from_millis(300);

/// How late a lease may expire, for stores that count whole seconds.
const GRACE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(25);

/// How late a change may be reported. Waiting tasks poll the store anyway, so a later report is
/// useless.
const SOON: Duration = Duration::from_secs(1);

const FREE: &str = "the lease is free";

/// A lease exists without a grant, and neither changes the other.
pub async fn lease_and_grant_are_independent(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("lease-alone");
    let (owner, grant) = (LeaseOwner::random(), plain(1, "leased"));
    let without_grant = "a lease needs no grant";
    suite
        .acquires(0, &tenant, &owner, LONG, without_grant)
        .await;
    suite.loads(1, &tenant, None).await;
    // Other handles may save: the lease protects the refresh.
    suite.commit(1, &tenant, None, &grant).await;
    suite.release(0, &tenant, &owner).await;
    suite.loads(1, &tenant, Some(&grant)).await;
    suite.acquires(0, &tenant, &owner, LONG, FREE).await;
    suite.loads(1, &tenant, Some(&grant)).await;

    let mut expected = Some(1);
    for (generation, handle) in [(2, 0), (3, 1)] {
        let grant = plain(generation, "leased");
        suite.commit(handle, &tenant, expected, &grant).await;
        let why = "a save does not end the lease";
        suite.is_held(1, &tenant, why).await;
        expected = Some(generation);
    }
    suite.release(0, &tenant, &owner).await;
}

/// The first owner to ask acquires the lease, whichever handle the others ask: one after another,
/// or 32 at once.
pub async fn lease_has_one_owner(suite: &Suite<impl TokenStore>) {
    let (tenant, owner) = (suite.tenant("lease"), LeaseOwner::random());
    suite.acquires(0, &tenant, &owner, LONG, FREE).await;
    for handle in 0..suite.handles.len() {
        let why = "the first owner has it for a minute";
        suite.is_held(handle, &tenant, why).await;
    }
    suite.release(0, &tenant, &owner).await;
    for round in 0..2 {
        let tenant = suite.tenant(&format!("lease-race-{round}"));
        let mut owners = Vec::new();
        let outcomes = suite.race(|_, store| acquire_for_new_owner(store, tenant.clone()));
        for (outcome, owner) in outcomes.await {
            if suite.unwrap(outcome) == LeaseOutcome::Acquired {
                owners.push(owner);
            }
        }
        let [owner] = &owners[..] else {
            let acquired = owners.len();
            suite.fail(format_args!(
                "expected Acquired for 1 of {MANY} owners that ask at once; got {acquired}"
            ));
        };
        suite.release(0, &tenant, owner).await;
    }
}

async fn acquire_for_new_owner<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
) -> (Result<LeaseOutcome, String>, LeaseOwner) {
    let owner = LeaseOwner::random();
    let outcome = within("acquire", store.acquire(&tenant, &owner, LONG)).await;
    (outcome, owner)
}

/// A lease that is not extended is free after its time, and then another owner's.
pub async fn lease_expires(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("lease-short");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    suite.acquires(0, &tenant, &first, SHORT, FREE).await;
    let acquired_at = Instant::now();
    while suite.acquire(1, &tenant, &second, LONG).await == LeaseOutcome::HeldByAnother {
        if acquired_at.elapsed() > SHORT.saturating_add(GRACE) {
            let late = SHORT.saturating_add(GRACE);
            suite.fail(format_args!(
                "a lease of {SHORT:?} is still held after {late:?}"
            ));
        }
        sleep(PAUSE).await;
    }
    if suite.acquire(0, &tenant, &first, LONG).await == LeaseOutcome::Acquired {
        suite.fail(
            "expected HeldByAnother for an expired lease that another owner has acquired; \
             got Acquired",
        );
    }
    suite.release(1, &tenant, &second).await;
}

/// An owner extends its lease over any handle, also after it has expired, unless another owner has
/// acquired it.
pub async fn lease_is_extended_by_its_owner(suite: &Suite<impl TokenStore>) {
    let tenants = [
        suite.tenant("lease-extended"),
        suite.tenant("lease-revived"),
    ];
    let ([extended, revived], owner) = (&tenants, LeaseOwner::random());
    for tenant in &tenants {
        suite.acquires(0, tenant, &owner, SHORT, FREE).await;
    }
    let why = "its owner extends it";
    suite.acquires(1, extended, &owner, LONG, why).await;
    sleep(SHORT * 2).await;
    let why = "its owner extends it after it has expired";
    suite.acquires(0, revived, &owner, LONG, why).await;
    for tenant in &tenants {
        let why = "its owner has extended it";
        suite.is_held(1, tenant, why).await;
    }
    for tenant in &tenants {
        suite.release(0, tenant, &owner).await;
    }
}

/// A release by the owner frees the lease at once. A release by any other owner does nothing.
pub async fn lease_is_released_by_its_owner_only(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("lease-released");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    // A release of a free lease is no error.
    suite.release(0, &tenant, &first).await;
    suite.acquires(0, &tenant, &first, LONG, FREE).await;
    for handle in 0..suite.handles.len() {
        suite.release(handle, &tenant, &second).await;
        let why = "only another owner has released it";
        suite.is_held(handle, &tenant, why).await;
    }
    suite.release(0, &tenant, &first).await;
    let why = "its owner has released it";
    suite.acquires(1, &tenant, &second, LONG, why).await;
    // A slow owner releases a lease that is another's by now.
    suite.release(0, &tenant, &first).await;
    let why = "only its former owner has released it";
    suite.is_held(0, &tenant, why).await;
    suite.release(0, &tenant, &second).await;
}

/// Names that differ in any byte have different leases.
pub async fn leases_are_isolated(suite: &Suite<impl TokenStore>) {
    let tenants: Vec<TenantId> = alike().iter().map(|name| suite.named(name)).collect();
    let owners: Vec<_> = tenants.iter().map(|_| LeaseOwner::random()).collect();
    let handles = suite.handles.len();
    let mut findings = Vec::new();
    for (number, (tenant, owner)) in tenants.iter().zip(&owners).enumerate() {
        let store = &suite.handles[number % handles];
        match within("acquire", store.acquire(tenant, owner, LONG)).await {
            Ok(LeaseOutcome::Acquired) => {}
            Ok(LeaseOutcome::HeldByAnother) => {
                findings.push(format!("the lease of {} is another's", shown(tenant)));
            }
            Err(finding) => findings.push(format!("{}: {finding}", shown(tenant))),
        }
    }
    for (number, (tenant, owner)) in tenants.iter().zip(&owners).enumerate() {
        suite.release(number % handles, tenant, owner).await;
    }
    suite.fail_if_any(findings);
}

/// The cache has leases of its own beside those of grants, such as the one of a sweep. Their names
/// start with `tower-oauth2-client/` and are at most 255 bytes long. No tenant has such a name,
/// because [`TenantId::new`] rejects it.
pub async fn reserved_names_have_leases(suite: &Suite<impl TokenStore>) {
    let owner = LeaseOwner::random();
    let mut names: Vec<_> = RESERVED.iter().map(|name| suite.reserved(name)).collect();
    let room = TenantId::MAX_LENGTH - names[0].as_str().len();
    names.push(suite.reserved(&format!("sweep/@{}", "x".repeat(room))));
    for name in &names {
        suite.acquires(0, name, &owner, LONG, FREE).await;
        suite.loads(1, name, None).await;
    }
    for name in &names {
        let why = "its owner has it for a minute";
        suite.is_held(1, name, why).await;
        let why = "its owner extends it";
        suite.acquires(1, name, &owner, LONG, why).await;
        suite.release(1, name, &owner).await;
        let other = LeaseOwner::random();
        suite.acquires(0, name, &other, LONG, FREE).await;
        suite.release(0, name, &other).await;
    }
}

/// [`TokenStore::changed`] ends within a second after another handle has saved a grant or released
/// a lease.
pub async fn changed_wakes(suite: &Suite<impl TokenStore>) {
    let (tenant, owner) = (suite.tenant("watched"), LeaseOwner::random());
    let mut expected = None;
    for generation in 1..=3 {
        let grant = plain(generation, "watched");
        let save = suite.commit(0, &tenant, expected, &grant);
        wakes(suite, &tenant, "a save", save).await;
        expected = Some(generation);
    }
    suite.acquires(0, &tenant, &owner, LONG, FREE).await;
    let release = suite.release(0, &tenant, &owner);
    wakes(suite, &tenant, "a release", release).await;
}

/// Waits on one handle for a change by another.
async fn wakes(
    suite: &Suite<impl TokenStore>,
    tenant: &TenantId,
    what: &str,
    change: impl Future<Output = ()>,
) {
    let mut changed = pin!(suite.handles[1].changed(tenant));
    // A change counts from the first poll on, even if the store is not subscribed yet.
    let has_ended = poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_ready())).await;
    change.await;
    if !has_ended && timeout(SOON, changed).await.is_err() {
        suite.fail(format_args!(
            "changed did not end within {SOON:?} after {what}"
        ));
    }
}
