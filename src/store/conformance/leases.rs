//! One owner at a time, until the time is over or the owner has had enough.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Rule,
    samples::plain,
    scene::{LONG, MANY, Scene, Step, Trouble, at_once, within},
};
use crate::{
    store::{LeaseOutcome, LeaseOwner, TokenStore},
    token::TenantId,
};

/// A lease that ends while one looks on.
const SHORT: Duration = Duration::from_millis(300);

/// How long after its end it may hold, for stores that count in whole seconds.
const GRACE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(25);

const RESTS_ON: &[Rule] = &[
    Rule::LeaseNeedsNoGrantAndTouchesNone,
    Rule::LeaseHasOneOwner,
];

pub(super) async fn look<S: TokenStore>(scene: &mut Scene<S>) {
    let _ = lease_needs_no_grant_and_touches_none(scene).await;
    let _ = lease_has_one_owner(scene).await;
    let _ = one_of_many_gets_it(scene).await;
    let _ = a_save_leaves_the_lease(scene).await;
    let _ = lease_runs_out(scene).await;
    let _ = lease_is_extended_by_its_owner(scene).await;
    let _ = lease_is_given_back_by_its_owner_alone(scene).await;
}

async fn lease_needs_no_grant_and_touches_none<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::NothingAtFirst,
        Rule::SavesCommit,
        Rule::OtherHandlesSeeItAtOnce,
    ];
    scene.begin(Rule::LeaseNeedsNoGrantAndTouchesNone, &rests_on)?;
    let other = 1 % scene.handles.len();
    let tenant = scene.tenant("lease-alone");
    let (owner, grant) = (LeaseOwner::random(), plain(1, "leased"));
    let without = scene.acquire(0, &tenant, &owner, LONG).await?;
    scene.finds(other, &tenant, None).await?;
    // Others may save all the same: the lease is of the exchange.
    scene.commit(other, &tenant, None, &grant).await?;
    if without == LeaseOutcome::HeldByAnother {
        let with = scene.acquire(0, &tenant, &owner, LONG).await?;
        return Err(match with {
            LeaseOutcome::Acquired => scene.violated("a lease was refused until there was a grant"),
            LeaseOutcome::HeldByAnother => {
                let seen = "a lease that nobody had was refused";
                scene.violated_another(Rule::LeaseHasOneOwner, seen)
            }
        });
    }
    scene.release(0, &tenant, &owner).await?;
    scene.finds(other, &tenant, Some(&grant)).await?;
    let why = "nobody had it any more";
    scene.takes(0, &tenant, &owner, LONG, why).await?;
    scene.finds(other, &tenant, Some(&grant)).await?;
    scene.release(0, &tenant, &owner).await
}

async fn lease_has_one_owner<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::LeaseHasOneOwner, RESTS_ON)?;
    let tenant = scene.tenant("lease");
    let owner = LeaseOwner::random();
    let why = "nobody had it";
    scene.takes(0, &tenant, &owner, LONG, why).await?;
    for handle in 0..scene.handles.len() {
        let why = "though the first one has it for a minute";
        scene.is_held(handle, &tenant, why).await?;
    }
    scene.release(0, &tenant, &owner).await
}

async fn one_of_many_gets_it<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::LeaseHasOneOwner, RESTS_ON)?;
    for round in 0..2 {
        scene.comes_back("acquire")?;
        let tenant = scene.tenant(&format!("lease-race-{round}"));
        let stores = scene.handles.iter().cycle().take(MANY);
        let asking = stores.map(|store| ask(Arc::clone(store), tenant.clone()));
        let mut owners = Vec::new();
        for (outcome, owner) in at_once(asking).await {
            if scene.judge(outcome)? == LeaseOutcome::Acquired {
                owners.push(owner);
            }
        }
        let [owner] = &owners[..] else {
            let number = owners.len();
            let seen = format!("{number} of {MANY} who asked at once have got the lease");
            return Err(scene.violated(seen));
        };
        scene.release(0, &tenant, owner).await?;
    }
    Ok(())
}

