//! Rules for loads and saves.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    names::{alike, shown},
    samples::{difference, identities, in_words, plain, revoked, states},
    suite::{LONG, MANY, Suite, within},
};
use crate::{
    store::{LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, TenantId},
};

/// The maximum of a signed 64-bit column.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// The first integer whose successor a 64-bit float cannot represent.
const EXACT: u64 = 1 << 53;

/// A contended save may fail and is repeated this often.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Enough saves and loads to overlap, with an end.
const SAVES: u64 = 20;
const LOADS: u32 = 500;

/// More suspension points than a save should have. Later ones are not tested.
const MOST_WAITS: u32 = 24;

/// The store can be opened several times at once.
pub async fn opens(suite: &Suite<impl TokenStore>) {
    if suite.handles.len() < 2 {
        suite.fail("a suite has several handles");
    }
}

/// Each call ends within 10 seconds, whatever it returns.
pub async fn calls_complete(suite: &Suite<impl TokenStore>) {
    let (tenant, owner) = (suite.tenant("calls"), LeaseOwner::random());
    for store in &suite.handles {
        let lists = async { Ok(store.tenants(None, 1).await.is_ok()) };
        let loads = async { Ok(store.load(&tenant).await.is_ok()) };
        let saves = async { Ok(store.save(&tenant, None, &plain(1, "calls")).await.is_ok()) };
        let acquires = async { Ok(store.acquire(&tenant, &owner, LONG).await.is_ok()) };
        let releases = async { Ok(store.release(&tenant, &owner).await.is_ok()) };
        suite.unwrap(within("load", loads).await);
        suite.unwrap(within("save", saves).await);
        suite.unwrap(within("acquire", acquires).await);
        suite.unwrap(within("release", releases).await);
        suite.unwrap(within("tenants", lists).await);
    }
}

/// A tenant that was never saved has no grant.
pub async fn unknown_tenant_has_no_grant(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("unknown");
    for handle in 0..suite.handles.len() {
        suite.loads(handle, &tenant, None).await;
    }
}

/// A save over the stored generation returns `Committed`, and the next load returns its grant.
pub async fn save_commits(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("saved");
    let mut expected = None;
    for generation in 1..=3 {
        let grant = plain(generation, "saved");
        suite.commit(0, &tenant, expected, &grant).await;
        suite.loads(0, &tenant, Some(&grant)).await;
        expected = Some(generation);
    }
}

/// A save over any other generation than the stored one returns `Superseded` and changes nothing.
pub async fn save_is_conditional(suite: &Suite<impl TokenStore>) {
    for_each_wrong_save(suite, async |tenant, wrong, rival, stored| {
        suite.refused(tenant, wrong, rival, stored).await;
    })
    .await;
}

/// [`SaveOutcome::Superseded`] contains the stored grant, whole.
pub async fn superseded_returns_the_stored_grant(suite: &Suite<impl TokenStore>) {
    for_each_wrong_save(suite, async |tenant, wrong, rival, stored| {
        suite.superseded(tenant, wrong, rival, stored).await;
    })
    .await;
}

/// Calls `refuse` for wrong generations: over no grant, over a grant, and after one more save.
async fn for_each_wrong_save<S: TokenStore>(
    suite: &Suite<S>,
    refuse: impl AsyncFn(&TenantId, Option<u64>, u64, Option<&Grant>),
) {
    let tenant = suite.tenant("conditional");
    for wrong in [0, 1, LARGEST] {
        refuse(&tenant, Some(wrong), 2, None).await;
    }
    let stored = plain(5, "stored");
    suite.commit(0, &tenant, None, &stored).await;
    // The rival's own generation may be older, equal or newer: only the expected generation counts.
    for wrong in [None, Some(0), Some(4), Some(6), Some(LARGEST)] {
        for rival in [4, 5, 6, 7] {
            refuse(&tenant, wrong, rival, Some(&stored)).await;
        }
    }
    let next = plain(6, "next");
    suite.commit(0, &tenant, Some(5), &next).await;
    refuse(&tenant, Some(5), 6, Some(&next)).await;
}

