//! Rules for the calls with which a refresh begins and ends: each combines two others.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    grants::{MOST_WAITS, drop_after},
    leases::{GRACE, SHORT},
    samples::{difference, in_words, plain},
    suite::{DEADLINE, LONG, Suite, within},
};
use crate::{
    store::{
        LeaseOutcome::{self, Acquired, HeldByAnother},
        LeaseOwner, SaveOutcome, TokenStore,
    },
    token::{Generation, Grant, TenantId},
};

/// How many replicas refresh the same grant, and how often.
const REPLICAS: usize = 8;
const REFRESHES: usize = 3;

const PAUSE: Duration = Duration::from_millis(25);

/// [`TokenStore::acquire_and_load`] acquires the lease, or extends it, and returns the stored
/// grant. It also returns the grant if another owner has the lease.
pub async fn acquire_and_load_does_both(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("begun");
    let (owner, other) = (LeaseOwner::random(), LeaseOwner::random());
    begins(suite, 0, &tenant, &owner, (Acquired, None)).await;
    suite.is_held(1, &tenant, "its owner has it").await;
    begins(suite, 1, &tenant, &other, (HeldByAnother, None)).await;
    let mut expected = None;
    for number in 1..=2 {
        let grant = plain(number, "begun");
        suite.commit(1, &tenant, expected, &grant).await;
        begins(suite, 1, &tenant, &owner, (Acquired, Some(&grant))).await;
        begins(suite, 0, &tenant, &other, (HeldByAnother, Some(&grant))).await;
        suite.is_held(1, &tenant, "its owner extends it").await;
        expected = Some(number);
    }
    suite.release(0, &tenant, &owner).await;
    let grant = plain(2, "begun");
    begins(suite, 0, &tenant, &other, (Acquired, Some(&grant))).await;
    suite.release(1, &tenant, &other).await;

    // The lease lasts as long as requested.
    let acquired_at = Instant::now();
    suite.begin(0, &tenant, &owner, SHORT).await;
    while suite.begin(1, &tenant, &other, LONG).await.0 == HeldByAnother {
        if acquired_at.elapsed() > SHORT.saturating_add(GRACE) {
            suite.fail(format_args!("a lease of {SHORT:?} has not expired"));
        }
        sleep(PAUSE).await;
    }
    suite.release(0, &tenant, &other).await;
}

/// A replica that acquires the lease loads what the last owner saved before it released the lease,
/// also if many do so at once.
pub async fn acquired_lease_comes_with_the_newest_grant(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("in-turn");
    suite.commit(0, &tenant, None, &plain(1, "in-turn")).await;
    let mut replicas = JoinSet::new();
    for store in suite.handles.iter().cycle().take(REPLICAS) {
        replicas.spawn(refresh_repeatedly(Arc::clone(store), tenant.clone()));
    }
    for result in replicas.join_all().await {
        suite.unwrap(result);
    }
    let refreshes = u64::try_from(REPLICAS * REFRESHES).unwrap_or_default();
    let newest = plain(refreshes.saturating_add(1), "in-turn");
    suite.loads(0, &tenant, Some(&newest)).await;
}

async fn refresh_repeatedly<S: TokenStore>(store: Arc<S>, tenant: TenantId) -> Result<(), String> {
    let owner = LeaseOwner::random();
    let mut newest = Generation::FIRST;
    for _ in 0..REFRESHES {
        let began_at = Instant::now();
        loop {
            let begin = store.acquire_and_load(&tenant, &owner, LONG);
            let (outcome, stored) = within("acquire_and_load", begin).await?;
            let found = stored.map(|stored| stored.generation);
            let Some(generation) = found.filter(|found| *found >= newest) else {
                return Err(format!(
                    "acquire_and_load returned {} after generation {newest}",
                    in_words(found)
                ));
            };
            newest = generation;
            if outcome == Acquired {
                break;
            }
            if began_at.elapsed() > DEADLINE {
                return Err(format!("the lease was not free for {DEADLINE:?}"));
            }
            sleep(Duration::from_millis(fastrand::u64(1..=10))).await;
        }
        let next = plain(newest.as_u64() + 1, "in-turn");
        let end = store.save_and_release(&tenant, Some(newest), &next, &owner);
        if let SaveOutcome::Superseded(found) = within("save_and_release", end).await? {
            return Err(format!(
                "generation {newest} was loaded with the lease, and yet a save over it returned \
                 Superseded with {}: only owners of the lease save here",
                in_words(found.map(|found| found.generation))
            ));
        }
        newest = next.generation;
    }
    Ok(())
}