async fn a_save_leaves_the_lease<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    let rests_on = [
        Rule::SavesCommit,
        Rule::OtherHandlesSeeItAtOnce,
        Rule::LeaseHasOneOwner,
    ];
    scene.begin(Rule::LeaseNeedsNoGrantAndTouchesNone, &rests_on)?;
    let other = 1 % scene.handles.len();
    let tenant = scene.tenant("lease-and-save");
    let owner = LeaseOwner::random();
    let why = "nobody had it";
    scene.takes(0, &tenant, &owner, LONG, why).await?;
    let mut expected = None;
    for (number, handle) in [(1, 0), (2, other)] {
        let grant = plain(number, "leased");
        scene.commit(handle, &tenant, expected, &grant).await?;
        let why = "when a grant was saved";
        scene.is_held(other, &tenant, why).await?;
        expected = Some(grant.generation);
    }
    scene.release(0, &tenant, &owner).await
}

async fn ask<S: TokenStore>(
    store: Arc<S>,
    tenant: TenantId,
) -> (Result<LeaseOutcome, Trouble>, LeaseOwner) {
    let owner = LeaseOwner::random();
    let outcome = within("acquire", store.acquire(&tenant, &owner, LONG)).await;
    (outcome, owner)
}

async fn lease_runs_out<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::LeaseRunsOut, RESTS_ON)?;
    let other = 1 % scene.handles.len();
    let tenant = scene.tenant("lease-short");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    let why = "nobody had it";
    scene.takes(0, &tenant, &first, SHORT, why).await?;
    let asked = Instant::now();
    loop {
        let outcome = scene.acquire(other, &tenant, &second, LONG).await?;
        if outcome == LeaseOutcome::Acquired {
            break;
        }
        if asked.elapsed() > SHORT + GRACE {
            return Err(scene.violated(format!(
                "a lease of {SHORT:?} still held after {:?}",
                SHORT + GRACE
            )));
        }
        sleep(PAUSE).await;
    }
    let outcome = scene.acquire(0, &tenant, &first, LONG).await?;
    if outcome == LeaseOutcome::Acquired {
        let seen = "an owner has extended a lease that had run out, and was another's by then";
        return Err(scene.violated(seen));
    }
    scene.release(other, &tenant, &second).await
}

async fn lease_is_extended_by_its_owner<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::LeaseIsExtendedByItsOwner, RESTS_ON)?;
    let other = 1 % scene.handles.len();
    let tenants = [
        scene.tenant("lease-extended"),
        scene.tenant("lease-revived"),
    ];
    let [extended, revived] = &tenants;
    let owner = LeaseOwner::random();
    for tenant in &tenants {
        let why = "nobody had it";
        scene.takes(0, tenant, &owner, SHORT, why).await?;
    }
    let why = "its owner asked for more time";
    scene.takes(other, extended, &owner, LONG, why).await?;
    sleep(SHORT * 2).await;
    let why = "its owner asked for more time after it had run out, and nobody else had asked";
    scene.takes(0, revived, &owner, LONG, why).await?;
    for tenant in &tenants {
        let why = "though its owner has extended it";
        scene.is_held(other, tenant, why).await?;
    }
    for tenant in &tenants {
        scene.release(0, tenant, &owner).await?;
    }
    Ok(())
}

async fn lease_is_given_back_by_its_owner_alone<S: TokenStore>(scene: &mut Scene<S>) -> Step {
    scene.begin(Rule::LeaseIsGivenBackByItsOwnerAlone, RESTS_ON)?;
    let other = 1 % scene.handles.len();
    let tenant = scene.tenant("lease-returned");
    let (first, second) = (LeaseOwner::random(), LeaseOwner::random());
    // There is nothing to give back, which is no reason to fail.
    scene.release(0, &tenant, &first).await?;
    let why = "nobody had it";
    scene.takes(0, &tenant, &first, LONG, why).await?;
    for handle in 0..scene.handles.len() {
        scene.release(handle, &tenant, &second).await?;
        let why = "somebody has given back what was not theirs";
        scene.is_held(handle, &tenant, why).await?;
    }
    scene.release(0, &tenant, &first).await?;
    let why = "though its owner has given it back";
    scene.takes(other, &tenant, &second, LONG, why).await?;
    // Somebody who was slow, and does not know that it is another's by now.
    scene.release(0, &tenant, &first).await?;
    let why = "who had it before has given it back once more";
    scene.is_held(0, &tenant, why).await?;
    scene.release(0, &tenant, &second).await
}