/// Each [`GrantState`](crate::token::GrantState) is loaded as it was saved: long tokens, every
/// character that RFC 6749 allows, times to the nanosecond.
pub async fn every_state_round_trips(suite: &Suite<impl TokenStore>) {
    let mut findings = Vec::new();
    for (number, (word, grant)) in states().into_iter().enumerate() {
        let tenant = suite.tenant(&format!("state-{number}"));
        match suite.try_save(0, &tenant, None, &grant).await {
            Ok(SaveOutcome::Committed) => {
                let loaded = suite.load(0, &tenant).await;
                let finding = difference(Some(&grant), loaded.as_ref());
                findings.extend(finding.map(|finding| format!("grant \"{word}\": {finding}")));
            }
            Ok(SaveOutcome::Superseded(_)) => {
                findings.push(format!(
                    "grant \"{word}\": a first save returned Superseded"
                ));
            }
            Err(finding) => findings.push(format!("grant \"{word}\": {finding}")),
        }
    }
    suite.fail_if_any(findings);
}

/// The [identity](Grant::identity) of a grant is loaded as it was saved last: without one, with
/// one, and with another one, also by [`SaveOutcome::Superseded`].
pub async fn identity_round_trips(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("identity");
    let mut expected = None;
    for (generation, identity) in (1..).zip(identities()) {
        let grant = plain(generation, "identity").with_identity(identity);
        suite.commit(0, &tenant, expected, &grant).await;
        suite.loads(0, &tenant, Some(&grant)).await;
        suite
            .superseded(&tenant, None, generation, Some(&grant))
            .await;
        expected = Some(generation);
    }
}

/// A save may bring the generation that it expects: an intent is recorded so.
pub async fn save_may_keep_the_generation(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("same-generation");
    let mut expected = None;
    for word in ["before", "intent", "second-intent"] {
        let grant = plain(1, word);
        suite.commit(0, &tenant, expected, &grant).await;
        suite.loads(0, &tenant, Some(&grant)).await;
        expected = Some(1);
    }
}

/// Generations need not be consecutive, and are exact up to 2⁶³ − 1.
pub async fn generations_may_skip(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("far-apart");
    let mut expected = None;
    for generation in [
        1,
        7,
        1 << 31,
        1 << 32,
        EXACT,
        EXACT + 1,
        LARGEST - 1,
        LARGEST,
    ] {
        let grant = plain(generation, "far-apart");
        suite.commit(0, &tenant, expected, &grant).await;
        suite.loads(0, &tenant, Some(&grant)).await;
        // A number without its last digits would equal the generation before.
        if expected.is_some() {
            let stored = Some(&grant);
            suite
                .superseded(&tenant, expected, generation, stored)
                .await;
        }
        expected = Some(generation);
    }
}

/// A revoked grant stays stored. Only a save over its generation replaces it.
pub async fn revoked_grant_is_kept(suite: &Suite<impl TokenStore>) {
    let (tenant, revoked) = (suite.tenant("revoked"), revoked(2));
    suite.commit(0, &tenant, None, &plain(1, "revoked")).await;
    suite.commit(0, &tenant, Some(1), &revoked).await;
    suite.loads(0, &tenant, Some(&revoked)).await;
    for wrong in [None, Some(1), Some(3)] {
        suite.superseded(&tenant, wrong, 3, Some(&revoked)).await;
    }
    let consented = plain(3, "consented-again");
    suite.commit(0, &tenant, Some(2), &consented).await;
    suite.loads(0, &tenant, Some(&consented)).await;
}