/// [`TokenStore::save_and_release`] saves the grant with and without the lease, and releases the
/// lease of its owner only.
pub async fn save_and_release_does_both(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("ended");
    let (owner, other) = (LeaseOwner::random(), LeaseOwner::random());
    let why = "the lease is free";
    suite.acquires(0, &tenant, &owner, LONG, why).await;
    let mut grant = plain(1, "ended");
    suite
        .commit_and_release(0, &tenant, None, &grant, &owner)
        .await;
    suite.loads(1, &tenant, Some(&grant)).await;
    let why = "its owner has released it with a save";
    suite.acquires(1, &tenant, &other, LONG, why).await;

    // A slow owner, whose lease is another's by now.
    grant = plain(2, "ended");
    suite
        .commit_and_release(0, &tenant, Some(1), &grant, &owner)
        .await;
    suite.loads(1, &tenant, Some(&grant)).await;
    let why = "a save of another owner has committed";
    suite.is_held(0, &tenant, why).await;
    suite.release(0, &tenant, &other).await;

    // An owner whose lease was lost. The save may keep the generation.
    for word in ["free", "same"] {
        grant = plain(3, word);
        let expected = if word == "same" { 3 } else { 2 };
        suite
            .commit_and_release(1, &tenant, Some(expected), &grant, &owner)
            .await;
        suite.loads(0, &tenant, Some(&grant)).await;
    }
    suite.acquires(0, &tenant, &other, LONG, "it is free").await;
    suite.release(0, &tenant, &other).await;
}

/// A [`TokenStore::save_and_release`] that is superseded changes neither the grant nor the lease.
pub async fn superseded_save_keeps_the_lease(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("kept");
    let owner = LeaseOwner::random();
    suite
        .acquires(0, &tenant, &owner, LONG, "the lease is free")
        .await;
    let stored = plain(5, "kept");
    suite.commit(1, &tenant, None, &stored).await;
    for wrong in [None, Some(4), Some(6)] {
        let rival = plain(7, "rival");
        match suite.end(0, &tenant, wrong, &rival, &owner).await {
            SaveOutcome::Committed => suite.fail(format_args!(
                "expected Superseded from a save over {}, while generation 5 is stored; got \
                 Committed",
                in_words(wrong)
            )),
            SaveOutcome::Superseded(found) => {
                if let Some(finding) = difference(Some(&stored), found.as_ref()) {
                    suite.fail(format_args!(
                        "Superseded must contain the stored grant: {finding}"
                    ));
                }
            }
        }
        suite.loads(1, &tenant, Some(&stored)).await;
        let why = "the save that would have released it was superseded";
        suite.is_held(1, &tenant, why).await;
    }
    let next = plain(6, "kept");
    suite
        .commit_and_release(0, &tenant, Some(5), &next, &owner)
        .await;
    suite.acquires(1, &tenant, &owner, LONG, "it is free").await;
    suite.release(1, &tenant, &owner).await;
}

/// A [`TokenStore::save_and_release`] whose future is dropped at any point releases no lease before
/// the grant is saved.
pub async fn dropped_save_and_release_saves_first(suite: &Suite<impl TokenStore>) {
    let (tenant, other) = (suite.tenant("dropped-end"), LeaseOwner::random());
    let mut stored = plain(1, "stored");
    suite.commit(0, &tenant, None, &stored).await;
    for waits in 1..=MOST_WAITS {
        let mut has_ended = true;
        for is_at_once in [true, false] {
            let owner = LeaseOwner::random();
            suite
                .acquires(0, &tenant, &owner, LONG, "the lease is free")
                .await;
            let expected = stored.generation;
            let new = plain(expected.as_u64() + 1, "dropped");
            let end = suite.handles[0].save_and_release(&tenant, Some(expected), &new, &owner);
            let end = drop_after(waits, is_at_once, end);
            let outcome = within("save_and_release", async { end.await.transpose() }).await;
            has_ended &= suite.unwrap(outcome).is_some();
            let (lease, loaded) = suite.begin(1, &tenant, &other, LONG).await;
            let found = loaded.as_ref().map(|loaded| loaded.generation);
            if lease == Acquired && loaded.as_ref() != Some(&new) {
                suite.fail(format_args!(
                    "a dropped call has released the lease, and {} is stored instead of {}",
                    in_words(found),
                    in_words(Some(new.generation))
                ));
            }
            suite.release(0, &tenant, &owner).await;
            suite.release(1, &tenant, &other).await;
            stored = overwrite(suite, &tenant).await;
        }
        if has_ended {
            break;
        }
    }
}

/// Saves over the stored grant, so that a dropped save no longer commits.
async fn overwrite(suite: &Suite<impl TokenStore>, tenant: &TenantId) -> Grant {
    loop {
        let stored = suite.load(1, tenant).await;
        let expected = stored.map(|stored| stored.generation.as_u64());
        let next = plain(expected.unwrap_or_default() + 1, "next");
        if suite.save(1, tenant, expected, &next).await == SaveOutcome::Committed {
            return next;
        }
    }
}

/// Begins a refresh with an expected result.
async fn begins(
    suite: &Suite<impl TokenStore>,
    handle: usize,
    tenant: &TenantId,
    owner: &LeaseOwner,
    (expected, stored): (LeaseOutcome, Option<&Grant>),
) {
    let (outcome, loaded) = suite.begin(handle, tenant, owner, LONG).await;
    if outcome != expected {
        suite.fail(format_args!(
            "expected {expected:?} from acquire_and_load; got {outcome:?}"
        ));
    }
    if let Some(finding) = difference(stored, loaded.as_ref()) {
        suite.fail(format_args!(
            "acquire_and_load ({outcome:?}) must return the stored grant: {finding}"
        ));
    }
}