/// Names that differ in any byte are different tenants.
pub async fn tenants_are_isolated(suite: &Suite<impl TokenStore>) {
    let (mut findings, mut saved) = (Vec::new(), Vec::<(TenantId, Grant)>::new());
    for (number, name) in (1..).zip(alike()) {
        let (tenant, grant) = (suite.named(&name), plain(number, "name"));
        match suite.try_save(0, &tenant, None, &grant).await {
            Ok(SaveOutcome::Committed) => saved.push((tenant, grant)),
            Ok(SaveOutcome::Superseded(found)) => {
                let other = saved
                    .iter()
                    .find(|(_, grant)| Some(grant) == found.as_ref());
                let other = other.map_or("another tenant".into(), |(other, _)| shown(other));
                findings.push(format!("{} was confused with {other}", shown(&tenant)));
            }
            Err(finding) => findings.push(format!("{}: {finding}", shown(&tenant))),
        }
    }
    for (tenant, grant) in &saved {
        let finding = difference(Some(grant), suite.load(0, tenant).await.as_ref());
        findings.extend(finding.map(|finding| format!("{}: {finding}", shown(tenant))));
    }
    suite.fail_if_any(findings);
}

/// A grant that one handle has saved is loaded by every other.
pub async fn saves_are_visible_to_all_handles(suite: &Suite<impl TokenStore>) {
    let (tenant, handles) = (suite.tenant("shared"), suite.handles.len());
    let mut expected = None;
    for (generation, writer) in (1..).zip((0..handles).chain(0..handles)) {
        let grant = plain(generation, "shared");
        suite.commit(writer, &tenant, expected, &grant).await;
        for reader in 0..handles {
            suite.loads(reader, &tenant, Some(&grant)).await;
        }
        expected = Some(generation);
    }
}

/// Of 32 concurrent saves over one generation, by several handles, exactly one commits. The others
/// return its grant.
///
/// A contended save may fail, up to four times.
pub async fn one_of_concurrent_saves_commits(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("race");
    let mut expected = None;
    for generation in 1..=3 {
        let (mut committed, mut superseded) = (Vec::new(), Vec::new());
        let saves = suite.race(|writer, store| {
            let grant = plain(generation, &format!("writer-{writer}"));
            save_with_retries(store, tenant.clone(), expected, grant)
        });
        for (outcome, grant) in saves.await {
            match suite.unwrap(outcome) {
                SaveOutcome::Committed => committed.push(grant),
                SaveOutcome::Superseded(found) => superseded.push(found),
            }
        }
        let [winner] = &committed[..] else {
            suite.fail(format_args!(
                "expected one Committed of {MANY} saves over {}; got {}",
                in_words(expected),
                committed.len(),
            ));
        };
        for handle in 0..suite.handles.len() {
            suite.loads(handle, &tenant, Some(winner)).await;
        }
        for found in superseded {
            if let Some(finding) = difference(Some(winner), found.as_ref()) {
                suite.fail(format_args!(
                    "Superseded must contain the winner's grant: {finding}"
                ));
            }
        }
        expected = Some(winner.generation);
    }
}

async fn save_with_retries<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
    expected: Option<Generation>,
    grant: Grant,
) -> (Result<SaveOutcome, String>, Grant) {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match within("save", store.save(&tenant, expected, &grant)).await {
            Err(_) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            // The attempt that failed has committed.
            Ok(SaveOutcome::Superseded(Some(found))) if attempt > 1 && found == grant => {
                return (Ok(SaveOutcome::Committed), grant);
            }
            outcome => return (outcome, grant),
        }
    }
}

/// During saves, each load returns a committed grant, whole, and never an older one than the load
/// before.
pub async fn loads_are_monotonic(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("busy");
    suite.commit(0, &tenant, None, &plain(1, "busy")).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for store in &suite.handles {
        let (store, is_over) = (Arc::clone(store), Arc::clone(&is_over));
        readers.spawn(load_repeatedly(store, tenant.clone(), is_over));
    }
    for generation in 2..=SAVES {
        let grant = plain(generation, "busy");
        suite.commit(0, &tenant, Some(generation - 1), &grant).await;
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::Relaxed);
    for result in readers.join_all().await {
        suite.unwrap(result);
    }
}

async fn load_repeatedly<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
    is_over: Arc<AtomicBool>,
) -> Result<(), String> {
    let mut newest = Generation::FIRST;
    for _ in 0..LOADS {
        let loaded = within("load", store.load(&tenant)).await?;
        let Some(loaded) = loaded else {
            return Err("a load during a save returned no grant".into());
        };
        let generation = loaded.generation;
        if generation < newest {
            return Err(format!(
                "a load returned generation {generation} after {newest}"
            ));
        }
        let committed = plain(generation.as_u64(), "busy");
        if let Some(finding) = difference(Some(&committed), Some(&loaded)) {
            return Err(format!(
                "a load during a save returned a mixture: {finding}"
            ));
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        newest = generation;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// A save whose future is dropped at any point has happened whole or not at all, and blocks no
/// later save.
pub async fn dropped_save_is_atomic(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("dropped");
    let mut stored = plain(1, "stored");
    suite.commit(0, &tenant, None, &stored).await;
    for waits in 1..=MOST_WAITS {
        let mut has_ended = true;
        // Dropped while the awaited operation is in progress, and after it has completed but before
        // the future is polled.
        for is_at_once in [true, false] {
            let expected = stored.generation;
            let new = plain(expected.as_u64() + 1, "dropped");
            let save = suite.handles[0].save(&tenant, Some(expected), &new);
            let save = drop_after(waits, is_at_once, save);
            let outcome = suite.unwrap(within("save", async { save.await.transpose() }).await);
            has_ended &= outcome.is_some();
            stored = save_after_a_dropped_save(suite, &tenant, stored, new, outcome).await;
        }
        if has_ended {
            break;
        }
    }
}

/// Polls until the future has been pending `waits` times, and drops it then: at once, or when it
/// would be polled again.
async fn drop_after<T>(waits: u32, is_at_once: bool, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut waited = 0;
    poll_fn(|context| {
        if waited == waits {
            return Poll::Ready(None);
        }
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => {
                waited += 1;
                if is_at_once && waited == waits {
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    })
    .await
}

/// Saves through another handle. Returns the grant that is stored then.
async fn save_after_a_dropped_save(
    suite: &Suite<impl TokenStore>,
    tenant: &TenantId,
    old: Grant,
    new: Grant,
    outcome: Option<SaveOutcome>,
) -> Grant {
    let after = |grant: &Grant| plain(grant.generation.as_u64() + 1, "next");
    if let Some(SaveOutcome::Superseded(found)) = &outcome {
        let found = in_words(found.as_ref().map(|found| found.generation));
        suite.fail(format_args!(
            "the save after a dropped one returned Superseded with {found}"
        ));
    }
    let loaded = suite.load(1, tenant).await;
    let is_new = loaded.as_ref() == Some(&new);
    if !is_new && (outcome.is_some() || loaded.as_ref() != Some(&old)) {
        suite.fail(format_args!(
            "expected {} or {} after a dropped save, found {}, or parts of both",
            in_words(Some(old.generation)),
            in_words(Some(new.generation)),
            in_words(loaded.map(|loaded| loaded.generation)),
        ));
    }
    let stored = if is_new { &new } else { &old };
    let (expected, next) = (stored.generation.as_u64(), after(stored));
    let next = match suite.save(1, tenant, Some(expected), &next).await {
        SaveOutcome::Committed => next,
        // The dropped save has been completed by the store in the meantime.
        SaveOutcome::Superseded(Some(late)) if !is_new && late == new => {
            let next = after(&new);
            let expected = Some(new.generation.as_u64());
            suite.commit(1, tenant, expected, &next).await;
            next
        }
        SaveOutcome::Superseded(found) => suite.fail(format_args!(
            "expected Committed from a save over generation {expected} after a dropped save; got \
             Superseded with {}",
            in_words(found.map(|found| found.generation)),
        )),
    };
    suite.loads(0, tenant, Some(&next)).await;
    next
}
